"""The comparison of index types, on little: does it measure what it says?"""
import numpy as np

from index_types import index_types, measure_types, row_recall


def unit(n, dim=32, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_recall_counts_what_exact_search_found():
    assert row_recall(np.array([[1, 2], [3, -1]]), np.array([[2, 1], [4, 5]])).tolist() == [1.0, 0.0]


def test_every_type_is_built_as_it_is_called():
    names = index_types(100_000, 128)
    assert names["flat"][0] == "Flat" and names["IVF-PQ"][0] == "IVF1264,PQ16np"
    assert all(max(values) <= 25 for name, (_, knob, values) in index_types(1_000, 32).items() if knob == "nprobe")


def test_more_effort_finds_more_and_codes_are_small():
    vectors = unit(2_000)
    rows = list(measure_types(vectors, unit(20, seed=1), rounds=1))
    by = {(row["type"], row["effort"]): row for row in rows}
    assert by["flat", 0]["recall"] == 1 and by["flat", 0]["bytes"] >= 32 * 4
    ivf = [row["recall"] for row in rows if row["type"] == "IVF"]
    assert ivf[0] < 0.6 < ivf[-1] and ivf == sorted(ivf)
    assert by["IVF-PQ, refined", 16]["recall"] > by["IVF-PQ, refined", 1]["recall"]
    assert by["PQ", 0]["bytes"] < by["8 bits per number", 0]["bytes"] < by["flat", 0]["bytes"] < by["HNSW", 16]["bytes"]
    assert all(row["time"] > 0 for row in rows)
