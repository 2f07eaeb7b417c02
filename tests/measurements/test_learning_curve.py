"""The learning curve: what it trains on, and what it compares."""
from dataclasses import replace

import numpy as np
import pytest

from learning_curve import rows_of, scores_of, trained_on
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain


def test_seeds_are_averaged_question_by_question_and_compared_with_the_base():
    seeds = [{("test", 8): np.array([0.2, 0.4, 0.6])}, {("test", 8): np.array([0.4, 0.6, 0.8])}]
    row, = rows_of(250, seeds, {"test": np.zeros(3)})
    assert (row["pairs"], row["dim"], row["seeds"], row["n"]) == (250, 8, 2, 3)
    assert row["value"] == row["difference"] == pytest.approx(0.5)


def test_a_point_of_the_curve_is_trained_on_so_many_pairs(spec, settings):
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 4})})
    count, scores = trained_on(spec, 8, 1)
    everything, _ = trained_on(spec, 0, 1)
    assert count <= 8 and count < everything
    assert set(scores) == {("test", spec.model.dims[0]), ("test", spec.index.dim)}
    with replace(Settings.current(), pairs=8).active():
        domain = load_domain(spec)
        base = scores_of(spec.model.base, domain, [spec.model.dims[0]])["test", spec.model.dims[0]]
    assert base.shape == scores["test", spec.index.dim].shape
