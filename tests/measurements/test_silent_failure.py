"""The script behind the central table of chapter 05: its arms, its rows, and that it goes on where it stopped."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import silent_failure
from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus, PairSet
from silent_failure import (
    all_arms, arm_pairs, course, halves, mixed, same_named, summary, verdicts, with_row, write_silent_failure)


def corpus(**texts):
    return Corpus(tuple(texts), ("",) * len(texts), tuple(texts.values()), ({},) * len(texts))


def row(arm="questions", seed=1, profile="full", steps=88, low=0.1, difference=0.2, **more):
    change = {"difference": difference, "low": low, "high": 0.3, "outcome": "better"}
    return {"arm": arm, "seed": seed, "profile": profile, "steps": steps, "loss_first": 1.0, "loss_last": 0.25,
            "differences": {"test": change}} | more


def test_twins_share_the_end_of_their_ids_and_halves_the_document():
    texts = {"a.sort": "Order the given items quickly. Raises nothing at all.",
             "b.sort": "Put the rows in order. Short.", "c.join": "Put many texts together. One after the other."}
    twins = same_named(corpus(**texts))
    assert list(zip(twins.anchors, twins.positives)) == [("Order the given items quickly.", "Put the rows in order.")]
    assert set(halves(corpus(**texts)).positives) == {"Raises nothing at all.", "One after the other."}
    assert not len(same_named(corpus(**{"1": "Each number is its own name.", "2": "So it has no twin."})))


def test_a_mixture_is_half_of_each():
    few = PairSet("few", "symmetric", tuple("abc"), tuple("xyz"))
    many = PairSet("questions", "asymmetric", tuple(map(str, range(40))), tuple(map(str, range(40, 80))))
    both = mixed(many, few)
    assert len(both) == 6 and set(few.anchors) < set(both.anchors) and both.name == "half few"


def test_no_arm_lends_a_held_out_document(domain, settings):
    from semantic_nb.data.domain import held_out_documents, load_corpus
    small = replace(domain, spec=domain.spec.model_copy(update={
        "training": domain.spec.training.model_copy(update={"batch_size": 8})}))
    whole = load_corpus(domain.spec)
    held = held_out_documents(whole, list(domain.splits.values()))
    arms = arm_pairs(small)
    assert {"questions", "halves", "first-sentence", "half halves"} <= set(arms)
    texts = {text.split(".")[0] for name in ("halves", "first-sentence") for text in arms[name].anchors}
    closed = {whole.texts[whole.position[id]].split(".")[0] for id in held}
    assert held and texts and not texts & closed


def test_the_course_is_the_first_and_the_last_steps():
    log = [{"step": step, "loss": float(20 - step)} for step in range(20)]
    log.append({"step": 4, "eval_dev_cosine_ndcg@10": 0.5})
    assert course(log) == {"loss_first": 16.5, "loss_last": 4.5, "dev": [{"step": 4, "value": 0.5}]}
    with pytest.raises(ContractError, match="loss.diverged"):
        course([{"step": 1, "loss": float("nan")}])


def test_a_measured_row_takes_the_place_of_one_handed_down():
    rows = [row(seed=None, seeds=3), row(arm="halves", seed=None, seeds=3), row(seed=None, profile="quick")]
    rows = with_row(rows, row(seed=1))
    assert [(r["arm"], r["seed"], r["profile"]) for r in rows] == [
        ("halves", None, "full"), ("questions", None, "quick"), ("questions", 1, "full")]
    assert len(with_row(rows, row(seed=1))) == len(rows) and len(with_row(rows, row(seed=2))) == len(rows) + 1


def test_the_summary_takes_the_widest_interval_and_the_longest_trainings():
    rows = [row(seed=1), row(seed=2, low=-0.1, difference=0.1), row(steps=4), row(arm="mixed", low=None),
            row(profile="quick", arm="short")]
    lines = summary(rows, "full")
    assert [(line["trained on"], line["test"], line["seeds"]) for line in lines] == [
        ("questions", "+0.150 [-0.100, +0.300]", 2), ("mixed", "+0.200", 1)]
    assert lines[0]["fell by"] == "75%" and lines[0]["people"] == "not measured" and not summary([], "full")


def test_the_verdict_is_that_of_the_interval():
    worse = {"difference": -0.2, "low": -0.3, "high": -0.1}
    rows = [row(differences={"test": worse}), row(arm="twins", low=-0.1), row(arm="mixed", low=None)]
    assert [line.split("the search is ")[1] for line in verdicts(rows, "full", ("test",))] == [
        "worse on the test questions", "not shown to differ on the test questions",
        "+0.200 (no interval was kept, so nothing is claimed) on the test questions"]
    assert "not measured on people's titles" in verdicts(rows, "full")[0]


def test_it_measures_writes_after_each_row_and_goes_on(domain, settings, monkeypatch, tmp_path):
    path, spec, lines = tmp_path / "silent_failure.json", domain.spec, []
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"batch_size": 8})})
    people = spec.folder  # its first split stands in for what people typed
    measure = {"steps": 8, "arms": ("questions", "halves", "triplets"), "people": people, "say": lines.append}
    trained, train = [], silent_failure.train_arm

    def train_twice(arm, *rest):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(arm.name)
        return train(arm, *rest)

    monkeypatch.setattr(silent_failure, "train_arm", train_twice)
    with pytest.raises(KeyboardInterrupt):
        write_silent_failure(path, spec, seeds=(1,), **measure)
    assert len(json.loads(path.read_text())["rows"]) == 2
    monkeypatch.setattr(silent_failure, "train_arm", train)
    content = write_silent_failure(path, spec, seeds=(1,), **measure)
    assert [row["arm"] for row in content["rows"]] == [*trained, "triplets"] and len(trained) == 2
    assert sum("in the file" in line for line in lines) == 2
    for measured in content["rows"]:
        assert len(measured["dev"]) >= 6 and np.isfinite(measured["loss_last"])
        assert measured["differences"]["test"]["n"] == len(domain.splits["test"].queries)
        assert {"low", "high", "outcome"} <= set(measured["differences"]["people"])
    assert summary(content["rows"], "tiny")


def test_an_arm_that_the_domain_does_not_have_is_refused(domain, settings):
    with pytest.raises(ContractError) as refusal:
        all_arms(domain, ("sideways",))
    assert refusal.value.layer == "loss.arms" and "hardness" in refusal.value.fix


def test_help_says_what_it_costs():
    said = subprocess.run([sys.executable, Path(silent_failure.__file__), "--help"], capture_output=True, text=True)
    assert said.returncode == 0 and "--people" in said.stdout and "minutes" in said.stdout
