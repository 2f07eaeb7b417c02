"""The house keeps its shape: what each fence forbids is planted on a copy once, and noticed."""
import ast
import io
import json
import re
import shutil
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("core", "spec", "data", "measure", "brief", "encoder", "loss", "model", "index", "cluster", "validate",
          "checks diagnose", "pipeline", "cli")  # an import points to the same floor or to an earlier one
ON = {"domains": "data", "lint": "core", "lint_rules": "core"}  # rooms beside the floors, and what they may import
LINES, CODE, MODULES, NAMES, FACE = 300, 4500, 28, 12, 16


def modules(root: Path) -> dict[str, Path]:
    "Module names, without the package's own, and their files; what nbdev makes for its index is no room."
    package = root / "semantic_nb"
    files = (path for path in sorted(package.rglob("*.py")) if path.name not in ("__init__.py", "_modidx.py"))
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in files}


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    "The modules of the package that a module imports anywhere, inside functions as well."
    targets: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            home = name.split(".")[:-node.level] if node.level else []
            base = ".".join([*home, *((node.module or "").split("."))]).removeprefix("semantic_nb").strip(".")
            if node.level or (node.module or "").startswith("semantic_nb"):
                targets |= {base} | {f"{base}.{alias.name}".strip(".") for alias in node.names}
        elif isinstance(node, ast.Import):
            targets |= {alias.name.removeprefix("semantic_nb.") for alias in node.names}
    return targets & set(known) - {name}


def floor(name: str) -> int:
    room = name.split(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if ON.get(room, room) in rooms.split())


def upward(root: Path) -> list[str]:
    "Imports that point to a later floor, and rooms that the plan does not know."
    known, found = modules(root), []
    rooms = {room for rooms in FLOORS for room in rooms.split()} | set(ON)
    strangers = [name for name in known if name.split(".")[0] not in rooms]
    for name, path in known.items():
        if name not in strangers:
            found += [f"{name} imports {other}" for other in sorted(imports(name, path, known) - set(strangers))
                      if floor(other) > floor(name)]
    return found + strangers


def circles(root: Path) -> list[str]:
    "Modules that cannot be put in an order in which each imports earlier ones only."
    known = modules(root)
    left = {name: imports(name, path, known) for name, path in known.items()}
    while ready := [name for name, needs in left.items() if not needs & set(left)]:
        for name in ready:
            del left[name]
    return sorted(left)


def top_names(path: Path) -> list[str]:
    names = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return [name for name in names if name != "__all__"]


def twice(root: Path) -> list[str]:
    "Names that two rooms define."
    homes = defaultdict(set)
    for name, path in modules(root).items():
        for top in top_names(path):
            homes[top].add(name)
    return [f"{name}: {', '.join(sorted(rooms))}" for name, rooms in sorted(homes.items()) if len(rooms) > 1]


def public(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(ast.literal_eval(node.value) for node in tree.body
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__")


def code_lines(path: Path) -> int:
    "Lines that hold code: no blank, no comment, no docstring."
    text, skipped, lines = path.read_text(encoding="utf-8"), set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            skipped |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - skipped)


def too_large(root: Path) -> list[str]:
    "Modules with too many lines or names, and a package with too much code or too many modules."
    known = modules(root)
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in known.items()}
    found = [f"{name}: {length} lines" for name, length in lengths.items() if length > LINES]
    found += [f"{name}: {len(public(path))} public names" for name, path in known.items() if len(public(path)) > NAMES]
    total = sum(map(code_lines, known.values()))
    found += [f"{total} lines of code"] if total > CODE else []
    return found + ([f"{len(known)} modules"] if len(known) > MODULES else [])


def bad_face(root: Path) -> list[str]:
    "Names of the face that are also rooms, that their home does not offer, or that are too many."
    tree, known = ast.parse((root / "semantic_nb" / "__init__.py").read_text(encoding="utf-8")), modules(root)
    homes = next(ast.literal_eval(node.value) for node in tree.body
                 if isinstance(node, ast.Assign) and node.targets[0].id == "_HOMES")
    rooms = {name.split(".")[0] for name in known}
    found = [f"{name} is a room" for name in homes if name in rooms]
    found += [f"{name} is not in {home}" for name, home in homes.items() if name not in public(known[home])]
    return found + ([f"{len(homes)} names"] if len(homes) > FACE else [])


def broken_links(root: Path) -> list[str]:
    "Relative links of chapters and README that lead nowhere."
    texts = [(root / "README.md", (root / "README.md").read_text(encoding="utf-8")),
             (root / "CONTRIBUTING.md", (root / "CONTRIBUTING.md").read_text(encoding="utf-8"))]
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts.append((path, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")))
    return [f"{path.name}: {target}" for path, text in texts
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
            if "://" not in target and not (path.parent / target).exists()]


def misplaced(root: Path) -> list[str]:
    "What lies at the top of nbs/ besides main chapters, and folders of depth without a chapter of their name."
    top, found = root / "nbs", []
    for path in sorted(top.iterdir()):
        if path.name in ("index.ipynb", "conftest.py", "plumbing", "domains", "solutions", "__pycache__",
                         ".ipynb_checkpoints"):
            continue
        chapter = path if path.is_file() else path.with_suffix(".ipynb")
        if not re.fullmatch(r"\d\d_[a-z]+\.ipynb", chapter.name) or not chapter.is_file():
            found.append(path.name)
    return found


FENCES = (upward, circles, twice, too_large, bad_face, broken_links, misplaced)


@pytest.mark.parametrize("fence", FENCES)
def test_the_house_keeps_its_shape(fence):
    assert fence(ROOT) == []


def append(name: str, text: str):
    def plant(root: Path) -> None:
        path = root / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    return plant


def link(root: Path) -> None:
    append("CONTRIBUTING.md", "\n[gone](nbs/02z_gone.ipynb)\n")(root)


def plant_face(root: Path) -> None:
    path = root / "semantic_nb" / "__init__.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"ContractError": "core"', '"index": "core"'),
                    encoding="utf-8")


@pytest.mark.parametrize("fence, plant", [
    (upward, append("semantic_nb/core.py", "\ndef late():\n    from semantic_nb.model import train\n")),
    (upward, append("semantic_nb/cluster/groups.py", "\nfrom ..pipeline import run\n")),
    (circles, append("semantic_nb/encoder.py", "\nfrom .index import make_index\n")),
    (twice, append("semantic_nb/model.py", "\n\ndef per_query():\n    pass\n")),
    (twice, append("semantic_nb/model.py", "\n_ACTIVE = 1\n")),
    (too_large, append("semantic_nb/model.py", "\n# long" * 300)),
    (too_large, append("semantic_nb/model.py", "\n__all__ = [" + ", ".join(f"'n{i}'" for i in range(13)) + "]\n")),
    (too_large, lambda root: [(root / "semantic_nb" / f"room{i}.py").write_text("__all__ = []\n") for i in range(9)]),
    (bad_face, plant_face), (broken_links, link),
    (misplaced, lambda root: (root / "nbs" / "notes.json").write_text("{}")),
    (misplaced, lambda root: (root / "nbs" / "14_more").mkdir())])
def test_a_planted_violation_is_noticed(tmp_path, fence, plant):
    for name in ("README.md", "CONTRIBUTING.md", "LICENSE", "CHANGELOG.md", "settings.ini"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("semantic_nb", "nbs", "data", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    before = fence(tmp_path)
    plant(tmp_path)
    assert set(fence(tmp_path)) - set(before)
