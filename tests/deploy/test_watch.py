"""The log of questions: what it keeps, what it forgets, and what it says."""
import json

import pytest

from semantic_nb.core import ContractError
from semantic_nb.deploy.watch import Metrics, QueryLog, read_log, watch_log

FOUND = {"mode": "dense", "bundle": "0f", "answers": [{"id": "sort_tables"}]}


def test_a_log_forgets_who_asked_and_what_is_too_old(tmp_path):
    (tmp_path / "queries-2001-01-01.jsonl").write_text("{}\n")
    first, second = QueryLog(tmp_path, 7), QueryLog(tmp_path, 7)
    for log in (first, first, second):
        log.write("10.0.0.1", "browser", "how to sort", FOUND)
    path, = tmp_path.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["session"] == lines[1]["session"] != lines[2]["session"]  # the salt lives as long as the service
    assert "10.0.0.1" not in path.read_text() and lines[0]["answers"] == ["sort_tables"]


def rows_of(questions):
    return [{"session": str(n), "query": text, "answers": ["sort_tables"]} for n, text in enumerate(questions)]


def test_names_are_counted_and_what_is_asked_most_is_to_be_labelled(spec):
    asked = ["sort_tables", "sort tables", "my table is a mess", "my table is a mess", "where did the rows go"]
    found, drifted = watch_log(rows_of(asked), spec)
    assert "2 only name a document" in found.evidence and found.count == 4
    assert found.rows[0] == {"query": "my table is a mess", "asked": 2} and drifted.id == "validate.drift"
    assert "not enough evidence" in drifted.evidence


def test_a_session_that_repeats_itself_counts_once(spec):
    rows = [row | {"session": "one"} for row in rows_of(["again"] * 5)]
    assert watch_log(rows, spec)[0].rows == ({"query": "again", "asked": 1},)


def test_what_is_no_log_is_refused(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ContractError, match="data."):
        read_log([tmp_path / "log.jsonl"])


def test_metrics_of_two_services_are_apart():
    one, other = Metrics(), Metrics()
    one.requests.labels("/search", "200").inc()
    assert b'requests_total{path="/search",status="200"} 1.0' in one.text() and b"/search" not in other.text()


def test_what_the_service_writes_is_what_watch_reads(tmp_path, spec):
    log = QueryLog(tmp_path)
    for query in ("how do I get rid of blanks", " ", "how do I get rid of blanks", "what is a harbour"):
        log.write("10.0.0.1", "a browser", query, {"mode": "dense", "bundle": "b", "answers": [{"id": "sort_tables"}]})
    path, = tmp_path.glob("*.jsonl")
    assert path.stat().st_mode & 0o077 == 0 and "10.0.0.1" not in path.read_text()
    asked, drifted = watch_log(read_log([path]), spec)
    assert {row["query"] for row in asked.rows} == {"how do I get rid of blanks", "what is a harbour"}
    far = [row["text"] for row in drifted.rows]
    assert far == [] or asked.rows[0]["query"] == far[0]
