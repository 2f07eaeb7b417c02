import errno
import json
import math
import multiprocessing
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reliability.damage import refuse_damaged
from semantic_nb.core import ContractError
from semantic_nb.store import Artifact, fingerprint, read_object, write_json, write_rows, write_text, written_aside


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


@pytest.mark.parametrize("content", ["{x", "[]", "5", "null", "", "[" * 20_000, None])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path, content):
    path = tmp_path / "note.json"
    if content is not None:
        path.write_text(content)
    assert read_object(path) == {} and read_object(tmp_path) == {}
    assert read_object(write_json(path, {"a": 1})) == {"a": 1}


def test_json_holds_no_number_that_json_does_not_know(tmp_path):
    content = {"a": math.nan, "b": [math.inf, 1.5, (2, math.nan)], "c": np.float64("nan"), "d": Path("x")}
    written = write_json(tmp_path / "x.json", content).read_text()
    strict = json.loads(written, parse_constant=lambda name: pytest.fail(name))
    assert strict == {"a": None, "b": [None, 1.5, [2, None]], "c": None, "d": "x"}


def test_a_recipe_without_a_number_is_the_same_after_reading(settings):
    recipe = {"gate": math.nan, "sizes": (3, 2), 10: "b", 9: "a", "code": numbers}
    made = Artifact.make("n", recipe, lambda folder: {10: 1, 9: Path("x"), "p": math.inf})
    assert Artifact.make("n", recipe, numbers).manifest == made.manifest == Artifact.open(made.path).manifest


def several(folder):
    (folder / "model" / "deep").mkdir(parents=True)
    for name in ("a.txt", "model/b.bin", "model/deep/c.json"):
        (folder / name).write_text(f'{{"name": "{name}"}}')
    return {"count": 3, "part": None}


def refuses(path, what):
    with pytest.raises(ContractError) as refusal:
        Artifact.open(path, "model")
        pytest.fail(f"opened: {what}")
    assert refusal.value.layer == "model.store", what


def test_an_artifact_that_is_not_what_was_written_is_refused(settings, domain, tmp_path):
    from semantic_nb.encoder import load_encoder
    from semantic_nb.index import make_index
    make_index(load_encoder(domain.spec.model.base, domain.spec.model), domain)
    Artifact.make("several", {"seed": 1}, several)
    found = refuse_damaged(settings.store, tmp_path)
    assert found["refused"] > 200 and not found["opened"]


def test_a_folder_that_is_no_folder_or_another_artifact_is_refused(settings):
    made, other = (Artifact.make("several", {"seed": seed}, several).path for seed in (1, 2))
    shutil.rmtree(other), shutil.copytree(made, other)
    refuses(other, "an artifact under the name of another")
    Artifact.open(shutil.copytree(made, made.with_name("copy")))  # under a name of its own it may be taken along
    for change in (lambda: other.write_text("a file"), lambda: other.symlink_to(other), other.mkdir):
        shutil.rmtree(other) if other.is_dir() else other.unlink()
        change()
        refuses(other, "no folder, or an empty one")
        with pytest.raises(ContractError, match="core.store"):
            Artifact.make("several", {"seed": 2}, several)
        if other.is_dir():
            break


def test_opening_takes_no_lock(settings):
    made = Artifact.make("n", {}, numbers)
    for lock in settings.store.glob(".*.lock"):
        lock.unlink()
    assert Artifact.make("n", {}, numbers).path == made.path and not list(settings.store.glob(".*.lock"))


