"""What a search costs as documents become more: seconds, bytes, memory and recall from 10,000 to a million and beyond.

    python tests/measurements/growth.py                       a million documents, 150,000 of them real: an hour
    python tests/measurements/growth.py --most 10000000       ten million
    python tests/measurements/growth.py --real 1000000        as many real sentences as there are; hours to encode them

The texts are the sentences of docstrings, comments and documentation in the packages that are installed beside this
project, each once, in an order by hash, so that fewer are a part of more. They are encoded once, in parts, by the model
that the last run serves, at its full size: a run that was interrupted goes on. Beyond the real ones, vectors are copies
of real ones with noise: a step of a fixed length in the direction from one random vector to another, so that it varies
as the vectors do (cosine to the original, about: `noise_cosine` in the file). Recall is that of the written dev
questions against exact search. A time is the computing time of one thread, one question at a time, in turns with a flat
search; `seconds` of a build are those of the clock. Writes `growth.json` beside the spec, after each row.
"""
from __future__ import annotations

import argparse
import ast
import io
import json
import math
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import product
from pathlib import Path

import faiss
import numpy as np
import psutil

from cost import in_turns
from measured_on import measured_on
from semantic_nb.cluster.groups import communities
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.encoder import Encoder, encode, load_encoder
from semantic_nb.index import set_effort
from semantic_nb.model import train
from semantic_nb.scale.ondisk import _mapped, build_on_disk, exact_rows
from semantic_nb.scale.shards import VectorShards, encode_shards, split_corpus, vector_mark
from semantic_nb.spec import load_spec
from semantic_nb.store import read_object, write_json, written_aside

TYPES = ("flat", "ivf", "ivfpq", "hnsw")
PART, TOKENS, K = 10_000, 64, 10
NOISE = 0.5
COSINE = 1 / math.sqrt(1 + NOISE**2)  # of a vector of length one to itself with noise of length NOISE
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")


def pieces(source: str) -> Iterator[str]:
    "Docstrings and comments of a Python file; lines of comments that follow each other are one text."
    with warnings.catch_warnings(), suppress(SyntaxError, ValueError, RecursionError):
        warnings.simplefilter("ignore")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                yield ast.get_docstring(node) or ""
    lines: list[str] = []
    with suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                lines.append(token.string.lstrip("#! "))
            elif token.type not in (tokenize.NL, tokenize.NEWLINE):
                yield " ".join(lines)
                lines = []


def sentences_of(text: str) -> Iterator[str]:
    "Sentences of at least four words and mostly letters, at most 400 characters of each."
    for part in SENTENCE.split(text):
        words = part.split()
        line = " ".join(words)[:400]
        if len(words) >= 4 and sum(map(str.isalpha, line)) > 0.6 * len(line):
            yield line


def collect(site: Path, target: Path, most: int) -> int:
    "Write up to `most` sentences as a corpus file; how many there are."
    found: dict[bytes, str] = {}
    for path in sorted((*site.rglob("*.py"), *site.rglob("*.rst"), *site.rglob("*.md"), *site.rglob("METADATA"))):
        with suppress(UnicodeDecodeError, OSError):
            source = path.read_text(encoding="utf-8")
            for text in pieces(source) if path.suffix == ".py" else [source]:
                for line in sentences_of(text):
                    found.setdefault(blake2b(line.encode(), digest_size=8).digest(), line)
    with written_aside(target) as aside, open(aside, "w", encoding="utf-8") as file:
        for key in sorted(found)[:most]:
            file.write(json.dumps({"_id": key.hex(), "text": found[key]}, ensure_ascii=False) + "\n")
    return min(most, len(found))


def encoded(real: int) -> tuple[VectorShards, Encoder, list[str]]:
    "The vectors of the real sentences, the model that made them, and the questions that the effort is tuned on."
    spec = load_spec()
    domain = load_domain(spec)
    trained = train(domain, say=lambda line: print(line, file=sys.stderr))
    model = load_encoder(trained.path, spec.model.model_copy(update={"max_tokens": TOKENS}))
    folder = Settings.current().runs_dir / "growth" / f"real-{real}"
    if not (folder / "corpus.jsonl").is_file():
        collect(Path(sysconfig.get_path("purelib")), folder / "corpus.jsonl", real)
    shards = split_corpus(folder / "corpus.jsonl", folder / "shards", PART)
    dev = domain.splits[spec.validation.dev]
    return encode_shards(model, shards, spec.model.dims[0]), model, list(dev.queries.values())


