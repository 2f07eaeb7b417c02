"""Clusters against labels, on little: does the measurement keep the test out, and say what it found?"""
import json

import pytest
from labels import bench_labels, label_domain, labels_table

from semantic_nb.core import ContractError

TEXTS = {"boil": ["boil an egg", "boil rice", "boil water"], "bake": ["bake bread", "bake a cake", "bake apples"]}
ROWS = [{"text": text, "label": label} for label, texts in TEXTS.items() for text in texts]


def quiet(line):
    "Say nothing."


def test_pairs_have_one_label_and_no_text_that_is_tested_on(spec):
    domain, source = label_domain(ROWS, {"Boil  rice"}, spec)
    label = {row["text"]: row["label"] for row in ROWS}
    pairs, dev = domain.pairs[0], domain.splits[spec.validation.dev]
    assert all(label[a] == label[p] for a, p in zip(pairs.anchors, pairs.positives)) and len(pairs) > 0
    assert "boil rice" not in {*pairs.anchors, *pairs.positives, *domain.corpus.texts}
    assert set(dev.queries.values()) == {"boil an egg", "bake bread"}
    assert not set(dev.queries.values()) & {*pairs.anchors, *pairs.positives}
    assert source.endswith("5 labelled texts; 1 texts dropped that are tested on")


def test_without_a_pair_there_is_nothing_to_learn(spec):
    with pytest.raises(ContractError) as refusal:
        label_domain(ROWS[:2], set(), spec)
    assert refusal.value.layer == "data.pairs"


def test_words_and_the_base_are_compared_by_three_measures(spec, tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 4), encoding="utf-8")
    content = bench_labels(path, spec, say=quiet)
    assert {row["system"] for row in content["agreement"]} == {"TF-IDF", "base"} and content["clusters"] == 2
    assert {row["measure"] for row in content["agreement"]} == {"V-measure", "ARI", "purity"}
    assert "2 clusters" in labels_table(content)
