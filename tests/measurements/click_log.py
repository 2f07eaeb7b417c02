import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from semantic_nb.core import Settings
from semantic_nb.data.records import Corpus, Judged, PairSet, read_judged

from semantic_nb.measure import bm25
from semantic_nb.spec import PipelineSpec
from semantic_nb.data.domain import held_out_documents, load_corpus, stored_groups

def open_domain(spec: PipelineSpec) -> tuple[Corpus, Judged]:
    "The documents that training may see, and the train questions judged on these alone."
    whole = load_corpus(spec)
    read = lambda name: read_judged(spec.folder / spec.data.queries,
                                    spec.folder / spec.data.qrels / f"{name}.tsv", whole)
    v, train = spec.validation, read("train")
    judged = [read(name) for name in (v.dev, v.test, v.production) if name]
    corpus = whole.subset(set(whole.ids) - held_out_documents(whole, stored_groups(whole), judged))
    mine = [q for q, grades in train.qrels.items() if set(grades) <= set(corpus.ids)]
    return corpus, Judged({q: train.queries[q] for q in mine}, {q: train.qrels[q] for q in mine})

ATTRACTION = {2: 0.9, 1: 0.6}

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

_SHORT = {"numpy": "np", "pandas": "pd", "pyplot": "plt", "matplotlib": "mpl"}

def typed_name(name: str, draw: np.random.Generator, slips: float = 0.12) -> str:
    "A qualified name as somebody who knows it might type it; a share of `slips` has a typo."
    parts = [part for part in name.split(".") if part != "builtins"] or [name]
    words = [parts[-1:], parts[-2:], parts[:1] + parts[1:][-1:], parts][int(draw.integers(4))]
    words = [_SHORT.get(word, word) for word in words] if draw.random() < 0.5 else words
    text = (" " if draw.random() < 0.5 else ".").join(words).lower()
    text = text.replace("_", " ") if draw.random() < 0.3 else text
    if len(text) < 5 or draw.random() >= slips:
        return text
    at = int(draw.integers(1, len(text) - 1))
    return (text[:at] + text[at + 1:], text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1] + text[at] + text[at + 2:])[int(draw.integers(3))]

_PAGE = 10

@dataclass(frozen=True)
class Search:
    "A query, why it is asked, the grades of its answers, and the engine's candidates with their scores."
    query: str
    intent: str
    answers: Mapping[str, int]
    found: Mapping[str, float]

def searches(corpus: Corpus, questions: Judged, names: Sequence[str], seed: int = 0) -> list[Search]:
    "What can be asked: the questions, and the `names` (ids of documents) as somebody would type them."
    draw = np.random.default_rng(seed)
    typed = {f"name:{name}": (typed_name(name, draw), name) for name in names}
    found = bm25(corpus, dict(questions.queries) | {key: text for key, (text, _) in typed.items()}, k=3 * _PAGE)
    asked = [Search(text, "informational", questions.qrels[q], found.get(q, {}))
             for q, text in questions.queries.items()]
    asked += [Search(text, "navigational", {name: 2}, found.get(key, {})) for key, (text, name) in typed.items()]
    return [one for one in asked if len(one.found) >= _PAGE and any(one.answers.get(d, 0) > 0 for d in one.found)]

def _ranked(one: Search, users: Users, draw: np.random.Generator) -> list[str]:
    scores = np.array(list(one.found.values())) * np.exp(users.spread * draw.normal(size=len(one.found)))
    return [list(one.found)[i] for i in np.argsort(-scores, kind="stable")[:_PAGE]]

def _clicks(one: Search, shown: Sequence[str], users: Users, draw: np.random.Generator) -> list[int]:
    "The positions clicked, from 1."
    grades = [one.answers.get(document, 0) for document in shown]
    chance = [k ** -users.eta * (ATTRACTION[grade] if grade else users.noise / k) for k, grade in enumerate(grades, 1)]
    clicked = []
    for k in np.flatnonzero(draw.random(len(shown)) < chance):
        clicked.append(int(k) + 1)
        if grades[k] and draw.random() < users.stop:
            break
    return clicked

def _popular(pool: Sequence[Search], intent: str, users: Users,
             draw: np.random.Generator) -> tuple[list[Search], np.ndarray]:
    "Searches of one intent, and the cumulative weights of their popularity."
    some = [one for one in pool if one.intent == intent]
    some = [some[i] for i in draw.permutation(len(some))[:users.names if intent == "navigational" else users.questions]]
    return some, np.cumsum(np.arange(1, len(some) + 1.0) ** -users.zipf)

