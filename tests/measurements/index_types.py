"""Flat, IVF, PQ and HNSW on many real sentences of a domain: what each finds, how long it takes, what it occupies.

    python tests/measurements/index_types.py                      100,000 sentences, to index_types.json beside the spec
    python tests/measurements/index_types.py --sentences 30000    fewer, because encoding them is what takes the time

The sentences are those of cost.py, cut from the whole corpus and chosen by hash, so that fewer are a part of more. The
model is the one that the gate of chapter 06 lets pass, at the served size, and the dev questions are asked. Vectors are
kept in the store in blocks: an interrupted run goes on where it stopped. A time is a ratio to the flat search: the
computing time of this process, one question at a time on one thread, both measured in turns.
"""
import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cost import in_turns, sentences
from semantic_nb.core import Settings
from semantic_nb.output import Table
from semantic_nb.data.domain import Domain, load_corpus, load_domain
from semantic_nb.data.records import Corpus
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, truncate
from semantic_nb.index import lists_for
from semantic_nb.measure import interval
from semantic_nb.model import train
from semantic_nb.spec import load_spec
from semantic_nb.store import write_json

if TYPE_CHECKING:
    import faiss

BLOCK, TOKENS, K = 2_000, 64, 10
LISTS = (1, 2, 4, 8, 16, 32, 64, 128)


def index_types(n: int, dim: int) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    "By name: the FAISS factory string, the name of what decides its effort (or none), and the values to try."
    nlist, codes = lists_for(n), next(m for m in range(max(1, dim // 8), 0, -1) if dim % m == 0)
    lists = tuple(value for value in LISTS if value <= nlist)
    return {"flat": ("Flat", "", (0,)),
            "8 bits per number": ("SQ8", "", (0,)),
            "PQ": (f"PQ{codes}np", "", (0,)),
            "IVF": (f"IVF{nlist},Flat", "nprobe", lists),
            "HNSW": ("HNSW32,Flat", "efSearch", (16, 32, 64, 128, 256)),
            "IVF-PQ": (f"IVF{nlist},PQ{codes}np", "nprobe", lists),
            "IVF-PQ, refined": (f"IVF{nlist},PQ{codes}np,Refine(SQ8)", "k_factor_rf", (1, 2, 4, 8, 16, 32))}


def row_recall(rows: np.ndarray, exact: np.ndarray) -> np.ndarray:
    "Share of the exact answers that were found, for each question, shape (questions,)."
    return np.array([len(set(a) & set(b)) / len(b) for a, b in zip(rows.tolist(), exact.tolist())])


def one_by_one(index: "faiss.Index", queries: np.ndarray) -> None:
    for row in range(len(queries)):
        index.search(queries[row:row + 1], K)


def measure_types(vectors: np.ndarray, queries: np.ndarray, rounds: int = 7) -> Iterator[dict]:
    "A row for each type and setting; the refined index looks into as many lists as the plain one needed for .97."
    import faiss
    n, dim = vectors.shape
    flat = faiss.IndexFlatIP(dim)
    flat.add(vectors)
    _, exact = flat.search(queries, K)
    enough = 1
    for name, (factory, knob, values) in index_types(n, dim).items():
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        size, reached = len(faiss.serialize_index(index)) / n, False
        for value in values:
            space = faiss.ParameterSpace()
            if "Refine" in factory:
                space.set_index_parameter(index, "nprobe", enough)
            if knob:
                space.set_index_parameter(index, knob, value)
            recall = interval(row_recall(index.search(queries, K)[1], exact))
            if name == "IVF" and not reached:
                enough, reached = value, recall.value >= 0.97
            timed = in_turns(lambda: one_by_one(index, queries), lambda: one_by_one(flat, queries), rounds,
                             time.process_time)
            yield {"type": name, "factory": factory, "knob": knob, "effort": value, "recall": recall.value,
                   "low": recall.low, "high": recall.high, "time": timed["ratio"], "bytes": size,
                   "lists": enough if "Refine" in factory else None}


def blocks(domain: Domain, count: int) -> list[Corpus]:
    pieces = sentences(load_corpus(domain.spec), count)
    return [pieces.subset(pieces.ids[first:first + BLOCK]) for first in range(0, len(pieces), BLOCK)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="timings of each setting (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="default: index_types.json beside the spec")
    arguments = parser.parse_args()
    if arguments.sentences < 1000:
        parser.error("--sentences: at least 1000; product quantisation learns 256 codes from them")
    import faiss
    spec = load_spec()
    domain = load_domain(spec)
    trained = train(domain, say=lambda line: print(line, file=sys.stderr, flush=True))
    model = load_encoder(trained.path, spec.model.model_copy(update={"max_tokens": TOKENS}))
    dim, parts = spec.index.dim, []
    wanted = blocks(domain, arguments.sentences)
    for number, block in enumerate(wanted, 1):
        parts.append(truncate(corpus_vectors(model, block, progress=False), dim, model.similarity_fn_name))
        print(f"block {number} of {len(wanted)}", file=sys.stderr, flush=True)
    questions = list(domain.splits[spec.validation.dev].queries.values())
    queries = encode(model, questions, "query", dim)
    faiss.omp_set_num_threads(1)
    vectors = np.concatenate(parts)
    rows = []
    for row in measure_types(vectors, queries, arguments.rounds):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    write_json(arguments.out or spec.folder / "index_types.json", {
        "sentences": len(vectors), "questions": len(questions), "split": spec.validation.dev, "dim": dim, "k": K,
        "model": trained.shipped.manifest["facts"]["shipped"], "profile": Settings.current().profile,
        "max_tokens": TOKENS, "faiss": faiss.__version__, "rows": rows})
    print(Table([{key: row[key] for key in ("type", "knob", "effort", "recall", "time", "bytes")} for row in rows]))


if __name__ == "__main__":
    main()
