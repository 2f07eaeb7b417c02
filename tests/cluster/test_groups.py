"""Calibration, near-duplicates, clusters and coherence: what would clutter chapters 08 to 08e."""
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.cluster.duplicates import at_threshold, calibrate, read_labelled
from semantic_nb.cluster.groups import class_keywords, cluster_texts, interactive_map, topic_tree
from semantic_nb.cluster.quality import ask, judge, make_sheet, read_answers, score
from semantic_nb.core import ContractError
from semantic_nb.cluster.groups import close_pairs, communities
from semantic_nb.cluster.duplicates import deduplicate
from semantic_nb.pipeline import without_duplicates
from semantic_nb.cluster.quality import agreement, first_look, cluster_quality, space_check, stability


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, "float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def blobs(sizes=(40, 30, 20, 10), dim=32, spread=0.25, seed=0):
    draw = np.random.default_rng(seed)
    centres = unit(draw.normal(size=(len(sizes), dim)))
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[truth] + spread * draw.normal(size=(len(truth), dim)) / np.sqrt(dim)), truth


# --- calibration

def test_the_operating_point_is_the_lowest_threshold_that_reaches_the_precision():
    draw = np.random.default_rng(0)
    labels = np.repeat([1, 0], 200)
    scores = np.where(labels, draw.normal(0.8, 0.1, 400), draw.normal(0.5, 0.1, 400))
    found = calibrate(scores, labels, precision=0.95)
    assert found.precision.value >= 0.95 and found.precision.low < found.precision.value < found.precision.high
    lower = np.sort(scores)[np.searchsorted(np.sort(scores), found.threshold) - 1]
    assert at_threshold(scores, labels,
                        lower)["precision"].value < 0.95 or at_threshold(scores, labels,
                                                                         lower)["recall"].value <= found.recall.value
    assert found.spread[0] <= found.threshold <= found.spread[1] and found.auc.value > 0.95


def test_the_threshold_holds_on_pairs_that_it_has_not_seen():
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, 2000)
    scores = np.where(labels, draw.normal(0.8, 0.1, 2000), draw.normal(0.5, 0.1, 2000))
    found = calibrate(scores[:1000], labels[:1000], precision=0.9)
    assert abs(at_threshold(scores[1000:], labels[1000:], found.threshold)["precision"].value - 0.9) < 0.05


@pytest.mark.parametrize("scores, labels, layer", [
    ([0.1, 0.2, 0.3], [1, 1, 1], "cluster.labels"),
    ([0.1, 0.2], [1, 0, 1], "cluster.labels"),
    ([0.1, float("nan")], [1, 0], "cluster.labels"),
    (np.random.default_rng(0).random(200), np.random.default_rng(1).integers(0, 2, 200), "cluster.separation"),
])
def test_labels_that_give_no_threshold_are_refused(scores, labels, layer):
    with pytest.raises(ContractError) as error:
        calibrate(np.array(scores), np.array(labels))
    assert error.value.layer == layer


def test_labelled_pairs_are_read_in_three_forms(tmp_path):
    (tmp_path / "a.csv").write_text("anchor,positive,label\nx,y,1\nx,z,0\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("anchor,positive,score\nx,y,4.5\nx,z,1\n", encoding="utf-8")
    assert read_labelled(tmp_path / "a.csv").labels.tolist() == read_labelled(
        tmp_path / "b.csv", same_from=4).labels.tolist() == [1, 0]
    (tmp_path / "c.csv").write_text("anchor,positive,label\nx,y,2\nx,z,0\n", encoding="utf-8")
    for bad, why in (("c.csv", "labels"), ("b.csv", "columns")):
        with pytest.raises(ContractError, match="cluster.labels"):
            read_labelled(tmp_path / bad)


@pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                    reason="needs the development sets: set DEVELOPMENT_DATA to their folder")
def test_a_threshold_calibrated_on_dev_holds_on_test_of_two_public_sets():
    from semantic_nb.cluster.duplicates import calibrate_pairs, pair_scores
    from semantic_nb.encoder import encode, load_encoder, resolve_base
    from semantic_nb.spec import load_spec
    spec = load_spec()
    model = load_encoder(resolve_base(spec.model.base), spec.model)
    embed = lambda texts: encode(model, texts, "document")
    for name, options, least in (("dblp_acm", {}, 0.85), ("stsb", {"same_from": 4.0}, 0.6)):
        dev, test = (read_labelled(Path(os.environ["DEVELOPMENT_DATA"]) / name / f"pairs_{part}.jsonl", **options)
                     for part in ("dev", "test"))
        chosen = calibrate_pairs(dev, embed, None)
        f1 = at_threshold(pair_scores(test.left, test.right, embed), test.labels, chosen.threshold)["f1"]
        assert f1.value > least and abs(f1.value - chosen.f1.value) < 0.05, name


