"""Quality and coherence: what would clutter the depth chapter on quality."""
import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from semantic_nb.cluster.groups import cluster_texts
from semantic_nb.cluster.quality import (
    agreement, ask, cluster_quality, coherence_text, first_look, make_sheet, read_answers, score_answers, space_check)
from semantic_nb.core import ContractError
from unit_vectors import blobs, unit


def test_poor_spaces_are_told_from_poor_parameters():
    vectors, truth = blobs((100, 100, 100))
    assert first_look(space_check(vectors, truth.astype(str).tolist())).endswith("the space is sound")
    blind = unit(np.random.default_rng(0).normal(size=(300, 32)))
    assert "chance" in first_look(space_check(blind, truth.astype(str).tolist()))


def test_stability_and_quality_know_noise():
    vectors, _ = blobs((60, 60, 60))
    noise = unit(np.random.default_rng(0).normal(size=(180, 32)))
    part, values = np.sort(np.random.default_rng(1).choice(180, 144, replace=False)), {}
    for name, space in (("blobs", vectors), ("noise", noise)):
        whole = cluster_texts(space, [""] * 180, "kmeans", k=3)
        again = cluster_texts(space[part], [""] * 144, "kmeans", k=3)
        values[name] = (adjusted_rand_score(whole.labels[part], again.labels),
                        cluster_quality(space, whole)["separation"])
    assert values["blobs"][0] > 0.9 > values["noise"][0] and values["blobs"][1] > values["noise"][1]


def sheet_of(clusters=6):
    return make_sheet([f"topic {i // 10} text {i}" for i in range(10 * clusters)], np.repeat(np.arange(clusters), 10))


def test_the_intruder_comes_from_another_cluster_and_guessing_is_chance():
    sheet = sheet_of()
    for question in sheet:
        topics = [text.split()[1] for text in question.texts]
        assert topics.count(str(question.cluster)) == 4 and topics[question.intruder] != str(question.cluster)
    assert score_answers(sheet, {q: s.intruder for q, s in enumerate(sheet)}).share.value == 1
    assert "not shown" in str(score_answers(sheet, {q: 0 for q in range(2)}))


def test_answers_are_kept_continued_and_tied_to_their_sheet(tmp_path):
    sheet, path = sheet_of(), tmp_path / "answers.json"
    replies = iter(["1", "x", "2", ""])
    assert ask(sheet, path, read=lambda _: next(replies), say=lambda _: None) == {0: 0, 1: 1}
    replies = iter(["3", ""])
    ask(sheet, path, read=lambda _: next(replies), say=lambda _: None)
    assert read_answers(path, sheet)[2] == 2 and json.loads(path.read_text())["n"] == 3
    with pytest.raises(ContractError, match="cluster.answers"):
        read_answers(path, sheet_of(5))
    deep = tmp_path / "new" / "answers.json"
    replies = iter(["²", "1", ""])
    assert ask(sheet, deep, read=lambda _: next(replies), say=lambda _: None) == {0: 0} and deep.is_file()


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"sheet": 1}', '{"sheet": "a", "answers": [], "text": ""}',
                                     "[" * 100_000, None])
def test_a_file_that_holds_no_answers_is_refused(tmp_path, content):
    path = tmp_path / "answers.json"
    path.write_text(content) if content else path.mkdir()
    for read in (coherence_text, lambda path: read_answers(path, sheet_of())):
        with pytest.raises(ContractError, match="cluster.answers.*answers.json is no file of answers"):
            read(path)


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


@pytest.mark.parametrize("sizes", [(50, 50), (60, 40), (80, 20), (3, 3)])
def test_labels_that_are_separated_as_well_as_they_can_be_are_no_doubt(sizes):
    vectors, truth = blobs(sizes, spread=0.05)
    neighbours = lambda labels: next(f.status for f in space_check(vectors, labels) if f.id == "cluster.neighbours")
    assert neighbours(truth) == "ok"
    if len(truth) > 10:
        assert neighbours(np.random.default_rng(0).permutation(truth)) == "doubt"


def test_two_texts_have_a_cosine():
    assert all("nan" not in f.evidence for seed in range(4) for f in space_check(unit(np.eye(2)), seed=seed))


@pytest.mark.parametrize("right, of, better", [(1, 1, False), (2, 2, False), (2, 3, False), (3, 3, True),
                                               (5, 10, False), (6, 10, True)])
def test_few_right_answers_are_no_proof(right, of, better):
    from semantic_nb.cluster.quality import Coherence
    from semantic_nb.output import Estimate
    assert ("not shown" in str(Coherence(Estimate.share(right, of), 0.2))) != better


def test_an_exact_copy_is_a_neighbour_and_a_text_is_not_its_own():
    from semantic_nb.cluster.quality import _nearest_rows
    vectors = unit(np.random.default_rng(0).normal(size=(30, 8)))
    vectors[15:] = vectors[0]
    for rows in (_nearest_rows(vectors, 3), _nearest_rows(vectors, 29)):
        assert all(row not in found for row, found in enumerate(rows.tolist()))
    assert _nearest_rows(vectors, 3).shape == (30, 3)
