"""What a spec from a stranger can make this computer read and run."""
import sys
from importlib.metadata import EntryPoint

import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_corpus, load_domain
from semantic_nb.data.miners import load_miner, trust_miner

MINER = '''from pathlib import Path
Path(__file__ if "__file__" in globals() else "ran").exists()
def mine(path):
    path.write_text('{"_id": "a", "text": "one document"}\\n', encoding="utf-8")
'''


def naming(spec, corpus):
    return spec.model_copy(update={"data": spec.data.model_copy(update={"corpus": corpus})})


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def artifacts(settings):
    return [path.name for path in settings.store.glob("corpus-*")] if settings.store.exists() else []


@pytest.mark.parametrize("corpus", [
    "os:getcwd", "os:system", "sys:exit", "subprocess:call", "builtins:print", "this:s", ":x", "..x:y", ".:y",
    "antigravity:x", "webbrowser:open", "pathlib:Path", "json:dumps", "os.path:join", "semantic_nb.cli:app", "a:b:c",
    "semantic_nb.domains:pydocs", "semantic_nb.domains.pydocs:replace", "semantic_nb.domains.pydocs:Path",
    "semantic_nb.domains.nothing:mine", "semantic_nb.domains.pydocs:nothing", "semantic_nb.domains.pydocs:",
    "semantic_nb.domains.pydocs:corpus_row", "miner.py:mine", "miner.py:"])
def test_nothing_that_is_not_registered_is_imported_or_called(spec, settings, corpus, monkeypatch):
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    with pytest.raises(ContractError) as refusal:
        load_corpus(naming(spec, corpus))
    assert refusal.value.layer in ("data.corpus", "data.trust") and "antigravity" not in sys.modules
    assert not artifacts(settings)


def test_a_miner_beside_the_spec_runs_once_it_is_trusted_and_until_it_changes(spec, settings, domain_folder):
    own = naming(spec, "miner.py:mine")
    (domain_folder / "miner.py").write_text(MINER, encoding="utf-8")
    with pytest.raises(ContractError, match="data.trust"):
        load_corpus(own)
    trust_miner(own)
    assert load_corpus(own).ids == ("a",) and len(artifacts(settings)) == 1
    (domain_folder / "miner.py").write_text(MINER + "# changed\n", encoding="utf-8")
    with pytest.raises(ContractError, match="data.trust"):
        load_corpus(own)


@pytest.mark.parametrize("source", [
    "def mine(path): pass", "def mine(path): raise SystemExit(0)", "def mine(path): open('/nowhere/x')", "mine = 3",
    "def mine(path): path.write_text('no rows')", "def mine(): pass", "raise ValueError('no')", "import nothing_here",
    "def mine(path) pass", "\0"])
def test_a_miner_that_fails_is_refused_and_leaves_nothing(spec, settings, domain_folder, source):
    (domain_folder / "miner.py").write_text(source, encoding="utf-8")
    own = naming(spec, "miner.py:mine")
    trust_miner(own)
    with pytest.raises(ContractError, match="data"):
        load_corpus(own)
    assert not artifacts(settings)


def test_an_installed_package_may_offer_a_miner(spec, settings, tmp_path, monkeypatch):
    (tmp_path / "their_docs.py").write_text(MINER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ContractError, match="not registered"):
        load_corpus(naming(spec, "their_docs:mine"))
    entry = EntryPoint("theirs", "their_docs:mine", "semantic_nb.domains")
    monkeypatch.setattr("semantic_nb.data.miners.entry_points", lambda group: [entry])
    assert load_corpus(naming(spec, "their_docs:mine")).ids == ("a",)


@pytest.mark.parametrize("key", ["corpus", "queries", "qrels"])
def test_no_file_leaves_the_folder_of_the_spec(spec, domain_folder, tmp_path, key):
    (tmp_path / "outside").mkdir()
    for name in ("../../settings.ini", str(tmp_path / "outside"), "x/../../y", "a\0b"):
        with pytest.raises(ContractError, match="data.path"):
            load_domain(spec.model_copy(update={"data": spec.data.model_copy(update={key: name})}))
    name = domain_folder / getattr(spec.data, key)
    name.rename(tmp_path / "outside" / "it")
    name.symlink_to(tmp_path / "outside" / "it")
    with pytest.raises(ContractError, match="data.path"):
        load_domain(spec)


def test_pairs_and_labels_stay_inside_too(spec):
    pairs = spec.data.pairs[-1].model_copy(update={"path": "/etc/passwd"})
    for change in ({"data": spec.data.model_copy(update={"pairs": (pairs,)})},
                   {"clustering": spec.clustering.model_copy(update={"labelled": "../labels.csv"})}):
        with pytest.raises(ContractError, match="data.path"):
            load_corpus(spec.model_copy(update=change))


def test_all_missing_splits_are_named_at_once(spec, domain_folder):
    for name in ("dev", "test", "production"):
        (domain_folder / "qrels" / f"{name}.tsv").unlink()
    with pytest.raises(ContractError, match="dev.tsv, test.tsv, production.tsv") as refusal:
        load_domain(spec)
    assert refusal.value.layer == "data.split" and "semantic-nb split" in refusal.value.fix


def test_too_few_questions_are_a_doubt(spec, domain_folder):
    path = domain_folder / "qrels" / "test.tsv"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    [finding] = [one for one in load_domain(spec).findings if one.id.startswith("validate.questions")]
    assert (finding.id, finding.status, finding.count) == ("validate.questions.test", "doubt", 2)


def test_trust_is_given_on_the_command_line_once(domain_folder, settings):
    from typer.testing import CliRunner

    from semantic_nb.cli import app
    text = (domain_folder / "spec.toml").read_text(encoding="utf-8")
    (domain_folder / "spec.toml").write_text(text.replace('"corpus.jsonl"', '"miner.py:mine"'), encoding="utf-8")
    (domain_folder / "miner.py").write_text(
        f"def mine(path):\n    path.write_bytes(open({str(domain_folder / 'corpus.jsonl')!r}, 'rb').read())\n")
    ask = lambda *options: CliRunner().invoke(app, ["check", str(domain_folder), "--json", *options])
    assert ask().exception.layer == "data.trust"
    assert ask("--trust").exit_code == 0 and ask().exit_code == 0


def test_a_miner_that_is_not_there_cannot_be_trusted(spec, domain_folder):
    own = spec.model_copy(update={"data": spec.data.model_copy(update={"corpus": "miner.py:mine"})})
    for attempt in (trust_miner, load_miner):
        with pytest.raises(ContractError, match="no miner.py beside the spec") as refusal:
            attempt(own)
        assert refusal.value.layer == "data.corpus"
