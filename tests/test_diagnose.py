"""The diagnosis: a loss is found where it was made, certain facts come first, and a sound chain accuses nobody."""
import math
from dataclasses import replace

import numpy as np
import pytest

from semantic_nb.data.records import Finding, Judged
from semantic_nb.diagnose import (
    _untouched, budgets_of, conclude, judgments_finding, role_probe, stages_of, steps_table, waterfall)
from semantic_nb.measure import Runs, compare
from semantic_nb.model import Gate
from semantic_nb.spec import SHARP_DROP

N = 60
QUERIES = [f"q{i}" for i in range(N)]
JUDGED = Judged({q: q for q in QUERIES}, {q: {f"d{q}": 1} for q in QUERIES})
BUDGETS = {"tuned, served size": SHARP_DROP, "served index": 0.02}


def run(right, seed=0):
    "A run that has the relevant document first for this share of the queries."
    chance = np.random.default_rng(seed)
    hits = set(chance.permutation(N)[:round(right * N)].tolist())
    return {q: {f"d{q}": 2.0} if i in hits else {"other": 1.0} for i, q in enumerate(QUERIES)}


def chain(**quality):
    levels = {"BM25": 0.3, "base": 0.5, "tuned, full size": 0.7, "tuned, served size": 0.68,
              "served index": 0.68} | quality
    return waterfall({name: run(level) for name, level in levels.items()}, JUDGED, "nDCG@10", BUDGETS)


def gate(ship=True):
    values = np.ones(N) * (0.7 if ship else 0.5), np.linspace(0, 1, N)
    return Gate(ship, compare(*values), "nDCG@10", 128, "base", 384, "test")


def test_a_sound_chain_accuses_nobody():
    layer, status, sentence = conclude(chain(), (), gate(), "60 queries show .1")
    assert (layer, status) == ("", "ok") and sentence.endswith("60 queries show .1")


@pytest.mark.parametrize("stage, level, layer",
                         [("base", 0.1, "model"), ("tuned, full size", 0.2, "loss"),
                          ("tuned, served size", 0.3, "model"), ("served index", 0.4, "index")])
def test_the_step_that_lost_names_the_layer(stage, level, layer):
    stages = ["BM25", "base", "tuned, full size", "tuned, served size", "served index"]
    later = {name: level for name in stages[stages.index(stage):]}
    found, status, sentence = conclude(chain(**later), (), gate())
    assert (found, status) == (layer, "fail") and sentence.startswith(f"{layer}:") and "Next:" in sentence


def test_a_loss_within_the_budget_is_no_failure():
    assert [step.status for step in chain(**{"tuned, served size": 0.63, "served index": 0.63})][2] in ("ok", "doubt")


def test_a_sharp_drop_whose_interval_reaches_into_the_budget_is_a_doubt_with_its_fix():
    steps = chain(**{"tuned, served size": 0.58, "served index": 0.58})
    layer, status, sentence = conclude(steps, (), gate())
    assert steps[2].status == "doubt" and -steps[2].share > SHARP_DROP
    assert (layer, status) == ("model", "doubt") and "truncation audit" in sentence
    assert sentence.startswith("No layer fails, but the model layer")
    assert conclude(chain(**{"served index": 0.1}), (), gate())[1] == "fail"


@pytest.mark.parametrize("kind, advice", [("flat", "exact"), ("ivf", "nprobe"), ("ivfpq", "nprobe"),
                                          ("hnsw", "efSearch"), ("", "build it again")])
def test_the_advice_fits_the_type_of_the_index(kind, advice):
    sentence = conclude(chain(**{"served index": 0.1}), (), gate(), index_type=kind)[-1]
    assert advice in sentence and ("nprobe" in sentence) == kind.startswith("ivf")


def test_a_failed_check_comes_before_any_metric_and_the_earliest_layer_first():
    findings = (Finding("index.recall", "fail", 1, "low"), Finding("data.leakage.same_text", "fail", 3, "3 of 9"),
                Finding("validate.drift", "doubt", 1, "differs"))
    layer, status, sentence = conclude(chain(**{"served index": 0.1}), findings, gate())
    assert (layer, status) == ("data", "fail") and "3 of 9" in sentence


def test_training_that_bought_nothing_is_named():
    layer, status, sentence = conclude(chain(), (), gate(ship=False))
    assert (layer, status) == ("loss", "doubt") and "base is served" in sentence


def test_equal_stages_have_no_interval_and_say_so():
    rows = steps_table(chain()).rows
    assert rows[-1]["change"] == "none" and "nan" not in str(rows)


def test_where_the_gate_kept_the_base_the_chain_leads_through_it(domain):
    dim, full = domain.spec.index.dim, domain.spec.model.dims[0]
    assert domain.spec.model.rotate  # so it is the rotated base that is served
    runs = Runs({key: run(0.5) for key in [("BM25", None, "test"), ("base", full, "test"), ("served", dim, "test"),
                                           ("rotated base", dim, "test"), ("stage 2", full, "test"),
                                           ("stage 2", dim, "test")]}, {}, "nDCG@10")
    stages = stages_of(runs, domain.spec, "test", shipped=False)
    assert list(stages) == ["BM25", "base", "base, served size", "served index"]
    assert "tuned, full size" in stages_of(runs, domain.spec, "test", shipped=True)
    every = {*stages_of(runs, domain.spec, "test", True), *stages_of(runs, domain.spec, "test", False)}
    assert set(budgets_of(domain.spec)) <= every | {"compressed (stage 2)"}


