"""A fork is whole, holds what its spec names, and takes nothing from elsewhere; splits are made without a leak."""
import os
import tomllib

import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_domain
from semantic_nb.data.fork import _set_key, fork_domain, split_domain
from semantic_nb.data.records import read_judged
from semantic_nb.spec import load_spec


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("text", [
    'name="pydocs"', "name = 'pydocs'", 'name  =  "pydocs"', '  name = "pydocs"', '"name" = "pydocs"',
    '# name = "x"\nname = "pydocs"', 'about = "name = \'x\'"\nname = "pydocs"',
    'pairs = [{name = "x"}]\nname = "pydocs"\n[data]\nname = "y"'])
def test_the_name_is_found_however_the_spec_is_written(text):
    assert tomllib.loads(_set_key(text, "", "name", "mine")) == tomllib.loads(text) | {"name": "mine"}


def test_a_name_that_cannot_be_changed_is_refused():
    with pytest.raises(ContractError, match="pipeline.fork"):
        _set_key('name = """py\\\ndocs"""', "", "name", "mine")


def test_a_fork_holds_what_its_spec_names(spec, domain_folder, tmp_path):
    for name in ("results.json", "silent_failure.json", "README.md", "clicks.csv"):
        (domain_folder / name).write_text("of the old domain")
    text = (domain_folder / "spec.toml").read_text(encoding="utf-8")
    (domain_folder / "spec.toml").rename(domain_folder / "my.toml")
    (domain_folder / "my.toml").write_text('  name = "toy"'.join(text.split('name = "toy"', 1)), encoding="utf-8")
    fork_domain(spec, tmp_path / "My Fork", domain_folder / "my.toml")
    assert files(tmp_path / "My Fork") == {"spec.toml", "corpus.jsonl", "queries.jsonl", *(
        f"qrels/{split}.tsv" for split in ("train", "dev", "test", "production"))}
    mine = load_spec(tmp_path / "My Fork")
    assert mine.name == "my-fork" and mine.data.pairs == spec.data.pairs and load_domain(mine)


def test_only_regular_files_are_copied(spec, domain_folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (domain_folder / "qrels" / "link.tsv").symlink_to(tmp_path / "secret")
    (domain_folder / "qrels" / "loop.tsv").symlink_to(domain_folder / "qrels" / "loop.tsv")
    (domain_folder / "qrels" / "gone.tsv").symlink_to(tmp_path / "gone")
    os.mkfifo(domain_folder / "qrels" / "pipe.tsv")
    fork_domain(spec, tmp_path / "fork")
    assert not files(tmp_path / "fork") & {f"qrels/{name}.tsv" for name in ("link", "loop", "gone", "pipe")}


def test_a_fork_is_whole_or_not_there(spec, domain_folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("x")
    before = files(tmp_path)
    for target in (tmp_path / "file", tmp_path / "file" / "x", tmp_path / "dangling", tmp_path / "taken",
                   tmp_path / ("x" * 300), domain_folder, domain_folder / "qrels" / "new"):
        with pytest.raises(ContractError, match="pipeline.fork"):
            fork_domain(spec, target)
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("semantic_nb.data.fork.write_corpus", full)
    with pytest.raises(ContractError, match="No space left"):
        fork_domain(spec, tmp_path / "full")
    assert files(tmp_path) == before and not (tmp_path / "full").exists()
    monkeypatch.undo()
    (tmp_path / "killed" / ".semantic-nb-fork").mkdir(parents=True)  # what kill -9 leaves
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "killed", tmp_path / "empty", tmp_path / "deep" / "er"):
        fork_domain(spec, target)
        assert load_spec(target) and not (target / ".semantic-nb-fork").exists()


def test_missing_splits_are_made_without_a_shared_document(spec, domain_folder):
    qrels = domain_folder / "qrels"
    rows = [row for name in ("train", "dev", "test") for row in (qrels / f"{name}.tsv").read_text().splitlines()[1:]]
    (qrels / "dev.tsv").unlink(), (qrels / "test.tsv").unlink()
    document = rows[0].split("\t")[1]
    rows.append(f"{rows[-1].split(chr(9))[0]}\t{document}\t1")  # one document answers two questions
    (qrels / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{row}\n" for row in rows))
    counts = split_domain(spec, {"dev": 0.3, "test": 0.3})
    parts = {name: read_judged(domain_folder / "queries.jsonl", qrels / f"{name}.tsv", None) for name in counts}
    assert sum(counts.values()) == len({row.split("\t")[0] for row in rows}) and min(counts.values()) > 5
    assert sum(len((qrels / f"{name}.tsv").read_text().splitlines()) - 1 for name in counts) == len(rows)
    for a in parts:
        assert all(a == b or not parts[a].relevant() & parts[b].relevant() for b in parts)
    assert load_domain(spec)
    with pytest.raises(ContractError, match="dev.tsv exists"):
        split_domain(spec, {"dev": 0.3})


@pytest.mark.parametrize("shares", [{}, {"dev2": 0}, {"dev2": 1}, {"dev2": -0.5}, {"dev2": float("nan")},
                                    {"dev2": 0.5, "test2": 0.5}, {"dev2": -0.2, "test2": 0.5}])
def test_shares_that_leave_nothing_are_refused(spec, shares):
    with pytest.raises(ContractError, match="data.split"):
        split_domain(spec, shares)


def test_one_giant_component_is_named_with_the_document_that_links_it(spec, domain_folder):
    path = domain_folder / "qrels" / "train.tsv"
    rows = path.read_text().splitlines()
    hub = rows[1].split("\t")[1]
    path.write_text("\n".join([*rows, *(f"{row.split(chr(9))[0]}\t{hub}\t1" for row in rows[2:])]) + "\n")
    before = path.read_text()
    with pytest.raises(ContractError, match=f"by {hub}"):
        split_domain(spec, {"dev2": 0.3})
    assert path.read_text() == before and not (domain_folder / "qrels" / "dev2.tsv").exists()


def test_a_link_inside_the_folder_is_copied_as_what_it_leads_to(spec, domain_folder, tmp_path):
    (domain_folder / "judged").mkdir()
    for name, place in (("queries.jsonl", "q.jsonl"), ("qrels/test.tsv", "judged/test.tsv")):
        (domain_folder / name).rename(domain_folder / place)
        (domain_folder / name).symlink_to(domain_folder / place)
    fork_domain(spec, tmp_path / "fork")
    for name in ("queries.jsonl", "qrels/test.tsv"):
        copied = tmp_path / "fork" / name
        assert copied.read_bytes() == (domain_folder / name).read_bytes() and not copied.is_symlink()
    assert load_domain(load_spec(tmp_path / "fork"))


def test_a_split_on_a_full_disk_is_refused_and_leaves_the_judgments_whole(spec, domain_folder, monkeypatch):
    (domain_folder / "qrels" / "dev.tsv").unlink()
    before, train = files(domain_folder), (domain_folder / "qrels" / "train.tsv").read_bytes()

    def full(path, text):
        raise ContractError("core.store", "No space left", "", "")
    monkeypatch.setattr("semantic_nb.data.fork.write_text", full)
    with pytest.raises(ContractError, match="core.store"):
        split_domain(spec, {"dev": 0.3})
    assert files(domain_folder) == before and (domain_folder / "qrels" / "train.tsv").read_bytes() == train
