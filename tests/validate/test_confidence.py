"""How sure are we: what a set of questions can show, whether it speaks for
production, and the warning on top of the report."""
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from scipy.stats import binomtest, norm

from semantic_nb.validate.confidence import (
    MIN_QUERIES, Questions, detectable, drift, energy_test, form_test, how_sure, power_finding, production_gap,
    production_warning, question_form)
from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus
from semantic_nb.measure import Runs, compare

ROOT = Path(__file__).parents[2]
CORPUS = Corpus(("a",), ("sort",), ("sort the rows of a table by a column and read a file into memory",), ({},))


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, "float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sample(n: int, seed: int, shift: float = 0.0, longer: int = 0, dim: int = 16) -> Questions:
    """Questions of 3 to 9 words (`longer` adds some) with vectors around one centre (`shift` moves it)."""
    draw = np.random.default_rng(seed)
    words = "sort the rows of a table by column and read a file into memory".split()
    texts = tuple(" ".join(draw.choice(words, draw.integers(3, 10) + longer)) + f" {i}" for i in range(n))
    return Questions(texts, unit(draw.normal(size=(n, dim)) + shift * np.eye(dim)[0]), question_form(texts, CORPUS))


def together(a: Questions, b: Questions) -> Questions:
    return Questions(a.texts + b.texts, np.vstack([a.vectors, b.vectors]), np.vstack([a.form, b.form]))


# --- what the questions can show

@given(st.floats(0.01, 1), st.integers(MIN_QUERIES, 5000))
@hypothesis_settings(max_examples=50, deadline=None)
def test_the_detectable_difference_follows_the_normal_approximation(spread, n):
    assert detectable(spread, n) == pytest.approx((norm.ppf(0.975) + norm.ppf(0.8)) * spread / math.sqrt(n), rel=1e-3)


def test_a_difference_of_that_size_is_shown_in_about_four_of_five_attempts():
    draw = np.random.default_rng(0)
    differences = np.where(draw.random(600) < 0.4, 0, draw.normal(0, 0.25, 600))
    differences -= differences.mean()
    least = detectable(differences.std(ddof=1), 150)
    tries = [compare(draw.choice(differences, 150) + least, np.zeros(150), seed, 200).outcome == "better"
             for seed in range(200)]
    assert binomtest(sum(tries), 200, 0.8).pvalue > 0.001, np.mean(tries)


@pytest.mark.parametrize("spread, n",
                         [(0.2, MIN_QUERIES - 1), (0.0, 100), (float("nan"), 100), (float("inf"), 100), (-1.0, 100)])
def test_a_difference_nobody_can_know_is_refused(spread, n):
    with pytest.raises(ContractError, match="validate.power"):
        detectable(spread, n)


def test_the_first_known_pair_decides_and_all_are_shown():
    draw = np.random.default_rng(1)
    relatives, strangers = draw.normal(0, 0.1, 100), draw.normal(0, 0.5, 100)
    near, far = power_finding({"near": relatives, "far": strangers}, 100,
                              "nDCG@10"), power_finding({"far": strangers, "near": relatives}, 100, "nDCG@10")
    assert near.id == "validate.power" and (near.status, far.status) == ("ok", "doubt")
    assert [row["known from"] for row in near.rows] == ["near", "far"]
    assert far.rows[0]["needed"] > 100 > near.rows[0]["needed"] and str(far.rows[0]["needed"] - 100) in far.fix
    per_spread = (norm.ppf(0.975) + norm.ppf(0.8)) / 0.03
    assert near.rows[0]["needed"] == pytest.approx((per_spread * relatives.std(ddof=1)) ** 2, abs=1)


def test_the_reader_names_the_difference_that_matters():
    rows = [power_finding({"declared": 0.2}, 280, "nDCG@10", worthwhile).rows[0]["needed"]
            for worthwhile in (0.04, 0.02)]
    assert rows[1] == pytest.approx(4 * rows[0], abs=4)


@pytest.mark.parametrize("known, n",
                         [({"pair": np.ones(30)}, 30), ({}, 100), ({"pair": np.arange(19.0)}, 100),
                          ({"declared": 0.2}, 19), ({"pair": np.arange(3.0)}, 3)])
