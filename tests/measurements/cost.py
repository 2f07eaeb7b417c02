import os
import re
import resource
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import Table, fingerprint, Settings, write_json
from semantic_nb.data.records import Corpus
from semantic_nb.cluster.groups import canonical_order, cluster_texts, communities
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, resolve_base
from semantic_nb.index import SearchIndex
from semantic_nb.data.near_copies import NEAR_COPY, near_copies, text_features
from semantic_nb.spec import load_spec
from semantic_nb.data.domain import SENTENCE_END, load_corpus, load_domain

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int = 15) -> dict:
    """Median seconds of two functions run in turns after one warm-up, and the
    median of the paired ratios first / second."""
    first(), second()
    times = []
    for _ in range(rounds):
        pair = []
        for function in (first, second):
            start = time.perf_counter()
            function()
            pair.append(time.perf_counter() - start)
        times.append(pair)
    a, b = (statistics.median(column) for column in zip(*times))
    return {"first_s": a, "second_s": b, "ratio": statistics.median(x / y for x, y in times), "rounds": rounds}

def search_cost(n: int = 100_000, dim: int = 128, seed: int = 1) -> dict:
    """Our search against the raw FAISS call on `n` random unit vectors (the
    arithmetic does not depend on what they mean)."""
    import faiss
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype("float32")
    faiss.normalize_L2(vectors)
    raw = faiss.IndexFlatIP(dim)
    raw.add(vectors)
    ours = SearchIndex(raw, tuple(map(str, range(n))), {"dim": dim})
    queries = vectors[:64]
    return in_turns(lambda: ours.search(queries, 10), lambda: raw.search(queries, 10))

def encode_cost(model: "SentenceTransformer", texts: list[str], rounds: int = 5) -> dict:
    """Our `encode` against `SentenceTransformer.encode` with the same arithmetic, and bfloat16
    against float32 with the ranking agreement."""
    plain = in_turns(lambda: encode(model, texts, "document", bf16=False),
                     lambda: model.encode(texts, batch_size=64, normalize_embeddings=True), rounds)
    half = in_turns(lambda: encode(model, texts, "document"), lambda: encode(model, texts, "document", bf16=False),
                    rounds)
    a, b = encode(model, texts, "document"), encode(model, texts, "document", bf16=False)
    nearest = lambda v: np.argsort(-(v @ v.T), axis=1)[:, 1]
    return {"against_library": plain,
            "bf16_against_fp32": half | {"same_nearest": float(np.mean(nearest(a) == nearest(b))), "texts": len(texts)}}

def start_cost(rounds: int = 5) -> dict:
    "Median seconds until `import semantic_nb` and `semantic-nb --help` are done, the interpreter's own start included."
    def seconds(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return time.perf_counter() - start
    return {name: statistics.median(seconds(*arguments) for _ in range(rounds)) for name, arguments in
            {"python": ("-c", "pass"), "import": ("-c", "import semantic_nb"),
             "help": ("-m", "semantic_nb.cli", "--help")}.items()}

def sentences(corpus: Corpus, count: int) -> Corpus:
    "Distinct paragraphs and sentences of at least four words, `count` of them chosen by hash, as a corpus."
    paragraphs = [" ".join(p.split()) for text in corpus.texts for p in re.split(r"\n\s*\n", text)]
    pieces = {piece for p in paragraphs for piece in (p, *SENTENCE_END.split(p)) if len(piece.split()) >= 4}
    chosen = tuple(sorted(pieces, key=fingerprint)[:count])
    return Corpus(tuple(map(str, range(len(chosen)))), ("",) * len(chosen), chosen, ({},) * len(chosen))

def community_cost(vectors: np.ndarray,
                   thresholds: tuple[float, ...] = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65), min_size: int = 5) -> dict:
    """Our communities against `sentence_transformers.util.community_detection` on the same unit vectors: seconds,
    ratio, and agreement over what is in a community in either."""
    from sentence_transformers.util import community_detection
    from sklearn.metrics import adjusted_rand_score
    vectors = vectors[canonical_order(vectors)]
    for threshold in thresholds:
        start = time.perf_counter()
        ours = communities(vectors, threshold, min_size)
        seconds = time.perf_counter() - start
        if sum(map(len, ours)) >= len(vectors) / 5:
            break
    start = time.perf_counter()
    theirs = community_detection(vectors, threshold=threshold, min_community_size=min_size)
    theirs_s = time.perf_counter() - start
    labels = []
    for groups in (ours, theirs):
        labels.append(np.arange(len(vectors)) + len(vectors))
        for label, group in enumerate(groups):
            labels[-1][np.asarray(group)] = label
    either = (labels[0] < len(vectors)) | (labels[1] < len(vectors))
    return {"vectors": len(vectors), "threshold": threshold,
            "share_in_communities": float(np.mean(labels[0] < len(vectors))), "ours_s": seconds, "theirs_s": theirs_s,
            "times_faster": theirs_s / seconds, "ari": float(adjusted_rand_score(labels[0][either], labels[1][either]))}

