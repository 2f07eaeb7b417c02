"""Which documented objects are used most: how the questions in the voice of short titles were drawn.

    python tests/measurements/usage.py --part test --count 200 [--seed 7]        prints JSON lines: id, uses

People ask about what they use. So objects of a part of the corpus are drawn without replacement, each with a chance
that is proportional to its uses in the Python source that is installed beside this project (the standard library and
all packages). A use is a name that an import of the same file resolves to the object or one of its other names, or a
call of a builtin. A method cannot be resolved without running the code: a call of its name is shared among all
documented methods called so, in proportion to the uses of their classes. A library's use of itself is not counted.
"""
from __future__ import annotations

import argparse
import ast
import json
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from semantic_nb.core import Settings
from semantic_nb.data.domain import load_corpus
from semantic_nb.data.records import Corpus
from semantic_nb.spec import load_spec


def imported(tree: ast.AST) -> dict[str, str]:
    "The local names that imports of a file define, and what they stand for."
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {one.asname or one.name.split(".")[0]: one.name if one.asname else one.name.split(".")[0]
                      for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return known


def dotted(node: ast.AST) -> list[str]:
    "The parts of `a.b.c`; empty for anything else."
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def uses(source: str) -> Iterator[tuple[str, str]]:
    "`(\"name\", qualified name)` for what is resolved, and `(\"method\", name)` for other calls of an attribute."
    tree = ast.parse(source)
    known = imported(tree)
    for node in ast.walk(tree):
        parts = dotted(node)
        if parts and parts[0] in known:
            yield "name", ".".join([known[parts[0]], *parts[1:]])
        elif isinstance(node, ast.Call):
            parts = dotted(node.func)
            if len(parts) == 1 and parts[0] not in known:
                yield "name", f"builtins.{parts[0]}"
            elif isinstance(node.func, ast.Attribute) and (not parts or parts[0] not in known):
                yield "method", node.func.attr


def homes(corpus: Corpus) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    "The document of each qualified name, and for each method name its documents with their classes."
    names, methods = {}, defaultdict(dict)
    for id, known in zip(corpus.ids, corpus.metadata):
        for name in (id, *known.get("aliases", ())):
            names[name] = id
        owner, _, last = id.rpartition(".")
        if owner.rpartition(".")[2][:1].isupper() or owner.startswith("builtins."):
            methods[last][id] = owner
    return names, methods


def count_uses(corpus: Corpus, files: Iterable[tuple[str, str]]) -> dict[str, float]:
    "Uses of each document's object in `(library, source)` of many files; what is no Python is passed over."
    names, methods = homes(corpus)
    library = {id: known.get("library", "") for id, known in zip(corpus.ids, corpus.metadata)}
    found: dict[str, Counter] = {"name": Counter(), "method": Counter()}  # counted as (library that uses it, name)
    for own, source in files:
        try:
            some = list(uses(source))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for kind, name in some:
            found[kind][own, name] += 1
    counts: dict[str, float] = defaultdict(float)
    for (own, name), count in found["name"].items():
        if name in names and library[names[name]] != own:
            counts[names[name]] += count
    classes = dict(counts)
    for (own, name), count in found["method"].items():
        shares = {id: classes.get(names.get(owner, owner), 0) for id, owner in methods.get(name, {}).items()
                  if library[id] != own}
        for id, share in shares.items():
            counts[id] += count * share / max(1, sum(shares.values()))
    return {id: count for id, count in counts.items() if count}


def installed_files() -> Iterator[tuple[str, str]]:
    "The library and the text of each installed Python file."
    places = {"python": Path(sysconfig.get_path("stdlib")), "": Path(sysconfig.get_path("purelib"))}
    for library, place in places.items():
        for path in sorted(place.rglob("*.py")):
            parts = path.relative_to(place).parts
            if not {"site-packages", "test", "tests"} & set(parts):
                yield library or parts[0], path.read_text(encoding="utf-8", errors="replace")


def drawn(corpus: Corpus, counts: Mapping[str, float], part: str, count: int, seed: int) -> list[tuple[str, float]]:
    "Documents of a part with their uses, without replacement, each with a chance proportional to its uses."
    ids = [id for id, known in zip(corpus.ids, corpus.metadata) if known.get("part") == part and id in counts]
    if not ids:
        return []
    weights = np.array([counts[id] for id in ids])
    rows = np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False, p=weights / weights.sum())
    return [(ids[row], float(weights[row])) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("dev", "test"), required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    with Settings.load(profile="full").active():
        corpus = load_corpus(load_spec())
    for id, count in drawn(corpus, count_uses(corpus, installed_files()), chosen.part, chosen.count, chosen.seed):
        print(json.dumps({"id": id, "uses": round(count, 2)}))


if __name__ == "__main__":
    main()
