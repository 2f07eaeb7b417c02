"""What is missing in an answer to the exercises of chapter 13."""
from collections.abc import Collection, Sequence

from semantic_nb.core import ContractError
from semantic_nb.index import lists_for
from semantic_nb.scale.shards import VectorShards
from semantic_nb.spec import INDEX_LIMITS

DOCUMENTS = 4_000_000  # of exercise 1
MEMORY = 4 * 64e9  # bytes, of exercise 3


def exercise_1(lists: int | None, points: int | None) -> str:
    "`lists` for four million documents, and how many vectors k-means wants at least."
    if lists is None or points is None:
        return f"lists_for({DOCUMENTS:,}) answers the first half. How many points does a list need?"
    if lists != lists_for(DOCUMENTS):
        return "Ask lists_for; above a million it follows FAISS' guide and not the square root."
    if points != lists * INDEX_LIMITS["points_per_list"]:
        return f"Chapter 07 named the number of points for one list. There are {lists:,} lists."
    return f"Well done: {lists:,} lists want {points:,} of the {DOCUMENTS:,} vectors."


def exercise_2(files: Collection[str] | None, rule: str | None, vectors: VectorShards) -> str:
    "`files` that were written again, and the rule that refuses a spoiled file, before it is repaired."
    if files is None or rule is None:
        return "vectors.folder holds the files. vectors.read(number) reads one of them."
    names = {f"{number:05}.parquet" for number in range(len(vectors))}
    if not set(files) <= names:
        return f"Those are no files of vectors: {', '.join(sorted(set(files) - names))}."
    if len(set(files)) != 2:
        return "encode_shards looks whether a file is there, and not what is in it. How many were not there?"
    if rule.strip("[] ") != "scale.shard":
        return "The rule stands in brackets at the beginning of the error, as layer.rule."
    for number in range(len(vectors)):
        try:
            vectors.read(number)
        except ContractError as error:
            return f"Part {number} is still refused ({error.layer}): remove its file and encode again."
    return "Well done: missing parts are made again, a spoiled one is refused, and all of them are whole now."


def _bytes(kind: str, size: int) -> float:
    return {"flat": 4 * size, "ivf": 4 * size + 8, "ivfpq": size / 8 + 8 + size}[kind]


def exercise_3(kind: str | None, size: int | None, sizes: Sequence[int]) -> str:
    "The type and size with the most numbers that fits a billion documents into four machines."
    if kind is None or size is None:
        return f"{MEMORY / 1e9:.0f} GB for a billion documents: how many bytes for each of them?"
    if kind not in ("flat", "ivf", "ivfpq") or size not in sizes:
        return f"A type of the table, and one of {', '.join(map(str, sizes))}."
    if _bytes(kind, size) * 1e9 > MEMORY:
        return f"{kind} at {size} takes {_bytes(kind, size):.0f} bytes each, and {MEMORY / 1e9:.0f} are there."
    fitting = [one for one in sizes for name in ("flat", "ivf", "ivfpq") if _bytes(name, one) * 1e9 <= MEMORY]
    if size < max(fitting):
        return f"It fits, and {max(fitting)} numbers would fit as well, in another type."
    return f"Well done: {kind} at {size} takes {_bytes(kind, size):.0f} of {MEMORY / 1e9:.0f} bytes."
