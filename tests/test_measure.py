import math

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.data.records import Judged
from semantic_nb.measure import compare, exact_search, holm, interval, judged_at, per_query, Runs

JUDGED = Judged({"q": "?", "r": "?"}, {"q": {"a": 2, "b": 1, "z": 0}, "r": {"c": 1}})


def test_metrics_agree_with_the_formulas():
    run = {"q": {"b": 3.0, "x": 2.0, "a": 1.0}}
    ideal, found = 2 + 1 / math.log2(3), 1 + 2 / math.log2(4)
    assert per_query("nDCG@10", run, JUDGED) == pytest.approx([found / ideal, 0])
    assert per_query("P@10", run, JUDGED) == pytest.approx([0.2, 0])
    assert per_query("R@10", run, JUDGED) == pytest.approx([1, 0])
    assert per_query("RR@10", run, JUDGED) == pytest.approx([1, 0])
    assert judged_at(3, run, JUDGED) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", ["accuracy", "nDCG@@", ""])
def test_an_unknown_metric_is_refused(metric):
    with pytest.raises(ContractError, match="validate.metric"):
        per_query(metric, {}, JUDGED)


def test_no_judgments_no_number():
    with pytest.raises(ContractError, match="validate.empty"):
        per_query("nDCG@10", {}, Judged({}, {}))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 40))
@hypothesis_settings(max_examples=25, deadline=None)
def test_exact_search_is_exact(n, dim, k):
    draw = np.random.default_rng(n * 100 + dim)
    queries, documents = draw.normal(size=(3, dim)).astype("float32"), draw.normal(size=(n, dim)).astype("float32")
    found = exact_search(["a", "b", "c"], queries, [str(i) for i in range(n)], documents, k)
    for name, scores in zip("abc", queries @ documents.T):
        assert list(found[name]) == [str(i) for i in np.argsort(-scores)[:k]]


def test_holm_against_the_published_example():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    hits = [(e := interval(draw.beta(0.5, 0.5, 60), seed=i, resamples=400)).low <= 0.5 <= e.high for i in range(200)]
    assert 0.88 <= np.mean(hits) <= 0.99


def test_three_outcomes():
    draw = np.random.default_rng(1)
    base = draw.uniform(size=120)
    assert compare(base + 0.1 + draw.normal(0, 0.1, 120), base).outcome == "better"
    assert compare(base - 0.1 + draw.normal(0, 0.1, 120), base).outcome == "worse"
    unsure = compare(base + draw.normal(0.005, 0.2, 120), base)
    assert unsure.outcome == "not shown" and unsure.low < 0 < unsure.high
    assert compare(base, base).outcome == "not shown"


def test_pairs_of_different_length_are_refused():
    with pytest.raises(ContractError, match="validate.pairing"):
        compare(np.ones(3), np.ones(4))


def test_a_run_file_is_read_by_ir_measures(tmp_path):
    import ir_measures
    runs = Runs({("stage 1", 16, "test"): {"q": {"b": 0.5, "a": 1.5}}}, {}, "nDCG@10")
    file = runs.write(tmp_path) / "test-stage1-16.trec"
    assert [(r.query_id, r.doc_id, r.score) for r in ir_measures.read_trec_run(str(file))] == [
        ("q", "a", 1.5), ("q", "b", 0.5)]


def test_runs_know_system_size_and_split():
    judged = Judged({"q": "sort"}, {"q": {"a": 1}})
    runs = Runs({("base", 8, "test"): {"q": {"a": 1.0}}, ("base", 4, "test"): {"q": {"b": 1.0}}},
                {"test": judged}, "nDCG@10")
    assert runs.scores("base", 8, "test").tolist() == [1.0] and runs.scores("base", 4, "test").tolist() == [0.0]
    assert runs.scores("base", 8, "test", "P@1").tolist() == [1.0]
    with pytest.raises(ContractError, match="no run of tuned at 8 on test"):
        runs.of("tuned", 8, "test")


def test_a_difference_that_never_varies_has_its_sign():
    assert compare(np.ones(20), np.zeros(20)).outcome == "better"
    assert compare(np.zeros(20), np.ones(20)).outcome == "worse"


def test_equal_values_have_no_interval_whatever_their_binary_form():
    assert np.isnan(interval(np.full(50, 0.6309297535714575)).low)


@pytest.mark.parametrize("a, b, said", [
    (np.ones(9), np.ones(9), "no difference on any of 9 questions"),
    (np.ones(20), np.zeros(20),
     "+1.000 (no interval: all 20 differences are the same), p < 0.001, n = 20: better"),
    (np.ones(2), np.zeros(2), "+1.000 (no interval: 2 values are too few), p = 1.000, n = 2: not shown")])
def test_what_has_no_interval_is_said_in_words(a, b, said):
    assert str(compare(a, b)) == said
    why = "2 values are too few" if len(a) == 2 else f"all {len(a)} values are the same"
    assert str(interval(a)) == f"1.000 (no interval: {why})"


def test_differences_that_cancel_out_are_differences():
    assert "no difference" not in str(compare(np.array([0.1, 0.2, -0.3]), np.zeros(3), resamples=99))


def test_ids_with_white_space_survive_a_trec_run(tmp_path):
    from urllib.parse import unquote

    import ir_measures
    from semantic_nb.measure import Runs
    run = {"how to\tsort": {"my file.txt": 2.0, "a\u00a0b\nc": 1.0}, "50%": {"ü": 1.0, "my%20file": 0.5}}
    Runs({("base", 8, "test"): run}, {}, "nDCG@10").write(tmp_path)
    lines = (tmp_path / "test-base-8.trec").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 and all(len(line.split()) == 6 for line in lines)
    read = [(unquote(row.query_id), unquote(row.doc_id), row.score)
            for row in ir_measures.read_trec_run(str(tmp_path / "test-base-8.trec"))]
    assert read == [(query, document, score) for query, hits in run.items() for document, score in hits.items()]
