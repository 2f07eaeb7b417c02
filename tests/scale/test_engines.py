"""A bundle in an engine: whole, for one model, or not asked at all. Both engines, the same tests."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from made import documents_of, packed
from semantic_nb.cli_scale import app
from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.deploy.changes import change_bundle
from semantic_nb.scale import engines
from semantic_nb.scale.engines import (Documents, _check_probes, _place, ask_engine, engine_answers, make_manifest,
                                       model_of, open_engine, push, push_documents, search_vectors)

ROOT = Path(__file__).parents[2]
QUESTION = "how to sort tables"


def ids(hits):
    return [hit["id"] for hit in hits]


def held(uri, manifest):
    return open_engine(uri).engine.held(manifest["collection"])


def near(hits, right):
    "The same documents with the same scores; those that tie may change places."
    assert np.allclose([hit["score"] for hit in hits], [hit["score"] for hit in right], atol=2e-3)
    last = right[-1]["score"] + 2e-3
    assert {hit["id"] for hit in hits} >= {hit["id"] for hit in right if hit["score"] > last}
    return True


def changed_bundle(bundle, tmp_path, delete=0):
    "One document is new, one has another text, one went. Returns the bundle and what was changed."
    new, edited, gone = "tidy_tables", bundle.corpus.ids[7], bundle.corpus.ids[delete]
    rows = [{"_id": new, "title": "tidy_tables(x)", "text": "Put a table in order and drop its empty rows.",
             "metadata": {"topic": "tidy", "library": "tables"}},
            {"_id": edited, "title": "", "text": "Something entirely different now.", "metadata": {}}]
    (tmp_path / "put.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = change_bundle(bundle.path, tmp_path / f"changed{delete}", tmp_path / "put.jsonl", [gone])
    return open_bundle(path), new, edited, gone


def test_an_engine_answers_as_the_bundle_and_a_second_push_changes_nothing(bundle, uri, monkeypatch):
    manifest = push(bundle, uri, batch=25)
    assert manifest["put"] == len(bundle.corpus) == 60 and manifest["keys"]
    opened = open_engine(uri)
    assert near(ask_engine(opened, bundle, QUESTION), bundle.search(QUESTION))
    for key in manifest["keys"]:
        value = str(next(one[key] for one in bundle.corpus.metadata if one.get(key)))
        hits = ask_engine(opened, bundle, QUESTION, 5, {key: value})
        assert hits and near(hits, bundle.search(QUESTION, 5, keep={key: value}))
        assert all(hit["metadata"][key] == value for hit in hits)
    assert ask_engine(opened, bundle, QUESTION, keep={manifest["keys"][0]: "no such value"}) == []
    before = opened.engine.manifests(manifest["name"])
    for kind in ("put", "delete", "finish", "change"):
        monkeypatch.setattr(type(opened.engine), kind, None)
    again = push(bundle, uri)
    assert (again["put"], again["deleted"]) == (0, 0) and opened.engine.manifests(manifest["name"]) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.scale.engines import push
lines = []
def say(line):
    lines.append(line)
    if len(lines) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
push(open_bundle(Path(sys.argv[1])), sys.argv[2], batch=20, say=say)
"""


def test_a_push_that_is_killed_answers_nobody_and_goes_on(bundle, uri):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(bundle.path), uri],
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(ContractError) as refusal:
        ask_engine(open_engine(uri), bundle, QUESTION)
    assert refusal.value.layer == "scale.push", refusal.value
    manifest = push(bundle, uri, batch=20)
    assert manifest["put"] == 20  # forty were there
    assert sorted(id for id, _ in held(uri, manifest)) == sorted(bundle.corpus.ids)
    assert near(ask_engine(open_engine(uri), bundle, QUESTION), bundle.search(QUESTION))


class Stop(Exception):
    pass


def stopping(after):
    "A `say` that stops a push after so many batches."
    said = []

    def say(line):
        said.append(line)
        if len(said) == after:
            raise Stop
    return say


