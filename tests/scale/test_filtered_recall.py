"""The same measure for every engine and index; it notices what loses answers with a filter only."""
import numpy as np
import pytest

from made import clustered, documents_of
from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import filtered_search
from semantic_nb.index import SearchIndex, build_index, set_effort
from semantic_nb.scale.engines import make_manifest, open_engine, push_documents
from semantic_nb.scale.recall import (_passing, engine_searcher, faiss_searcher, filtered_recall, planted_keys,
                                      recall_finding, recall_table)
from semantic_nb.spec import IndexSpec

N = 4000
EFFORTS = {"flat": "", "ivf": "nprobe=16", "hnsw": "efSearch=64", "ivfpq": "nprobe=16,k_factor_rf=16"}
TENTH, HUNDREDTH = {"tenth": "yes"}, {"hundredth": "yes"}


@pytest.fixture(scope="module")
def documents():
    return documents_of(planted_keys(N))


@pytest.fixture(scope="module")
def queries():
    return clustered(60, seed=2)


def index_of(documents, kind):
    spec = IndexSpec(type=kind, dim=32, documents=N, similarity="cosine", nlist=50 if kind.startswith("ivf") else None,
                     pq_m=8 if kind == "ivfpq" else None)
    raw = build_index(documents.vectors, spec)
    set_effort(raw, EFFORTS[kind])
    return SearchIndex(raw, documents.ids, {})


def test_planted_keys_have_their_shares_and_stay():
    keys = planted_keys(20_000)
    for name, share in (("tenth", 0.1), ("hundredth", 0.01)):
        assert np.mean([one[name] == "yes" for one in keys]) == pytest.approx(share, rel=0.15)
    assert keys[:100] == planted_keys(20_000)[:100] != planted_keys(20_000, seed=2)[:100]


@pytest.mark.parametrize("kind, least", [("flat", 1), ("ivf", 0.95), ("hnsw", 0.95), ("ivfpq", 0.3)])
def test_every_index_type_is_measured_with_a_filter_and_without(documents, queries, kind, least):
    search = faiss_searcher(index_of(documents, kind), documents.metadata)
    for keep in ({}, TENTH, HUNDREDTH):
        assert filtered_recall(search, documents, queries, keep=keep).mean() >= least


def test_both_engines_find_95_of_100_with_filters(documents, queries, uri):
    opened, manifest = open_engine(uri), make_manifest("recall", "m", 32, ["tenth", "hundredth"])
    push_documents(opened, documents, manifest)
    table, findings = recall_table({"engine": engine_searcher(opened, "recall", "m")}, documents, queries)
    assert [finding.status for finding in findings] == ["ok", "ok"], findings
    assert list(table.rows[0]) == ["search", "no filter", "tenth = yes", "hundredth = yes"]


def faults(documents):
    "Searches that are right without a filter and lose answers with one, by how they go wrong."
    index, metadata = index_of(documents, "flat"), documents.metadata
    right = faiss_searcher(index, metadata)

    def stale(queries, k, keep):
        rows = _passing(metadata, keep)
        _, found = filtered_search(index, queries, k, rows[rows < N // 2] if keep else None)
        return [[index.ids[row] for row in some if row >= 0] for some in found.tolist()]

    def afterwards(queries, k, keep):
        passing = {index.ids[row] for row in _passing(metadata, keep)}
        return [[id for id in hits if id in passing] for hits in right(queries, k, {})]
    return {"stale": stale, "afterwards": afterwards, "ignored": lambda queries, k, keep: right(queries, k, {}),
            "twice": lambda queries, k, keep: [hits[:5] * 2 if keep else hits for hits in right(queries, k, keep)]}


@pytest.mark.parametrize("fault", ["stale", "afterwards", "ignored", "twice"])
def test_a_planted_fault_shows_with_a_filter_only_and_is_named(documents, queries, fault):
    search = faults(documents)[fault]
    plain, filtered = (filtered_recall(search, documents, queries, keep=keep) for keep in ({}, TENTH))
    assert plain.mean() == 1 and filtered.mean() < 0.8
    finding = recall_finding("planted", plain, filtered)
    assert finding.status == "fail" and "the filter loses" in finding.evidence and "worse" in finding.evidence
    assert finding.count == np.sum(filtered < plain) and finding.id == "scale.recall.planted"


def test_an_index_that_loses_anyway_is_not_blamed_on_the_filter(documents, queries):
    search = faiss_searcher(index_of(documents, "ivf"), documents.metadata)
    poor = index_of(documents, "ivf")
    set_effort(poor.index, "nprobe=1")
    plain = filtered_recall(faiss_searcher(poor, documents.metadata), documents, queries)
    finding = recall_finding("poor", plain, filtered_recall(search, documents, queries, keep=TENTH))
    assert finding.status == "fail" and "the index loses" in finding.evidence


def test_a_filter_that_loses_more_than_a_poor_index_is_named():
    poor = np.repeat([1.0, 0.8], [30, 10])
    assert "the filter loses" in recall_finding("both", poor, np.full(40, 0.1)).evidence
    gain = recall_finding("gain", np.full(40, 0.9), np.ones(40))
    assert "the index loses" in gain.evidence and "changes recall by +0.100" in gain.evidence


def test_ties_count_and_too_many_answers_do_not(documents, queries):
    vectors = np.repeat(documents.vectors[:200], 2, axis=0)  # every document is there twice
    twice = type(documents)(tuple(map(str, range(400))), ("",) * 400, planted_keys(400), vectors)
    right = faiss_searcher(SearchIndex(index_of(documents_of(planted_keys(N)), "flat").index, documents.ids, {}), [])
    assert right(queries[:1], 3, {})[0]
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")
    other = [[str(row ^ 1) for row in rows[:9]] for rows in order]  # the copies in place of the first ones
    assert filtered_recall(lambda *_: other, twice, queries, 9).mean() == 1
    everything = [[str(row) for row in rows[::-1]] for rows in order]
    assert filtered_recall(lambda *_: everything, twice, queries, 9).mean() < 0.1


def test_a_filter_that_nobody_passes_is_refused_and_a_rare_one_is_measured(documents, queries):
    search = faiss_searcher(index_of(documents, "flat"), documents.metadata)
    with pytest.raises(ContractError, match="scale.filter"):
        filtered_recall(search, documents, queries, keep={"tenth": "perhaps"})
    rare = [{**one, "only": "here"} if row < 3 else one for row, one in enumerate(documents.metadata)]
    few = type(documents)(documents.ids, documents.hashes, rare, documents.vectors)
    search = faiss_searcher(index_of(documents, "flat"), rare)
    assert filtered_recall(search, few, queries, keep={"only": "here"}).mean() == 1  # three of three, not of ten