def simulate(pool: Sequence[Search], users: Users) -> list[dict]:
    """The log: one row per click, and one with an empty document for a search without a
    click. The same arguments give the same rows.

    Columns: session, query, page, shown (ids separated by |, where the page is new), position
    (from 1), document, and the truth, which
    no detector may read: truth_intent, truth_relevant.
    """
    draw = np.random.default_rng(users.seed)
    popular = {intent: _popular(pool, intent, users, draw) for intent in ("informational", "navigational")}
    pages, rows = {}, []
    for session in range(users.searches):
        asked, edges = popular["navigational" if draw.random() < users.navigational else "informational"]
        one, ranker = asked[int(np.searchsorted(edges, draw.random() * edges[-1]))], int(draw.integers(users.rankers))
        row = {"session": session, "query": one.query, "page": len(pages) + 1, "shown": ""}
        if (id(one), ranker) not in pages:
            pages[id(one), ranker] = row["page"], _ranked(one, users, draw)
            row["shown"] = "|".join(pages[id(one), ranker][1])
        row["page"], shown = pages[id(one), ranker]
        for position in _clicks(one, shown, users, draw) or [0]:
            document = shown[position - 1] if position else ""
            truth = {"truth_intent": one.intent,
                     "truth_relevant": int(one.answers.get(document, 0) > 0) if position else ""}
            rows.append(row | {"position": position or "", "document": document} | truth)
            row["shown"] = ""
    return rows

def write_clicks(rows: Sequence[Mapping], path: Path) -> Path:
    "Write a log as CSV."
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path

def against_truth(rows: Sequence[Mapping], dropped: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Precision and recall of each reason for dropping a click, and the share of right pairs before and
    after; NaN where there is nothing to count.

    Args:
        dropped: row numbers by reason (`navigational`, `position`), as in `FilteredClicks`.
    """
    clicks = {n for n, row in enumerate(rows) if row["document"]}
    named = {n for n in clicks if rows[n]["truth_intent"] == "navigational"}
    wrong = {n for n in clicks - named if str(rows[n]["truth_relevant"]) != "1"}
    found, placed = set(dropped["navigational"]), set(dropped["position"]) - named
    pairs = lambda some: {(rows[n]["query"], rows[n]["document"]) for n in some}
    right, kept = pairs(clicks - named - wrong), pairs(clicks.difference(*dropped.values()))
    ratio = lambda part, whole: len(part & whole) / len(whole) if whole else float("nan")
    return {"name precision": ratio(named, found), "name recall": ratio(found, named),
            "position precision": ratio(wrong, placed), "position recall": ratio(placed, wrong),
            "right before": ratio(right, pairs(clicks)), "right after": ratio(right, kept),
            "right kept": ratio(kept, right), "clicks": len(clicks), "pairs kept": len(kept)}

def training_sets(rows: Sequence[Mapping], corpus: Corpus, filtered: PairSet, limit: int = 2000) -> dict[str, PairSet]:
    """Equally many distinct pairs of one log, at most `limit`, chosen by hash: `raw` (every click),
    `filtered`, and `oracle` (by the truth)."""
    clicks = [row for row in rows if row["document"] in corpus.position]
    right = [row for row in clicks if (row["truth_intent"], str(row["truth_relevant"])) == ("informational", "1")]

    def distinct(some: Sequence[Mapping]) -> PairSet:
        queries, ids = zip(*dict.fromkeys((" ".join(row["query"].split()), row["document"]) for row in some))
        return PairSet("", "asymmetric", queries, tuple(corpus.passages[corpus.position[id]] for id in ids), (), ids)

    sets = {"raw": distinct(clicks), "filtered": filtered, "oracle": distinct(right)}
    count = min(limit, *map(len, sets.values()))
    digest = lambda pairs, i: sha256(f"{pairs.anchors[i]}\n{pairs.documents[i]}".encode()).hexdigest()
    first = lambda pairs: sorted(range(len(pairs)), key=lambda i: digest(pairs, i))[:count]
    return {name: replace(pairs.take(first(pairs)), name=f"clicks-{name}") for name, pairs in sets.items()}
