"""False negatives: what would clutter chapter 05, negatives."""
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from scipy import sparse

from semantic_nb.core import ContractError
from semantic_nb.data.records import PairSet
from semantic_nb.loss.negatives import (
    BY_WORDING, GRADES, Conflicts, batch_risk, conflict_free, false_negatives, find_conflicts, negatives_finding)

ROOT = Path(__file__).parents[2]
INVERSE = "Compute the multiplicative inverse of a square matrix given as a two dimensional array of numbers"
TEXTS = (INVERSE, INVERSE + " quickly", "plot a line on some axes", "sort the items of a list in place")


def pair_set(anchors, positives):
    return PairSet("p", "asymmetric", tuple(anchors), tuple(positives))


def with_cells(n, cells):
    cells = sorted({(i, j) for i, j in cells if i != j})
    table = sparse.csr_matrix((np.ones(len(cells), np.int8), tuple(np.array(cells, int).reshape(-1, 2).T)),
                              shape=(n, n))
    return Conflicts(pair_set([f"a{i}" for i in range(n)], [f"p{i}" for i in range(n)]), table)


rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(TEXTS)), min_size=1, max_size=8)
links = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30)


# --- which cells

@given(rows, st.integers(0, 1000))
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_cell_gets_the_surest_grade_that_it_has(rows, seed):
    pairs, draw = pair_set(*zip(*rows)), np.random.default_rng(seed)
    anchors, positives = draw.normal(size=(2, len(rows), 3))
    found = find_conflicts(pairs, (anchors, positives), margin=0.1)
    for i in range(len(rows)):
        for j in range(len(rows)):
            same = pairs.anchors[i] == pairs.anchors[j] or pairs.positives[i] == pairs.positives[j]
            near = {pairs.positives[i], pairs.positives[j]} <= set(TEXTS[:2])
            closer = anchors[i] @ positives[j] > anchors[i] @ positives[i] + 0.1
            assert found.table[i, j] == (0 if i == j else 1 if same else 2 if near else 3 if closer else 0)


def test_a_margin_and_a_direction_belong_to_closer():
    pairs, vectors = pair_set("ab", "xy"), (np.array([[1.0, 0], [0, 1]]), np.array([[0.5, 0], [0.55, 0.9]]))
    assert find_conflicts(pairs, vectors, margin=0.02).cells().tolist() == [[0, 1]]
    assert find_conflicts(pairs, vectors, margin=0.1).cells().tolist() == []


def test_without_vectors_only_the_wording_is_looked_at():
    found = find_conflicts(pair_set("ab", TEXTS[:2]))
    assert found.cells(BY_WORDING).tolist() == [[0, 1], [1, 0]] and not len(found.cells(["closer"]))


@pytest.mark.parametrize("vectors", [
    (np.ones((2, 3)), np.array([[1.0, 2, 3], [1, np.nan, 3]])),
    (np.ones((3, 3)), np.ones((3, 3))),
    (np.ones((2, 3)), np.ones((2, 4))),
    (np.ones(2), np.ones(2)),
])
def test_vectors_that_have_no_cosine_are_refused(vectors):
    with pytest.raises(ContractError) as error:
        find_conflicts(pair_set("ab", "xy"), vectors)
    assert error.value.layer == "model.vectors"


def test_an_unknown_grade_is_refused():
    with pytest.raises(ContractError, match="nearly"):
        find_conflicts(pair_set("ab", "xy")).cells(["nearly"])


# --- how often

@given(links.map(lambda found: {(i % 6, j % 6) for i, j in found}), st.integers(2, 7))
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_shares_are_those_of_all_possible_batches(cells, size):
    conflicts, cells = with_cells(6, cells), {(i, j) for i, j in cells if i != j}
    batches = list(combinations(range(6), min(size, 6)))
    hurt = [[any((i, j) in cells for j in batch) for i in batch] for batch in batches]
    anchors, held = batch_risk(conflicts, size, draws=2000)
    assert anchors == pytest.approx(np.mean(hurt)) and held == pytest.approx(np.mean([any(h) for h in hurt]), abs=0.05)