# --- pairs and communities

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


def test_blocks_and_strips_lose_nothing(monkeypatch):
    import semantic_nb.cluster.groups as module
    vectors, _ = blobs((300, 200), dim=16, spread=0.8)
    whole = close_pairs(vectors, 0.6)
    monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(module, "_STRIP", 16)
    assert set(zip(*map(np.ndarray.tolist, whole[:2]))) == set(
        zip(*map(np.ndarray.tolist, close_pairs(vectors, 0.6)[:2])))


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
    made = cluster_texts(vectors, texts, method, **options)
    assert agreement(made.labels, truth.astype(str).tolist())["ARI"].value > 0.9
    shuffle = np.random.default_rng(3).permutation(len(vectors))
    again = cluster_texts(vectors[shuffle], [texts[i] for i in shuffle], method, **options)
    assert (again.labels == made.labels[shuffle]).all()
    assert list(made.sizes) == sorted(made.sizes, reverse=True)
    assert all(made.labels[row] == label for label, rows in enumerate(made.representatives) for row in rows)


def test_a_fallen_threshold_is_noticed():
    vectors = unit(np.ones((20, 4)) + 1e-3 * np.random.default_rng(0).normal(size=(20, 4)))
    import semantic_nb.cluster.groups as module
    limit, module._MOST_PAIRS = module._MOST_PAIRS, 10
    try:
        with pytest.raises(ContractError, match="cluster.threshold"):
            close_pairs(vectors, 0.5)
    finally:
        module._MOST_PAIRS = limit


BAD = {"one vector": unit([[1, 0]]), "NaN": np.array([[1, 0], [np.nan, 0]], "float32"),
       "not unit": np.array([[2, 0], [0, 1]], "float32"), "one dimension": np.ones(3, "float32")}


@pytest.mark.parametrize("name", BAD)
def test_vectors_without_a_cosine_are_refused(name):
    for attempt in (lambda v: close_pairs(v, 0.5), lambda v: cluster_texts(v, ["a"] * len(v), "kmeans", k=2), space_check):
        with pytest.raises(ContractError, match="cluster.vectors"):
            attempt(BAD[name])


@pytest.mark.parametrize("options, layer",
                         [({"method": "dbscan", "k": 2}, "cluster.method"), ({"method": "kmeans"}, "cluster.k"),
                          ({"method": "kmeans", "k": 9}, "cluster.k"),
                          ({"method": "communities"}, "cluster.k"),
                          ({"method": "communities", "threshold": 1.5}, "cluster.threshold"),
                          ({"method": "agglomerative"}, "cluster.k")])
def test_what_cannot_be_clustered_is_refused(options, layer):
    with pytest.raises(ContractError) as error:
        cluster_texts(np.eye(4, dtype="float32"), list("abcd"), **options)
    assert error.value.layer == layer


def test_identical_vectors():
    same = unit(np.ones((6, 4)))
    assert [len(group) for group in communities(same, 0.9)] == [6]
    with pytest.raises(ContractError, match="cluster.k"):
        cluster_texts(same, ["a"] * 6, "kmeans", k=2)
    assert first_look(space_check(same)).startswith("look at the embedding space first")


