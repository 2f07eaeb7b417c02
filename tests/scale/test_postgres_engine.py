"""What is particular to PostgreSQL: the scan goes on under a filter, a change is a transaction, one push at a time."""
import re

import numpy as np
import pytest

from made import documents_of
from semantic_nb.core import ContractError
from semantic_nb.scale import postgres
from semantic_nb.scale.engines import make_manifest, open_engine, push_documents, search_vectors
from semantic_nb.scale.recall import engine_searcher, filtered_recall, planted_keys

MANIFEST = make_manifest("docs", "m", 32, ["tenth", "hundredth"])
COLLECTION = MANIFEST["collection"]


@pytest.fixture
def pushed(postgres_uri):
    "An engine with 4,000 documents whose index is used even where comparing with all would be cheaper."
    opened, documents = open_engine(postgres_uri), documents_of(planted_keys(4000))
    push_documents(opened, documents, MANIFEST)
    for kind in ("seqscan", "bitmapscan", "sort"):
        opened.engine.connection.execute(f"set enable_{kind} = off")
    return opened, documents


def test_the_graph_is_asked_and_goes_on_until_there_are_enough(pushed):
    opened, documents = pushed
    plan = opened.engine.connection.execute(postgres._table(
        "explain select id from {} where metadata @> '{{\"tenth\": \"yes\"}}' order by vector <#> %s limit 10",
        COLLECTION), (documents.vectors[0],)).fetchall()
    assert f"{COLLECTION}_hnsw" in str(plan)
    search, queries = engine_searcher(opened, "docs", "m"), documents.vectors[::80]
    recalls = [filtered_recall(search, documents, queries, keep=keep).mean()
               for keep in ({}, {"tenth": "yes"}, {"hundredth": "yes"})]
    assert min(recalls) >= 0.95, recalls
    opened.engine.connection.execute("set hnsw.iterative_scan = off")
    opened.engine.connection.execute("set hnsw.ef_search = 40")  # both are pgvector's defaults
    assert filtered_recall(search, documents, queries, keep={"hundredth": "yes"}).mean() < 0.5
    assert len(search(queries[:1], 100, {})[0]) < 100


def test_scores_are_inner_products_best_first(pushed):
    opened, documents = pushed
    hits = search_vectors(opened, "docs", "m", documents.vectors[5:6], 20)[0]
    scores = [score for _, score in hits]
    assert hits[0] == ("doc 5", pytest.approx(1, abs=1e-5)) and scores == sorted(scores, reverse=True)
    assert len(search_vectors(opened, "docs", "m", documents.vectors[5:6], 1500)[0]) == 1500


def test_a_change_is_seen_when_it_is_whole(pushed, postgres_uri):
    opened, _ = pushed
    others = open_engine(postgres_uri).engine
    with pytest.raises(KeyboardInterrupt), opened.engine.change(MANIFEST):
        opened.engine.delete(COLLECTION, [f"doc {n}" for n in range(1000)])
        assert len(opened.engine.held(COLLECTION)) == 3000 and len(others.held(COLLECTION)) == 4000
        raise KeyboardInterrupt
    assert len(opened.engine.held(COLLECTION)) == 4000
    assert opened.answering("docs")["state"] == "complete"


def test_two_pushes_do_not_meet(pushed, postgres_uri):
    opened, documents = pushed
    with opened.engine.change(MANIFEST):
        with pytest.raises(ContractError) as refusal, open_engine(postgres_uri).engine.change(MANIFEST):
            pass
        with open_engine(postgres_uri).engine.change(make_manifest("others", "m", 32, [])):
            pass  # another name is another push
    assert refusal.value.layer == "scale.push"
    with open_engine(postgres_uri).engine.change(MANIFEST):
        pass  # when the first has ended


def test_an_old_pgvector_is_refused(postgres_uri, monkeypatch):
    import psycopg
    real = psycopg.Connection.execute

    def old(self, query, *arguments, **more):
        return real(self, "select '0.7.4'" if "extversion" in str(query) else query, *arguments, **more)
    monkeypatch.setattr(psycopg.Connection, "execute", old)
    with pytest.raises(ContractError) as refusal:
        open_engine(postgres_uri)
    assert refusal.value.layer == "scale.engine" and "0.7.4" in refusal.value.symptom


def test_a_reader_needs_no_right_to_write(pushed, postgres_uri, server):
    opened, documents = pushed
    schema = re.search(r"search_path%3D(\w+)", postgres_uri)[1]
    for statement in (f"create role reader_{schema} login", f"grant usage on schema {schema} to reader_{schema}",
                      f"grant select on all tables in schema {schema} to reader_{schema}"):
        opened.engine.connection.execute(statement)
    reading = open_engine(postgres_uri.replace("//postgres:@", f"//reader_{schema}:@"))
    assert search_vectors(reading, "docs", "m", documents.vectors[:1], 1)[0][0][0] == "doc 0"
    with pytest.raises(ContractError, match="scale.engine"):
        push_documents(reading, documents_of(planted_keys(10)), MANIFEST)


def test_the_server_listens_on_no_network(server):
    import psycopg
    with psycopg.connect(server.get_uri()) as connection:
        assert connection.execute("show listen_addresses").fetchone()[0] == ""
