"Parts are whole or missing; a kill loses no vector and doubles none; vectors of other texts or models are refused."
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.records import read_corpus
from semantic_nb.encoder import encode, load_encoder
from semantic_nb.scale.shards import encode_shards, missing_shards, open_shards, open_vectors, split_corpus, vector_mark


def test_the_parts_are_the_corpus(corpus_file, tmp_path):
    shards = split_corpus(corpus_file, tmp_path / "shards", 90)
    assert shards.counts == (90, 90, 90, 90, 40) and open_shards(tmp_path / "shards") == shards
    joined = b"".join(shards.texts(number).read_bytes() for number in range(len(shards)))
    assert joined == corpus_file.read_bytes()
    assert sum((shards.read(number).ids for number in range(5)), ()) == read_corpus(corpus_file).ids


def test_a_parquet_corpus_is_cut_too(corpus_file, tmp_path):
    import pyarrow
    import pyarrow.parquet
    rows = [{"_id": row["_id"], "text": row["text"]} for row in map(json.loads, corpus_file.open())]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "corpus.parquet")
    shards = split_corpus(tmp_path / "corpus.parquet", tmp_path / "shards", 150)
    assert shards.counts == (150, 150, 100) and shards.read(1).texts == tuple(row["text"] for row in rows[150:300])


def test_the_vectors_are_those_of_the_plain_call(vectors, encoder, corpus_file, all_of):
    corpus = read_corpus(corpus_file)
    assert [id for number in range(5) for id in vectors.read(number)[0]] == list(corpus.ids)
    assert np.allclose(all_of(vectors), encode(encoder, corpus.passages, "document", 16), atol=1e-2)
    full = encode_shards(encoder, vectors.shards, 32, progress=False)
    assert np.allclose(all_of(full.at(16)), all_of(vectors), atol=1e-2) and full.read(0)[1].shape == (90, 32)


SLOW = """
import sys, time
from pathlib import Path
import semantic_nb.scale.shards as shards
from semantic_nb.encoder import load_encoder
plain = shards.encode
def slow(*arguments, **options):
    time.sleep(0.4)
    return plain(*arguments, **options)
shards.encode = slow
shards.encode_shards(load_encoder(sys.argv[1]), shards.open_shards(Path(sys.argv[2])), 16, progress=False)
"""


def test_a_killed_program_goes_on_and_no_vector_is_lost_or_doubled(corpus_file, tiny_model, encoder, tmp_path, all_of):
    shards = split_corpus(corpus_file, tmp_path / "shards", 25)
    folder = shards.folder / f"vectors-{vector_mark(encoder, 16)}"
    program = subprocess.Popen([sys.executable, "-c", SLOW, str(tiny_model), str(shards.folder)])
    for _ in range(1200):
        if len(list(folder.glob("0*.parquet"))) >= 3:
            break
        time.sleep(0.05)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("0*.parquet")}
    assert 3 <= len(before) < len(shards)
    with pytest.raises(ContractError, match="scale.shard") as refusal:
        open_vectors(encoder, shards, 16)
    assert f"{len(shards) - len(before)} of 16 parts have no vectors" in refusal.value.symptom
    vectors = encode_shards(encoder, shards, 16, progress=False)
    after = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert {name: after[name] for name in before} == before and len(after) == len(shards)
    corpus = read_corpus(corpus_file)
    assert [id for number in range(16) for id in vectors.read(number)[0]] == list(corpus.ids)
    assert np.allclose(all_of(vectors), encode(encoder, corpus.passages, "document", 16), atol=1e-2)


def test_what_was_cut_is_not_cut_again(corpus_file, tmp_path):
    shards = split_corpus(corpus_file, tmp_path / "shards", 90)
    stamp = shards.texts(0).stat().st_mtime_ns
    assert split_corpus(corpus_file, tmp_path / "shards", 90) == shards and shards.texts(0).stat().st_mtime_ns == stamp
    with pytest.raises(ContractError, match="parts of another size"):
        split_corpus(corpus_file, tmp_path / "shards", 80)
    other = tmp_path / "other.jsonl"
    other.write_bytes(corpus_file.read_bytes() + b'{"_id": "new", "text": "one more"}\n')
    with pytest.raises(ContractError, match="parts of another corpus"):
        split_corpus(other, tmp_path / "shards", 90)


def test_a_cut_that_was_killed_is_made_again(corpus_file, tmp_path):
    shards = split_corpus(corpus_file, tmp_path / "shards", 90)
    (tmp_path / "shards" / "shards.json").unlink()
    shards.texts(1).write_bytes(b"")
    with pytest.raises(ContractError, match="holds no parts"):
        open_shards(tmp_path / "shards")
    assert split_corpus(corpus_file, tmp_path / "shards", 90) == shards and shards.read(1).ids[0] == "d90"


