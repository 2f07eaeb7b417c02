"""The repository keeps its own promises; each check is proven on a copy that
passes before it is broken and fails after."""
import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def command(folder, *arguments):
    environment = ({k: v for k, v in os.environ.items() if k != "IN_TEST"}
                   | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"})
    return subprocess.run(list(map(str, arguments)), cwd=folder, capture_output=True, text=True, env=environment)


def copy(folder: Path, *chapters: str) -> Path:
    """The repository without what a run leaves behind; only these chapters, or all."""
    for name in ("pyproject.toml", "settings.ini", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "semantic_nb", folder / "semantic_nb", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data", folder / "data")
    shutil.copytree(ROOT / "nbs", folder / "nbs",
                    ignore=lambda where, names: [n for n in names if n in (".ipynb_checkpoints", "__pycache__")
                                                 or (chapters and n.endswith(".ipynb") and n not in chapters)])
    return folder


def differences(a: Path, b: Path) -> list[str]:
    found = filecmp.dircmp(a, b, ignore=["__pycache__", "page.html"])  # the page is edited as it is
    mine = [str(a / n)
            for n in found.left_only + found.right_only + filecmp.cmpfiles(a, b, found.common_files, shallow=False)[1]]
    return mine + [name for sub in found.common_dirs for name in differences(a / sub, b / sub)]


def drift(folder: Path) -> list[str]:
    """Modules that differ from what the notebooks export."""
    fresh = folder / "fresh"
    fresh.mkdir()
    shutil.copy(folder / "pyproject.toml", fresh)
    shutil.copytree(folder / "nbs", fresh / "nbs")
    done = command(fresh, BIN / "nbdev-export")
    assert done.returncode == 0, done.stderr
    found = differences(fresh / "semantic_nb", folder / "semantic_nb")
    shutil.rmtree(fresh)
    return found


def unclean(folder: Path) -> list[str]:
    """Notebooks that nbdev-clean would change."""
    before = {p: p.read_bytes() for p in (folder / "nbs").rglob("*.ipynb")}
    done = command(folder, BIN / "nbdev-clean")
    assert done.returncode == 0, done.stderr
    return [p.name for p, content in before.items() if p.read_bytes() != content]


def nbval(folder: Path, chapter: str = "plumbing/core.ipynb"):
    return command(folder, sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p",
                   "no:cacheprovider", f"nbs/{chapter}")


def edit(path: Path, change) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change([cell for cell in notebook["cells"] if cell["cell_type"] == "code"])
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def strict(cells):
    return next(cell for cell in cells if "NBVAL_CHECK_OUTPUT" in "".join(cell["source"]) and cell["outputs"])


def test_the_package_is_what_the_notebooks_export(tmp_path):
    assert drift(copy(tmp_path)) == []


@pytest.mark.parametrize("mutate", [
    lambda p: (p / "core.py").write_text((p / "core.py").read_text().replace("seed", "sead", 1)),
    lambda p: (p / "orphan.py").write_text("x = 1\n"), lambda p: (p / "spec.py").unlink()])
def test_a_hand_edited_package_is_noticed(tmp_path, mutate):
    folder = copy(tmp_path)
    assert drift(folder) == []
    mutate(folder / "semantic_nb")
    assert drift(folder)


def test_the_notebooks_are_clean_and_dirt_is_noticed(tmp_path):
    folder = copy(tmp_path)
    assert unclean(folder) == []
    edit(folder / "nbs" / "plumbing" / "core.ipynb", lambda cells: cells[0].update(execution_count=7))
    assert unclean(folder) == ["core.ipynb"]


def break_contract(cells):
    cell = next(cell for cell in cells if "Settings.load(documets=300)" in "".join(cell["source"]))
    cell["source"] = [line.replace("documets", "documents") for line in cell["source"]]


def change_output(cells):
    strict(cells)["outputs"][0]["text"] = ["something else\n"]


def empty_output(cells):
    strict(cells)["outputs"] = []


def skip_without_reason(cells):
    cells[-1]["source"] = ["# NBVAL_SKIP\n", *cells[-1]["source"]]


def test_an_untouched_chapter_passes(tmp_path):
    assert nbval(copy(tmp_path, "core.ipynb")).returncode == 0


@pytest.mark.parametrize("mutation", [break_contract, change_output, empty_output, skip_without_reason])
def test_a_broken_chapter_fails(tmp_path, mutation):
    folder = copy(tmp_path, "core.ipynb")
    edit(folder / "nbs" / "plumbing" / "core.ipynb", mutation)
    assert nbval(folder).returncode != 0


def test_a_skip_with_a_reason_passes(tmp_path):
    folder = copy(tmp_path, "core.ipynb")
    edit(folder / "nbs" / "plumbing" / "core.ipynb", lambda cells: cells[-1].update(
        source=["# NBVAL_SKIP because this test skips it\n", *cells[-1]["source"]]))
    assert nbval(folder).returncode == 0


def test_outputs_name_no_machine_and_no_warning():
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = json.dumps([{k: v for k, v in (o.get("data") or o).items() if not k.startswith("image")}
                               for o in cell.get("outputs", [])])
            for word in (str(ROOT), str(Path.home()) + "/", "/tmp/", "Traceback (most", "Warning:", "widget-view+json"):
                assert word not in text, f"{path.name}: {word} in {text[:300]}"


def test_every_main_chapter_has_outputs_and_a_picture():
    for path in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
        cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
        assert any("image/png" in o.get("data", {}) for c in cells for o in c["outputs"]), path.name
        assert sum(bool(c["outputs"]) for c in cells) >= len(cells) // 3, path.name


WIDEST = 120  # what JupyterLab shows beside its file browser in a window of 1,400 pixels


def wide(folder: Path) -> list[str]:
    """Lines of code in chapters and tests that a reader would have to scroll sideways for."""
    code = [(path.name, "".join(cell["source"])) for path in (folder / "nbs").rglob("*.ipynb")
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    code += [(path.name, path.read_text(encoding="utf-8")) for part in ("nbs", "tests")
             for path in (folder / part).rglob("*.py")]
    return [f"{name}: {line.strip()}" for name, text in code for line in text.splitlines() if len(line) > WIDEST]


def test_no_line_of_code_is_wider_than_the_page(tmp_path):
    assert wide(ROOT) == []
    folder = copy(tmp_path, "core.ipynb")
    edit(folder / "nbs" / "plumbing" / "core.ipynb", lambda cells: cells[0].update(source=["x = 1" + " + 1" * 30]))
    assert len(wide(folder)) == 1


def test_the_readme_is_made_from_the_index():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    index = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))
    for cell in index["cells"]:
        if cell["cell_type"] == "markdown":
            for line in "".join(cell["source"]).splitlines():
                assert "](" in line or line.strip() in readme, line
    for target in set((ROOT / "nbs").rglob("*.ipynb")) - {ROOT / "nbs" / "index.ipynb"}:
        if ".ipynb_checkpoints" not in target.parts:
            assert f"({target.relative_to(ROOT).as_posix()})" in readme, target.name


def test_legacy_calls_are_nowhere():
    from semantic_nb.lint import lint_paths
    assert [alarm for folder in ("semantic_nb", "nbs") for alarm in lint_paths(ROOT / folder)] == []
    for path in [*(ROOT / "semantic_nb").rglob("*.py"), *(ROOT / "nbs").rglob("*.ipynb")]:
        for call in ("import pickle", "trust_remote_code=True"):
            assert call not in path.read_text(encoding="utf-8"), f"{path.name}: {call}"


def test_importing_is_light():
    done = command(ROOT, sys.executable, "-c",
                   "import semantic_nb, semantic_nb.cli, sys; print([m for m in ('torch', 'faiss', 'umap', 'sklearn', "
                   "'pandas', 'matplotlib') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