def test_the_probe_swaps_roles_only_where_they_have_prompts(domain, settings):
    from semantic_nb.encoder import load_encoder
    model = load_encoder(domain.spec.model.base, domain.spec.model)
    plain = role_probe(model, domain, "test")
    assert plain.swapped is None and "changes nothing" in str(plain)
    assert 0 <= plain.crowd <= 1 and 0 <= plain.reverse <= 1 and plain.blind == pytest.approx(
        len(domain.splits["test"].queries) / (len(domain.splits["test"].queries) + len(domain.corpus)))
    model.prompts = {"query": "question: ", "document": "document: "}
    assert role_probe(model, domain, "test").swapped is not None


def test_untouched_questions_share_nothing_with_training(domain):
    pairs = domain.pairs[0]
    judged = domain.splits["test"]
    first = next(iter(judged.queries))
    leaky = replace(domain, pairs=(replace(pairs, anchors=(judged.queries[first], *pairs.anchors[1:])),))
    assert first not in _untouched(leaky, "test").queries


def test_a_whole_run_is_diagnosed_and_written(domain_folder, spec, settings):
    from semantic_nb.pipeline import diagnose_run
    found = diagnose_run(spec, say=lambda line: None)
    content = found.content()
    assert content["sentence"] == found.sentence and content["layer"] in (
        "", "data", "loss", "model", "index", "validate")
    assert [row["stage"] for row in content["steps"]][-1] == "served index"
    assert math.isnan(found.clean.value) or 0 <= found.clean.value <= 1


def test_a_stage_that_destroyed_what_was_learned_is_named_though_it_is_not_served():
    training = waterfall({"base": run(0.5), "learned (stage 1)": run(0.7), "compressed (stage 2)": run(0.05)},
                         JUDGED, "nDCG@10", {"compressed (stage 2)": SHARP_DROP})
    assert conclude(chain(), (), gate(ship=False), "", training)[:2] == ("model", "fail")


def test_judgments_of_other_questions_are_noticed(domain, settings, monkeypatch):
    from semantic_nb import diagnose
    corpus, chance = domain.corpus, np.random.default_rng(0)
    vectors = chance.normal(size=(len(corpus), 16)).astype("float32")
    queries = {f"q{i}": str(i) for i in range(40)}
    qrels = {f"q{i}": {corpus.ids[i]: 1} for i in range(40)}
    monkeypatch.setattr(diagnose, "corpus_vectors", lambda *_: vectors)
    monkeypatch.setattr(diagnose, "encode", lambda model, texts, role: vectors[[int(text) for text in texts]])
    ask = lambda judged: judgments_finding(None, replace(domain, splits={"test": judged}), "test")
    assert ask(Judged(queries, qrels)).status == "ok"
    shifted = dict(zip(qrels, [*list(qrels.values())[7:], *list(qrels.values())[:7]]))
    assert ask(Judged(queries, shifted)).status == "fail"
    few = {q: queries[q] for q in list(queries)[:5]}
    assert ask(Judged(few, qrels)).evidence.startswith("not enough evidence")


def scores(*values):
    "A run with these nDCG@10 of 1 or 0, one per query."
    return {q: {f"d{q}": 1.0} if hit else {"other": 1.0} for q, hit in zip(QUERIES, values)}


@pytest.mark.parametrize("n, status", [(60, "fail"), (20, "fail"), (3, "ok")])
def test_a_loss_of_everything_fails_unless_a_few_questions_are_all_there_is(n, status):
    judged = Judged({q: q for q in QUERIES[:n]}, {q: {f"d{q}": 1} for q in QUERIES[:n]})
    steps = waterfall({"tuned, served size": scores(*[1] * n), "served index": scores(*[0] * n)},
                      judged, "nDCG@10", BUDGETS)
    assert steps[0].status == status
    layer, _, sentence = conclude(steps, (), gate())
    assert layer == ("index" if status == "fail" else "") and (layer or sentence.startswith("Not enough evidence: 3"))


def test_a_loss_that_is_not_shown_is_not_called_within_its_budget():
    values = [1] * N, [*[0] * 5, *[1] * (N - 5)]
    steps = waterfall({"tuned, served size": scores(*values[0]), "served index": scores(*values[1])}, JUDGED,
                      "nDCG@10", {"served index": 0.02})
    sentence = conclude(steps, (), gate())[-1]
    assert "within its budget" not in sentence


def test_a_broken_index_comes_before_production_that_scores_lower():
    findings = (Finding("validate.production", "fail", 9, "production scores lower"),)
    assert conclude(chain(**{"served index": 0.1}), findings, gate())[0] == "index"
    assert conclude(chain(), findings, gate())[0] == "validate"


@pytest.mark.parametrize("shared", [1, 2, 5])
def test_questions_that_share_an_answer_are_no_fault_of_the_judgments(shared, domain, settings, monkeypatch):
    from semantic_nb import diagnose
    corpus, chance = domain.corpus, np.random.default_rng(0)
    vectors = chance.normal(size=(len(corpus), 16)).astype("float32")
    of = {f"q{i}": i // shared for i in range(40)}
    monkeypatch.setattr(diagnose, "corpus_vectors", lambda *_: vectors)
    monkeypatch.setattr(diagnose, "encode", lambda model, texts, role: vectors[[int(text) for text in texts]])
    judged = Judged({q: str(i) for q, i in of.items()}, {q: {corpus.ids[i]: 1} for q, i in of.items()})
    assert judgments_finding(None, replace(domain, splits={"test": judged}), "test").status == "ok"