# --- removal

def test_exact_copies_go_first_and_every_dropped_text_is_near_its_own_representative():
    vectors, _ = blobs((30, 30), dim=16, spread=0.6)
    texts = [f"text {i}" for i in range(60)]
    texts[5], vectors[5] = " TEXT  4", vectors[4]
    found = deduplicate(texts, vectors, 0.85)
    assert found.representative[5] == found.representative[4]
    assert found.reason[5] == (found.reason[4] or "exact copy")  # a copy of what is itself a near copy is one, too
    for row in np.flatnonzero(~found.keep):
        own = found.representative[row]
        assert found.keep[own] and vectors[row] @ vectors[own] >= 0.85 - 1e-5
    assert (found.representative[found.keep] == np.flatnonzero(found.keep)).all()


def test_a_spec_drops_duplicates_and_moves_judgments(domain, settings):
    corpus = domain.corpus
    double = replace(corpus, ids=(*corpus.ids, "copy"), titles=(*corpus.titles, corpus.titles[0]),
                     texts=(*corpus.texts, corpus.texts[0]), metadata=(*corpus.metadata, {}))
    split = next(iter(domain.splits))
    judged = replace(domain.splits[split], qrels={q: {"copy": 2} for q in domain.splits[split].queries})
    spec = domain.spec.model_copy(update={"data": domain.spec.data.model_copy(update={"duplicates": "drop"}),
                                          "clustering": domain.spec.clustering.model_copy(
                                              update={"threshold": 0.99999, "evidence": "a test"})})
    clean = without_duplicates(replace(domain, spec=spec, corpus=double, splits={split: judged}))
    assert "copy" not in clean.corpus.ids and clean.findings[
        -1].id == "cluster.duplicates" and clean.findings[-1].count >= 1
    assert all(set(grades) <= set(clean.corpus.ids) and max(grades.values()) == 2
               for grades in clean.splits[split].qrels.values())
    assert without_duplicates(domain) is domain


# --- quality

def test_poor_spaces_are_told_from_poor_parameters():
    vectors, truth = blobs((100, 100, 100))
    assert first_look(space_check(vectors, truth.astype(str).tolist())).startswith("the space is sound")
    blind = unit(np.random.default_rng(0).normal(size=(300, 32)))
    assert "chance" in first_look(space_check(blind, truth.astype(str).tolist()))


def test_stability_and_quality_know_noise():
    vectors, _ = blobs((60, 60, 60))
    noise = unit(np.random.default_rng(0).normal(size=(180, 32)))
    told = {}
    for name, space in (("blobs", vectors), ("noise", noise)):
        assign = lambda part: cluster_texts(part, [""] * len(part), "kmeans", k=3).labels
        told[name] = stability(space, assign,
                               rounds=3)[0], cluster_quality(space, cluster_texts(space, [""] * 180, "kmeans", k=3))["separation"]
    assert told["blobs"][0] > 0.9 > told["noise"][0] and told["blobs"][1] > told["noise"][1]


def test_trees_and_keywords():
    vectors, truth = blobs((20, 20, 20))
    texts = [["apples and pears", "trains and rails", "rivers and lakes"][t] for t in truth]
    made = cluster_texts(vectors, texts, "agglomerative", k=3)
    assert made.tree.shape == (59, 4) and sorted(made.tree[:, :2].ravel()) == list(range(118))
    tree = topic_tree(vectors, texts, made, branches=2)
    assert all(word in tree for word in ("apples", "trains", "rivers"))
    assert class_keywords(["...", "---"], np.array([0, 1])) == [(), ()]


def test_the_interactive_map_says_what_is_missing_or_draws():
    try:
        import plotly  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ContractError, match="cluster.map"):
            interactive_map(np.zeros((3, 2)), ["a", "b", "c"], ["x", "y", "x"])
    else:
        assert len(interactive_map(np.zeros((3, 2)), ["a", "b", "c"], ["x", "y", "x"]).data) == 2


