"""What the parts cost: ratios of two things timed in turns, and the time and memory of whole commands.

    python tests/measurements/cost.py            everything, to runs/bench.json (half an hour)
    python tests/measurements/cost.py search     one part, as JSON: search, encode, bf16, start, run, communities,
                                                 agglomerative, near-copies, data, cluster or long-line

Timings on shared machines are noise. Ratios of two things timed in turns are far less so, because whatever slows the
machine slows both. Each part runs in a process of its own, so that its peak of memory is its own as well.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import Settings
from semantic_nb.output import Table
from semantic_nb.data.domain import SENTENCE_END, load_corpus, load_domain
from semantic_nb.data.records import Corpus
from semantic_nb.spec import load_spec
from semantic_nb.store import fingerprint, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GIB = 2**20  # ru_maxrss counts KiB


def peak_gib(who: int = resource.RUSAGE_SELF) -> float:
    "The peak of memory so far, of this process or of its children (GiB)."
    return resource.getrusage(who).ru_maxrss / GIB


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int = 15,
             clock: Callable[[], float] | None = None) -> dict:
    """Median seconds of two functions run in turns after a warm-up, and the median of the paired ratios first / second.
    `clock`: by default time as it passes; `time.process_time` counts only what this process computes."""
    first(), second()
    clock = clock or time.perf_counter
    times = []
    for _ in range(rounds):
        pair = []
        for function in (first, second):
            start = clock()
            function()
            pair.append(clock() - start)
        times.append(pair)
    a, b = (statistics.median(column) for column in zip(*times))
    return {"first_s": a, "second_s": b, "ratio": statistics.median(x / y for x, y in times), "rounds": rounds}


# --- search and encoding

def search_cost(n: int = 100_000, dim: int = 128, seed: int = 1) -> dict:
    "Our search against the raw FAISS call on `n` random unit vectors (the arithmetic does not ask what they mean)."
    import faiss
    from semantic_nb.index import SearchIndex
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")
    faiss.normalize_L2(vectors)
    raw = faiss.IndexFlatIP(dim)
    raw.add(vectors)
    ours = SearchIndex(raw, tuple(map(str, range(n))), {"dim": dim})
    queries = vectors[:64]
    return in_turns(lambda: ours.search(queries, 10), lambda: raw.search(queries, 10))


def base_model() -> SentenceTransformer:
    "The base of the spec."
    from semantic_nb.bases import resolve_base
    from semantic_nb.encoder import load_encoder
    spec = load_spec()
    return load_encoder(resolve_base(spec.model.base), spec.model)


def encode_cost(rounds: int = 5) -> dict:
    "Our `encode` against `SentenceTransformer.encode` with the same arithmetic."
    from semantic_nb.encoder import encode
    model, texts = base_model(), load_domain(load_spec()).corpus.passages[:512]
    return in_turns(lambda: encode(model, texts, "document", bf16=False),
                    lambda: model.encode(texts, batch_size=64, normalize_embeddings=True), rounds)


def bf16_cost(rounds: int = 5) -> dict:
    "bfloat16 against float32, and the share of texts that keep their nearest neighbour."
    from semantic_nb.encoder import encode
    model, texts = base_model(), load_domain(load_spec()).corpus.passages[:512]
    timed = in_turns(lambda: encode(model, texts, "document"),
                     lambda: encode(model, texts, "document", bf16=False), rounds)
    half, full = (encode(model, texts, "document", bf16=bf16) for bf16 in (True, False))
    nearest = [np.argsort(-(vectors @ vectors.T), axis=1)[:, 1] for vectors in (half, full)]
    return timed | {"same_nearest": float(np.mean(nearest[0] == nearest[1])), "texts": len(texts)}


# --- whole commands

def run_seconds(*arguments: str, **options) -> float:
    "Seconds of a Python process."
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, **options)
    return time.perf_counter() - start


def start_cost(rounds: int = 5) -> dict:
    "Median seconds of `import semantic_nb` and of `semantic-nb --help`, the start of the interpreter included."
    commands = {"python": ("-c", "pass"), "import": ("-c", "import semantic_nb"),
                "help": ("-m", "semantic_nb", "--help")}
    return {name: statistics.median(run_seconds(*arguments) for _ in range(rounds))
            for name, arguments in commands.items()}


def run_cost() -> dict:
    "Seconds and peak memory (GiB) of `semantic-nb run` from an empty store."
    with tempfile.TemporaryDirectory() as folder:
        seconds = run_seconds("-m", "semantic_nb", "run", env=os.environ | {"SEMANTIC_NB_RUNS_DIR": folder})
    return {"seconds": seconds, "peak_gib": peak_gib(resource.RUSAGE_CHILDREN)}


def command_cost(command: str, rows: Iterable[dict], *options: str) -> dict:
    "Seconds, peak memory (GiB) and what was said, of a command that reads a JSONL file of these rows."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "semantic_nb", command, str(path), "--json", *options],
                              capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr[-500:])
    return {"seconds": seconds, "peak_gib": peak_gib(resource.RUSAGE_CHILDREN), "said": json.loads(done.stdout)}


def counted(cost: dict, **counts: int) -> dict:
    "The cost with what was counted in place of what was said."
    return counts | {name: value for name, value in cost.items() if name != "said"}


def data_check_cost(count: int = 200_000) -> dict:
    "`semantic-nb data` on `count` pairs: a sentence, and its beginning as a question."
    texts = recombined(sentences(load_corpus(load_spec()), count).texts, count)
    rows = ({"anchor": f"how to {' '.join(text.split()[:6]).lower()}?", "positive": text} for text in texts)
    cost = command_cost("data", rows)
    return counted(cost, pairs=count, checks=len(cost["said"]))


def cluster_command_cost(count: int = 50_000, k: int = 100) -> dict:
    "`semantic-nb cluster` on `count` texts, which it encodes first."
    texts = recombined(sentences(load_corpus(load_spec()), count).texts, count)
    return counted(command_cost("cluster", ({"text": text} for text in texts), "-k", str(k)), texts=count, k=k)


def long_line_cost(megabytes: int = 10) -> dict:
    "`semantic-nb data` on a file of pairs in which one text is a line of so many megabytes."
    texts = sentences(load_corpus(load_spec()), 100).texts
    long = " ".join(texts)
    long = (long * (megabytes * 2**20 // len(long) + 1))[:megabytes * 2**20]
    rows = [{"anchor": a, "positive": b} for a, b in zip(texts, [long, *texts[:-1]])]
    return counted(command_cost("data", rows), megabytes=megabytes, pairs=len(rows))


# --- many texts

def sentences(corpus: Corpus, count: int) -> Corpus:
    "Distinct paragraphs and sentences of at least four words, `count` of them chosen by hash, as a corpus."
    paragraphs = [" ".join(part.split()) for text in corpus.texts for part in re.split(r"\n\s*\n", text)]
    pieces = {piece for paragraph in paragraphs for piece in (paragraph, *SENTENCE_END.split(paragraph))}
    chosen = tuple(sorted((piece for piece in pieces if len(piece.split()) >= 4), key=fingerprint)[:count])
    return Corpus(tuple(map(str, range(len(chosen)))), ("",) * len(chosen), chosen, ({},) * len(chosen))


def recombined(pieces: Sequence[str], count: int, seed: int = 1) -> list[str]:
    "`count` different texts in random order: the pieces, and beginnings of one piece joined to the end of another."
    draw = np.random.default_rng(seed)
    texts = dict.fromkeys(pieces[:count])
    while len(texts) < count:
        one, other = (pieces[i].split() for i in draw.integers(len(pieces), size=2))
        texts[" ".join(one[:draw.integers(1, len(one))] + other[draw.integers(1, len(other)):])] = None
    return draw.permutation(np.array(list(texts), dtype=object)).tolist()


def sentence_vectors(count: int) -> np.ndarray:
    "Vectors of real sentences: in random vectors nothing is near anything."
    from semantic_nb.encoder import corpus_vectors
    return corpus_vectors(base_model(), sentences(load_corpus(load_spec()), count))


def community_cost(count: int = 100_000, thresholds: Sequence[float] = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65),
                   min_size: int = 5) -> dict:
    """Our communities against `sentence_transformers.util.community_detection` on the same unit vectors: seconds,
    ratio, and agreement over what is in a community in either.

    The threshold is the highest that puts a fifth of the texts into communities. Both sides get the vectors in the
    canonical order, because the library breaks ties by the order of the rows; it is run once, since it takes a minute.
    """
    from sentence_transformers.util import community_detection
    from sklearn.metrics import adjusted_rand_score
    from semantic_nb.cluster.groups import canonical_order, communities
    vectors = sentence_vectors(count)
    vectors = vectors[canonical_order(vectors)]
    for threshold in thresholds:
        start = time.perf_counter()
        ours = communities(vectors, threshold, min_size)
        ours_s = time.perf_counter() - start
        if sum(map(len, ours)) >= len(vectors) / 5:
            break
    start = time.perf_counter()
    theirs = community_detection(vectors, threshold=threshold, min_community_size=min_size)
    theirs_s = time.perf_counter() - start
    n, labels = len(vectors), []
    for groups in (ours, theirs):
        labels.append(np.arange(n) + n)  # a label of its own for each text in no community
        for label, group in enumerate(groups):
            labels[-1][np.asarray(group)] = label
    either = (labels[0] < n) | (labels[1] < n)
    return {"vectors": n, "threshold": threshold, "share_in_communities": float(np.mean(labels[0] < n)),
            "ours_s": ours_s, "theirs_s": theirs_s, "times_faster": theirs_s / ours_s,
            "ari": float(adjusted_rand_score(labels[0][either], labels[1][either]))}


def agglomerative_cost(count: int = 20_000, k: int = 100) -> dict:
    "Seconds and peak memory (GiB) of agglomerative clusters, their keywords included."
    from semantic_nb.cluster.groups import cluster_texts
    texts = sentences(load_corpus(load_spec()), count).texts
    vectors = sentence_vectors(count)
    start = time.perf_counter()
    cluster_texts(vectors, texts, "agglomerative", k)
    return {"vectors": len(vectors), "seconds": time.perf_counter() - start, "peak_gib": peak_gib()}


def near_copy_cost(count: int = 100_000, planted: int = 1_000, sample: int = 2_000) -> dict:
    """Seconds and peak memory (GiB) of the near-copies among `count` x `count` texts, and the share found of what the
    whole table has for `sample` of them, the planted copies (in capitals, one word repeated) included."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from semantic_nb.data.near_copies import NEAR_COPY, near_copies, text_features
    texts = recombined(sentences(load_corpus(load_spec()), 2 * count).texts, 2 * count)
    left, right = texts[:count], texts[count:]
    left[:planted] = [f"{text.upper()} {text.split()[0]}" for text in right[:planted]]
    start = time.perf_counter()
    links, _ = near_copies(left, right)
    seconds, peak = time.perf_counter() - start, peak_gib()
    table = TfidfVectorizer(analyzer=lambda text: text_features(text[:1000]), sublinear_tf=True, dtype=np.float32)
    vectors = table.fit_transform([*left, *right])
    best = np.concatenate([(vectors[i:i + 100] @ vectors[count:].T).max(axis=1).toarray().ravel()
                           for i in range(0, sample, 100)])
    linked = np.isin(np.arange(sample), links[:, 0])
    return {"texts": count, "seconds": seconds, "peak_gib": peak, "linked": len(links),
            "found_of_planted": float(np.mean(linked[:planted])), "in_the_table": int(np.sum(best >= NEAR_COPY)),
            "found_of_table": float(np.mean(linked[best >= NEAR_COPY])),
            "not_in_the_table": int(np.sum(linked & (best < NEAR_COPY)))}


