"""The short form of tests/reliability/soak.py. `make soak` is the long one."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("the soak needs fork and signals")
    folder = tmp_path_factory.mktemp("reliability")
    done = subprocess.run([sys.executable, SOAK, "--folder", folder / "soak", "--out", folder / "figures.json",
                           "--kills", "2", "--seconds", "45"], capture_output=True, text=True)
    assert (folder / "figures.json").is_file(), done.stdout + done.stderr
    return json.loads((folder / "figures.json").read_text())


def test_a_killed_run_goes_on_and_ends_as_one_without_interruption(figures):
    kills = figures["kills"]
    assert kills["kills"] == 2 and kills["runs that ended and were compared"] >= 1 and kills["orphans"] == 0
    assert max(kills["largest difference"].values()) <= kills["tolerance"]


def test_a_damaged_artifact_is_refused(figures):
    assert figures["damaged artifacts"]["opened"] == [] and figures["damaged artifacts"]["refused"] > 500


def test_damaged_input_ends_in_an_exit_code_that_is_documented_and_writes_nothing_elsewhere(figures):
    assert figures["damaged input"]["failed"] == [] and figures["damaged input"]["inputs"] >= 10
