"""Kills `semantic-nb run` at random moments and runs it again, until it has survived so many kills.

    python tests/soak.py FOLDER --kills 100 --seed 1 --out soak.json

FOLDER gets a model of one layer and the domain `repairs` of tests/foreign.py. First a run of another seed is finished:
the previous artifacts, which have to answer after every kill as before. Then a run that nobody interrupts: the control.
Then runs that are killed with SIGKILL, SIGINT or SIGTERM, each a random time after its first line, early moments more
often than late ones. The libraries are imported once; each run is a process of its own, forked from there.
A run that is not killed in time has ended: its weights and its index are compared with the
control's, its artifacts are removed, and the next cycle begins.
"""
import argparse
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}

from foreign import make_domain, make_model

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
EXITS = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGINT}
TOLERANCE = 1e-3  # of a weight or of a number of a vector; what half precision would leave, see `compare`


@dataclass
class Soak:
    "The domain, the store that suffers, and what has been counted."
    folder: Path
    random: random.Random
    typical: float = 0.0
    counts: Counter = field(default_factory=Counter)
    largest: Counter = field(default_factory=Counter)

    @property
    def spec(self) -> Path:
        return self.folder / "repairs" / "spec.toml"

    def settings(self, runs: str, seed: int):
        from semantic_nb.core import Settings
        return Settings(root=self.folder, profile="tiny", seed=seed, threads=1, runs_dir=self.folder / runs)


def prepare(folder: Path, seed: int) -> Soak:
    "The domain, the previous artifacts and the control. Each of the two runs has to end well."
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "settings.ini", folder / "settings.ini")
    make_domain(folder / "repairs", make_model(folder / "model").resolve())
    soak = Soak(folder, random.Random(seed))
    for runs, run_seed, command in (("runs", 2, ("search", "my tap drips", "--spec")), ("control", 1, ("run",))):
        code, lines, _ = run(soak, runs, run_seed, command=command)
        assert code == 0, lines[-20:]
        print(f"{runs}: {soak.typical:.0f} s", flush=True)
    return soak


def child(soak: Soak, arguments: list[str], environment: dict[str, str]) -> tuple[int, int]:
    "A process of its own that runs the command, with all libraries already imported; its id, and where it writes."
    from semantic_nb.__main__ import main
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.dup2(writing, 1), os.dup2(writing, 2), os.chdir(soak.folder)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
        os.environ |= environment
        sys.argv = ["semantic-nb", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def run(soak: Soak, runs: str, seed: int, delay: float | None = None, how: int = 0,
        command: tuple[str, ...] = ("run",)) -> tuple[int, list[str], str]:
    "One `semantic-nb run`, killed `delay` seconds after its first line; exit code, lines, and the phase it was in."
    pid, reading = child(soak, [*command, str(soak.spec)], {
        "SEMANTIC_NB_RUNS_DIR": str(soak.folder / runs), "SEMANTIC_NB_SEED": str(seed),
        "SEMANTIC_NB_THREADS": "1", "SEMANTIC_NB_PROFILE": "tiny"})
    lines, timer, at, began = [], None, "", time.time()

    def kill() -> None:
        nonlocal at
        at = next((line.split(",")[0] for line in reversed(lines) if line.split(":")[0] in PHASES), "")
        os.kill(pid, how)

    with open(reading, encoding="utf-8", errors="replace") as output:
        for line in output:
            lines.append(line.rstrip())
            if delay is not None and timer is None and line.startswith("data:"):
                timer = threading.Timer(delay, kill)
                timer.start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if timer:
        timer.cancel()
    if delay is None:
        soak.typical = time.time() - began
    shown = any("Traceback" in line for line in lines)
    soak.counts["Ctrl-C that a library swallowed"] += shown and code == 0  # numba does, and the run goes on to its end
    assert code == 0 or not shown, "\n".join(lines)
    return code, lines, at


PHASES = ("data", "model", "index", "cluster", "validate")


def previous_answers(soak: Soak) -> list:
    "What the previous model and index answer; every artifact that has its final name is opened."
    from semantic_nb.encoder import load_encoder
    from semantic_nb.index import open_index
    from semantic_nb.spec import load_spec
    from semantic_nb.store import Artifact
    with soak.settings("runs", 2).active():
        for path in (soak.folder / "runs" / "store").glob("*/"):
            if not path.name.startswith("."):
                Artifact.open(path)
        served = json.loads((soak.folder / "served.json").read_text())
        store = soak.folder / "runs" / "store"
        model = load_encoder(str(store / served["model"] / "model"), load_spec(soak.spec).model)
        return open_index(store / served["index"], model).ask(model, ["my tap drips"], k=5)


def artifacts(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "store").glob("*/") if not path.name.startswith(".")}


