"""Drives every command with damaged files and specs, and looks at how it ends.

`fuzz` gives its folder a model of one layer, the domain `repairs` of tests/foreign.py with a finished run, and a file
of each kind that a command reads. Each case damages one of them, calls a command that reads it, and puts it back.
Wanted: an exit code that semantic_nb.__main__ documents, an end within the time limit, no traceback, and nothing
written outside the folder, where the temporary files lie, too. Exit code 70, an exception that no check foresaw, keeps
this promise; the cases are listed all the same, because each is a check to be written.
"""
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, strategies as st

from foreign import make_domain, make_model, write_lines
from reliability.forked import fork_command, import_libraries

ROOT = Path(__file__).resolve().parents[2]
EXITS, LIMIT = {0, 1, 2, 70, 130}, 120
STORED = "runs/repairs-tiny"


# --- what is read, and by which commands

def make_files(folder: Path) -> None:
    "The domain, its finished run, and a file of each other kind."
    (folder / "tmp").mkdir(parents=True)
    shutil.copy(ROOT / "settings.ini", folder / "settings.ini")
    make_domain(folder / "repairs", make_model(folder / "model").resolve(), size=60)
    texts = [json.loads(line)["text"] for line in (folder / "repairs" / "corpus.jsonl").open(encoding="utf-8")]
    write_lines(folder / "texts.jsonl", [{"text": text, "label": f"kind {n % 3}"} for n, text in enumerate(texts)])
    write_lines(folder / "pairs.jsonl", [{"anchor": a, "positive": b} for a, b in zip(texts, texts[12:])])
    rows = "".join(f"{a},{b},{n % 2}\n" for n, (a, b) in enumerate(zip(texts, texts[1:])) if "," not in a + b)
    (folder / "scored.csv").write_text("anchor,positive,label\n" + rows, encoding="utf-8")
    clicks = "".join(f"how to mend {n},{1000 + n},{n % 5 + 1},1\n" for n in range(50))
    (folder / "clicks.csv").write_text("query,document,position,clicks\n" + clicks, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "lint" / "scripts" / "other_fits.py.txt", folder / "script.py")
    shutil.copy(ROOT / "nbs" / "00_start.ipynb", folder / "notebook.ipynb")
    code, said = call(folder, ["run", "repairs/spec.toml"])
    assert code == 0, said


DOMAIN = ["repairs/spec.toml", "repairs/corpus.jsonl", "repairs/queries.jsonl", "repairs/qrels/train.tsv",
          "repairs/qrels/dev.tsv", "repairs/qrels/test.tsv"]
MODEL = ["model/tiny/modules.json", "model/tiny/config.json", "model/tiny/tokenizer.json",
         "model/tiny/config_sentence_transformers.json", "model/tiny/model.safetensors"]
READERS = {  # the words of a command, and what it reads
    ("check", "repairs/spec.toml"): [*DOMAIN, "settings.ini"],
    ("data", "repairs"): DOMAIN[1:],
    ("data", "repairs/spec.toml"): DOMAIN,
    ("split", "repairs/spec.toml", "--dev", ".3"): DOMAIN,
    ("fork", "new", "repairs/spec.toml"): DOMAIN,
    ("search", "my tap drips", "--spec", "repairs/spec.toml"): ["settings.ini", DOMAIN[0], f"{STORED}/served.json"],
    ("report", "repairs/spec.toml"): [DOMAIN[0], f"{STORED}/report.json", f"{STORED}/report.md"],
    ("diagnose", "repairs/spec.toml"): [DOMAIN[0], f"{STORED}/report.json"],
    ("run", "repairs/spec.toml"): [DOMAIN[0], f"{STORED}/report.json"],
    ("bench", "repairs", "--base", "model/tiny"): [*DOMAIN[1:3], DOMAIN[5], *MODEL],
    ("bench", "scored.csv", "--base", "model/tiny"): ["scored.csv"],
    ("cluster", "texts.jsonl", "-k", "3", "--model", "model/tiny", "--out", "out.csv"): ["texts.jsonl", *MODEL],
    ("cluster", "texts.jsonl", "--labels", "label", "--model", "model/tiny"): ["texts.jsonl"],
    ("duplicates", "texts.jsonl", "--threshold", ".9", "--model", "model/tiny"): ["texts.jsonl"],
    ("duplicates", "pairs.jsonl", "--calibrate", "scored.csv", "--model", "model/tiny"): ["pairs.jsonl", "scored.csv"],
    ("data", "pairs.jsonl", "--symmetry", "asymmetric", "--model", "model/tiny"): ["pairs.jsonl"],
    ("data", "clicks.csv"): ["clicks.csv"],
    ("data", "texts.jsonl", "--against", "pairs.jsonl"): ["texts.jsonl", "pairs.jsonl"],
    ("lint", "script.py"): ["script.py"],
    ("lint", "notebook.ipynb"): ["notebook.ipynb"]}


