"""Pairs, communities and clusters: what would clutter chapter 08."""
import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.cluster.groups import class_keywords, close_pairs, cluster_texts, communities
from semantic_nb.cluster.quality import agreement, first_look, space_check
from semantic_nb.core import ContractError
from unit_vectors import blobs, unit


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(2, 400), st.floats(-0.5, 0.99), st.integers(0, 5))
def test_close_pairs_are_exact(n, threshold, seed):
    vectors, _ = blobs((n // 2, n - n // 2), dim=16, spread=0.8, seed=seed)
    i, j, cosines = close_pairs(vectors, threshold)
    full = (vectors[:, None] * vectors[None]).sum(-1)
    sure, maybe = (np.triu(full >= threshold + shift, 1) for shift in (1e-5, -1e-5))
    got = np.zeros_like(sure)
    got[i, j] = True
    assert (sure <= got).all() and (got <= maybe).all()


def test_blocks_lose_nothing():
    vectors, _ = blobs((300, 200), dim=16, spread=0.8)
    whole, blocks = close_pairs(vectors, 0.6), close_pairs(vectors, 0.6, block=64)
    assert set(zip(*map(np.ndarray.tolist, whole[:2]))) == set(zip(*map(np.ndarray.tolist, blocks[:2])))


def test_communities_are_those_of_the_library():
    from sentence_transformers.util import community_detection
    from sklearn.metrics import adjusted_rand_score
    vectors, _ = blobs((60, 50, 40, 30), dim=24, spread=0.9)
    def labels(groups):
        found = np.arange(len(vectors)) + 1000
        for label, group in enumerate(groups):
            found[np.asarray(group)] = label
        return found
    theirs, ours = community_detection(vectors, threshold=0.6, min_community_size=3), communities(vectors, 0.6, 3)
    assert len(ours) > 1 and adjusted_rand_score(labels(theirs), labels(ours)) > 0.9
    assert all((vectors[group[1:]] @ vectors[group[0]] >= 0.6 - 1e-5).all() for group in ours)


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


def test_a_fallen_threshold_is_noticed():
    vectors = unit(np.ones((20, 4)) + 1e-3 * np.random.default_rng(0).normal(size=(20, 4)))
    with pytest.raises(ContractError, match="cluster.threshold"):
        close_pairs(vectors, 0.5, most=10)


BAD = {"one vector": unit([[1, 0]]), "NaN": np.array([[1, 0], [np.nan, 0]], "float32"),
       "not unit": np.array([[2, 0], [0, 1]], "float32"), "one dimension": np.ones(3, "float32")}


@pytest.mark.parametrize("name", BAD)
def test_vectors_without_a_cosine_are_refused(name):
    for attempt in (lambda v: close_pairs(v, 0.5), lambda v: cluster_texts(v, ["a"] * len(v), "kmeans", k=2),
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
