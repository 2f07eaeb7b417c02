"An index on disk finds what exact search finds, is built once, and refuses what moved, changed or is of another model."
import os
import shutil

import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.records import read_corpus
from semantic_nb.encoder import encode, load_encoder
from semantic_nb.index import set_effort
from semantic_nb.measure import _tied_rows
from semantic_nb.scale import ondisk
from semantic_nb.scale.ondisk import build_on_disk, exact_rows, open_on_disk, sample_vectors
from semantic_nb.scale.shards import encode_shards
from semantic_nb.spec import IndexSpec

QUESTIONS = ["sort a list quickly", "draw a line twice", "merge a table", "count a tree from disk", "hash a string"]


def section(**change):
    return IndexSpec(**{"type": "ivf", "dim": 16, "similarity": "cosine", "documents": 400, "nlist": 6,
                        "recall_target": 0.9} | change)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_every_type_reaches_its_recall_and_knows_its_documents(vectors, encoder, corpus_file, kind, monkeypatch):
    monkeypatch.setattr(ondisk, "_TOGETHER", 150)  # three files to be joined
    index = build_on_disk(encoder, vectors, section(type=kind, nlist=6 if kind == "ivf" else None), QUESTIONS)
    assert index.facts["recall"] >= 0.9 and index.facts["documents"] == len(index.ids) == 400
    best = index.ask(encoder, ["sort a list quickly"], 1)[0][0][0]
    assert read_corpus(corpus_file).texts[int(best[1:])] == "sort a list quickly"
    assert (index.folder / "lists.ivfdata").is_file() == (kind == "ivf")
    assert not list(index.folder.glob("part-*")) and not (index.folder / "empty.faiss").exists()


def test_codes_with_refinement_too(corpus_file, encoder, tmp_path):
    import json
    from semantic_nb.scale.shards import split_corpus
    lines = [json.dumps({"_id": str(n), "text": f"number {n} of {n % 7} and {n % 11} {'x' * (n % 5)}"})
             for n in range(1200)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines) + "\n")
    many = encode_shards(encoder, split_corpus(tmp_path / "many.jsonl", tmp_path / "many", 500), 16, progress=False)
    index = build_on_disk(encoder, many, section(type="ivfpq", nlist=8), [f"number {n}" for n in range(0, 200, 9)])
    assert index.facts["recall"] >= 0.9 and "k_factor_rf" in index.facts["effort"]


def test_exact_rows_are_those_of_one_array(vectors, encoder, all_of):
    queries = encode(encoder, QUESTIONS, "query", 16)
    for k in (1, 10, 400, 900):
        for ours, plain in zip(exact_rows(queries, vectors, k), _tied_rows(queries, all_of(vectors), k)):
            assert set(plain.tolist()) <= set(ours.tolist()) if k < 200 else len(ours) == 400


def test_a_sample_comes_from_every_part(vectors, all_of):
    few, all_rows = sample_vectors(vectors, 50), sample_vectors(vectors, 5_000)
    assert 50 <= len(few) <= 55 and np.array_equal(all_rows, all_of(vectors))
    counts = [sum((part == row).all(axis=1).any() for row in few) for part in (vectors.read(n)[1] for n in range(5))]
    assert min(counts) >= 5 and np.array_equal(few, sample_vectors(vectors, 50))


def test_a_killed_build_goes_on_with_what_is_there(vectors, encoder, monkeypatch):
    monkeypatch.setattr(ondisk, "_TOGETHER", 150)
    with monkeypatch.context() as patch:
        patch.setattr(ondisk, "join_parts", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_on_disk(encoder, vectors, section(), QUESTIONS)
    (half,) = vectors.shards.folder.glob(".index-*.partial")
    parts = {file.name: file.stat().st_mtime_ns for file in half.glob("part-*.faiss")}
    assert len(parts) == 3 and not list(vectors.shards.folder.glob("index-*"))
    seen = {}
    plain = ondisk.join_parts

    def looking(empty, files, lists):
        seen.update({file.name: file.stat().st_mtime_ns for file in files})
        return plain(empty, files, lists)
    monkeypatch.setattr(ondisk, "join_parts", looking)
    index = build_on_disk(encoder, vectors, section(), QUESTIONS)
    set_effort(index.index, "nprobe=6")
    _, rows = index.search(encode(encoder, QUESTIONS[:1], "query", 16), 400)
    assert seen == parts and sorted(rows[0].tolist()) == list(range(400))


def test_a_finished_index_is_opened_and_not_built_again(vectors, encoder, monkeypatch):
    first = build_on_disk(encoder, vectors, section(), QUESTIONS)
    monkeypatch.setattr(ondisk, "_write_on_disk", None)
    assert build_on_disk(encoder, vectors, section(), QUESTIONS).folder == first.folder


def test_a_copy_reads_its_own_lists_and_what_moved_or_changed_is_refused(vectors, encoder, tmp_path):
    index = build_on_disk(encoder, vectors, section(), QUESTIONS)
    copy = tmp_path / "copy"
    shutil.copytree(index.folder, copy)
    os.truncate(index.folder / "lists.ivfdata", 0)  # the copy must not read the old folder
    assert open_on_disk(copy, encoder).ask(encoder, QUESTIONS, 3)[0][0][1] > 0.9
    for name in ("lists.ivfdata", "ids.arrow", "index.faiss"):
        kept = (copy / name).read_bytes()
        (copy / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(ContractError, match="index.store"):
            open_on_disk(copy, encoder)
        (copy / name).unlink()
        with pytest.raises(ContractError, match="index.store"):
            open_on_disk(copy, encoder)
        (copy / name).write_bytes(kept)
    open_on_disk(copy, encoder)


def test_another_model_or_size_is_refused(vectors, encoder, tiny_model):
    index = build_on_disk(encoder, vectors, section(), QUESTIONS)
    shorter = load_encoder(str(tiny_model), fresh=True)
    shorter.max_seq_length = 8
    with pytest.raises(ContractError, match="index.model"):
        open_on_disk(index.folder, shorter)
    with pytest.raises(ContractError, match="scale.model"):
        build_on_disk(shorter, vectors, section(), QUESTIONS)
    with pytest.raises(ContractError, match="index.dim"):
        build_on_disk(encoder, vectors, section(dim=8), QUESTIONS)
    half = build_on_disk(encoder, vectors.at(8), section(dim=8, recall_target=0.5), QUESTIONS)
    assert half.index.d == 8


def test_a_part_of_another_model_ends_the_build_and_leaves_no_index(vectors, encoder, tiny_model):
    shorter = load_encoder(str(tiny_model), fresh=True)
    shorter.max_seq_length = 8
    other = encode_shards(shorter, vectors.shards, 16, progress=False)
    shutil.copyfile(other.folder / "00003.parquet", vectors.folder / "00003.parquet")
    with pytest.raises(ContractError, match="scale.model"):
        build_on_disk(encoder, vectors, section(), QUESTIONS)
    assert not list(vectors.shards.folder.glob("index-*"))


def test_nothing_is_printed(vectors, encoder, capfd):
    build_on_disk(encoder, vectors, section(), QUESTIONS)
    assert capfd.readouterr().out == ""


def test_starved_lists_and_missed_recall_are_refused(vectors, encoder):
    with pytest.raises(ContractError, match="index.training"):
        build_on_disk(encoder, vectors, section(nlist=50), QUESTIONS)
    with pytest.raises(ContractError, match="index.training"):
        build_on_disk(encoder, vectors, section(type="ivfpq", nlist=4), QUESTIONS)
