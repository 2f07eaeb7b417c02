"""Healthy checkouts, each built once, and a fresh copy for each fault."""
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from faults.catalogue import SEARCH
from faults.command import Outcome, call
from faults.healthy import write_checkout


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", default=False,
                     help="Write tests/faults/table.json from what the fault tests see.")


def _link_large(source: str, target: str) -> None:
    os.link(source, target) if source.endswith(".safetensors") else shutil.copy2(source, target)


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    "A function from a command to the healthy checkout that it needs, made and built by the first test that asks."
    made: dict[bool, Path] = {}

    def checkout_for(command: str) -> Path:
        if (random_base := command != "diagnose") not in made:
            made[random_base] = tmp_path_factory.mktemp("healthy") / "checkout"
            write_checkout(made[random_base], random_base)
            with chdir(made[random_base]):
                outcome = call(SEARCH)
            assert outcome.code == 0, (outcome.content, outcome.errors[-2000:])
        return made[random_base]
    return checkout_for


@pytest.fixture
def checkout(healthy, tmp_path, monkeypatch):
    """A function from a command to a copy of the healthy checkout; the current folder is there. Weights are hard links:
    a fault writes a new file in their place."""
    def copy(command: str) -> Path:
        root = tmp_path / "checkout"
        shutil.copytree(healthy(command), root, copy_function=_link_large)
        monkeypatch.chdir(root)
        return root
    yield copy
    shutil.rmtree(tmp_path / "checkout", ignore_errors=True)


@pytest.fixture(scope="session")
def healthy_outcome(healthy, tmp_path_factory):
    "A function from a command to what it says about the healthy checkout, asked once."
    said: dict[tuple[str, ...], Outcome] = {}

    def outcome_of(command: tuple[str, ...]) -> Outcome:
        if command not in said:
            root = tmp_path_factory.mktemp("asked") / "checkout"
            shutil.copytree(healthy(command[0]), root, copy_function=_link_large)
            with chdir(root):
                said[command] = call(command)
            shutil.rmtree(root)
        return said[command]
    return outcome_of