@dataclass(frozen=True)
class Noisy(VectorShards):
    "The parts of `VectorShards`, and then the same ones again with noise, as often as it takes."
    real: int = 0

    def read(self, number: int) -> tuple[list[str], np.ndarray]:
        ids, vectors = super().read(number % self.real)
        if number < self.real:
            return ids, vectors
        one, other = (np.random.default_rng([number, side]).permutation(len(vectors)) for side in range(2))
        step = vectors[one] - vectors[other]
        vectors = vectors + NOISE * step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-6)
        copy = number // self.real
        return [f"{id}-{copy}" for id in ids], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def first(vectors: VectorShards, n: int) -> VectorShards:
    "The first `n` vectors, as parts; copies with noise beyond the real ones."
    shards, real = vectors.shards, len(vectors)
    numbers = [number % real for number in range(math.ceil(n / PART))]
    counts, hashes = (tuple(column[number] for number in numbers) for column in (shards.counts, shards.hashes))
    fewer = replace(shards, counts=counts, hashes=hashes)
    if len(numbers) <= real:
        return replace(vectors, shards=fewer)
    return Noisy(fewer, vectors.mark, vectors.width, vectors.dim, vectors.similarity, real)


def resident() -> float:
    "MiB of this process in memory."
    return psutil.Process().memory_info().rss / 2**20


def one_by_one(index: faiss.Index, queries: np.ndarray) -> None:
    for row in range(len(queries)):
        index.search(queries[row:row + 1], K)


def row_of(kind: str, n: int, real: int, dim: int, target: float) -> dict:
    "Build an index, open it, ask it: what that costs. Runs in a process of its own, for its memory."
    spec = load_spec()
    stored, model, questions = encoded(real)
    vectors = first(stored.at(dim), n)
    section = spec.index.model_copy(update={"type": kind, "dim": dim, "nlist": None, "recall_target": target})
    folder = Settings.current().runs_dir / "growth" / f"{kind}-{n}-{dim}"
    shutil.rmtree(folder, ignore_errors=True)
    before, began = resident(), time.perf_counter()
    index = build_on_disk(model, vectors, section, questions, K, folder)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    alone = subprocess.run([sys.executable, __file__, "--opened", str(index.folder)], check=True,
                           stdout=subprocess.PIPE)
    faiss.omp_set_num_threads(1)
    queries, flat = encode(model, questions, "query", dim), faiss.IndexFlatIP(dim)
    for number in range(len(vectors)):
        flat.add(vectors.read(number)[1])
    timed = in_turns(lambda: one_by_one(index.index, queries), lambda: one_by_one(flat, queries), 5, time.process_time)
    size = sum(file.stat().st_size for file in index.folder.iterdir() if file.name in ("index.faiss", "lists.ivfdata"))
    grid = list(settings_of(index.index, queries, exact_rows(queries, vectors, K))) if kind == "ivfpq" else []
    shutil.rmtree(folder)
    return {"type": kind, "documents": sum(vectors.shards.counts), "dim": dim, "real": sum(stored.shards.counts),
            "recall": index.facts["recall"], "effort": index.facts["effort"], "build_s": seconds, "peak_mib": peak,
            "bytes": size, "opened_mib": float(alone.stdout), "ms": 1000 * timed["first_s"] / len(queries),
            "flat_ms": 1000 * timed["second_s"] / len(queries), "faster": 1 / timed["ratio"], "grid": grid}


def settings_of(index: faiss.Index, queries: np.ndarray, exact: list[np.ndarray]) -> Iterator[dict]:
    "Recall of a refined index at settings of both of its knobs."
    for nprobe, factor in product((2, 8, 32), (1, 4, 16, 64)):
        set_effort(index, f"nprobe={nprobe},k_factor_rf={factor}")
        _, rows = index.search(queries, K)
        found = [len(set(row) & set(right)) / K for row, right in zip(rows.tolist(), exact)]
        yield {"nprobe": nprobe, "k_factor": factor, "recall": float(np.mean(found))}