def test_a_change_is_a_difference_and_is_whole_or_not_answered(bundle, uri, tmp_path):
    first = push(bundle, uri)
    changed, new, edited, gone = changed_bundle(bundle, tmp_path)
    opened = open_engine(uri)
    with pytest.raises(Stop):
        push(changed, uri, batch=1, say=stopping(1))
    if uri.startswith("milvus"):  # batch after batch: between two of them nothing is answered
        with pytest.raises(ContractError, match="scale.push"):
            ask_engine(opened, bundle, QUESTION)
    else:  # one transaction: nothing has happened
        assert near(ask_engine(opened, bundle, QUESTION), bundle.search(QUESTION))
        assert {id for id, _ in held(uri, first)} == set(bundle.corpus.ids)
    done = push(changed, uri, batch=1)
    assert done["deleted"] == 1 and done["put"] == (1 if uri.startswith("milvus") else 2)
    assert done["collection"] == first["collection"] and done["bundle"] == changed.id != first["bundle"]
    assert {id for id, _ in held(uri, done)} == set(changed.corpus.ids)
    for question in (QUESTION, changed.corpus.texts[-1], changed.corpus.texts[-2]):
        assert near(ask_engine(opened, changed, question), changed.search(question))
    assert ids(ask_engine(opened, changed, "Put a table in order and drop its empty rows.", 1)) == [new]
    assert edited in ids(ask_engine(opened, changed, "Something entirely different now.", 3))
    assert gone not in ids(ask_engine(opened, changed, bundle.corpus.texts[0], 60))
    back = push(bundle, uri)  # and back
    assert (back["put"], back["deleted"]) == (2, 1)