def tree_cost(vectors: np.ndarray) -> dict:
    "Seconds of agglomerative clustering, and the peak memory of this process so far (GiB)."
    start = time.perf_counter()
    cluster_texts(vectors, [""] * len(vectors), "agglomerative", threshold=0.5)
    return {"vectors": len(vectors), "seconds": time.perf_counter() - start,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}

def run_cost() -> dict:
    "Seconds and peak memory (GB) of `semantic-nb run` from an empty store."
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "semantic_nb.cli", "run"],
                       env=os.environ | {"SEMANTIC_NB_RUNS_DIR": folder}, capture_output=True, check=True)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20}

def recombined(pieces: tuple[str, ...], count: int, seed: int = 1) -> list[str]:
    "`count` different texts in random order: the pieces, and beginnings of one piece joined to the end of another."
    draw = np.random.default_rng(seed)
    texts = dict.fromkeys(pieces[:count])
    while len(texts) < count:
        one, other = (pieces[i].split() for i in draw.integers(len(pieces), size=2))
        texts[" ".join(one[:draw.integers(1, len(one))] + other[draw.integers(1, len(other)):])] = None
    return draw.permutation(np.array(list(texts), dtype=object)).tolist()

def near_copy_cost(count: int = 100_000, planted: int = 1_000, sample: int = 2_000) -> dict:
    """Seconds and peak memory (GiB, of this process so far) of `count` x `count` texts, and the share found of what
    the whole table has for `sample` of them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    settings = Settings.load()
    texts = recombined(sentences(load_corpus(load_spec()), 2 * count).texts, 2 * count)
    left, right = texts[:count], texts[count:]
    left[:planted] = [f"{text.upper()} {text.split()[0]}" for text in right[:planted]]
    start = time.perf_counter()
    links, _ = near_copies(left, right)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    vectors = TfidfVectorizer(analyzer=lambda text: text_features(text[:1000]), sublinear_tf=True,
                              dtype=np.float32).fit_transform([*left, *right])
    best = np.concatenate([(vectors[i:i + 100] @ vectors[count:].T).max(axis=1).toarray().ravel()
                           for i in range(0, sample, 100)])
    linked = np.isin(np.arange(sample), links[:, 0])
    return {"texts": count, "seconds": seconds, "peak_gib": peak, "linked": len(links),
            "found_of_planted": float(np.mean(linked[:planted])),
            "in_the_table": int(np.sum(best >= NEAR_COPY)), "found_of_table": float(np.mean(linked[best >= NEAR_COPY])),
            "not_in_the_table": int(np.sum(linked & (best < NEAR_COPY)))}

def alone(function: str) -> dict:
    "What a function of this module returns in a process of its own, where the peak of memory is its own as well."
    code = f"import json; from measurements.cost import {function}; print(json.dumps({function}()))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

def data_check_cost(count: int = 100_000) -> dict:
    """Seconds and peak memory (GiB) of `semantic-nb data` on `count` pairs: a sentence of the
    corpus, and its beginning as a question."""
    settings = Settings.load()
    texts = recombined(sentences(load_corpus(load_spec()), count).texts, count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        path.write_text("".join(json.dumps({"anchor": f"how to {' '.join(text.split()[:6]).lower()}?",
                                            "positive": text}) + "\n" for text in texts), encoding="utf-8")
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "semantic_nb.cli", "data", str(path), "--json"],
                              capture_output=True, text=True, cwd=Settings.current().root)
        seconds = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr[-500:])
    return {"pairs": count, "seconds": seconds,
            "peak_gib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
            "checks": len(json.loads(done.stdout))}

def main() -> None:
    "`make bench`: measure, print a table, write runs/bench.json."
    settings = Settings.load()
    spec = load_spec()
    texts = load_domain(spec).corpus.passages[:512]
    model = load_encoder(resolve_base(spec.model.base), spec.model)
    encoding = encode_cost(model, texts)
    found = {"search, 100,000 x 128": search_cost(), "encode against the library, fp32": encoding["against_library"],
             "encode, bf16 against fp32": encoding["bf16_against_fp32"],
             "start": start_cost(), "run, empty store": run_cost()}
    many = corpus_vectors(model, sentences(load_corpus(spec), 100_000))
    found |= {"communities": community_cost(many), "agglomerative": tree_cost(many[:20_000])}
    found |= {"near-copies, 100,000 x 100,000": alone("near_copy_cost"),
              "data check, 100,000 pairs": alone("data_check_cost")}
    Settings.current().runs_dir.mkdir(parents=True, exist_ok=True)
    write_json(Settings.current().runs_dir / "bench.json", found)
    print(Table([{"what": name, "found": ", ".join(f"{k} {v:.3g}" for k, v in values.items())}
                 for name, values in found.items()]))

if __name__ == "__main__" and "__file__" in globals():
    main()
