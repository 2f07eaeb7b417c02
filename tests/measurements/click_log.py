"""Simulated users who search the demo's documents: a click log with its truth, for nbs/02_data/click_noise.ipynb.

    python tests/measurements/click_log.py        writes data/pydocs/clicks.csv, and says whether it is as it was
"""
import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from semantic_nb.data.domain import held_out_documents, load_corpus
from semantic_nb.data.records import Corpus, Judged, PairSet, read_judged
from semantic_nb.lexical import bm25
from semantic_nb.spec import PipelineSpec, load_spec

ROOT = Path(__file__).resolve().parents[2]
ATTRACTION = {2: 0.9, 1: 0.6}  # chance to click an examined answer, by its grade
PAGE = 10
SHORT_NAMES = {"numpy": "np", "pandas": "pd", "pyplot": "plt", "matplotlib": "mpl"}


# --- what can be asked

def open_domain(spec: PipelineSpec) -> tuple[Corpus, Judged]:
    "The documents that training may see, and the train questions judged on these alone."
    whole = load_corpus(spec)

    def judged(split: str) -> Judged:
        return read_judged(spec.folder / spec.data.queries, spec.folder / spec.data.qrels / f"{split}.tsv", whole)
    validation, train = spec.validation, judged("train")
    held_out = [judged(split) for split in (validation.dev, validation.test, validation.production) if split]
    corpus = whole.subset(set(whole.ids) - held_out_documents(whole, held_out))
    questions = [query for query, grades in train.qrels.items() if set(grades) <= set(corpus.ids)]
    return corpus, Judged({query: train.queries[query] for query in questions},
                          {query: train.qrels[query] for query in questions})


def typed_name(name: str, draw: np.random.Generator, slips: float = 0.12) -> str:
    "A qualified name as somebody who knows it might type it; a share of `slips` has a typo."
    parts = [part for part in name.split(".") if part != "builtins"] or [name]
    words = [parts[-1:], parts[-2:], parts[:1] + parts[1:][-1:], parts][int(draw.integers(4))]
    if draw.random() < 0.5:
        words = [SHORT_NAMES.get(word, word) for word in words]
    text = (" " if draw.random() < 0.5 else ".").join(words).lower()
    if draw.random() < 0.3:
        text = text.replace("_", " ")
    if len(text) < 5 or draw.random() >= slips:
        return text
    at = int(draw.integers(1, len(text) - 1))
    left_out = text[:at] + text[at + 1:]
    doubled = text[:at] + text[at] + text[at:]
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2:]
    return (left_out, doubled, swapped)[int(draw.integers(3))]


@dataclass(frozen=True)
class Search:
    "A query, why it is asked, the grades of its answers, and the engine's candidates with their scores."
    query: str
    intent: str
    answers: Mapping[str, int]
    candidates: Mapping[str, float]


def searches(corpus: Corpus, questions: Judged, names: Sequence[str], seed: int = 0) -> list[Search]:
    "What can be asked: the questions, and the `names` (ids of documents) as somebody would type them."
    draw = np.random.default_rng(seed)
    typed = {f"name:{name}": (typed_name(name, draw), name) for name in names}
    texts = dict(questions.queries) | {key: text for key, (text, _) in typed.items()}
    run = bm25(corpus, texts, k=3 * PAGE)
    pool = [Search(text, "informational", questions.qrels[query], run.get(query, {}))
            for query, text in questions.queries.items()]
    pool += [Search(text, "navigational", {name: 2}, run.get(key, {})) for key, (text, name) in typed.items()]
    return [search for search in pool if len(search.candidates) >= PAGE
            and any(search.answers.get(document, 0) > 0 for document in search.candidates)]


# --- who asks, and what they click

@dataclass(frozen=True)
class Users:
    """Who searches, and how they click; the defaults wrote the demo's `clicks.csv`.

    Args:
        searches: how many in all; `navigational`: the share that types a name.
        eta: examination of rank k is k^-eta (Joachims et al., 2017); 0 looks at everything.
        noise: chance to click an examined result at rank 1 that is no answer; `noise`/k at rank k.
        stop: chance to leave after a click on an answer, as in the cascade model of
            Craswell et al. (2008); 0: clicks are independent.
        rankers: versions of the engine that serve at random; `spread`: sd of the log-normal factor on their scores.
        questions, names: most distinct queries of each kind; `zipf`: exponent of their popularity.
    """
    searches: int = 10_500
    navigational: float = 0.3
    eta: float = 1.0
    noise: float = 0.12
    stop: float = 0.0
    rankers: int = 3
    spread: float = 0.3
    questions: int = 700
    names: int = 300
    zipf: float = 0.6
    seed: int = 1


def ranked_page(search: Search, users: Users, draw: np.random.Generator) -> list[str]:
    "The ten best candidates by one version of the engine."
    documents = list(search.candidates)
    scores = np.array(list(search.candidates.values())) * np.exp(users.spread * draw.normal(size=len(documents)))
    return [documents[i] for i in np.argsort(-scores, kind="stable")[:PAGE]]


def clicked_positions(search: Search, page: Sequence[str], users: Users, draw: np.random.Generator) -> list[int]:
    "The positions clicked in one search, from 1."
    grades = [search.answers.get(document, 0) for document in page]
    chances = [rank ** -users.eta * (ATTRACTION[grade] if grade else users.noise / rank)
               for rank, grade in enumerate(grades, 1)]
    positions = []
    for place in np.flatnonzero(draw.random(len(page)) < chances):
        positions.append(int(place) + 1)
        if grades[place] and draw.random() < users.stop:
            break
    return positions