def test_a_sample_estimates_the_shares_of_the_whole():
    n = 8000
    pairs = pair_set((f"question {i}" for i in range(n)), (f"w{i // 40}x" for i in range(n)))
    whole = batch_risk(find_conflicts(pairs), 64)
    evidence = false_negatives(pairs, None, 64, sample=2000).evidence
    assert "2,000 of 8,000 pairs, drawn by hash" in evidence
    assert float(evidence.split("%")[0]) / 100 == pytest.approx(whole[0], abs=0.05)


def test_copies_of_a_pair_are_drawn_one_by_one():
    pairs = pair_set((f"a{i // 10}" for i in range(5000)), (f"p{i // 10}" for i in range(5000)))
    share = lambda pairs, size: float(false_negatives(pairs, None, 50, sample=size).evidence.split("%")[0])
    assert abs(share(pairs, 1000) - share(pairs, 5000)) < 4


def test_the_draw_does_not_depend_on_the_order():
    pairs = pair_set((f"a{i}" for i in range(300)), (f"p{i % 100}" for i in range(300)))
    turned = pairs.take(list(reversed(range(300))))
    assert false_negatives(pairs, None, 32, sample=100).count == false_negatives(turned, None, 32, sample=100).count


# --- the finding

def test_the_limit_decides_and_only_over_what_is_counted():
    pairs = pair_set((f"a{i}" for i in range(40)), [TEXTS[0]] * 4 + [f"word{i} other{i}" for i in range(36)])
    assert false_negatives(pairs, None, 8, limit=0.01).status == "doubt"
    assert false_negatives(pairs, None, 8, limit=0.5).status == "ok"
    assert false_negatives(pairs, None, 8, limit=0.01, counted=["near-copy"]).status == "ok"


def test_the_model_is_asked_about_the_sample_only_and_counts_only_if_wanted():
    asked = []
    def embed(texts, role):
        asked.append((role, len(texts)))
        return np.random.default_rng(len(role)).normal(size=(len(texts), 4))
    pairs = pair_set((f"a{i}" for i in range(500)), (f"p{i}" for i in range(500)))
    found = false_negatives(pairs, embed, 16, sample=100)
    assert asked == [("query", 100), ("document", 100)] and found.status == "ok" and found.count == 0
    assert false_negatives(pairs, embed, 16, sample=100, counted=GRADES).status == "doubt"
    with pytest.raises(ContractError, match="no vectors"):
        false_negatives(pairs, None, 16, counted=GRADES)


def test_given_vectors_follow_the_draw():
    draw = np.random.default_rng(0)
    pairs = pair_set((f"a{i}" for i in range(300)), (f"p{i}" for i in range(300)))
    vectors = dict(zip([*pairs.anchors, *pairs.positives], draw.normal(size=(600, 4))))
    arrays = tuple(np.array([vectors[t] for t in side]) for side in (pairs.anchors, pairs.positives))
    one, other = (false_negatives(pairs, given, 16, sample=100, counted=GRADES)
                  for given in (arrays, lambda texts, role: np.array([vectors[t] for t in texts])))
    assert one == other and one.count > 0


def test_rows_name_the_pairs_of_the_whole_set():
    pairs = pair_set([f"a{i}" for i in range(200)], [f"p{i // 50}" for i in range(200)])
    for row in false_negatives(pairs, None, 8, sample=20).rows:
        assert (pairs.anchors[row["row"]], pairs.positives[row["row"]],
                pairs.positives[row["other"]]) == (row["anchor"], row["positive"], row["also"])


# --- the remedy

@given(links, st.integers(2, 5))
@hypothesis_settings(max_examples=20, deadline=None)
def test_no_batch_holds_a_conflict_and_no_pair_is_lost(cells, size):
    import torch
    from datasets import Dataset
    conflicts = with_cells(12, cells)
    batches = list(conflict_free(conflicts)(Dataset.from_dict(conflicts.pairs.columns()), batch_size=size,
                                            drop_last=False, generator=torch.Generator(), seed=1))
    held = {(i, j) for batch in batches for i in batch for j in batch}
    assert not held & {(i, j) for i, j in cells if i != j} and sorted(set(sum(batches, []))) == list(range(12))


