"""What is particular to Milvus: literals, primary keys, an effort that grows with the filter, a file opened anew."""
import fcntl
from pathlib import Path

import pytest

from made import documents_of, need
from semantic_nb.core import ContractError
from semantic_nb.scale import milvus
from semantic_nb.scale.engines import make_manifest, open_engine, push_documents
from semantic_nb.scale.milvus import _client, _condition, _field_of, _key_of, _literal
from semantic_nb.scale.recall import engine_searcher, filtered_recall, planted_keys

MANIFEST = make_manifest("docs", "m", 32, ["tenth", "hundredth"])


def test_a_literal_cannot_end_early_and_a_field_is_a_name():
    assert _literal('a"b\\c\n') == '"a\\"b\\\\c\\n"'
    assert _condition({"a": "1", "b": '" or id != "'}) == 'meta_a == "1" and meta_b == "\\" or id != \\""'
    fields = [_field_of(key) for key in ("topic", "to pic", "to-pic", "ü", "a" * 300, "9")]
    assert fields[0] == "meta_topic" and len(set(fields)) == 6
    assert all(field.isascii() and field.isidentifier() and len(field) < 250 for field in fields)
    assert len(_key_of("x" * 10_000)) == 32 and _key_of("a") != _key_of("b")


def test_an_address_is_taken_apart(monkeypatch):
    need("pymilvus")
    import pymilvus
    said = []
    monkeypatch.setattr(pymilvus, "MilvusClient", lambda uri, **more: said.append((uri, more)))
    monkeypatch.setenv("MILVUS_TOKEN", "from the environment")
    for uri in ("milvus+https://ann:p%40ss@db.example:443/docs", "milvus+http://db.example", "milvus:some/docs.db"):
        _client(uri)
    assert said == [("https://db.example:443", {"token": "ann:p@ss", "db_name": "docs", "timeout": 10}),
                    ("http://db.example:19530", {"token": "from the environment", "db_name": "", "timeout": 10}),
                    ("some/docs.db", {})]


def test_a_row_put_twice_is_there_once(milvus_uri):
    opened, documents = open_engine(milvus_uri), documents_of(planted_keys(50))
    push_documents(opened, documents, MANIFEST)
    opened.engine.put(MANIFEST["collection"], documents.rows(range(50)))
    assert len(opened.engine.held(MANIFEST["collection"])) == 50


def test_the_effort_grows_with_what_a_filter_leaves_out(milvus_uri, monkeypatch):
    documents = documents_of(planted_keys(3000))
    opened = open_engine(milvus_uri)
    push_documents(opened, documents, MANIFEST)
    opened.engine.client.release_collection(MANIFEST["collection"])  # loading waits for the graph
    opened.engine.client.load_collection(MANIFEST["collection"])
    search, queries = engine_searcher(opened, "docs", "m"), documents.vectors[::50]
    assert filtered_recall(search, documents, queries, keep={"hundredth": "yes"}).mean() >= 0.95
    monkeypatch.setattr(milvus, "_EF", 20)
    monkeypatch.setattr(milvus, "_MOST_EF", 20)
    assert filtered_recall(search, documents, queries, keep={"hundredth": "yes"}).mean() < 0.9


def test_a_file_that_another_process_has_open_is_refused(milvus_uri):
    lock = Path(milvus_uri.removeprefix("milvus:")) / "LOCK"
    lock.parent.mkdir()
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as that process would hold it
        with pytest.raises(ContractError, match="scale.engine"):
            open_engine(milvus_uri)
    assert open_engine(milvus_uri).answering("docs") is None


def test_the_local_file_is_reached_over_the_loopback_address_alone(milvus_uri):
    import psutil
    open_engine(milvus_uri)
    every = psutil.Process().net_connections("inet")
    listening = {one.laddr.ip.removeprefix("::ffff:") for one in every if one.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::1"}


def test_a_manifest_is_read_with_the_name_that_it_belongs_to(milvus_uri, monkeypatch):
    "Between the two reads, a push completes a collection and switches the name."
    opened = open_engine(milvus_uri)
    documents, later = documents_of(planted_keys(20)), make_manifest("docs", "m2", 32, ["tenth", "hundredth"])
    push_documents(opened, documents, MANIFEST)
    query, done = opened.engine.client.query, []

    def switching(*arguments, **more):
        rows = query(*arguments, **more)
        if not done:
            done.append(True)
            push_documents(open_engine(milvus_uri), documents, later)
        return rows
    monkeypatch.setattr(opened.engine.client, "query", switching)
    found = opened.answering("docs")
    assert found["model"] == "m2" and found["state"] == "complete"
