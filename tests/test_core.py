import pytest

from semantic_nb.core import ContractError, Settings
from semantic_nb.output import Table


def test_environment_overrides_file_and_profile(domain_folder, monkeypatch):
    monkeypatch.setenv("SEMANTIC_NB_PROFILE", "quick")
    monkeypatch.setenv("SEMANTIC_NB_DOCUMENTS", "17")
    settings = Settings.load(domain_folder)
    assert (settings.profile, settings.documents,
            settings.pairs) == ("quick", 17, Settings.load(domain_folder, profile="quick").pairs)


@pytest.mark.parametrize("name, value", [("PROFILE", "enormous"), ("SEED", "one"), ("COLOUR", "blue")])
def test_bad_settings_are_refused(domain_folder, monkeypatch, name, value):
    monkeypatch.setenv(f"SEMANTIC_NB_{name}", value)
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(domain_folder)


def test_without_a_settings_file_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Settings.load()
    assert (found.root, found.spec, found.profile, found.documents) == (tmp_path, None, "full", 0)
    assert found.store == tmp_path / "runs" / "store"
    monkeypatch.setenv("SEMANTIC_NB_SEED", "7")
    assert Settings.current().seed == 7
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(profile="quick")


def test_settings_hold_within_their_block(settings):
    from dataclasses import replace
    assert Settings.current() == settings
    with replace(settings, seed=9).active():
        assert Settings.current().seed == 9
    assert Settings.current() == settings


def test_tables_escape_what_markdown_would_read():
    assert str(Table([{"a": "x|y\nz", "b": 0.5}])).splitlines()[-1] == "| x\\|y z | 0.500 |"


def test_a_profile_overrides_what_all_runs_share(domain_folder, monkeypatch):
    monkeypatch.delenv("SEMANTIC_NB_THREADS", raising=False)
    path = domain_folder.parents[1] / "settings.ini"
    path.write_text(path.read_text() + "\nthreads = 16\n")
    profile = [line for line in path.read_text().splitlines() if line.startswith("[")][-1].strip("[]")
    assert Settings.load(domain_folder, profile=profile).threads == 16
    assert Settings.load(domain_folder, profile=profile, threads=3).threads == 3


def test_a_folder_called_settings_ini_is_refused_and_not_passed_over(domain_folder):
    (domain_folder / "settings.ini").mkdir()
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(domain_folder)


@pytest.mark.parametrize("text", ["[DEFAULT]\nlib_name = x\n", "no section\n", ""])
def test_settings_without_a_run_are_refused(domain_folder, text):
    (domain_folder.parents[1] / "settings.ini").write_text(text)
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(domain_folder)


def test_a_mark_that_an_editor_puts_first_is_no_part_of_the_settings(domain_folder):
    ini = domain_folder.parents[1] / "settings.ini"
    ini.write_bytes(b"\xef\xbb\xbf" + ini.read_bytes())
    assert Settings.load(domain_folder).profile == "tiny"
