"""The book keeps its budgets, its exercises are unsolved and checked, and its main line runs on other domains."""
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from foreign import make_domain, make_model

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
DEPTH = [path for path in sorted((ROOT / "nbs").glob("[0-9]*/*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
CHECKERS = sorted((ROOT / "nbs" / "solutions").glob("check_*.py"))
LONGER = {"duplicates": 22, "grouping": 17, "quality": 16, "report": 18, "lint": 16, "loading": 16, "records": 19,
          "lint_rules": 21, "rotation": 17, "layers": 16, "bundle": 25, "changes": 17, "service": 23, "guard": 18,
          "watch": 22, "shards": 18, "ondisk": 20, "processors": 22,
          "engines": 18}  # whole functions and tables, better not cut in two
EXPORTED = re.compile(r"^#\|\s*export\b", re.M)


def cells(path: Path, kind: str) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"]
            if cell["cell_type"] == kind and "".join(cell["source"]).strip()]


def printed(path: Path) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "".join("".join(output.get("text", [])) for cell in notebook["cells"] for output in cell.get("outputs", []))


def words(path: Path) -> int:
    return sum(len(text.split()) for text in cells(path, "markdown"))


def code_lines(source: str) -> int:
    return sum(bool(line.strip()) and not line.startswith("#|") for line in source.splitlines())


def over_budget(path: Path, longest: int, tenth: int) -> list[str]:
    "What of a chapter's code cells is longer than a reader takes in."
    lengths = sorted(map(code_lines, cells(path, "code"))) or [0]
    found = [f"{path.name}: a cell of {lengths[-1]} lines"] if lengths[-1] > longest else []
    ninth = lengths[int(0.9 * (len(lengths) - 1))]
    return found + ([f"{path.name}: one cell in ten has over {tenth} lines ({ninth})"] if ninth > tenth else [])


def too_much(path: Path) -> list[str]:
    "What makes a main chapter longer than half an hour."
    code, found = cells(path, "code"), over_budget(path, 20, 12)
    exported = sum(code_lines(source) for source in code if EXPORTED.search(source))
    share, refusals = exported / sum(map(code_lines, code)), sum("refused(" in source for source in code)
    found += [f"{path.name}: {words(path)} words"] if words(path) > 1800 else []
    found += [f"{path.name}: {len(code)} code cells"] if len(code) > 45 else []
    found += [f"{path.name}: {share:.0%} of the code lines are exported"] if share > 0.4 else []
    return found + ([f"{path.name}: {refusals} refusals"] if refusals > 3 else [])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_main_chapter_takes_half_an_hour(path):
    assert too_much(path) == []


@pytest.mark.parametrize("path", DEPTH, ids=lambda path: path.stem)
def test_the_depth_is_readable(path):
    assert over_budget(path, 38, LONGER.get(path.stem, 15)) == []


def test_the_main_line_is_finished_by_a_reader():
    assert sum(map(words, CHAPTERS)) < 22_000


def test_the_budgets_notice_what_they_forbid(tmp_path):
    long = {"cell_type": "code", "source": ["#| export\n", *[f"x{n} = {n}\n" for n in range(25)]], "outputs": []}
    talk = {"cell_type": "markdown", "source": ["word " * 1900]}
    path = tmp_path / "99_long.ipynb"
    path.write_text(json.dumps({"cells": [talk, *[long] * 46]}), encoding="utf-8")
    assert len(too_much(path)) == 5


def checker(path: Path):
    loading = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(loading)
    loading.loader.exec_module(module)
    return module


def exercises(path: Path) -> dict:
    module = checker(path)
    return {name: function for name, function in vars(module).items() if re.fullmatch(r"exercise_\d+", name)}


@pytest.mark.parametrize("path", CHECKERS, ids=lambda path: path.stem)
def test_a_checker_refuses_the_unsolved_state(path, settings):
    found = exercises(path)
    assert 2 <= len(found) <= 4
    for name, check in found.items():
        said = check(*[None] * len(inspect.signature(check).parameters))
        assert not said.startswith("Well done") and len(said.split()) > 3, f"{name}: {said}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_exercises_come_unsolved_and_their_solutions_pass(path):
    solution = ROOT / "nbs" / "solutions" / path.name
    asked = exercises(ROOT / "nbs" / "solutions" / f"check_{path.name[:2]}.py")
    assert "Well done" not in printed(path)
    for name in asked:
        assert f".{name}(" in "".join(cells(path, "code")), f"{path.name} does not ask {name}"
        assert f".{name}(" in "".join(cells(solution, "code")), f"{solution.name} does not solve {name}"
    asserted = [source for source in cells(solution, "code") if "Well done" in source and "assert" in source]
    assert len(asserted) >= len(asked)


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
def test_the_main_line_runs_on_another_domain(tmp_path, symmetric):
    "Every main chapter but 00, which reads no domain; where questions and answers differ, the solutions as well."
    spec = make_domain(tmp_path / "repairs", make_model(tmp_path), symmetric)
    environment = os.environ | {"SEMANTIC_NB_SPEC": str(spec), "SEMANTIC_NB_PROFILE": "tiny",
                                "SEMANTIC_NB_RUNS_DIR": str(tmp_path / "runs")}
    solutions = [] if symmetric else sorted((ROOT / "nbs" / "solutions").glob("[0-9]*.ipynb"))
    chapters = [path for path in [*CHAPTERS, *solutions] if not path.name.startswith("00")]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax",
                           "--nbval-current-env", "--nbval-cell-timeout", "600", *map(str, chapters)],
                          cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