def compare(soak: Soak) -> None:
    "The finished run against the control: the same artifacts, weights and vectors; the report's numbers."
    import faiss
    import numpy as np
    from safetensors.numpy import load_file
    ours, control = artifacts(soak.folder / "runs"), artifacts(soak.folder / "control")
    assert set(control) <= set(ours), set(control) - set(ours)
    for name, path in control.items():
        for file in sorted(path.rglob("*.safetensors")):
            one, other = load_file(file), load_file(ours[name] / file.relative_to(path))
            soak.largest["weight"] = max(soak.largest["weight"], *(float(np.abs(one[k] - other[k]).max()) for k in one))
        if name.startswith("index-"):
            assert (path / "ids.json").read_bytes() == (ours[name] / "ids.json").read_bytes()
            one, other = (faiss.read_index(str(at / "index.faiss")) for at in (path, ours[name]))
            one, other = (index.reconstruct_n(0, index.ntotal) for index in (one, other))
            soak.largest["vector"] = max(soak.largest["vector"], float(np.abs(one - other).max()))
    assert max(soak.largest.values(), default=0) <= TOLERANCE, soak.largest
    reports = [json.loads((soak.folder / runs / "repairs-tiny" / "report.json").read_text())["retrieval"]
               for runs in ("runs", "control")]
    soak.counts["reports with the same numbers"] += reports[0] == reports[1]
    soak.counts["runs that ended and were compared"] += 1


def clean(soak: Soak, keep: set[str]) -> None:
    "What the killed runs have made is removed; the previous artifacts stay."
    for path in (soak.folder / "runs" / "store").iterdir():
        if path.name not in keep and not path.name.endswith(".lock"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(soak.folder / "runs" / "repairs-tiny")


def half_checkpoints(soak: Soak) -> int:
    "How many checkpoints the last kill has left half-written."
    return sum(not (path / "trainer_state.json").is_file()
               for path in (soak.folder / "runs" / "store").glob(".*/checkpoints/checkpoint-*"))


def soak(folder: Path, kills: int, seed: int) -> dict:
    "Survive `kills` kills; the figures."
    import faiss, sentence_transformers, umap, semantic_nb.pipeline  # noqa: E401,F401  once, not in every process
    started, soaked = time.time(), prepare(folder, seed)
    shutil.copy(folder / "runs" / "repairs-tiny" / "served.json", folder / "served.json")
    keep, before = set(artifacts(folder / "runs")), previous_answers(soaked)
    phases, signals, done = Counter(), Counter(), 0
    while True:
        how = soaked.random.choice(SIGNALS)
        delay = soaked.random.random() ** 3 * soaked.typical if done < kills else None
        code, lines, at = run(soaked, "runs", 1, delay, how)
        for line in lines:
            soaked.counts["resumed"] += "goes on from checkpoint" in line
            soaked.counts["started again"] += "no checkpoint is whole" in line
        if code in EXITS and at:
            done += 1
            phases[at] += 1
            signals[signal.Signals(how).name] += 1
            soaked.counts["half checkpoints"] += half_checkpoints(soaked)
            assert previous_answers(soaked) == before, "the previous index answers otherwise"
            print(f"kill {done}: {signal.Signals(how).name} in {at}", flush=True)
            continue
        assert code == 0, (code, lines[-20:])
        compare(soaked)
        print(f"a run has ended after {done} kills: {dict(soaked.largest)}", flush=True)
        if done >= kills:
            break
        clean(soaked, keep)
    orphans = [path.name for path in (folder / "runs").rglob(".[0-9]*")]
    return {"kills": done, "by phase": dict(phases), "by signal": dict(signals), **soaked.counts,
            "orphans": len(orphans), "largest difference": dict(soaked.largest), "tolerance": TOLERANCE, "seed": seed,
            "seconds": round(time.time() - started)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    figures = soak(chosen.folder.resolve(), chosen.kills, chosen.seed)
    print(json.dumps(figures, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