@contextmanager
def mounted(folder, *options):
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("mount") is None or subprocess.run(["mount", *options, folder], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_store_on_a_read_only_disk_is_opened_and_not_built_in(settings):
    made = Artifact.make("n", {}, numbers)
    with mounted(settings.store, "--bind", "-o", "ro", settings.store):
        assert Artifact.make("n", {}, numbers).path == made.path
        with pytest.raises(ContractError, match="core.store"):
            Artifact.make("n", {"seed": 2}, numbers)


@pytest.mark.parametrize("obstacle", [
    lambda store, lock: lock.mkdir(), lambda store, lock: (shutil.rmtree(store), store.write_text("")),
    lambda store, lock: (shutil.rmtree(store), store.symlink_to(store))])
def test_a_lock_or_a_store_of_another_kind_is_refused(settings, obstacle):
    path = Artifact.make("n", {}, numbers).path
    shutil.rmtree(path)
    lock = settings.store / f".{path.name}.lock"
    lock.unlink(missing_ok=True)
    obstacle(settings.store, lock)
    with pytest.raises(ContractError, match="core.store"):
        Artifact.make("n", {}, numbers)


@contextmanager
def small_disk(size):
    "No file may grow beyond `size` bytes; what a process sees of it is much like a full disk."
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_torch(path):
    import torch
    torch.save({"a": torch.ones(100_000)}, path)


def save_tensors(path):
    import torch
    from safetensors.torch import save_file
    save_file({"a": torch.ones(100_000)}, path)


def save_index(path):
    import faiss
    index = faiss.IndexFlatIP(100)
    index.add(np.ones((1000, 100), "float32"))
    faiss.write_index(index, str(path))


def save_picture(path):
    from semantic_nb.brief import figure
    picture, ax = figure(12, 6)
    ax.imshow(np.random.default_rng(0).random((300, 300)))
    picture.savefig(path, dpi=150)


TABLE = [{"text": f"number {i}" * 5, "vector": str(i * 7919)} for i in range(5000)]
WRITERS = {"x.npy": lambda path: np.save(path, np.ones(100_000)), "x.pt": save_torch, "x.safetensors": save_tensors,
           "x.faiss": save_index, "x.png": save_picture, "x.txt": lambda path: path.write_text("x" * 100_000)}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_writes_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")
    with small_disk(20_000), pytest.raises(ContractError, match="core.store"), written_aside(path) as aside:
        WRITERS[name](aside)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write, name", [
    (lambda path: write_rows(TABLE, path), "x.csv"), (lambda path: write_rows(TABLE, path), "x.parquet"),
    (lambda path: write_json(path, TABLE), "x.json"), (lambda path: write_text(path, "x" * 100_000), "x.md")])
def test_our_own_writers_leave_the_old_file(tmp_path, write, name):
    path = tmp_path / name
    path.write_text("old")
    with small_disk(20_000), pytest.raises(ContractError, match="core.store"):
        write(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    assert write(path).stat().st_size > 20_000 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_build_on_a_full_disk_is_refused_and_the_next_one_works(settings, name):
    build = lambda folder: WRITERS[name](folder / name)
    with small_disk(20_000), pytest.raises(ContractError, match="core.store"):
        Artifact.make("n", {}, build)
    assert not [path for path in settings.store.iterdir() if not path.name.endswith(".lock")]
    assert Artifact.make("n", {}, build).path.is_dir()


def test_a_disk_that_is_full_in_truth(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64k", "none") as disk:
        path = write_text(disk / "x.txt", "old")
        with pytest.raises(ContractError, match="No space left"):
            write_text(path, "x" * 100_000)
        assert path.read_text() == "old" and list(disk.iterdir()) == [path]


def test_a_target_that_cannot_be_a_file_is_refused(tmp_path):
    (tmp_path / "x.csv").mkdir()
    for path in (tmp_path / "x.csv", Path("/proc/x.json"), Path("/proc/nope/x.json")):
        with pytest.raises(ContractError, match="core.store"):
            write_text(path, "x")
    assert write_text(tmp_path / "new" / "x.json", "x").read_text() == "x"


def test_a_store_in_a_place_that_takes_none_is_refused(settings):
    with replace(settings, runs_dir=Path("/proc/nope")).active(), pytest.raises(ContractError, match="core.store"):
        Artifact.make("n", {}, numbers)


def test_an_error_in_a_build_is_no_disk_trouble(settings):
    with pytest.raises(FileNotFoundError):
        Artifact.make("n", {}, lambda folder: Path("/gone").read_text())