PARTS = {"search": ("search, 100,000 x 128", search_cost),
         "encode": ("encode against the library, fp32", encode_cost),
         "bf16": ("encode, bf16 against fp32", bf16_cost),
         "start": ("start", start_cost),
         "run": ("run, empty store", run_cost),
         "communities": ("communities", community_cost),
         "agglomerative": ("agglomerative", agglomerative_cost),
         "near-copies": ("near-copies, 100,000 x 100,000", near_copy_cost),
         "data": ("data check, 200,000 pairs", data_check_cost),
         "cluster": ("cluster, 50,000 texts", cluster_command_cost),
         "long-line": ("data check, a line of 10 MB", long_line_cost)}


def alone(part: str) -> dict:
    "One part, measured by this script in a process of its own."
    done = subprocess.run([sys.executable, __file__, part], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, help="one part, printed as a line of JSON")
    part = parser.parse_args().part
    if part:
        print(json.dumps(PARTS[part][1]()))
        return
    measured = {title: alone(name) for name, (title, _) in PARTS.items()}
    folder = Settings.current().runs_dir
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", measured)
    rows = []
    for title, values in measured.items():
        rows.append({"what": title, "measured": ", ".join(f"{name} {value:.3g}" for name, value in values.items())})
    print(Table(rows))


if __name__ == "__main__":
    main()
