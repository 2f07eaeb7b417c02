"""Checkers for the exercises of chapter 08. Each answers with a sentence; a solved one begins with "Well done"."""
import numpy as np
from sklearn.metrics import adjusted_rand_score

from semantic_nb.cluster.groups import cluster_texts
from semantic_nb.cluster.quality import space_check
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.encoder import corpus_vectors, load_encoder, truncate
from semantic_nb.model import train
from semantic_nb.spec import broken_rules, load_spec


def _quiet(line: str) -> None:
    pass


def shipped_vectors() -> np.ndarray:
    "The documents in the shipped space at the served size, as the chapter has them."
    spec = load_spec()
    domain = load_domain(spec)
    model = load_encoder(train(domain, _quiet).path, spec.model)
    return truncate(corpus_vectors(model, domain.corpus, progress=False), spec.index.dim)


def usual_k(n: int) -> int:
    "The number of clusters that the chapter uses for n documents."
    return max(2, min(load_spec().clustering.clusters or 12, n // 5))


def exercise_1(rules: set[str] | None = None) -> str:
    if rules is None:
        return "Not answered yet: give the set of the rules' ids. The table of rules in chapter 01 lists them."
    spec = load_spec()
    keep = spec.data.model_copy(update={"duplicates": "keep"})
    written = spec.clustering.model_copy(update={"method": "agglomerative", "clusters": 20, "threshold": 0.8,
                                                 "evidence": "", "labelled": None, "precision": None})
    broken = {error.layer for error in broken_rules(spec.model_copy(update={"clustering": written, "data": keep}))}
    if set(rules) == broken:
        return "Well done: each of these rules refuses the section."
    wrong, missing = set(rules) - broken, broken - set(rules)
    parts = [f"{', '.join(sorted(wrong))} does not refuse it"] if wrong else []
    return "; ".join(parts + ([f"{len(missing)} more rules refuse it"] if missing else [])) + "."


def exercise_2(vectors: np.ndarray | None = None) -> str:
    if vectors is None:
        return "Not answered yet: give an array of the shape of `vectors`, with rows of length one."
    ours, theirs = shipped_vectors(), np.asarray(vectors, "float32")
    if theirs.shape != ours.shape or not np.allclose(np.linalg.norm(theirs, axis=1), 1, atol=1e-3):
        return f"The array has to have the shape {ours.shape}, and its rows the length 1; yours has {theirs.shape}."
    doubts = {finding.id for finding in space_check(theirs) if finding.status != "ok"}
    before = {finding.id for finding in space_check(ours) if finding.status != "ok"}
    closer = np.linalg.norm(theirs.mean(axis=0)) > np.linalg.norm(ours.mean(axis=0))  # random texts are more alike
    if not (doubts - before or doubts and closer):  # a poor space may have been doubted before
        return "space_check doubts nothing that it did not doubt before. What would make random texts look alike?"
    k = usual_k(len(ours))
    if len(np.unique(theirs, axis=0)) < k:
        return f"There are fewer than {k} different vectors, so k-means is refused. Leave the texts a little different."
    sizes = cluster_texts(theirs, [""] * len(theirs), "kmeans", k).sizes
    names = ", ".join(sorted(doubts))
    return f"Well done: {names} is doubted, and k-means still returns {len(sizes)} clusters."


def stability(vectors: np.ndarray, k: int, rounds: int = 3) -> float:
    "Mean adjusted Rand index between k-means of all rows and of random four fifths of them."
    def labels(rows: np.ndarray) -> np.ndarray:
        return cluster_texts(rows, [""] * len(rows), "kmeans", k).labels
    whole, draw = labels(vectors), np.random.default_rng(Settings.current().seed)
    parts = [np.sort(draw.choice(len(vectors), len(vectors) * 4 // 5, replace=False)) for _ in range(rounds)]
    return float(np.mean([adjusted_rand_score(whole[part], labels(vectors[part])) for part in parts]))


def change(k: int) -> tuple[float, float, str]:
    "The stability of k clusters, that of the chapter's number, and the word for the difference."
    vectors = shipped_vectors()
    chosen, usual = stability(vectors, k), stability(vectors, usual_k(len(vectors)))
    word = "same" if abs(chosen - usual) < 0.02 else "more" if chosen > usual else "less"
    return chosen, usual, word


def exercise_3(k: int | None = None, guess: str | None = None) -> str:
    if k is None or guess is None:
        return "Not answered yet: choose a number of clusters, and say more, less or same."
    usual = usual_k(len(shipped_vectors()))
    if k < 2 or usual / 2 < k < 2 * usual:
        return f"The chapter uses {usual}. Choose a number at least twice as large, or at most half of it (2 at least)."
    chosen, before, word = change(k)
    counted = f"{k} clusters come back with an index of {chosen:.2f}, {usual} with {before:.2f}"
    return f"Well done: {counted}." if guess == word else f"Not {guess}: {counted}."
