import errno
import json
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from semantic_nb.core import Artifact, ContractError, Settings, Table, fingerprint, write_json


def numbers(folder):
    (folder / "numbers.txt").write_text("1 2 3")


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


def test_a_recipe_is_built_once_and_rebuilt_when_it_changes(settings):
    built = []
    make = lambda seed: Artifact.make("n", {"seed": seed}, lambda folder: built.append(seed) or numbers(folder))
    assert make(1).manifest == make(1).manifest and make(2).path != make(1).path
    assert built == [1, 2]


@pytest.mark.parametrize("damage", [
    lambda p: (p / "numbers.txt").write_text("1 2"), lambda p: (p / "numbers.txt").unlink(),
    lambda p: (p / "manifest.json").write_text("{"), lambda p: (p / "manifest.json").unlink()])
def test_damage_is_found_when_opened(settings, damage):
    made = Artifact.make("n", {}, numbers)
    damage(made.path)
    with pytest.raises(ContractError, match="core.store"):
        Artifact.make("n", {}, numbers)


def test_a_failed_build_leaves_nothing_and_the_next_one_works(settings):
    def broken(folder):
        numbers(folder)
        raise RuntimeError("half-way")
    with pytest.raises(RuntimeError):
        Artifact.make("n", {}, broken)
    assert not [p for p in settings.store.iterdir() if not p.name.endswith(".lock")]
    assert Artifact.make("n", {}, numbers).path.is_dir()


def test_a_resumable_build_keeps_its_partial_folder(settings):
    def first(folder):
        (folder / "half").write_text("done")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        Artifact.make("n", {}, first, resumable=True)
    seen = []
    Artifact.make("n", {}, lambda folder: seen.append((folder / "half").read_text()), resumable=True)
    assert seen == ["done"]


def test_a_full_disk_is_a_refusal_and_keeps_what_was_there(settings):
    good = Artifact.make("n", {"v": 1}, numbers)
    def full(folder):
        numbers(folder)
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ContractError, match="No space left"):
        Artifact.make("n", {"v": 2}, full)
    assert Artifact.open(good.path).manifest == good.manifest
    assert len([p for p in settings.store.iterdir() if p.is_dir()]) == 1


def _build_slowly(counter):
    import time
    def slow(folder):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.3)
        numbers(folder)
    Artifact.make("n", {}, slow)


def test_two_processes_build_once(settings):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    workers = [context.Process(target=_build_slowly, args=(counter,)) for _ in range(2)]
    [w.start() for w in workers], [w.join() for w in workers]
    assert counter.value == 1 and all(w.exitcode == 0 for w in workers)


def test_source_ignores_docstrings_and_sees_changes():
    def a(x):
        "Doc."
        return x + 1
    def b(x):
        return x + 1
    assert fingerprint([a]) != fingerprint([b])  # another name is another function
    assert fingerprint({"b": 1, "a": [1, 2]}) == fingerprint({"a": [1, 2],
                                                              "b": 1}) != fingerprint({"a": [2, 1], "b": 1})


def test_write_json_replaces_whole_files(tmp_path, monkeypatch):
    path = write_json(tmp_path / "x.json", {"a": 1})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("interrupted")))
    with pytest.raises(OSError):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_tables_escape_what_markdown_would_read():
    assert str(Table([{"a": "x|y\nz", "b": 0.5}])).splitlines()[-1] == "| x\\|y z | 0.500 |"


def test_json_holds_no_number_that_json_does_not_know(tmp_path):
    content = {"a": math.nan, "b": [math.inf, 1.5, (2, math.nan)], "c": np.float64("nan"), "d": Path("x")}
    written = write_json(tmp_path / "x.json", content).read_text()
    strict = json.loads(written, parse_constant=lambda name: pytest.fail(name))
    assert strict == {"a": None, "b": [None, 1.5, [2, None]], "c": None, "d": "x"}


def test_a_profile_overrides_what_all_runs_share(domain_folder, monkeypatch):
    monkeypatch.delenv("SEMANTIC_NB_THREADS", raising=False)
    path = domain_folder.parents[1] / "settings.ini"
    path.write_text(path.read_text() + "\nthreads = 16\n")
    profile = [line for line in path.read_text().splitlines() if line.startswith("[")][-1].strip("[]")
    assert Settings.load(domain_folder, profile=profile).threads == 16
    assert Settings.load(domain_folder, profile=profile, threads=3).threads == 3


@pytest.mark.parametrize("text", ["[DEFAULT]\nlib_name = x\n", "no section\n", ""])
def test_settings_without_a_run_are_refused(domain_folder, text):
    (domain_folder.parents[1] / "settings.ini").write_text(text)
    with pytest.raises(ContractError, match="core.settings"):
        Settings.load(domain_folder)