def test_without_evidence_no_number(known, n):
    found = power_finding(known, n, "nDCG@10")
    assert found.status == "doubt" and found.evidence.startswith("not enough evidence: ") and not found.rows


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ContractError, match="validate.power"):
        power_finding({"pair": np.array([np.nan] * 30)}, 30, "nDCG@10")


# --- form

def test_form_sees_what_it_says():
    texts = ["how to sort rows?", "how to sort rows", "SORT ROWS", "sort rows np.linalg.inv",
             "sort rows zebra", "sort rows 12345 !!!"]
    ask, plain, loud, code, strange, digits = question_form(texts, CORPUS)
    assert ask[2] == 1 and plain[2] == 0 and plain[3] == 1 and loud[3] == 0
    assert loud[5] == 1 and plain[5] == 0 and code[6] == pytest.approx(1 / 3) and strange[
        7] == pytest.approx(1 / 3) and digits[4] > 0.4
    assert ask[0] == pytest.approx(math.log1p(4)) and ask[1] == pytest.approx(math.log1p(len(texts[0])))


@pytest.mark.parametrize("text",
                         ["", " \n\t", "🙂🙂", "كيف أرتب القائمة؟", "逆行列を求める関数は？", "e\u0301tude", "x" * 1_000_000,
                          "a.b(" * 250_000, "\u202eabc"])
def test_any_text_has_a_form(text):
    row = question_form([text], CORPUS)
    assert row.shape == (1, 8) and np.isfinite(row).all() and (row[0, 2:] >= 0).all() and (row[0, 2:] <= 1).all()


def test_no_text_has_no_rows():
    assert question_form([], CORPUS).shape == (0, 8)


def test_one_huge_text_does_not_raise_the_alarm():
    a, b = sample(60, 1), sample(59, 2)
    huge = Questions(("sort " * 200_000,), b.vectors[:1], question_form(["sort " * 200_000], CORPUS))
    assert form_test(a.form, together(b, huge).form).pvalue > 0.05


# --- the two tests

def by_hand(a, b):
    mean = lambda x, y: np.mean([[np.linalg.norm(p - q) for q in y] for p in x])
    return (2 * mean(a, b) - mean(a, a) - mean(b, b)) / (2 * mean(a, b))


def test_the_energy_coefficient_is_the_published_one():
    draw = np.random.default_rng(3)
    a, b = draw.normal(size=(12, 5)), draw.normal(0.5, 1, size=(7, 5))
    assert energy_test(a, b).statistic == pytest.approx(by_hand(a, b))
    assert energy_test(a, a).statistic == pytest.approx(0, abs=1e-12)


def test_the_largest_difference_is_in_standard_deviations_of_all():
    a, b = np.array([[0.0, 1], [0, 2], [1, 3]]), np.array([[1.0, 1], [1, 2]])
    both = np.vstack([a, b])
    wanted = np.abs(b.mean(axis=0) - a.mean(axis=0)) / both.std(axis=0)
    assert form_test(a, b).statistic == pytest.approx(wanted.max())


def test_a_constant_column_is_no_difference():
    assert form_test(np.zeros((30, 2)), np.zeros((30, 2))).pvalue == 1


def test_p_values_are_never_zero_and_small_for_another_world():
    for test in (energy_test, form_test):
        assert test(np.random.default_rng(0).normal(size=(40, 4)),
                    np.random.default_rng(1).normal(5, 1, (40, 4))).pvalue == pytest.approx(0.001)


@pytest.mark.parametrize("test", [energy_test, form_test])
@pytest.mark.parametrize("a, b",
                         [(np.full((30, 4), np.nan), np.ones((30, 4))),
                          (np.ones((30, 4)) * [[1, 2, 3, np.inf]], np.zeros((30, 4))), (np.ones((0, 4)), np.eye(4)),
                          (np.eye(4), np.ones((30, 5)))])
def test_what_cannot_be_compared_is_refused(test, a, b):
    with pytest.raises(ContractError, match="validate.drift"):
        test(a, b)


def test_one_point_has_no_distances():
    with pytest.raises(ContractError, match="all 60 vectors are the same"):
        energy_test(np.ones((30, 4)), np.ones((30, 4)))


# --- drift

def test_one_pool_gives_false_alarms_at_the_stated_rate():
    whole, draw = sample(120, 4), np.random.default_rng(5)
    halves = [np.array_split(draw.permutation(120), 2) for _ in range(100)]
    fired = sum(drift(whole.take(a), whole.take(b), seed).status != "ok" for seed, (a, b) in enumerate(halves))
    assert binomtest(fired, 100, 0.05, alternative="greater").pvalue > 0.005, fired


