"""Unit vectors to cluster, with the groups they were drawn from."""
import numpy as np


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, "float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def blobs(sizes=(40, 30, 20, 10), dim=32, spread=0.25, seed=0):
    draw = np.random.default_rng(seed)
    centres = unit(draw.normal(size=(len(sizes), dim)))
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return unit(centres[truth] + spread * draw.normal(size=(len(truth), dim)) / np.sqrt(dim)), truth
