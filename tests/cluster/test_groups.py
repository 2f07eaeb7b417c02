"""Pairs, communities and clusters: what would clutter chapter 08."""
import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.cluster import groups
from semantic_nb.cluster.groups import canonical_order, class_keywords, cluster_texts, communities
from semantic_nb.cluster.quality import agreement, first_look, space_check
from semantic_nb.core import ContractError
from unit_vectors import blobs, unit


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(2, 400), st.floats(-0.5, 0.99), st.integers(0, 5))
def test_every_member_is_near_its_centre_and_in_one_community(n, threshold, seed):
    vectors, _ = blobs((n // 2, n - n // 2), dim=16, spread=0.8, seed=seed)
    found = communities(vectors, threshold)
    members = [row for group in found for row in group.tolist()]
    assert len(members) == len(set(members)) and [len(g) for g in found] == sorted(map(len, found), reverse=True)
    assert all((vectors[group] @ vectors[group[0]] >= threshold - 1e-5).all() and len(group) > 1 for group in found)


def test_communities_are_those_of_the_library_whatever_the_order():
    from sentence_transformers.util import community_detection
    vectors, _ = blobs((60, 50, 40, 30), dim=24, spread=0.9)
    def sets(groups):
        return {frozenset(map(int, group)) for group in groups}
    order, shuffle = canonical_order(vectors), np.random.default_rng(3).permutation(len(vectors))
    theirs, ours = community_detection(vectors[order], 0.6, 3), communities(vectors, 0.6, 3)
    assert len(ours) > 1 and sets(order[group] for group in theirs) == sets(ours)
    assert sets(shuffle[group] for group in communities(vectors[shuffle], 0.6, 3)) == sets(ours)


@pytest.mark.parametrize("method, options",
                         [("kmeans", {"k": 4}), ("agglomerative", {"k": 4}), ("agglomerative", {"threshold": 0.5}),
                          ("communities", {"threshold": 0.7})])
def test_clusters_are_found_and_do_not_depend_on_the_order(method, options):
    vectors, truth = blobs()
    texts = [f"text {t}" for t in truth]
    clusters = cluster_texts(vectors, texts, method, **options)
    assert agreement(clusters.labels, truth.astype(str).tolist())["ARI"].value > 0.9
    shuffle = np.random.default_rng(3).permutation(len(vectors))
    again = cluster_texts(vectors[shuffle], [texts[i] for i in shuffle], method, **options)
    assert (again.labels == clusters.labels[shuffle]).all()
    assert list(clusters.sizes) == sorted(clusters.sizes, reverse=True)
    assert all(clusters.labels[row] == label for label, rows in enumerate(clusters.representatives) for row in rows)


def test_a_fallen_threshold_is_noticed(monkeypatch):
    vectors = unit(np.ones((20, 4)) + 1e-3 * np.random.default_rng(0).normal(size=(20, 4)))
    assert len(communities(vectors, 0.5)) == 1
    monkeypatch.setattr(groups, "_MOST_CLOSE", 100)
    with pytest.raises(ContractError, match="cluster.threshold"):
        communities(vectors, 0.5)


BAD = {"one vector": unit([[1, 0]]), "NaN": np.array([[1, 0], [np.nan, 0]], "float32"),
       "not unit": np.array([[2, 0], [0, 1]], "float32"), "one dimension": np.ones(3, "float32")}


@pytest.mark.parametrize("name", BAD)
def test_vectors_without_a_cosine_are_refused(name):
    for attempt in (lambda v: communities(v, 0.5), lambda v: cluster_texts(v, ["a"] * len(v), "kmeans", k=2),
                    space_check):
        with pytest.raises(ContractError, match="cluster.vectors"):
            attempt(BAD[name])


@pytest.mark.parametrize("options, layer",
                         [({"method": "dbscan", "k": 2}, "cluster.method"), ({"method": "kmeans"}, "cluster.k"),
                          ({"method": "kmeans", "k": 9}, "cluster.k"), ({"method": "kmeans", "k": 1}, "cluster.k"),
                          ({"method": "kmeans", "k": 0}, "cluster.k"),
                          ({"method": "communities"}, "cluster.k"),
                          ({"method": "communities", "threshold": 1.5}, "cluster.threshold"),
                          ({"method": "agglomerative"}, "cluster.k")])
def test_what_cannot_be_clustered_is_refused(options, layer):
    with pytest.raises(ContractError) as error:
        cluster_texts(np.eye(4, dtype="float32"), list("abcd"), **options)
    assert error.value.layer == layer


def test_a_tree_of_too_many_texts_is_refused_before_it_takes_the_memory():
    many = unit(np.random.default_rng(0).normal(size=(25_001, 2)))
    with pytest.raises(ContractError, match="cluster.size"):
        cluster_texts(many, ["a"] * len(many), "agglomerative", threshold=0.9)


def test_identical_vectors():
    same = unit(np.ones((6, 4)))
    assert [len(group) for group in communities(same, 0.9)] == [6]
    with pytest.raises(ContractError, match="cluster.k"):
        cluster_texts(same, ["a"] * 6, "kmeans", k=2)
    assert first_look(space_check(same)).startswith("look at the embedding space first")


def test_keywords_tell_the_groups_of_a_tree_apart():
    vectors, truth = blobs((20, 20, 20))
    texts = [["apples and pears", "trains and rails", "rivers and lakes"][t] for t in truth]
    clusters = cluster_texts(vectors, texts, "agglomerative", k=3)
    assert all(word in str(clusters.keywords) for word in ("apples", "trains", "rivers"))
    assert class_keywords(["...", "---"], np.array([0, 1])) == [(), ()]


def sets(found):
    return {frozenset(map(int, group)) for group in found}


@pytest.fixture
def triples():
    "3,000 texts of which each has two near-copies, as unit vectors."
    chance = np.random.default_rng(0)
    rows = np.repeat(chance.normal(size=(3000, 64)), 3, axis=0) + 0.25 * chance.normal(size=(9000, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


def test_neighbours_from_lists_give_the_communities_of_comparing_all_whatever_the_order(triples, monkeypatch):
    exact = sets(communities(triples, 0.9))
    monkeypatch.setattr("semantic_nb.cluster.groups._MANY", 1000)
    by_lists = communities(triples, 0.9)
    assert len(exact & sets(by_lists)) >= 0.99 * len(exact) and len(exact) > 2900
    shuffle = np.random.default_rng(1).permutation(len(triples))
    assert sets(shuffle[group] for group in communities(triples[shuffle], 0.9)) == sets(by_lists)
    for group in by_lists[:50]:
        cosines = triples[group] @ triples[group[0]]
        assert cosines.min() >= 0.9 - 1e-6 and (np.diff(cosines) <= 1e-6).all()


def test_a_threshold_that_lists_do_not_serve_is_refused(triples, monkeypatch):
    monkeypatch.setattr("semantic_nb.cluster.groups._MANY", 1000)
    with pytest.raises(ContractError, match="cluster.threshold") as refusal:
        communities(triples, 0.25)
    assert "128 lists find" in refusal.value.symptom
