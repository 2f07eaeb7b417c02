"""The audit chooses on dev, asks no test, and shares its threshold with the diagnosis."""
from dataclasses import replace

import numpy as np
import pytest

from semantic_nb.data.records import Judged
from semantic_nb.diagnose import budgets_of
from semantic_nb.encoder import load_encoder
from semantic_nb.spec import SHARP_DROP
from semantic_nb.validate import audit as module
from semantic_nb.validate.audit import by_slice, draw_map, retrieval_row, truncation_audit


@pytest.fixture
def audited(domain, tiny_model, settings, monkeypatch):
    "The audit of a model that keeps these shares of a full score of 0.8 on dev; any other split is an error."
    def ask(dev):
        model = load_encoder(str(tiny_model), domain.spec.model)
        spec = domain.spec.model_copy(update={
            "validation": domain.spec.validation.model_copy(update={"audit_dims": (16, 8)})})
        kept = {id(domain.splits["dev"]): dict(zip((32, 16, 8), (1, *dev)))}
        monkeypatch.setattr(module, "search_sizes", lambda model, corpus, judged, dims: {dim: dim for dim in dims})
        monkeypatch.setattr(module, "judged_at", lambda *_: 0.5)
        monkeypatch.setattr(module, "per_query", lambda metric, dim, judged: np.full(
            len(judged.queries), 0.8 * kept[id(judged)][dim]))
        return truncation_audit(model, replace(domain, spec=spec))
    return ask


@pytest.mark.parametrize("dev, size", [((0.95, 0.91), 8), ((0.91, 0.89), 16), ((0.89, 0.5), 32)])
def test_the_smallest_size_without_a_sharp_drop_is_chosen_on_dev(audited, dev, size):
    audit = audited(dev)
    assert audit.recommended == size and {row["split"] for row in audit.rows} == {"dev"}
    assert {"kept", "bytes", "judged_at_k", "low", "high"} <= set(audit.rows[0])


def test_audit_and_diagnosis_have_one_threshold(domain):
    assert budgets_of(domain.spec)["tuned, served size"] == budgets_of(domain.spec)["base, served size"] == SHARP_DROP


def test_an_unjudged_answer_costs_the_score_and_the_share():
    judged = Judged({"a": "", "b": ""}, {"a": {"x": 1}, "b": {"x": 1}})
    known, unknown = ({q: {"x": 1.0} for q in judged.queries}, {q: {"y": 2.0, "x": 1.0} for q in judged.queries})
    rows = [retrieval_row("s", None, "nDCG@10", "toy", run, judged, 2) for run in (known, unknown)]
    assert rows[0]["judged_at_k"] == 1 and rows[1]["judged_at_k"] == 0.5 and rows[1]["value"] < rows[0]["value"]


def test_no_question_vanishes_between_slices():
    judged = Judged(dict.fromkeys("abcd", ""), {q: {"x": 1} for q in "abcd"})
    slices = by_slice(np.array([1, 1, 0, 0.5]), judged, {"a": "short", "b": "short"})
    assert sum(row["n"] for row in slices) == 4 and [row["slice"] for row in slices] == ["", "short"]


def test_a_map_names_at_most_five_labels():
    from semantic_nb.brief import figure
    points = np.random.default_rng(0).normal(size=(70, 2))
    _, ax = figure(3, 3)
    draw_map(points, [f"label {i % 7}" for i in range(70)], "seven labels", ax)
    assert len(ax.texts) == 5
