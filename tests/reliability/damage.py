"""Ways to damage an artifact of the store, each of which `Artifact.open` has to refuse."""
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from semantic_nb.core import ContractError
from semantic_nb.store import Artifact

FILE_CHANGES = {
    "bit flip": lambda p: p.write_bytes(bytes([p.read_bytes()[0] ^ 1]) + p.read_bytes()[1:]),
    "truncate": lambda p: p.write_bytes(p.read_bytes()[:-1]), "empty": lambda p: p.write_bytes(b""),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b" "), "delete": Path.unlink,
    "replace": lambda p: p.write_text("something else"), "directory": lambda p: (p.unlink(), p.mkdir()),
    "link to itself": lambda p: (p.unlink(), p.symlink_to(p)),
    "link to its copy": lambda p: p.symlink_to(p.rename(p.parents[2] / f"moved-{p.name}")),
    "dangling link": lambda p: (p.unlink(), p.symlink_to("nowhere")), "pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "extra file": lambda p: p.with_name("extra").write_text("x"),
    "extra link": lambda p: p.with_name("l").symlink_to(p),
    "hidden extra": lambda p: p.with_name(f".{p.name}").write_text("x")}
DEEP = '{"files":' + "[" * 100_000
MANIFESTS = ["", "{", "[]", "null", "5", '"x"', "{}", '{"files": {}}', '{"files": []}', '{"files": null}', DEEP,
             '{"files": {"model": "x"}}', '{"recipe": {}, "facts": {}, "files": {}}', "\ud800", "9" * 5000, "NaN",
             '{"recipe": {}, "facts": {}, "files": {}, "seal": ""}', '{"recipe": "\\ud800", "facts": 1, "files": 1}']


def edited(**change):
    def edit(text):
        return json.dumps(json.loads(text) | change, indent=1) + "\n"
    return edit


EDITS = [edited(facts={}), edited(facts={"count": 4}), edited(recipe={}), edited(seal="0" * 16), edited(files=[]),
         edited(files={}), edited(more=1), lambda text: text + " ", lambda text: text[:-2],
         lambda text: "\ufeff" + text,
         lambda text: text.replace('"facts"', '"facts": {}, "facts"', 1)]


def damages(made: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    "Each way to damage this artifact: its name, and a function that does it to a copy."
    text = (made / "manifest.json").read_text()
    for file in (path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()):
        for name, change in FILE_CHANGES.items():
            yield f"{file}: {name}", lambda copy, file=file, change=change: change(copy / file)
    for new in [*MANIFESTS, *(edit(text) for edit in EDITS)]:
        if new != text:
            yield f"manifest {new[:40]}", lambda copy, new=new: (copy / "manifest.json").write_text(
                new, errors="surrogatepass")


def refuse_damaged(store: Path, copies: Path) -> dict:
    "Damage a copy of each artifact of a store in each way and open it: how many were refused, and which were opened."
    refused, opened = 0, []
    for made in sorted(path for path in store.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for what, change in damages(made):
            copy = Path(shutil.copytree(made, copies / "store" / made.name))
            change(copy)
            try:
                Artifact.open(copy, "model")
                opened.append(f"{made.name} {what}")
            except ContractError as refusal:
                assert refusal.layer == "model.store", what
                refused += 1
            shutil.rmtree(copies / "store")
    return {"refused": refused, "opened": opened}