# --- how it is damaged

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([10**30, -1e300, float("nan"), float("inf"), .5]),
    st.sampled_from(["", " ", "\x00", "\x1b]0;t\x07", "../../out", "/etc/passwd", "None", "nan", "os:system",
                     "\ud800", "a\tb", "a\nb", '"', "=1+1", "<b>x</b>", "cuda", "flat", "é" * 300, "x" * 200_000]),
    st.text(max_size=20))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=2)), max_leaves=4)
PLACES = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True)
class Damage:
    "A kind of damage, where in the file it happens (0 to 1), which part of the row, and the value that is put there."
    kind: str
    place: float
    part: float
    value: object

    def to(self, content: bytes) -> bytes:
        return getattr(self, self.kind)(content)

    def cut(self, content: bytes) -> bytes:
        return content[:int(self.place * len(content))]

    def drop(self, content: bytes) -> bytes:
        start = int(self.place * len(content))
        return content[:start] + content[start + 1 + int(self.part * 200):]

    def insert(self, content: bytes) -> bytes:
        start = int(self.place * len(content))
        return content[:start] + as_text(self.value) + content[start:]

    def flip(self, content: bytes) -> bytes:
        changed = bytearray(content)
        if changed:
            changed[int(self.place * len(changed))] ^= 1 << int(self.part * 8)
        return bytes(changed)

    def recode(self, content: bytes) -> bytes:
        codings = ["utf-16", "utf-32", "utf-8-sig", "latin-1", "cp037"]
        return content.decode("utf-8", "replace").encode(codings[int(self.part * len(codings))], "replace")

    def delimit(self, content: bytes) -> bytes:
        return content.replace(b"," if b"," in content[:200] else b"\t", [b";", b"\t", b"|", b" "][int(self.part * 4)])

    def row(self, content: bytes) -> bytes:
        "A row that is missing, there twice, empty, or (half of the cases) has another value in one of its cells."
        lines = content.splitlines(keepends=True) or [b""]
        number = int(self.place * len(lines))
        line, way = lines[number], int(self.part * 6)
        changed = [[], [line, line], [b"\n"]][way] if way < 3 else [changed_row(line, self.part * 2 - 1, self.value)]
        return b"".join([*lines[:number], *changed, *lines[number + 1:]])


def as_text(value: object) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


def changed_row(line: bytes, part: float, value: object) -> bytes:
    "The row with one value replaced: a JSON object, a line of TOML, or cells."
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    if isinstance(content, dict) and content:
        key = list(content)[int(part * len(content))]
        return json.dumps(content | {key: value}).encode() + b"\n"
    if b"=" in line:
        return line.split(b"=")[0] + b"= " + json.dumps(value).encode() + b"\n"
    mark = b"\t" if b"\t" in line else b","
    cells = line.rstrip(b"\n").split(mark)
    cells[int(part * len(cells))] = as_text(value)
    return mark.join(cells) + b"\n"


