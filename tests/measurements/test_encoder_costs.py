"""The table of encoders, from answers that are known."""
import pytest

from encoders import rows_of
from semantic_nb.data.records import Judged


def one(kind: str, rows: list[list[int]]) -> dict:
    return {"kind": kind, "cpu_ms": 1.0, "start_s": 1.0, "rss_mib": 100.0, "rows": rows,
            "scores": [[1 - place / 10 for place, _ in enumerate(row)] for row in rows]}


def test_overlap_and_difference_are_against_torch():
    judged = Judged({"a": "first", "b": "second", "c": "third"}, {q: {"d0": 1} for q in "abc"})
    found = {"torch": one("torch", [[0, 1], [0, 2], [0, 3]]), "int8": one("int8", [[0, 1], [2, 0], [3, 4]])}
    torch, int8 = rows_of(found, [f"d{n}" for n in range(5)], judged, "nDCG@10")
    assert (torch["overlap"], torch["value"], torch["difference"]) == (1, 1, 0)
    assert int8["overlap"] == pytest.approx((2 + 2 + 1) / 6)
    assert int8["value"] == pytest.approx((1 + 1 / 1.58496 + 0) / 3, abs=1e-4)
    assert int8["difference"] == pytest.approx(int8["value"] - 1) and int8["n"] == 3


def test_a_place_without_a_document_is_no_answer():
    judged = Judged({"a": "first"}, {"a": {"d4": 1}})
    row, = rows_of({"torch": one("torch", [[0, -1]])}, [f"d{n}" for n in range(5)], judged, "nDCG@10")
    assert row["value"] == 0
