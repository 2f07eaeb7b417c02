"""Each fault is injected, the public command runs with every check active, and the first failure names the right layer."""
import json
from pathlib import Path

import pytest

from faults.catalogue import FAULTS, Fault
from faults.command import call, commands, doubtful, first_failure
from semantic_nb.core import write_json

TABLE = Path(__file__).with_name("table.json")
LAYERS = {"data", "loss", "model", "index", "cluster", "validate"}
SEEN: dict[str, dict] = {}


def skip_without(command: str) -> None:
    if command not in commands():
        pytest.skip(f"there is no command {command} yet")


def row(fault: Fault, id: str, layer: str) -> dict:
    return {"fault": fault.says, "layer": fault.layer, "silent": fault.silent, "command": fault.command[0], "caught by": id, "caught": layer == fault.layer}


@pytest.fixture(scope="session")
def doubts_of():
    "What is doubtful in the healthy checkout already, by command; filled by the first test that asks."
    return {}


def as_before(fault: Fault, doubts_of: dict) -> set[str]:
    if fault.degree and fault.command not in doubts_of:
        doubts_of[fault.command] = doubtful(call(fault.command))
    return doubts_of.get(fault.command, set())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_first_failure_names_the_layer(fault, checkout, doubts_of):
    skip_without(fault.command[0])
    root = checkout(fault.command[0])
    if fault.prepare:
        fault.prepare(root)
    known = as_before(fault, doubts_of)
    fault.inject(root)
    if fault.control:
        fault.control(root)  # without our checks, nothing raises
    id, layer = first_failure(call(fault.command), fault.degree, known)
    SEEN[fault.id] = row(fault, id, layer)
    if fault.gap and layer != fault.layer:
        pytest.xfail(fault.gap)
    assert layer == fault.layer, f"{fault.says}: {id or 'nothing'} was named, expected {fault.layer}"


@pytest.mark.parametrize("command, prepare", sorted({(fault.command, fault.prepare) for fault in FAULTS}, key=str), ids=lambda value: value[0] if isinstance(value, tuple) else "prepared" if value else "as it is")
def test_a_healthy_checkout_raises_nothing(command, prepare, checkout):
    skip_without(command[0])
    root = checkout(command[0])
    if prepare:
        prepare(root)
    outcome = call(command)
    assert outcome.code == 0, outcome.content
    assert first_failure(outcome) == ("", "")


def test_the_catalogue_covers_every_layer():
    assert len(FAULTS) >= 25 and {fault.layer for fault in FAULTS} == LAYERS and len({fault.id for fault in FAULTS}) == len(FAULTS)
    assert sum(fault.silent for fault in FAULTS) >= 8


def test_the_table_is_what_the_tests_saw(request):
    if len(SEEN) < len(FAULTS):
        pytest.skip(f"{len(SEEN)} of {len(FAULTS)} faults were run")
    content = {fault.id: SEEN[fault.id] for fault in FAULTS}
    if request.config.getoption("--write-table", default=False):
        write_json(TABLE, content)
    assert json.loads(TABLE.read_text(encoding="utf-8")) == content, "write it again: python -m pytest tests/faults --write-table"