KINDS = ["row"] * 6 + ["cut", "drop", "insert", "flip", "recode", "delimit"]
DAMAGES = st.builds(Damage, st.sampled_from(KINDS), PLACES, PLACES, VALUES)
IN_PLACE = ["changed"] * 12 + ["missing", "a folder", "a link to itself", "empty"]


@contextmanager
def damaged(path: Path, state: str, damage: Damage):
    "The file damaged, and afterwards as it was."
    before = path.read_bytes()
    path.unlink()
    if state == "a folder":
        path.mkdir()
    elif state == "a link to itself":
        path.symlink_to(path.name)
    elif state != "missing":
        path.write_bytes(damage.to(before) if state == "changed" else b"")
    try:
        yield
    finally:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.write_bytes(before)


# --- the call

def call(folder: Path, words: list[str]) -> tuple[int | str, str]:
    "Exit code (or what happened instead) and output of a command, with every write outside `folder` named in it."
    def watch() -> None:
        tempfile.tempdir = str(folder / "tmp")
        allowed = (str(folder), os.environ.get("MPLCONFIGDIR", str(folder)), "/dev", "/proc/self")
        sys.addaudithook(lambda event, arguments: report_write(event, arguments, allowed))

    pid, reading = fork_command(folder, words, {
        "SEMANTIC_NB_PROFILE": "tiny", "SEMANTIC_NB_RUNS_DIR": "runs", "SEMANTIC_NB_THREADS": "1"}, watch)
    timer = threading.Timer(LIMIT, os.kill, (pid, signal.SIGKILL))
    timer.start()
    with open(reading, encoding="utf-8", errors="replace") as output:
        said = output.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    timer.cancel()
    return code, said


OUTSIDE = "WRITTEN OUTSIDE"


def report_write(event: str, arguments: tuple, allowed: tuple[str, ...]) -> None:
    "An audit hook: says so if a path outside the allowed folders is opened for writing, made, moved or removed."
    if event == "open":
        path, _, flags = arguments
        changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        path = arguments[-2] if event == "os.rename" else arguments[0] if arguments else None
        changes = event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.system"}
    if not changes or not isinstance(path, (str, bytes, os.PathLike)):
        return
    parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))
    where = os.path.join(os.path.realpath(parent), name, "")
    if not any(where.startswith(folder + "/") for folder in allowed):
        os.write(2, f"{OUTSIDE}: {event} {os.fsdecode(path)}\n".encode())


# --- many of them

def fuzz(folder: Path, seconds: float, number: int) -> dict:
    "Cases until the time is over; what they were and how they ended."
    import_libraries()
    make_files(folder)
    kept = {path.name for path in folder.iterdir()}
    counts, unforeseen, failed, tried, end = Counter(), [], [], set(), time.monotonic() + seconds

    @seed(number)
    @settings(max_examples=max(10, int(seconds * 20)), deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet)
    @given(st.integers(0, 2**60), DAMAGES)
    def one(draw, damage):
        chance = random.Random(draw)  # as likely for each command: hypothesis likes the first of a list
        words, state = chance.choice(list(READERS)), chance.choice(IN_PLACE)
        name = chance.choice(READERS[words])
        if time.monotonic() > end or (case := str((words, name, state, damage))) in tried:
            return
        tried.add(case)
        with damaged(folder / name, state, damage):
            code, said = call(folder, list(words))
        for path in folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        told = {"command": " ".join(words), "file": name, "state": state, "damage": str(damage)[:300], "exit": code,
                "said": said[-1500:]}
        counts[words[0]] += 1
        counts[f"exit {code}"] += 1
        if code == 70:
            unforeseen.append(told)
        if code not in EXITS or "Traceback (most recent" in said or OUTSIDE in said:
            failed.append(told)

    one()
    return {"inputs": sum(counts[words[0]] for words in {(words[0],) for words in READERS}),
            "by command": {words: counts[words] for words in sorted({words[0] for words in READERS})},
            "by exit code": {key[5:]: value for key, value in sorted(counts.items()) if key.startswith("exit ")},
            "failed": failed, "unforeseen": unforeseen, "seed": number, "seconds": round(seconds)}
