"A corpus of a few hundred texts, cut into parts, and a tiny model that encodes them."
import json

import numpy as np
import pytest

from semantic_nb.encoder import load_encoder
from semantic_nb.scale.shards import encode_shards, split_corpus

VERBS = ("sort", "draw", "invert", "read", "plot", "merge", "split", "count", "hash", "join")
THINGS = ("list", "matrix", "line", "file", "table", "graph", "string", "array", "tree", "queue")
KINDS = ("quickly", "in place", "twice", "from disk")


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    texts = [f"{verb} a {thing} {kind}" for verb in VERBS for thing in THINGS for kind in KINDS]
    rows = ({"_id": f"d{n}", "title": "", "text": text, "metadata": {"kind": text[-4:]}}
            for n, text in enumerate(texts))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def encoder(tiny_model):
    return load_encoder(str(tiny_model))


@pytest.fixture
def vectors(corpus_file, encoder, tmp_path):
    "The 400 texts in parts of 90, encoded at 16 numbers."
    return encode_shards(encoder, split_corpus(corpus_file, tmp_path / "shards", 90), 16, progress=False)


@pytest.fixture
def all_of():
    return lambda vectors: np.concatenate([vectors.read(number)[1] for number in range(len(vectors))])
