"""The figures of a service, on the bundle of the toy domain: do they measure what they say?"""
import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from running import running
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.deploy.changes import change_bundle

sys.path.append(str(Path(__file__).parents[1] / "measurements"))
from serving import bare_cost, changed_over, figures, overload, rate, served_cost  # noqa: E402

QUESTIONS = [f"order the items of a list of {kind}" for kind in ("tables", "arrays", "trees", "images")]
PLAIN = """
from fastapi import FastAPI
app = FastAPI()
@app.post("/search")
async def search(body: dict):
    return {"bundle": "plain", "answers": []}
@app.get("/readyz")
async def ready():
    return "ready"
"""


@pytest.fixture
def bundles(bundle_folder, tmp_path):
    first = open_bundle(bundle_folder)
    return first, open_bundle(change_bundle(bundle_folder, tmp_path / "other", delete=[first.corpus.ids[0]]))


def test_all_figures_are_measured_and_named_once(bundles, tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    rows = list(figures(*bundles, tmp_path, QUESTIONS * 5, requests=40))
    assert len({row["figure"] for row in rows}) == len(rows) == 7
    assert all(row["value"] > 0 for row in rows[:4])
    changes, crowd, _ = rows[4:]
    assert (changes["value"], changes["requests"], changes["answered by"]) == (0, 1000, 2)
    assert sum(count for name, count in crowd.items() if name.startswith("status")) == 1280
    assert set(crowd) - {"figure", "goal", "value"} <= {"status 200", "status 429"}



def test_costs_and_rates_are_positive_and_a_refusal_is_an_error(bundles):
    with running(bundles[0].path, "--queue", "1") as (process, address):
        assert served_cost(psutil.Process(process.pid), address, QUESTIONS * 10) > 0
        assert bare_cost(bundles[0], QUESTIONS) > 0
        assert asyncio.run(overload(address, QUESTIONS, 60)).total() == 60
        with pytest.raises(RuntimeError, match="were not answered"):
            rate(address, QUESTIONS * 20, clients=32)


def test_an_answer_of_the_wrong_bundle_is_seen(bundles):
    first, other = bundles
    exchanged = replace(first, id=other.id), replace(other, id=first.id)
    with running(first.path) as (_, address):
        found = asyncio.run(changed_over(address, exchanged, QUESTIONS[:1], times=0))
    assert (found["mixed"], found["lost"]) == (1000, 0)