@pytest.mark.parametrize("meaning, form, status",
                         [(0.03, 0.9, "ok"), (0.9, 0.03, "ok"), (0.03, 0.04, "ok"),
                          (0.02, 0.9, "doubt"), (0.9, 0.02, "doubt")])
def test_two_looks_share_one_level(monkeypatch, meaning, form, status):
    from types import SimpleNamespace
    from semantic_nb.validate import confidence
    said = lambda p: lambda *_: SimpleNamespace(pvalue=p, statistic=0.1, null_distribution=np.zeros(99))
    monkeypatch.setattr(confidence, "energy_test", said(meaning))
    monkeypatch.setattr(confidence, "form_test", said(form))
    found = confidence.drift(sample(30, 24), sample(30, 25))
    assert found.status == status and bool(found.rows) == (status == "doubt")


def test_another_meaning_is_seen_and_named():
    found = drift(sample(80, 6), sample(60, 7, shift=2.0))
    assert found.id == "validate.drift" and found.status == "doubt" and found.count == 60
    assert {row["differs in"] for row in found.rows} == {"meaning"} and found.fix


def test_another_form_is_seen_and_named():
    found = drift(sample(80, 8), sample(60, 9, longer=12))
    assert found.status == "doubt" and {row["differs in"]
                                        for row in found.rows} == {"form"} and "log words +" in found.evidence


def test_the_rows_are_the_strangers():
    test, strangers = sample(100, 10), sample(25, 11, shift=8.0)
    live = together(sample(75, 12), strangers)
    numbers = {row["number"] for row in drift(test, live).rows if row["differs in"] == "meaning"}
    assert numbers and numbers <= set(range(75, 100))
    assert all(live.texts[row["number"]].startswith(row["text"][:20]) for row in drift(test, live).rows)


@pytest.mark.parametrize("n, repeated", [(5, False), (19, False), (400, True)])
def test_few_or_repeated_queries_are_not_enough(n, repeated):
    live = sample(n, 13, shift=5.0)
    live = replace(live, texts=("the same",) * n) if repeated else live
    for sides in ((sample(100, 14), live), (live, sample(100, 14))):
        found = drift(*sides)
        assert found.status == "doubt" and found.evidence.startswith("not enough evidence: ") and not found.rows


def test_the_first_line_of_a_drift_is_a_sentence_for_people():
    from semantic_nb.validate.confidence import _in_words
    form = lambda words, mark: np.tile([np.log1p(words), 0, mark, 0, 0, 0, 0, 0], (30, 1))
    text = _in_words(form(7, 0), form(14, 1), True, False)
    assert "has 14 words, a typical test question 7" in text and "100% against 0%" in text and "in form" in text
    assert "\n" in drift(sample(40, 15), sample(40, 16)).evidence


def test_a_collapsed_encoder_is_no_evidence_of_sameness():
    flat = lambda q: replace(q, vectors=np.ones_like(q.vectors))
    assert drift(flat(sample(40, 15)), flat(sample(40, 16))).evidence.startswith("not enough evidence: ")


def test_broken_vectors_are_refused():
    a, b = sample(40, 17), sample(40, 18)
    broken = b.vectors.copy()
    broken[3, 2] = np.nan
    for wrong in (replace(b, vectors=broken), replace(b, vectors=b.vectors[:, :8])):
        with pytest.raises(ContractError, match="validate.drift"):
            drift(a, wrong)
    with pytest.raises(ContractError, match="validate.drift"):
        Questions(a.texts, b.vectors[:3], a.form)


def test_a_log_of_any_length_is_compared_by_a_sample():
    found = drift(sample(40, 19), sample(3000, 20))
    assert "1000 production against 40 test" in found.evidence
    json.dumps(asdict(found))


# --- the warning

def test_the_warning_speaks_of_a_drop_and_of_nothing_else():
    draw = np.random.default_rng(21)
    test, drop = draw.beta(2, 3, 200), draw.beta(1, 4, 120)
    assert production_warning(test, drop,
                              "nDCG@10").startswith("Fix the evaluation set before retraining: "
                                                    "nDCG@10 on production is -0.")
    assert production_gap(test, drop, "nDCG@10").status == "fail"
    assert production_warning(drop, test, "nDCG@10") == "" and production_gap(drop, test, "nDCG@10").status == "ok"