def test_metadata_alone_is_a_change(bundle, uri, tmp_path):
    push(bundle, uri)
    relabelled = bundle.corpus.ids[3]

    def relabel(folder, facts):
        rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
        rows[3]["metadata"]["library"] = "elsewhere"
        (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = packed(bundle.path, tmp_path / "relabelled", relabel)
    assert push(other, uri)["put"] == 1
    assert ids(ask_engine(open_engine(uri), other, QUESTION, keep={"library": "elsewhere"})) == [relabelled]


def test_another_model_is_refused_and_switches_when_it_is_complete(bundle, other, uri):
    first = push(bundle, uri)
    opened = open_engine(uri)
    with pytest.raises(ContractError) as refusal:
        ask_engine(opened, other, QUESTION)
    assert refusal.value.layer == "scale.model"
    assert model_of(bundle) in refusal.value.symptom and model_of(other) in refusal.value.symptom
    with pytest.raises(Stop):
        push(other, uri, batch=20, say=stopping(2))
    assert near(ask_engine(opened, bundle, QUESTION), bundle.search(QUESTION))  # the old one goes on
    second = push(other, uri, batch=20)
    assert second["put"] == 20 and second["collection"] != first["collection"]
    assert near(ask_engine(opened, other, QUESTION), other.search(QUESTION))
    with pytest.raises(ContractError, match="scale.model"):
        ask_engine(opened, bundle, QUESTION)
    assert push(bundle, uri)["put"] == 0  # back, at once
    assert near(ask_engine(opened, bundle, QUESTION), bundle.search(QUESTION))
    push(bundle, uri, drop_old=True)
    assert [one["collection"] for one in opened.engine.manifests(first["name"])] == [first["collection"]]
    assert opened.engine.held(second["collection"]) == []


def test_a_reader_sees_one_model_or_the_other_and_never_a_part(bundle, other, uri):
    push(bundle, uri)
    answers = {bundle.id: bundle.search(QUESTION, 60), other.id: other.search(QUESTION, 60)}
    seen, wrong, ended = set(), [], threading.Event()

    def read():
        opened = open_engine(uri)
        while not ended.is_set():
            manifest = opened.answering(bundle.facts["name"])
            if manifest is None or manifest["state"] != "complete":
                wrong.append(manifest)
            asking = next(one for one in (bundle, other) if model_of(one) == manifest["model"])
            try:
                hits = ask_engine(opened, asking, QUESTION, 60)
            except ContractError as refusal:
                wrong.extend([refusal] * (refusal.layer != "scale.model"))
                continue
            seen.add(asking.id)
            if len(hits) != 60 or not np.allclose([hit["score"] for hit in hits],
                                                  [hit["score"] for hit in answers[asking.id]], atol=2e-3):
                wrong.append(hits)
    reader = threading.Thread(target=read)
    reader.start()
    for bundle_now in (other, bundle, other):
        push(bundle_now, uri, batch=15, drop_old=True)
    ended.wait(0.3)
    ended.set()
    reader.join()
    assert not wrong, wrong
    assert seen == {bundle.id, other.id}


def test_a_reader_sees_documents_before_or_after_a_change(bundle, uri, tmp_path):
    push(bundle, uri)
    changed, *_ = changed_bundle(bundle, tmp_path)
    allowed, refused, wrong, ended = (set(bundle.corpus.ids), set(changed.corpus.ids)), [], [], threading.Event()

    def read():
        opened = open_engine(uri)
        while not ended.is_set():
            try:
                found = set(ids(ask_engine(opened, bundle, QUESTION, 70)))
            except ContractError as refusal:
                refused.append(refusal.layer)
                continue
            if found not in allowed:
                wrong.append(found)
    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(4):
        push((changed, bundle)[turn % 2], uri, batch=1)
    ended.set()
    reader.join()
    assert not wrong and set(refused) <= ({"scale.push"} if uri.startswith("milvus") else set())


def test_an_engine_that_answers_otherwise_never_answers(bundle, other, uri, tmp_path, monkeypatch):
    push(bundle, uri)
    kept = Documents.of

    def mixed(bundle, keys):
        right = kept(bundle, keys)
        return Documents(right.ids, right.hashes, right.metadata, np.roll(right.vectors, 1, axis=0))
    monkeypatch.setattr(Documents, "of", mixed)
    with pytest.raises(ContractError) as refusal:
        push(other, uri)
    assert refusal.value.layer == "scale.answers"
    assert near(ask_engine(open_engine(uri), bundle, QUESTION), bundle.search(QUESTION))


def test_probes_notice_a_sign_another_order_and_forgive_a_tie():
    probe = {"ids": [["a", "b", "c"]], "scores": [[0.9, 0.5, 0.5]]}
    _check_probes([[("a", 0.9), ("c", 0.5), ("d", 0.5)]], probe)
    for hits in ([("a", -0.9), ("b", -0.5), ("c", -0.5)], [("x", 0.9), ("y", 0.6), ("z", 0.55)], []):
        with pytest.raises(ContractError, match="scale.answers"):
            _check_probes([hits], probe)


def test_rows_that_were_lost_or_came_from_elsewhere_are_put_right(bundle, uri):
    manifest = push(bundle, uri)
    opened = open_engine(uri)
    stranger = ("stranger", "x", {}, bundle.encoder.encode([QUESTION])[0])
    opened.engine.delete(manifest["collection"], list(bundle.corpus.ids[:4]))
    opened.engine.put(manifest["collection"], [stranger])
    assert ids(ask_engine(opened, bundle, QUESTION, 1)) == ["stranger"]
    again = push(bundle, uri)
    assert (again["put"], again["deleted"]) == (4, 1)
    assert near(ask_engine(opened, bundle, QUESTION), bundle.search(QUESTION))


def test_an_engine_that_loses_rows_without_a_word_is_noticed(bundle, uri, monkeypatch):
    kind = type(open_engine(uri).engine)
    right = kind.put
    monkeypatch.setattr(kind, "put", lambda self, collection, rows: right(self, collection, rows[1:]))
    with pytest.raises(ContractError) as refusal:
        push(bundle, uri)
    assert refusal.value.layer == "scale.push" and "59" in refusal.value.symptom
    with pytest.raises(ContractError, match="scale.push"):
        ask_engine(open_engine(uri), bundle, QUESTION)


ODD = ["it's", 'say "so"', "back\\slash", "a\nline", "tab\t", "50 %_", "{braces} $1 %(x)s", "ü 排序 😀", "", " blank ",
       "'; drop table docs; --", '" or id != "', "\\", '\\"', "null", "x" * 3000]


def test_filters_mean_what_they_say_whatever_they_hold(uri):
    key = "the kind's \"name\"; --"
    metadata = [{key: value, "plain": str(n)} for n, value in enumerate(ODD)] + [{"plain": "none"}] * 4
    documents = documents_of(metadata)
    documents = Documents((*ODD[:-2], *documents.ids[len(ODD) - 2:]), documents.hashes, metadata, documents.vectors)
    manifest = make_manifest("odd-name", "m", 32, [key, "plain"])
    opened = open_engine(uri)
    push_documents(opened, documents, manifest)
    for n, value in enumerate(ODD):
        for keep in ({key: value}, {key: value, "plain": str(n)}):
            hits = search_vectors(opened, "odd-name", "m", documents.vectors[:1], 20, keep)[0]
            assert [id for id, _ in hits] == [documents.ids[n]], (value, hits)
        nothing = {key: value, "plain": "none"}
        assert search_vectors(opened, "odd-name", "m", documents.vectors[:1], 20, nothing) == [[]]
    opened.engine.delete(manifest["collection"], ODD[:6])
    assert {id for id, _ in opened.engine.held(manifest["collection"])} == set(documents.ids[6:])
    assert push_documents(opened, documents, manifest)["put"] == 6


def test_what_cannot_be_filtered_or_asked_is_refused(bundle, uri):
    push(bundle, uri, keys=["library"])
    opened = open_engine(uri)
    with pytest.raises(ContractError) as refusal:
        ask_engine(opened, bundle, QUESTION, keep={"topic": "x"})
    assert refusal.value.layer == "scale.filter" and "library" in refusal.value.fix
    with pytest.raises(ContractError, match="scale.filter"):
        push(bundle, uri, keys=["colour"])
    with pytest.raises(ContractError, match="scale.model"):
        ask_engine(opened, bundle.beside, QUESTION)  # the untuned base, in the same folder
    with pytest.raises(ContractError, match="scale.push"):
        search_vectors(opened, "another-name", model_of(bundle), np.zeros((1, 16), "float32"))
    wider = push(bundle, uri, keys=["library", "topic"])
    assert wider["put"] == 60  # other keys are another collection
    assert ask_engine(opened, bundle, QUESTION, keep={"topic": bundle.corpus.metadata[0]["topic"]})


def test_an_engine_that_is_down_is_named_without_its_password(tmp_path, monkeypatch):
    (tmp_path / "file.db").write_text("no folder")
    for uri, package in (("postgresql://ann:s3cret@127.0.0.1:1/docs", "psycopg"),
                         ("postgresql://127.0.0.1:1/docs?password=s3cret&user=ann", "psycopg"),
                         ("postgresql://ann:s3cret@127.0.0.1:port/docs", "psycopg"),
                         ("milvus+http://ann:s3cret@127.0.0.1:1", "pymilvus"),
                         (f"milvus:{tmp_path}/no/folder.db", "milvus_lite"), (f"{tmp_path}/file.db", "milvus_lite")):
        if engines.find_spec(package) is None:
            continue
        with pytest.raises(ContractError) as refusal:
            open_engine(uri)
        assert refusal.value.layer == "scale.engine" and "s3cret" not in str(refusal.value)
        assert _place(uri) in refusal.value.symptom and str(tmp_path) not in _place(uri)
    with pytest.raises(ContractError, match="names no engine"):
        open_engine("http://ann:s3cret@localhost:9200")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    for uri in ("postgresql://localhost/docs", "milvus+http://localhost:19530", "docs.db"):
        with pytest.raises(ContractError) as refusal:
            open_engine(uri)
        assert refusal.value.layer == "scale.install" and "semantic_nb[engines]" in refusal.value.fix


def test_what_a_client_says_is_passed_on_without_secrets():
    for uri in ("postgresql://ann:s3cret@db/docs", "postgresql://db/docs?user=ann&password=s3cret"):
        with pytest.raises(ContractError) as refusal, engines._reached((ValueError,), uri):
            raise ValueError(f"cannot parse {uri}: s3cret?")
        assert "s3cret" not in str(refusal.value) and "cannot parse" in refusal.value.symptom
        assert refusal.value.__suppress_context__


def test_an_answer_from_before_a_switch_is_not_given(uri, monkeypatch):
    documents, opened, done = documents_of([{}] * 20), open_engine(uri), []
    push_documents(opened, documents, make_manifest("docs", "m", 32, []))
    search = opened.engine.search

    def switching(*arguments):
        hits = search(*arguments)
        if not done:
            done.append(push_documents(open_engine(uri), documents, make_manifest("docs", "m2", 32, [])))
        return hits
    monkeypatch.setattr(opened.engine, "search", switching)
    with pytest.raises(ContractError, match="scale.model"):
        search_vectors(opened, "docs", "m", documents.vectors[:1])
    assert done and search_vectors(opened, "docs", "m2", documents.vectors[:1], 3)[0]


def test_an_engine_that_goes_away_is_a_refusal(bundle, postgres_uri):
    import psycopg
    push(bundle, postgres_uri)
    opened = open_engine(postgres_uri)
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(%s)", (opened.engine.connection.info.backend_pid,))
    with pytest.raises(ContractError, match="scale.engine"):
        ask_engine(opened, bundle, QUESTION)
    assert postgres_uri not in repr(opened)


def test_an_index_without_exact_vectors_is_refused(bundle, uri, tmp_path):
    def build(folder, facts):
        facts["type"] = "hnsw"
    with pytest.raises(ContractError, match="deploy.change"):
        push(packed(bundle.path, tmp_path / "graph", build), uri)


def test_names_of_collections_are_short_and_tell_models_apart():
    one = make_manifest("a-domain", "m1", 16, ["b", "a"])
    assert re.fullmatch(r"a__domain_[0-9a-f]{12}", one["collection"]) and one["keys"] == ["a", "b"]
    assert one["collection"] == make_manifest("a-domain", "m1", 16, ["a", "b"], corpus="x")["collection"]
    others = [make_manifest("a-domain", "m2", 16, ["a", "b"]), make_manifest("a-domain", "m1", 8, ["a", "b"]),
              make_manifest("a-domain", "m1", 16, ["a"]), make_manifest("a_domain", "m1", 16, ["a", "b"]),
              make_manifest("x" * 60 + "1", "m1", 16, []), make_manifest("x" * 60 + "2", "m1", 16, [])]
    assert len({one["collection"], *(other["collection"] for other in others)}) == 7
    assert max(len(other["collection"]) for other in others) < 55  # PostgreSQL cuts names at 63 bytes


def test_the_commands(bundle, milvus_uri):
    def call(*arguments):
        return CliRunner().invoke(app, [*arguments, "--bundle", str(bundle.path)])
    done = call("push", milvus_uri, "--batch", "30", "--json")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["put"] == 60 and "30 of 60 documents" in done.stderr
    value = bundle.corpus.metadata[0]["library"]
    asked = call("search", QUESTION, "--engine", milvus_uri, "--filter", f"library={value}", "-k", "3", "--json")
    hits = json.loads(asked.stdout)["answers"]
    assert near(hits, bundle.search(QUESTION, 3, keep={"library": value}))
    assert set(hits[0]) == {"id", "score", "title", "text"}
    assert call("search", "x", "--engine", milvus_uri, "--filter", "colour=red").exception.layer == "scale.filter"


@pytest.mark.parametrize("uri, keep, hybrid, layer", [("docs.db", ["library"], False, "scale.filter"),
                                                      ("docs.db", [], True, "scale.engine"),
                                                      ("", ["library=x"], False, "scale.engine")])
def test_options_that_an_engine_cannot_follow_are_refused(uri, keep, hybrid, layer):
    with pytest.raises(ContractError) as refusal:
        engine_answers(uri, None, keep, hybrid, None)
    assert refusal.value.layer == layer
