"""A healthy checkout, built once, and a fresh copy of it for each fault."""
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", default=False, help="Write tests/faults/table.json from what the fault tests see.")


def _link_large(source: str, target: str) -> None:
    os.link(source, target) if source.endswith(".safetensors") else shutil.copy2(source, target)


@pytest.fixture(scope="session")
def healthy(tmp_path_factory) -> Path:
    "A checkout with a finished build."
    from faults.command import call
    from faults.catalogue import SEARCH
    from faults.healthy import write_checkout
    root = tmp_path_factory.mktemp("healthy") / "checkout"
    write_checkout(root)
    here = Path.cwd()
    os.chdir(root)
    try:
        outcome = call(SEARCH)
    finally:
        os.chdir(here)
    assert outcome.code == 0, (outcome.content, outcome.errors[-2000:])
    return root


@pytest.fixture
def checkout(healthy, tmp_path, monkeypatch):
    "A copy of the healthy checkout, and the current folder is there. Weights are hard links: a fault writes a new file in their place."
    root = tmp_path / "checkout"
    shutil.copytree(healthy, root, copy_function=_link_large)
    monkeypatch.chdir(root)
    yield root
    shutil.rmtree(root)