# --- coherence

def sheet_of(clusters=6):
    return make_sheet([f"topic {i // 10} text {i}" for i in range(10 * clusters)], np.repeat(np.arange(clusters), 10))


def test_the_intruder_comes_from_another_cluster_and_guessing_is_chance():
    sheet = sheet_of()
    for question in sheet:
        topics = [text.split()[1] for text in question.texts]
        assert topics.count(str(question.cluster)) == 4 and topics[question.intruder] != str(question.cluster)
    assert score(sheet, {q: s.intruder for q, s in enumerate(sheet)}).share.value == 1
    assert "not shown" in str(score(sheet, {q: 0 for q in range(2)}))


def test_answers_are_kept_continued_and_tied_to_their_sheet(tmp_path):
    sheet, path = sheet_of(), tmp_path / "answers.json"
    replies = iter(["1", "x", "2", ""])
    assert ask(sheet, path, read=lambda _: next(replies), say=lambda _: None) == {0: 0, 1: 1}
    widget = judge(sheet, path)
    widget.children[2].value = "3"
    assert read_answers(path, sheet)[2] == 2 and json.loads(path.read_text())["n"] == 3
    with pytest.raises(ContractError, match="cluster.answers"):
        read_answers(path, sheet_of(5))


def test_the_interval_of_agreement_covers_what_other_texts_give():
    draw, covered = np.random.default_rng(0), 0
    def sample(n):
        true = draw.integers(0, 4, n)
        return np.where(draw.random(n) < 0.7, true, draw.integers(0, 4, n)), true.astype(str).tolist()
    far = agreement(*sample(20_000))["ARI"].value
    for _ in range(40):
        found = agreement(*sample(300), halves=100)["ARI"]
        assert found.low < found.value < found.high
        covered += found.low <= far <= found.high
    assert covered >= 33


def test_a_threshold_at_which_one_text_stands_for_most_is_doubted():
    vectors = unit(1 + 0.01 * np.random.default_rng(0).normal(size=(60, 8)))
    crowd = deduplicate([f"text {i}" for i in range(60)], vectors, 0.9).finding("from elsewhere")
    assert (crowd.id, crowd.status, crowd.count) == ("cluster.duplicates", "doubt",
                                                     59) and "stands for 59 others" in crowd.evidence
    apart = deduplicate([f"text {i}" for i in range(8)], np.eye(8, dtype="float32"), 0.9).finding("")
    assert (apart.status, apart.count, apart.fix) == ("ok", 0, "")


@pytest.mark.parametrize("sizes", [(50, 50), (60, 40), (80, 20), (3, 3)])
def test_labels_that_are_separated_as_well_as_they_can_be_are_no_doubt(sizes):
    vectors, truth = blobs(sizes, spread=0.05)
    neighbours = lambda labels: next(f.status for f in space_check(vectors, labels) if f.id == "cluster.neighbours")
    assert neighbours(truth) == "ok"
    if len(truth) > 10:
        assert neighbours(np.random.default_rng(0).permutation(truth)) == "doubt"


def test_two_texts_have_a_cosine():
    assert all("nan" not in f.evidence for seed in range(4) for f in space_check(unit(np.eye(2)), seed=seed))


@pytest.mark.parametrize("labels", [("yes", "no"), ("", "1"), ("nan", "1")])
def test_labels_that_are_no_numbers_are_refused(tmp_path, labels):
    (tmp_path / "pairs.csv").write_text("anchor,positive,label\n" + "".join(f"a,b,{label}\n" for label in labels))
    with pytest.raises(ContractError, match="cluster.labels"):
        read_labelled(tmp_path / "pairs.csv")


def test_a_precision_of_one_from_few_pairs_has_an_interval():
    found = at_threshold(np.array([0.9] * 9 + [0.1] * 40), np.array([1] * 9 + [1] * 20 + [0] * 20), 0.5)
    assert found["precision"].value == 1 and 0.6 < found["precision"].low < 0.75
