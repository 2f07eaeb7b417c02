"""Nothing lost, nothing silent: kills, damaged artifacts and damaged input, many of each.

    python tests/reliability/soak.py                           100 kills, ten minutes of damaged input; an hour in all
    python tests/reliability/soak.py --kills 2 --seconds 45    what CI does

Writes the figures that README shows, to tests/reliability/figures.json unless --out names another file.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())  # matplotlib writes a list of fonts there, once

from reliability.damage import refuse_damaged
from reliability.fuzz import fuzz
from reliability.kills import survive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "soak", help="is removed first")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600, help="of damaged input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("figures.json"))
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    figures = {"date": date.today().isoformat(), "kills": survive(folder / "kills", chosen.kills, chosen.seed),
               "damaged artifacts": refuse_damaged(folder / "kills" / "control" / "store", folder / "copies"),
               "damaged input": fuzz(folder / "fuzz", chosen.seconds, chosen.seed)}
    chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return bool(figures["damaged input"]["failed"] or figures["damaged artifacts"]["opened"])


if __name__ == "__main__":
    sys.exit(main())
