"""The package in a stranger's folder: no settings.ini, no spec, nothing built."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(folder: Path, code: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMANTIC_NB")}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True,
                          env=environment | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"})


def test_the_lines_of_the_readme_run_in_a_foreign_folder(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(code for code in re.findall(r"```\w*\n(.*?)```", readme, re.S) if "import semantic_nb as snb" in code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    done = python(tmp_path, code)
    assert done.returncode == 0, done.stderr
    best = done.stdout.splitlines()[0]
    assert best.endswith("Write a table to a CSV file.") and "stay" in done.stdout.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    again = python(tmp_path, code)
    assert again.stdout == done.stdout and len(list((tmp_path / "runs" / "store").glob("index-*"))) == 1


@pytest.mark.parametrize("call, layer, advice", [
    ("snb.load_spec()", "core.settings", "name a spec.toml"),
    ("snb.run()", "core.settings", "name a spec.toml"),
    ("snb.diagnose_run()", "core.settings", "name a spec.toml"),
    ("snb.load_spec('spec.toml')", "spec.file", ""),
    ("snb.open_index('runs/store/index-0', None)", "index.file", "make_index")])
def test_a_name_that_needs_what_is_not_there_says_what_to_do(tmp_path, call, layer, advice):
    done = python(tmp_path, f"import semantic_nb as snb\ntry:\n    {call}\nexcept snb.ContractError as error:\n"
                            "    print(error.as_dict())")
    refusal = ast.literal_eval(done.stdout)
    assert refusal["layer"] == layer and advice in refusal["fix"]
    assert list(tmp_path.iterdir()) == []


def test_the_face_is_lazy_and_names_what_it_has():
    done = python(ROOT, "import sys, semantic_nb as snb; print([n for n in ('torch', 'numpy', 'pydantic') if n in "
                        "sys.modules]); print([getattr(snb, n) is None for n in dir(snb)]); snb.nonsense")
    light, names = done.stdout.splitlines()
    assert light == "[]" and "True" not in names and "it has ContractError, load_spec" in done.stderr