def test_the_interval_is_that_of_two_independent_samples():
    from scipy.stats import bootstrap
    draw = np.random.default_rng(22)
    test, live = draw.beta(2, 3, 150), draw.beta(2, 4, 60)
    found = bootstrap((live, test), lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), method="percentile",
                      n_resamples=5000, rng=1).confidence_interval
    low, high = map(float, production_gap(test, live, "m").evidence.split("[")[1].split("]")[0].split(","))
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.01)


def test_the_warning_is_rare_where_nothing_differs():
    draw = np.random.default_rng(23)
    spoke = sum(bool(production_warning(draw.beta(0.5, 1, 120), draw.beta(0.5, 1, 60), "m", seed, 500))
                for seed in range(200))
    assert binomtest(spoke, 200, 0.025, alternative="greater").pvalue > 0.005, spoke


def test_one_bad_query_is_no_warning():
    assert production_warning(np.full(100, 0.5), np.zeros(1), "m") == ""
    found = production_gap(np.full(100, 0.5), np.zeros(19), "m")
    assert found.status == "doubt" and found.evidence.startswith("not enough evidence: ")
    with pytest.raises(ContractError, match="validate.production"):
        production_gap(np.full(100, np.nan), np.full(100, 0.5), "m")


# --- in the report

def doctored(domain, live: str):
    """The sixty-document domain with thirty questions on each side, and runs that answer
    the test, and production as `live` says."""
    from semantic_nb.data.records import Judged
    ids = domain.corpus.ids
    split = lambda name, offset: Judged({f"{name}{i}": f"how to {ids[(i + offset) % 60]} please {i}"
                                         for i in range(30)},
                                        {f"{name}{i}": {ids[(i + offset) % 60]: 1} for i in range(30)})
    test, production = split("t", 0), split("p", 30)
    domain = replace(domain, splits={**domain.splits, "test": test, "production": production})
    answered = lambda judged, right: {q: ({next(iter(g)): 1.0} if right(i) else {})
                                      for i, (q, g) in enumerate(judged.qrels.items())}
    runs = {("served", 16, "test"): answered(test, lambda i: True),
            ("served", 16, "production"): answered(production, lambda i: live == "good" or i % 5 == 0),
            ("base", 32, "test"): answered(test, lambda i: i % 2),
            ("base", 16, "test"): answered(test, lambda i: i % 3),
            ("BM25", None, "test"): answered(test, lambda i: i % 5)}
    return domain, Runs(runs, domain.splits, "nDCG@10")


def empty_runs(domain, *keys):
    return Runs({key: {} for key in keys}, domain.splits, "nDCG@10")


@pytest.fixture
def base(spec, settings):
    from semantic_nb.encoder import load_encoder
    return load_encoder(spec.model.base, spec.model)