def test_the_trainer_takes_the_sampler(tiny_model, tmp_path):
    from datasets import Dataset
    from sentence_transformers import (SentenceTransformer, SentenceTransformerTrainer,
                                       SentenceTransformerTrainingArguments)
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    conflicts = with_cells(12, {(i, i + 1) for i in range(11)})
    mined = replace(conflicts.pairs, negatives=(tuple(f"n{i}" for i in range(12)),)).take(list(reversed(range(12))))
    model = SentenceTransformer(str(tiny_model), device="cpu")
    arguments = SentenceTransformerTrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=4,
                                                     batch_sampler=conflict_free(conflicts),
                                                     report_to="none", use_cpu=True)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(mined.columns()),
                                         loss=MultipleNegativesRankingLoss(model))
    batches = [sorted(11 - row for row in batch) for batch in trainer.get_train_dataloader().batch_sampler]
    assert sorted(sum(batches, [])) == list(range(12)) and all(b - a > 1 for batch in batches
                                                               for a, b in zip(batch, batch[1:]))


def test_a_pair_that_nobody_looked_at_is_refused():
    from datasets import Dataset
    with pytest.raises(ContractError) as error:
        conflict_free(with_cells(3, []))(Dataset.from_dict({"anchor": ["new"], "positive": ["pair"]}),
                                         batch_size=2, drop_last=False)
    assert error.value.layer == "loss.batches"


# --- bad input

def test_too_few_pairs_are_not_enough_evidence():
    for n in (0, 1):
        found = false_negatives(pair_set("a" * n, "b" * n), None, 64)
        assert found.status == "doubt" and found.evidence.startswith("not enough evidence: ")
    assert not len(find_conflicts(pair_set("", "")).cells())


def test_a_batch_of_one_is_refused():
    with pytest.raises(ContractError, match="batch of 1"):
        false_negatives(pair_set("ab", "xy"), None, 1)


def test_other_scripts_emoji_and_very_long_lines():
    arabic, snakes = "كيف أرتب قائمة من الأرقام تنازليا بسرعة", "\N{SNAKE}\N{RABBIT FACE}"
    long = "the same words again and again " * 35_000
    pairs = pair_set([arabic, snakes, "x", "x y"], [arabic + " نص", "\N{SNAKE}", long, long + "!"])
    assert find_conflicts(pairs).cells(["near-copy"]).tolist() == [[2, 3], [3, 2]]
    assert not len(find_conflicts(pair_set(["\N{SNAKE}", "\N{RABBIT FACE}"], ["\N{RABBIT FACE}", "\N{SNAKE}"])).cells())


def test_one_text_for_all_is_a_finding_for_a_sample_and_refused_for_the_whole():
    pairs = pair_set(["same"] * 6000, ["text"] * 6000)
    found = false_negatives(pairs, lambda texts, role: np.ones((len(texts), 3)), 32, sample=500)
    assert found.status == "doubt" and found.evidence.startswith("100.0% of anchors")
    with pytest.raises(ContractError) as error:
        find_conflicts(pairs)
    assert error.value.layer == "data.false_negatives"


def test_a_hundred_thousand_pairs_take_seconds():
    pairs = pair_set((f"question {i} on topic {i % 977}" for i in range(100_000)),
                     (f"answer {i} about {i % 1009} and {i % 499}" for i in range(100_000)))
    start = perf_counter()
    found = false_negatives(pairs, lambda texts, role: np.random.default_rng(len(role)).normal(size=(len(texts), 64)),
                            64)
    assert perf_counter() - start < 10 and "2,000 of 100,000" in found.evidence


# --- negatives that answer

def test_negatives_that_say_what_a_positive_says():
    anchors, positives = ([f"question {i}" for i in range(40)],
                          [f"{INVERSE} number{i} of{i} many{i} kinds{i}" for i in range(40)])
    other, pairs = positives[1:] + positives[:1], pair_set(anchors, positives)
    with_negatives = lambda *columns: negatives_finding(replace(pairs, negatives=tuple(map(tuple, columns))))
    assert with_negatives(other).status == "ok"
    one = with_negatives([positives[0].upper(), *other[1:]])
    assert (one.status, one.count, one.rows[0]["row"]) == ("doubt", 1, 0)
    assert with_negatives(other, [text + " quickly" for text in positives]).status == "fail"
    assert with_negatives(other, positives).count == 40


def test_an_answer_of_the_same_anchor_is_no_negative():
    pairs = PairSet("p", "asymmetric", ("sort", "sort"), TEXTS[2:], ((TEXTS[3], TEXTS[0]),))
    assert negatives_finding(pairs).count == 1
