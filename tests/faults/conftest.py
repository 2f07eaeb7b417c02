"""Healthy checkouts, each built once, and a fresh copy for each fault."""
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", default=False, help="Write tests/faults/table.json from what the fault tests see.")


def _link_large(source: str, target: str) -> None:
    os.link(source, target) if source.endswith(".safetensors") else shutil.copy2(source, target)


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    "A function from a command to the healthy checkout that it needs, made by the first test that asks; `search` and `diagnose` find a finished build."
    from faults.catalogue import SEARCH
    from faults.command import call
    from faults.healthy import write_checkout
    made: dict[str, Path] = {}

    def checkout_for(command: str) -> Path:
        kind = command if command in ("search", "diagnose") else "files"
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "checkout"
            write_checkout(made[kind], random_base=kind == "search")
            with chdir(made[kind]):
                outcome = call(SEARCH) if kind != "files" else None
            assert outcome is None or outcome.code == 0, (outcome.content, outcome.errors[-2000:])
        return made[kind]
    return checkout_for


@pytest.fixture
def checkout(healthy, tmp_path, monkeypatch):
    "A function from a command to a copy of the healthy checkout; the current folder is there. Weights are hard links: a fault writes a new file in their place."
    def copy(command: str) -> Path:
        root = tmp_path / "checkout"
        shutil.copytree(healthy(command), root, copy_function=_link_large)
        monkeypatch.chdir(root)
        return root
    yield copy
    shutil.rmtree(tmp_path / "checkout", ignore_errors=True)
