"""Thresholds and near-duplicates: what would clutter the depth chapter on duplicates."""
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_nb.cluster.duplicates import (
    at_threshold, calibrate, deduplicate, pairs_together, read_labelled, threshold_for, without_duplicates)
from semantic_nb.core import ContractError
from unit_vectors import blobs, unit


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
    from semantic_nb.bases import resolve_base
    from semantic_nb.encoder import encode, load_encoder
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


def test_a_threshold_at_which_one_text_stands_for_most_is_doubted():
    vectors = unit(1 + 0.01 * np.random.default_rng(0).normal(size=(60, 8)))
    crowd = deduplicate([f"text {i}" for i in range(60)], vectors, 0.9).finding("from elsewhere")
    assert (crowd.id, crowd.status, crowd.count) == ("cluster.duplicates", "doubt",
                                                     59) and "stands for 59 others" in crowd.evidence
    apart = deduplicate([f"text {i}" for i in range(8)], np.eye(8, dtype="float32"), 0.9).finding("")
    assert (apart.status, apart.count, apart.fix) == ("ok", 0, "")


@pytest.mark.parametrize("labels", [("yes", "no"), ("", "1"), ("nan", "1")])
def test_labels_that_are_no_numbers_are_refused(tmp_path, labels):
    (tmp_path / "pairs.csv").write_text("anchor,positive,label\n" + "".join(f"a,b,{label}\n" for label in labels))
    with pytest.raises(ContractError, match=r"data.(value|empty)\] row 1 of pairs.csv: 'label' h"):
        read_labelled(tmp_path / "pairs.csv")


def test_a_precision_of_one_from_few_pairs_has_an_interval():
    found = at_threshold(np.array([0.9] * 9 + [0.1] * 40), np.array([1] * 9 + [1] * 20 + [0] * 20), 0.5)
    assert found["precision"].value == 1 and 0.6 < found["precision"].low < 0.75


def test_a_threshold_is_a_number_with_evidence_or_measured_in_the_space_it_is_used_in(spec):
    chosen = spec.clustering.model_copy(update={"threshold": 0.9, "evidence": "measured last year"})
    assert threshold_for(spec.model_copy(update={"clustering": chosen}), None) == (0.9, "measured last year")
    (spec.folder / "pairs.csv").write_text("anchor,positive,label\n" + "".join(
        f"text {i},text {i + shift},{int(not shift)}\n" for i in range(30) for shift in (0, 1)), encoding="utf-8")
    chosen = spec.clustering.model_copy(update={"threshold": "calibrate", "labelled": "pairs.csv"})

    def embed(texts):
        angle = np.array([int(text.split()[1]) * 0.7 for text in texts])
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype("float32")
    threshold, evidence = threshold_for(spec.model_copy(update={"clustering": chosen}), embed)
    assert threshold > np.cos(0.7) and "n = 60" in evidence


def test_labelled_pairs_are_counted_in_clusters(domain):
    ids, corpus = domain.corpus.ids, domain.corpus
    (domain.spec.folder / "same.csv").write_text("left,right,label\n" + "".join(
        f"{left},{right},{label}\n" for left, right, label in (
            (ids[0], ids[1], 1), (ids[2], ids[3], 1), (ids[0], ids[2], 0), ("gone", ids[1], 0))), encoding="utf-8")
    chosen = domain.spec.clustering.model_copy(update={"labelled": "same.csv"})
    spec = domain.spec.model_copy(update={"clustering": chosen})
    labels = np.full(len(ids), -1)
    labels[:2] = 0
    shares = pairs_together(spec, corpus, labels)  # documents in no cluster are together with nobody
    assert (shares["same"].value, shares["same"].n, shares["other"].value, shares["other"].n) == (0.5, 2, 0, 1)
