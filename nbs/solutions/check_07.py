"""What is missing in an answer to the exercises of chapter 07."""
from collections.abc import Mapping, Sequence

import numpy as np

from semantic_nb.core import ContractError
from semantic_nb.encoder import truncate
from semantic_nb.index import build_index, lists_for
from semantic_nb.spec import INDEX_LIMITS, IndexSpec

DOCUMENTS, BYTES = 10_000_000, 2_000_000_000
RECALL, WORK = 0.9, 0.5


def _refusal(vectors: np.ndarray, spec: IndexSpec) -> str:
    "Layer and rule with which these vectors are refused, or none."
    try:
        build_index(vectors, spec)
    except ContractError as error:
        return error.layer
    return "none"


def exercise_1(layer: str | None, nlist: int | None, documents: np.ndarray, spec: IndexSpec) -> str:
    "A starved index: `layer` as 'layer.rule', `nlist` the largest number of lists that is accepted."
    if layer is None or nlist is None:
        return "Run build_index with type ivf and half as many lists as documents. Its error begins with the rule."
    ivf = spec.model_copy(update={"type": "ivf", "nlist": max(1, len(documents) // 2)})
    if layer.strip("[] ") != _refusal(documents, ivf):
        return "The rule stands in brackets at the beginning of the error, as layer.rule."
    if nlist and _refusal(documents, ivf.model_copy(update={"nlist": nlist})) != "none":
        return f"{nlist} lists are refused as well. Read in the error how many points k-means wants for one list."
    if _refusal(documents, ivf.model_copy(update={"nlist": nlist + 1})) == "none":
        return f"{nlist} lists are accepted, but so is one more."
    return f"Well done: {len(documents):,} documents feed {nlist} lists, and not one more."


def exercise_2(vectors: np.ndarray | None, layer: str | None, full: np.ndarray, similarity: str) -> str:
    "The forgotten normalisation: `vectors` are `full` cut to fewer columns, `layer` is what build_index answers."
    if vectors is None or layer is None:
        return "Take the first columns of full_documents with a slice, and hand them to build_index."
    size = vectors.shape[1]
    if len(vectors) != len(full) or not 0 < size < full.shape[1]:
        return f"There should be {len(full):,} vectors with fewer than {full.shape[1]} numbers each."
    if not np.allclose(vectors, full[:, :size], atol=1e-6):
        lengths = np.linalg.norm(vectors, axis=1)
        again = "they are of length one again" if np.allclose(lengths, 1, atol=1e-3) else "they are other numbers"
        return f"These are not the first {size} numbers as they were: {again}."
    expected = _refusal(vectors, IndexSpec(type="flat", dim=size, similarity=similarity, documents=len(full)))
    if layer.strip("[] ") != expected:
        return "Hand the vectors to build_index, with a spec of their size and of the model's similarity."
    nearest = [(own @ own.T - 9 * np.eye(len(own))).argmax(axis=1)
               for own in (vectors[:2000], truncate(vectors[:2000], size))]
    return (f"Well done: the package answers {expected!r}; FAISS says nothing, and "
            f"{np.mean(nearest[0] != nearest[1]):.0%} of the documents would get another nearest neighbour.")


def _work_and_recall(nlist: int, nprobe: int, documents: np.ndarray, queries: np.ndarray) -> tuple[float, float]:
    "Vectors compared with a question, as a share of all documents, and recall@10."
    import faiss
    dim, k = documents.shape[1], min(10, len(documents))
    centres = faiss.IndexFlatIP(dim)
    ivf = faiss.IndexIVFFlat(centres, dim, nlist, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.min_points_per_centroid, ivf.nprobe = 1, nprobe
    ivf.train(documents)
    ivf.add(documents)
    sizes = np.array([ivf.invlists.list_size(number) for number in range(nlist)])
    visited = sizes[centres.search(queries, min(nprobe, nlist))[1]].sum(axis=1).mean()
    _, exact = faiss.knn(queries, documents, k, metric=faiss.METRIC_INNER_PRODUCT)
    rows = ivf.search(queries, k)[1]
    shares = [len(set(row) & set(true)) / k for row, true in zip(rows.tolist(), exact.tolist())]
    return float(nlist + visited) / len(documents), float(np.mean(shares))


def _possible(documents: np.ndarray, queries: np.ndarray) -> bool:
    most = lists_for(len(documents))
    for nlist in sorted({most, max(1, most // 2), max(1, most // 4)}):
        for share in (0.1, 0.2, 0.3, 0.4, 0.5):
            work, recall = _work_and_recall(nlist, max(1, round(share * nlist)), documents, queries)
            if work <= WORK and recall >= RECALL:
                return True
    return False


def exercise_3(nlist: int | None, nprobe: int | None, documents: np.ndarray, queries: np.ndarray) -> str:
    "Lists, and lists visited: enough recall for at most half of the comparisons."
    if nlist is None or nprobe is None:
        return "Begin with lists_for(len(documents)), raise nprobe, and watch recall and the share of lists visited."
    if nlist == 0:
        possible = _possible(documents, queries)
        return ("There are values that do it. Try more lists, and visit a part of them." if possible
                else "Well done: on these documents IVF saves nothing at this recall.")
    if not 1 <= nprobe <= nlist <= len(documents) // INDEX_LIMITS["points_per_list"]:
        return "nprobe lies between 1 and nlist, and every list needs its training points."
    work, recall = _work_and_recall(nlist, nprobe, documents, queries)
    seen = f"recall {recall:.3f}, compared with {work:.0%} as many vectors as a flat search"
    if recall < RECALL:
        return f"Too much is missed: {seen}."
    return f"Well done: {seen}." if work <= WORK else f"Too much is compared: {seen}. The centres count as well."


def exercise_4(row: Mapping | str | None, rows: Sequence[Mapping]) -> str:
    "The entry of `rows` with the best recall that fits into memory and time, or 'none'."
    if row is None:
        return "How many bytes may one of ten million vectors have? Look at the entries that fit, then at their time."
    fits = [one for one in rows if one["bytes"] * DOCUMENTS <= BYTES and (one["time"] or 0) <= 0.5]
    if row == "none":
        return "There is an entry that fits." if fits else "Well done: none fits; shorter vectors would help."
    if row not in rows:
        return 'Give one entry of measured["rows"] as it stands there.'
    if row["bytes"] * DOCUMENTS > BYTES:
        return f"{row['bytes'] * DOCUMENTS / 1e9:.1f} GB do not fit into {BYTES / 1e9:.0f} GB."
    if row not in fits:
        return f"It fits, but needs {row['time']:.2f} of the time of a flat search."
    if row["recall"] < max(one["recall"] for one in fits):
        return f"It fits with a recall of {row['recall']:.3f}. Another entry that fits misses less."
    return f"Well done: {row['type']}, {row['bytes'] * DOCUMENTS / 1e9:.1f} GB, recall {row['recall']:.3f}."