def opened(folder: Path) -> float:
    "MiB that an opened index adds to a process, before the first question."
    import pyarrow.ipc  # libraries are not the index
    assert pyarrow
    before = resident()
    index, names = _mapped(folder)
    assert index.ntotal == len(names)
    return resident() - before


def near_copies_row(n: int, real: int, dim: int, threshold: float = 0.95) -> dict:
    "How long it takes to find the near-copies among `n` vectors, in two orders."
    stored, _, _ = encoded(real)
    vectors = first(stored.at(dim), n)
    rows = np.concatenate([vectors.read(number)[1] for number in range(len(vectors))])
    shuffle, found, seconds = np.random.default_rng(1).permutation(len(rows)), [], []
    for order in (np.arange(len(rows)), shuffle):
        began = time.perf_counter()
        groups = communities(rows[order], threshold)
        seconds.append(time.perf_counter() - began)
        found.append({frozenset(order[group].tolist()) for group in groups})
    return {"documents": len(rows), "threshold": threshold, "groups": len(found[0]), "seconds": seconds,
            "same_in_both_orders": len(found[0] & found[1]) / max(1, len(found[0]))}


def encoding_row(real: int, texts: int = 4_000) -> dict:
    "Texts a second by parts against one call of `encode`, the same texts, in turns."
    stored, model, _ = encoded(real)
    lines = stored.shards.read(0).passages[:texts]
    folder = Settings.current().runs_dir / "growth" / "encoding"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = ({"_id": str(number), "text": line} for number, line in enumerate(lines))
    (folder / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    shards = split_corpus(folder / "corpus.jsonl", folder / "shards", texts // 4)

    def in_parts() -> None:
        shutil.rmtree(folder / "shards" / f"vectors-{vector_mark(model, stored.width)}", ignore_errors=True)
        encode_shards(model, shards, stored.width, progress=False)
    timed = in_turns(in_parts, lambda: encode(model, lines), 5)
    shutil.rmtree(folder)
    return {"texts": texts, "parts": 4, "seconds": timed["first_s"], "plain_seconds": timed["second_s"],
            "throughput": 1 / timed["ratio"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="documents of the largest index")
    parser.add_argument("--least", type=int, default=10_000, help="of the smallest; stored rows of smaller ones stay")
    parser.add_argument("--real", type=int, default=150_000, help="real sentences; beyond them, copies with noise")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--target", type=float, default=0.95, help="recall@10 that the effort is tuned to")
    parser.add_argument("--row", nargs=2, metavar=("TYPE", "N"), help=argparse.SUPPRESS)
    parser.add_argument("--opened", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.opened:
        print(opened(arguments.opened))
    elif arguments.row and arguments.row[0] == "copies":
        print(json.dumps(near_copies_row(int(arguments.row[1]), arguments.real, arguments.dim)))
    elif arguments.row and arguments.row[0] == "encoding":
        print(json.dumps(encoding_row(arguments.real)))
    elif arguments.row:
        print(json.dumps(row_of(arguments.row[0], int(arguments.row[1]), arguments.real, arguments.dim,
                                arguments.target)))
    else:
        measure(arguments.least, arguments.most, arguments.real, arguments.dim, arguments.target)


def measure(least: int, most: int, real: int, dim: int, target: float) -> None:
    path = load_spec().folder / "growth.json"
    encoded(real)
    known = read_object(path)
    known |= {"dim": dim, "k": K, "recall_target": target, "max_tokens": TOKENS, "noise_cosine": COSINE,
              "faiss": faiss.__version__, "measured_on": measured_on()}
    rows = {(row["type"], row["documents"]): row for row in known.get("rows", [])}

    def measured(kind: str, n: int) -> dict:
        command = [sys.executable, __file__, "--row", kind, str(n), "--real", str(real), "--dim", str(dim),
                   "--target", str(target)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(kind, n, done.stdout or "failed", file=sys.stderr, flush=True)
        return json.loads(done.stdout) if done.returncode == 0 else {}
    for n, kind in product([10**power for power in range(9) if least <= 10**power <= most], TYPES):
        if (kind != "hnsw" or n <= 10**6) and (found := measured(kind, n)):
            rows[kind, n] = found
            write_json(path, known | {"rows": list(rows.values())})
    known |= {"rows": list(rows.values()), "encoding": measured("encoding", 0), "near_copies": measured("copies", most)}
    write_json(path, known)


if __name__ == "__main__":
    main()
