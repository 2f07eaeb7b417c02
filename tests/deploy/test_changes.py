"""Documents that come, change and go: what is in the changed bundle, and what is refused."""
import json
import shutil
import signal
import subprocess
import sys
import time

import faiss
import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.deploy.changes import change_bundle, rebuild_finding
from semantic_nb.index import SearchIndex, _probe_answers, set_effort
from semantic_nb.store import Artifact, write_json

NEW = {"_id": "tidy_tables", "title": "tidy_tables(x)", "text": "Put a table in order and drop its empty rows.",
       "metadata": {"topic": "tidy", "library": "tables"}}


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_comes_is_found_what_goes_is_gone_and_what_stays_answers_as_before(bundle_folder, tmp_path):
    before = open_bundle(bundle_folder)
    gone, kept, edited = before.corpus.ids[0], before.corpus.ids[5], before.corpus.ids[7]
    put = written(tmp_path / "put.jsonl", NEW, {"_id": edited, "title": "", "text": "Something entirely different now.",
                                                "metadata": {}})
    after = open_bundle(change_bundle(bundle_folder, tmp_path / "after", put, [gone]))
    assert len(after.corpus) == len(before.corpus) and gone not in after.corpus.position
    assert after.search(NEW["text"], 1)[0]["id"] == "tidy_tables" == after.search("drop rows", 1, "lexical")[0]["id"]
    assert after.corpus.texts[after.corpus.position[edited]] == "Something entirely different now."
    old, new = (bundle.index.index.reconstruct(bundle.corpus.position[kept]) for bundle in (before, after))
    assert np.array_equal(old, new) and after.id != before.id
    assert open_bundle(bundle_folder).id == before.id  # the old one is as it was
    assert rebuild_finding(after).status == "ok"  # a flat index finds everything


def with_lists(bundle_folder, path, effort):
    "The same bundle with an index of four lists, of which a search looks into `effort`."
    flat = open_bundle(bundle_folder)
    vectors = flat.index.index.reconstruct_n(0, len(flat.corpus))
    lists = faiss.index_factory(vectors.shape[1], "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    lists.train(vectors)
    lists.add(vectors)
    set_effort(lists, f"nprobe={effort}")

    def write(folder):
        for file in bundle_folder.iterdir():
            if file.name not in ("manifest.json", "base"):
                (shutil.copytree if file.is_dir() else shutil.copyfile)(file, folder / file.name)
        faiss.write_index(lists, str(folder / "index.faiss"))
        facts = {**flat.facts, "type": "ivf", "effort": f"nprobe={effort}"}
        probe = json.loads((bundle_folder / "probe.json").read_text())
        index = SearchIndex(lists, flat.corpus.ids, facts)
        vectors = np.array(probe["vectors"], "float32")
        write_json(folder / "probe.json", _probe_answers(index, probe["texts"], vectors, len(probe["scores"][0])))
        return facts
    return Artifact.write(path, {"bundle": 2}, write).path


def test_lists_change_as_well_and_are_due_when_they_lose_answers(bundle_folder, tmp_path):
    put = written(tmp_path / "put.jsonl", NEW)
    whole, poor = (with_lists(bundle_folder, tmp_path / f"lists{effort}", effort) for effort in (4, 1))
    after = open_bundle(change_bundle(whole, tmp_path / "after", put, [open_bundle(whole).corpus.ids[0]]))
    assert after.facts["type"] == "ivf" and after.index.index.nprobe == 4
    assert after.search(NEW["text"], 1)[0]["id"] == "tidy_tables" and rebuild_finding(after).status == "ok"
    due = rebuild_finding(open_bundle(poor))
    assert due.status == "doubt" and "build the index again" in due.fix


@pytest.mark.parametrize("put, delete, says", [
    (None, ["nobody"], "not there"), ({"_id": "x", "title": "no text"}, [], "data."),
    (None, "all", "no document is left")])
def test_what_would_not_be_that_change_is_refused(bundle_folder, tmp_path, put, delete, says):
    ids = open_bundle(bundle_folder).corpus.ids
    path = written(tmp_path / "put.jsonl", put) if put else None
    with pytest.raises(ContractError, match=says):
        change_bundle(bundle_folder, tmp_path / "after", path, ids if delete == "all" else delete)
    assert not (tmp_path / "after").exists()


def test_an_index_that_cannot_forget_is_refused(bundle_folder, tmp_path):
    def build(folder):
        shutil.copytree(bundle_folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        return {**open_bundle(bundle_folder).facts, "type": "hnsw"}
    graph = Artifact.write(tmp_path / "graph", {"bundle": 2}, build).path
    with pytest.raises(ContractError, match="deploy.change"):
        change_bundle(graph, tmp_path / "after", written(tmp_path / "put.jsonl", NEW))


@pytest.mark.parametrize("after", [0.5, 1.5, 2.5])
def test_a_change_that_is_killed_leaves_a_bundle_that_opens_and_nothing_half(bundle_folder, tmp_path, after):
    put = written(tmp_path / "put.jsonl", NEW)
    process = subprocess.Popen([sys.executable, "-m", "semantic_nb", "change", str(bundle_folder),
                                str(tmp_path / "out"), "--put", str(put)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert open_bundle(bundle_folder)
    if (tmp_path / "out").exists():
        assert open_bundle(tmp_path / "out")
    else:
        assert open_bundle(change_bundle(bundle_folder, tmp_path / "out", put))
