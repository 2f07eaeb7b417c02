"""The short form of tests/soak.py: a few kills. `make soak` is the long one."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the soak needs fork and signals")
def test_a_killed_run_goes_on_and_ends_as_one_without_interruption(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "tests" / "soak.py", tmp_path / "soak", "--kills", "3", "--out",
                           tmp_path / "soak.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert figures["kills"] == 3 and figures["runs that ended and were compared"] >= 1
    assert max(figures["largest difference"].values()) <= figures["tolerance"]