@pytest.mark.parametrize("line, layer, words", [
    (b'{"_id": "d3", "text": "again"}\n', "data.duplicate_id", "1 ids occur twice"),
    (b'{"_id": "x", "text": ["a"]}\n', "data.value", "from line 361 on"),
    (b'{"_id": "x", "te', "data.format", "from line 361 on"),
    (b'{"_id": "x", "text": "gro\xdf"}\n', "data.encoding", "is not UTF-8")])
def test_a_bad_line_anywhere_is_found_when_the_corpus_is_cut(corpus_file, tmp_path, line, layer, words):
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(corpus_file.read_bytes() + line)
    with pytest.raises(ContractError) as refusal:
        split_corpus(bad, tmp_path / "shards", 90)
    assert refusal.value.layer == layer and words in refusal.value.symptom
    assert not (tmp_path / "shards" / "shards.json").exists()


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl"])
def test_no_corpus_is_refused(tmp_path, name):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(ContractError, match="data.file"):
        split_corpus(tmp_path / name, tmp_path / "shards")


def test_texts_that_changed_are_not_encoded(corpus_file, encoder, tmp_path):
    shards = split_corpus(corpus_file, tmp_path / "shards", 90)
    shards.texts(2).write_text('{"_id": "z", "text": "something else"}\n')
    with pytest.raises(ContractError, match="scale.shard"):
        encode_shards(encoder, shards, 16, progress=False)
    missing = missing_shards(shards, vector_mark(encoder, 16))
    assert [target.stem for _, target in missing] == ["00002", "00003", "00004"]


def damage(path, content):
    path.write_bytes(content(path.read_bytes()))


@pytest.mark.parametrize("content", [lambda b: b[:500], lambda b: b"", lambda b: b[:300] + b"?" + b[301:]])
def test_a_damaged_part_is_refused(vectors, content):
    damage(vectors.folder / "00001.parquet", content)
    with pytest.raises(ContractError, match="scale.shard"):
        vectors.read(1)
    assert len(vectors.read(0)[0]) == 90


def test_vectors_of_another_model_or_of_other_texts_are_refused(vectors, tiny_model, tmp_path):
    here = vectors.folder / "00001.parquet"
    here.write_bytes((vectors.folder / "00000.parquet").read_bytes())
    with pytest.raises(ContractError, match="other texts"):
        vectors.read(1)
    shorter = load_encoder(str(tiny_model), fresh=True)
    shorter.max_seq_length = 8
    other = encode_shards(shorter, vectors.shards, 16, progress=False)
    assert other.folder != vectors.folder
    here.write_bytes((other.folder / "00001.parquet").read_bytes())
    with pytest.raises(ContractError, match="scale.model") as refusal:
        vectors.read(1)
    assert other.mark in refusal.value.symptom and vectors.mark in refusal.value.symptom


def test_a_size_that_is_not_there_is_refused(vectors):
    for dim in (0, 17):
        with pytest.raises(ContractError, match="index.dim"):
            vectors.at(dim)


def test_what_holds_no_text_is_no_part(corpus_file, tmp_path):
    blank = "\n" + json.dumps({"_id": "blank", "text": " "}) + "\n"
    spaced = tmp_path / "spaced.jsonl"
    lines = corpus_file.read_text(encoding="utf-8").splitlines(keepends=True)
    spaced.write_text("".join(lines[:2]) + blank + blank.replace("blank", "blank too") + "".join(lines[2:4]) + "\n",
                      encoding="utf-8")
    shards = split_corpus(spaced, tmp_path / "shards", 2)
    assert shards.counts == (2, 2) and sorted(path.name for path in shards.texts(0).parent.iterdir()) == [
        "00000.jsonl", "00001.jsonl"]
    assert shards.read(1).ids == read_corpus(spaced).ids[2:]
    spaced.write_text(blank, encoding="utf-8")
    with pytest.raises(ContractError, match="no document of spaced.jsonl has a text"):
        split_corpus(spaced, tmp_path / "none", 2)
    with pytest.raises(ContractError, match="parts of 0 lines"):
        split_corpus(corpus_file, tmp_path / "none", 0)


def test_a_half_file_that_another_process_may_be_writing_stays(vectors, encoder):
    fresh, old = vectors.folder / ".1.00000.parquet", vectors.folder / ".2.00000.parquet"
    for half in (fresh, old):
        half.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    open_vectors(encoder, vectors.shards, 16)
    assert fresh.exists() and not old.exists()
    fresh.unlink()
