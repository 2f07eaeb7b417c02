"""The measurement of sentence similarity, on a model of one layer and a few pairs."""
import numpy as np
import pytest

from measurements.similarity import correlation, rows

PAIRS = ([f"open file {i}" for i in range(40)], [f"open {'file' if i % 2 else 'door'} {i}" for i in range(40)],
         np.array([4.0 if i % 2 else 1.0 for i in range(40)]))


def test_a_correlation_has_an_interval_around_it():
    scores = np.arange(50.0)
    found = correlation(scores + np.random.default_rng(0).normal(0, 10, 50), scores)
    assert found.low < found.value < found.high < 1 and found.n == 50
    assert correlation(scores, scores).value == pytest.approx(1)


def test_a_rotation_keeps_the_full_size_and_every_size_is_measured(tiny_model, settings, monkeypatch):
    import measurements.similarity as similarity
    monkeypatch.setattr(similarity, "DIMS", (64, 32, 16))
    cut, turned = rows(str(tiny_model), PAIRS, PAIRS, PAIRS, 0)
    assert cut["sizes"]["32"]["value"] == pytest.approx(turned["sizes"]["32"]["value"], abs=0.03)
    assert cut["sizes"]["32"]["kept"] == 1 and set(cut["sizes"]) == {"32", "16"}
