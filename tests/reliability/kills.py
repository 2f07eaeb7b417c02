"""Kills `semantic-nb run` at random moments and runs it again, until it has survived so many kills.

`survive` gives its folder a model of one layer and the domain `repairs` of tests/foreign.py. First a run of another
seed is finished: the previous artifacts, which have to answer after every kill as before. Then a run that nobody
interrupts: the control. Then runs that are killed with SIGKILL, SIGINT or SIGTERM. Each draws a phase, then a moment in
the time that this phase took the control; where its work is in the store already, the kill falls into a later phase.
The libraries are imported once; each run is a process of its own, forked from there. A run that is not killed in time
has ended: its weights and its index are compared with the control's, its artifacts are removed, and the next cycle
begins.
"""
import json
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from foreign import make_domain, make_model
from reliability.forked import fork_command, import_libraries

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
EXITS = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGINT}
PHASES = ("data:", "model: stage 1", "model: stage 2", "model: gate", "index:", "cluster:", "validate:")  # first words
TOLERANCE = 1e-3  # of a weight or of a number of a vector; what half precision would leave, see `compare`


@dataclass
class Soak:
    "The domain, the store that suffers, and what has been counted."
    folder: Path
    random: random.Random
    seconds: dict[str, float] = field(default_factory=dict)  # of each phase of the last run that was not to be killed
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
    spec = make_domain(folder / "repairs", make_model(folder / "model").resolve())
    spec.write_text(spec.read_text(encoding="utf-8").replace("epochs = 1", "epochs = 8"), encoding="utf-8")
    soak = Soak(folder, random.Random(seed))
    for runs, run_seed, command in (("runs", 2, ("search", "my tap drips", "--spec")), ("control", 1, ("run",))):
        code, lines, _ = run(soak, runs, run_seed, command=command)
        assert code == 0, lines[-20:]
        print(f"{runs}: {sum(soak.seconds.values()):.0f} s", flush=True)
    return soak


def phase_of(line: str) -> str | None:
    return next((phase for phase in PHASES if line.startswith(phase)), None)


def run(soak: Soak, runs: str, seed: int, phase: str | None = None, delay: float = 0, how: int = 0,
        command: tuple[str, ...] = ("run",)) -> tuple[int, list[str], str]:
    "One `semantic-nb run`, killed `delay` seconds after a phase began; exit code, lines, and the phase it was in."
    pid, reading = fork_command(soak.folder, [*command, str(soak.spec)], {
        "SEMANTIC_NB_RUNS_DIR": str(soak.folder / runs), "SEMANTIC_NB_SEED": str(seed),
        "SEMANTIC_NB_THREADS": "1", "SEMANTIC_NB_PROFILE": "tiny"})
    lines, began, timer, at = [], {}, None, ""

    def kill() -> None:
        nonlocal at
        at = list(began)[-1]
        with suppress(ProcessLookupError):
            os.kill(pid, how)

    with open(reading, encoding="utf-8", errors="replace") as output:
        for line in output:
            lines.append(line.rstrip())
            if reached := phase_of(line):
                began.setdefault(reached, time.time())
            if phase and reached == phase and timer is None:
                timer = threading.Timer(delay, kill)
                timer.start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if timer:
        timer.cancel()
    if phase is None:
        soak.seconds = {name: end - start for (name, start), end in
                        zip(began.items(), [*list(began.values())[1:], time.time()])}
    shown = any("Traceback" in line for line in lines)
    soak.counts["Ctrl-C that a library swallowed"] += shown and code == 0  # numba does, and the run goes on to its end
    assert code == 0 or not shown, "\n".join(lines)
    return code, lines, at


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


def survive(folder: Path, kills: int, seed: int) -> dict:
    "Survive `kills` kills; the figures."
    import_libraries()
    started, soaked = time.time(), prepare(folder, seed)
    shutil.copy(folder / "runs" / "repairs-tiny" / "served.json", folder / "served.json")
    keep, before, usual = set(artifacts(folder / "runs")), previous_answers(soaked), dict(soaked.seconds)
    phases, signals, done = Counter(), Counter(), 0
    while True:
        how = soaked.random.choice(SIGNALS)
        phase = soaked.random.choice(PHASES) if done < kills else None
        code, lines, at = run(soaked, "runs", 1, phase, soaked.random.random() * usual.get(phase, 0), how)
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
