"""How long `semantic-nb run` takes from an empty store, on the device that is there, and what it then reports.

    python tests/measurements/run_time.py [--profile full]

Writes a row into `run_time.json` beside the spec, in place of an earlier one of the same profile and device: seconds,
peak of memory of the processes (GiB, without the accelerator's), device and versions, and the gate's decision.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from measured_on import measured_on
from semantic_nb.core import Settings
from semantic_nb.output import Table
from semantic_nb.pipeline import build
from semantic_nb.spec import load_spec
from semantic_nb.store import read_object, write_json


def timed_run(profile: str) -> dict:
    "Seconds and peak of a run in a process of its own, then its decision, from the store that it filled."
    with tempfile.TemporaryDirectory() as folder:
        environment = {"SEMANTIC_NB_RUNS_DIR": folder, "SEMANTIC_NB_PROFILE": profile}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "semantic_nb", "run"], env=os.environ | environment, check=True,
                       stdout=sys.stderr)
        seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        os.environ |= environment
        with Settings.load().active():
            built = build(load_spec(), lambda text: None)
    decision = built.trained.decision
    return {"profile": profile, "seconds": seconds, "peak_gib": peak, "documents": len(built.domain.corpus),
            "pairs": sum(map(len, built.domain.pairs)), "asked": decision.asked, "ship": decision.ship,
            **asdict(decision.comparison), **measured_on()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    path: Path = load_spec().folder / "run_time.json"
    row = timed_run(parser.parse_args().profile)
    others = [known for known in read_object(path).get("rows", [])
              if (known["profile"], known["device"]) != (row["profile"], row["device"])]
    write_json(path, {"rows": [*others, row]})
    print(json.dumps(row), Table([row]), sep="\n")


if __name__ == "__main__":
    main()