@pytest.mark.parametrize("live", ["good", "bad"])
def test_the_warning_is_the_first_line_of_the_report_or_absent(live, domain, spec, settings, base, monkeypatch):
    from semantic_nb import cli, pipeline
    from semantic_nb.index import SearchIndex
    from semantic_nb.model import Gate, Trained
    from semantic_nb.store import Artifact
    from semantic_nb.validate.audit import Audit
    domain, runs = doctored(domain, live)
    domain = replace(domain, splits={name: domain.splits[name] for name in ("test", "production")})
    served = runs.of("served", 16, "test")
    answers = {(name, size, split): served for name in ("base", "rotated base", "stage 1", "rotated stage 1", "stage 2",
                                                               "hybrid")
               for size in spec.model.dims for split in domain.splits} | dict(runs.runs)
    answers["BM25", None, "production"] = served
    runs = Runs(answers, domain.splits, "nDCG@10")
    gate = Gate(False, compare(np.zeros(30), np.zeros(30)), "nDCG@10", 16, "base", 32, "test")
    artifact = Artifact(Path("somewhere"), {})
    index = SearchIndex(None, (), {}, Path("index"))
    built = pipeline.Built(domain, Trained(artifact, artifact, gate, artifact), index)
    audit = Audit(({"dim": 16, "value": 0.5, "low": 0.4, "high": 0.6, "n": 30, "kept": 1.0, "bytes": 64},), 16)
    known = {"build": built, "measure_runs": runs, "load_encoder": base, "truncation_audit": audit, "_pictures": {}}
    for name, value in known.items():
        monkeypatch.setattr(pipeline, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(cli, "_spec", lambda *_: spec)
    monkeypatch.setattr(cli, "_say", lambda as_json: lambda line: None)
    from typer.testing import CliRunner
    result = CliRunner().invoke(cli.app, ["run"])
    assert result.exit_code == 0, result.exception
    folder = settings.runs_dir / f"{spec.name}-{settings.profile}"
    lines, content = (folder / "report.md").read_text(encoding="utf-8").splitlines(), json.loads(
        (folder / "report.json").read_text(encoding="utf-8"))
    first = "Fix the evaluation set before retraining: nDCG@10 on production is -0."
    assert content["warning"].startswith(first) if live == "bad" else content["warning"] == ""
    assert lines[0].startswith(f"**{first}" if live == "bad" else "# toy") and "Fix the evaluation set" not in "".join(
        lines[1:]) and "## How sure" in lines
    assert result.stdout.startswith(first) == (live == "bad")
    assert set(content["confidence"]) == {"minimum_detectable_difference", "drift",
                                          "production"} and content["confidence"]["drift"]["id"] == "validate.drift"


def test_how_sure_in_a_domain(domain, settings, base):
    found = how_sure(*doctored(domain, "bad"), base)
    assert found["production"].status == "fail" and found[
        "minimum_detectable_difference"].evidence.startswith("30 queries show")
    small = how_sure(domain, empty_runs(domain, ("served", 16, "test"), ("served", 16, "production"),
                                        ("base", 32, "test"), ("base", 16, "test"), ("BM25", None, "test")), base)
    assert all(f.status == "doubt" and f.evidence.startswith("not enough evidence: ") for f in small.values())
    alone = replace(domain,
                    spec=domain.spec.model_copy(
                        update={"validation": domain.spec.validation.model_copy(update={"production": None})}))
    empty = empty_runs(alone, ("base", 32, "test"), ("base", 16, "test"), ("BM25", None, "test"))
    nothing = how_sure(alone, empty, base)
    assert "names no production questions" in nothing[
        "drift"].evidence and "names no production questions" in nothing["production"].evidence


# --- real questions

def test_the_demo_production_questions_differ_in_form():
    rows = [json.loads(line)
            for line in (ROOT / "data" / "pydocs" / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    form = {split: question_form([row["text"] for row in rows if row["metadata"]["split"] == split], CORPUS)
            for split in ("test", "dev", "production")}
    assert form_test(form["test"],
                        form["production"]).pvalue <= 0.002 and form_test(form["test"], form["dev"]).pvalue > 0.05


@pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                    reason="needs the development sets: set DEVELOPMENT_DATA to their folder")
def test_claims_are_not_questions_about_aeroplanes():
    folder = Path(os.environ["DEVELOPMENT_DATA"])
    form = {}
    for name in ("scifact", "cranfield"):
        judged = {line.split("\t")[0] for line in (folder / name / "qrels" / "test.tsv").read_text().splitlines()[1:]}
        form[name] = question_form([row["text"]
                              for row in map(json.loads, (folder / name / "queries.jsonl").read_text().splitlines())
                              if row["_id"] in judged], CORPUS)
    assert form_test(form["scifact"], form["cranfield"]).pvalue <= 0.002
    for rows in form.values():
        draw = np.random.default_rng(1)
        splits = [np.array_split(draw.permutation(len(rows)), 2) for _ in range(60)]
        fired = sum(form_test(rows[a], rows[b], seed).pvalue <= 0.05 for seed, (a, b) in enumerate(splits))
        assert binomtest(fired, 60, 0.05, alternative="greater").pvalue > 0.005, fired


def test_drift_names_the_rows_of_the_whole_log():
    draw = np.random.default_rng(0)
    form = draw.normal(size=(3000, 8))
    test = Questions(tuple(f"ask {i}" for i in range(200)), draw.normal(size=(200, 4)), form[:200])
    live = Questions(tuple(f"query {i}" for i in range(3000)), draw.normal(3, 1, size=(3000, 4)), form + 2)
    rows = drift(test, live).rows
    assert rows and all(row["text"] == f"query {row['number']}" for row in rows)
