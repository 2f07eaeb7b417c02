"""One, two or three questions, and scores that are all alike: every figure says so in words, and none is NaN."""
import re
from dataclasses import asdict

import matplotlib
import numpy as np
import pytest

from semantic_nb.brief import error_bars, figure, headline
from semantic_nb.brief import _audit_table, _comparison_table
from semantic_nb.core import ContractError
from semantic_nb.output import Estimate
from semantic_nb.data.records import Judged
from semantic_nb.diagnose import conclude, draw_waterfall, steps_table, waterfall
from semantic_nb.measure import compare, interval, judged_at
from semantic_nb.model import Gate
from semantic_nb.validate.audit import Audit, by_slice, comparison_row, draw_audit, retrieval_row
from semantic_nb.validate.bench import bench_table
from semantic_nb.validate.confidence import power_finding, production_gap, production_warning

matplotlib.use("Agg")
FEW = {f"{n} {name}": values[:n] for n in (1, 2, 3)
       for name, values in {"zero": [0, 0, 0], "one": [1, 1, 1], "different": [0, 1, 0]}.items()}
few = pytest.mark.parametrize("right", FEW.values(), ids=FEW)
STAGES = ("BM25", "base", "tuned, full size", "tuned, served size", "served index")


def judged(n):
    return Judged({f"q{i}": "" for i in range(n)}, {f"q{i}": {f"d{i}": 1} for i in range(n)})


def answers(right):
    return {f"q{i}": {f"d{i}" if hit else "other": 1.0} for i, hit in enumerate(right)}


def says_why(text, n):
    assert not re.search(r"\bnan\b", text, re.I), text
    if n < 3:
        assert f"{n} value" in text and "too few" in text, text
    return True


@few
def test_a_mean_and_a_difference_say_why_they_have_no_interval(right):
    values, n = np.array(right, float), len(right)
    assert says_why(str(interval(values)), n)
    assert says_why(str(compare(values, np.full(n, 0.5))), n)
    assert ("all 3 values are the same" in str(interval(values))) == (n == 3 and np.ptp(values) == 0)
    assert compare(values, values).outcome == "not shown" and compare(values, values).p == 1


@few
def test_gate_slices_and_tables_never_print_nan(right):
    values, n = np.array(right, float), len(right)
    gate = Gate(False, compare(values, values), "nDCG@10", 16, "base", 32, "test")
    row = retrieval_row("base", 16, "nDCG@10", "test", answers(right), judged(n), 5)
    other = comparison_row("tuned", 16, "base", 32, "nDCG@10", "test", (values, np.zeros(n)))
    content = {"retrieval": [row], "spec": {"model": {"dims": [32, 16]}, "index": {"dim": 16},
                                            "validation": {"metric": "nDCG@10"}}}
    lost = {key: None if value != value else value for key, value in row.items()}  # as report.json brings it back
    audit = _audit_table([row | {"kept": float("nan"), "bytes": 64}], "nDCG@10")
    texts = [str(gate), str(headline(content, "test")), str(headline(content | {"retrieval": [lost]}, "test")),
             _comparison_table([other]), audit]
    texts.append(bench_table({"source": "s", "model": "m", "tuned on": "", "retrieval": [row], "comparisons": [other]}))
    slices = by_slice(values, judged(n), {"q0": "first"})
    assert sum(one["n"] for one in slices) == n
    texts += [str(Estimate(one["value"], one["low"], one["high"], one["n"])) for one in slices]
    for text in texts:
        says_why(text, 3)
    assert 0 <= judged_at(10, answers(right), judged(n)) <= 1


@few
def test_the_diagnosis_is_written_and_drawn(right):
    n = len(right)
    steps = waterfall({name: answers(right if place % 2 else [0] * n) for place, name in enumerate(STAGES)},
                      judged(n), "nDCG@10", {})
    gate = Gate(True, compare(np.ones(n), np.zeros(n)), "nDCG@10", 16, "base", 32, "test")
    assert conclude(steps, (), gate)[1] == "doubt" and says_why(conclude(steps, (), gate)[2], 3)
    says_why(str(steps_table(steps)), 3)
    picture, ax = figure()
    draw_waterfall(steps, ax, "nDCG@10")
    picture.canvas.draw()


@few
def test_the_audit_is_drawn_without_error_bars(right):
    import matplotlib.pyplot as plt
    row = asdict(interval(np.array(right, float)))
    draw_audit({"model": Audit(tuple(row | {"dim": dim} for dim in (32, 16, 8)), 16)}, "nDCG@10")
    plt.gcf().canvas.draw()
    bars = error_bars([interval(np.array(right, float))])
    assert bars.shape == (2, 1) and np.isfinite(bars).all() and (bars >= 0).all()


@few
def test_confidence_asks_for_more_questions(right):
    values = np.array(right, float)
    assert power_finding({"two systems": values}, len(values), "nDCG@10").status == "doubt"
    assert production_gap(values, values, "nDCG@10").status == "doubt"
    assert production_warning(values, values, "nDCG@10") == ""


@pytest.mark.parametrize("values", [[], [np.nan, 1, 0], [np.inf, 1]])
def test_no_scores_and_scores_that_are_no_numbers_are_refused(values):
    for call in (interval, lambda some: compare(some, some)):
        with np.errstate(invalid="ignore"), pytest.raises(ContractError, match="validate.scores"):
            call(np.array(values, float))


@pytest.mark.parametrize("kind", ["two questions", "every score is 1"])
def test_a_run_ends_in_a_report_whatever_the_scores(kind, domain_folder, monkeypatch):
    from semantic_nb.pipeline import run
    from semantic_nb.spec import load_spec
    monkeypatch.chdir(domain_folder.parents[1])
    test = domain_folder / "qrels" / "test.tsv"
    lines = test.read_text(encoding="utf-8").splitlines(keepends=True)
    test.write_text("".join(lines[:3 if kind == "two questions" else None]), encoding="utf-8")
    for home in ("measure", "validate.audit", "diagnose", "model") if kind == "every score is 1" else ():
        monkeypatch.setattr(f"semantic_nb.{home}.per_query", lambda metric, run, judged: np.ones(len(judged.queries)))
    report = run(load_spec(), say=lambda _: None)
    assert not re.search(r"\bnan\b", report.text), report.text
    assert "no interval: " in str(headline(report.content, "test"))
    assert {"waterfall.png", "audit.png", "report.json"} <= {path.name for path in report.folder.iterdir()}
