import errno
import json
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.store import Artifact, fingerprint, write_json


def numbers(folder):
    (folder / "numbers.txt").write_text("1 2 3")


def test_a_recipe_is_built_once_and_rebuilt_when_it_changes(settings):
    built = []
    make = lambda seed: Artifact.make("n", {"seed": seed}, lambda folder: built.append(seed) or numbers(folder))
    assert make(1).manifest == make(1).manifest and make(2).path != make(1).path
    assert built == [1, 2]


@pytest.mark.parametrize("damage", [
    lambda p: (p / "numbers.txt").write_text("1 2"), lambda p: (p / "numbers.txt").unlink(),
    lambda p: (p / "manifest.json").write_text("{"), lambda p: (p / "manifest.json").unlink()])
def test_damage_is_found_when_opened(settings, damage):
    made = Artifact.make("n", {}, numbers)
    damage(made.path)
    with pytest.raises(ContractError, match="core.store"):
        Artifact.make("n", {}, numbers)


def test_a_failed_build_leaves_nothing_and_the_next_one_works(settings):
    def broken(folder):
        numbers(folder)
        raise RuntimeError("half-way")
    with pytest.raises(RuntimeError):
        Artifact.make("n", {}, broken)
    assert not [p for p in settings.store.iterdir() if not p.name.endswith(".lock")]
    assert Artifact.make("n", {}, numbers).path.is_dir()


def test_a_resumable_build_keeps_its_partial_folder(settings):
    def first(folder):
        (folder / "half").write_text("done")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        Artifact.make("n", {}, first, resumable=True)
    seen = []
    Artifact.make("n", {}, lambda folder: seen.append((folder / "half").read_text()), resumable=True)
    assert seen == ["done"]


def test_a_full_disk_is_a_refusal_and_keeps_what_was_there(settings):
    good = Artifact.make("n", {"v": 1}, numbers)
    def full(folder):
        numbers(folder)
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ContractError, match="No space left"):
        Artifact.make("n", {"v": 2}, full)
    assert Artifact.open(good.path).manifest == good.manifest
    assert len([p for p in settings.store.iterdir() if p.is_dir()]) == 1


def _build_slowly(counter):
    import time
    def slow(folder):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.3)
        numbers(folder)
    Artifact.make("n", {}, slow)


def test_two_processes_build_once(settings):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    workers = [context.Process(target=_build_slowly, args=(counter,)) for _ in range(2)]
    [w.start() for w in workers], [w.join() for w in workers]
    assert counter.value == 1 and all(w.exitcode == 0 for w in workers)


def test_source_ignores_docstrings_and_sees_changes():
    def a(x):
        "Doc."
        return x + 1
    def b(x):
        return x + 1
    assert fingerprint([a]) != fingerprint([b])  # another name is another function
    assert fingerprint({"b": 1, "a": [1, 2]}) == fingerprint({"a": [1, 2],
                                                              "b": 1}) != fingerprint({"a": [2, 1], "b": 1})


def test_write_json_replaces_whole_files(tmp_path, monkeypatch):
    path = write_json(tmp_path / "x.json", {"a": 1})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("interrupted")))
    with pytest.raises(OSError):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_json_holds_no_number_that_json_does_not_know(tmp_path):
    content = {"a": math.nan, "b": [math.inf, 1.5, (2, math.nan)], "c": np.float64("nan"), "d": Path("x")}
    written = write_json(tmp_path / "x.json", content).read_text()
    strict = json.loads(written, parse_constant=lambda name: pytest.fail(name))
    assert strict == {"a": None, "b": [None, 1.5, [2, None]], "c": None, "d": "x"}