def by_popularity(pool: Sequence[Search], intent: str, users: Users,
                  draw: np.random.Generator) -> tuple[list[Search], np.ndarray]:
    "Searches of one intent, and the cumulative weights of their popularity."
    most = users.names if intent == "navigational" else users.questions
    some = [search for search in pool if search.intent == intent]
    some = [some[i] for i in draw.permutation(len(some))[:most]]
    return some, np.cumsum(np.arange(1, len(some) + 1.0) ** -users.zipf)


def simulate(pool: Sequence[Search], users: Users) -> list[dict]:
    """The log: one row per click, and one with an empty document for a search without a click. The same arguments give
    the same rows.

    Columns: session, query, page, shown (ids separated by |, where the page is new), position (from 1), document, and
    the truth, which no detector may read: truth_intent, truth_relevant.
    """
    draw = np.random.default_rng(users.seed)
    popular = {intent: by_popularity(pool, intent, users, draw) for intent in ("informational", "navigational")}
    pages: dict[tuple[int, int], tuple[int, list[str]]] = {}
    rows = []
    for session in range(users.searches):
        some, edges = popular["navigational" if draw.random() < users.navigational else "informational"]
        search, ranker = some[int(np.searchsorted(edges, draw.random() * edges[-1]))], int(draw.integers(users.rankers))
        new = (id(search), ranker) not in pages
        if new:
            pages[id(search), ranker] = len(pages) + 1, ranked_page(search, users, draw)
        number, page = pages[id(search), ranker]
        for click, position in enumerate(clicked_positions(search, page, users, draw) or [0]):
            document = page[position - 1] if position else ""
            relevant = int(search.answers.get(document, 0) > 0) if position else ""
            rows.append({"session": session, "query": search.query, "page": number,
                         "shown": "|".join(page) if new and not click else "", "position": position or "",
                         "document": document, "truth_intent": search.intent, "truth_relevant": relevant})
    return rows


def write_clicks(rows: Sequence[Mapping], path: Path) -> Path:
    "Write a log as CSV."
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


# --- how often a filter is wrong

def share_in(part: Collection, whole: Collection) -> float:
    "The share of `whole` that is in `part`; NaN for nothing."
    return len(set(part) & set(whole)) / len(whole) if whole else float("nan")


def against_truth(rows: Sequence[Mapping], dropped: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Precision and recall of each reason for dropping a click, and the share of right pairs before and
    after; NaN where there is nothing to count.

    Args:
        dropped: row numbers by reason (`navigational`, `position`), as in `FilteredClicks`.
    """
    def pairs(numbers: Collection[int]) -> set[tuple[str, str]]:
        return {(rows[number]["query"], rows[number]["document"]) for number in numbers}
    clicks = {number for number, row in enumerate(rows) if row["document"]}
    names = {number for number in clicks if rows[number]["truth_intent"] == "navigational"}
    wrong = {number for number in clicks - names if str(rows[number]["truth_relevant"]) != "1"}
    as_names, by_position = set(dropped["navigational"]), set(dropped["position"]) - names
    right, left = pairs(clicks - names - wrong), pairs(clicks.difference(*dropped.values()))
    return {"name precision": share_in(names, as_names), "name recall": share_in(as_names, names),
            "position precision": share_in(wrong, by_position), "position recall": share_in(by_position, wrong),
            "right before": share_in(right, pairs(clicks)), "right after": share_in(right, left),
            "right kept": share_in(left, right), "clicks": len(clicks), "pairs kept": len(left)}


def training_sets(rows: Sequence[Mapping], corpus: Corpus, filtered: PairSet, limit: int = 2000) -> dict[str, PairSet]:
    """Equally many distinct pairs of one log, at most `limit`, chosen by hash: `raw` (every click),
    `filtered`, and `oracle` (by the truth)."""
    clicks = [row for row in rows if row["document"] in corpus.position]
    right = [row for row in clicks if (row["truth_intent"], str(row["truth_relevant"])) == ("informational", "1")]
    sets = {"raw": distinct_pairs(clicks, corpus), "filtered": filtered, "oracle": distinct_pairs(right, corpus)}
    count = min(limit, *map(len, sets.values()))
    return {name: replace(pairs.take(first_by_hash(pairs, count)), name=f"clicks-{name}")
            for name, pairs in sets.items()}


def distinct_pairs(clicks: Sequence[Mapping], corpus: Corpus) -> PairSet:
    queries, ids = zip(*dict.fromkeys((" ".join(row["query"].split()), row["document"]) for row in clicks))
    return PairSet("", "asymmetric", queries, tuple(corpus.passages[corpus.position[id]] for id in ids), (), ids)


def first_by_hash(pairs: PairSet, count: int) -> list[int]:
    def digest(row: int) -> str:
        return sha256(f"{pairs.anchors[row]}\n{pairs.documents[row]}".encode()).hexdigest()
    return sorted(range(len(pairs)), key=digest)[:count]


def main() -> None:
    path = ROOT / "data" / "pydocs" / "clicks.csv"
    committed = path.read_bytes() if path.exists() else b""
    corpus, questions = open_domain(load_spec(path.parent / "spec.toml"))
    written = write_clicks(simulate(searches(corpus, questions, corpus.ids), Users()), path).read_bytes()
    print("the committed log, byte for byte" if written == committed
          else "another log than the committed one: the documents are not those of constraints.txt")


if __name__ == "__main__":
    main()
