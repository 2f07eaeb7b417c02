"""The trial behind nbs/02_data/symmetry.ipynb: false alarms and detections of the symmetry and mixture checks.

    DEVELOPMENT_DATA=… python tests/measurements/mixture.py [DRAWS [MIXED_DRAWS]]        writes nbs/02_data/mixture.json
"""
import ast
import itertools
import json
import os
import random
import sys
import sysconfig
from collections import defaultdict
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from tqdm import tqdm

from semantic_nb.data.domain import load_corpus, pairs_from_documents
from semantic_nb.data.records import Corpus, PairSet, read_corpus, read_judged, read_rows
from semantic_nb.data.symmetry import _ANSWERS, direction_finding, mixture_finding, read_sides, symmetry_finding
from semantic_nb.spec import load_spec
from semantic_nb.store import write_json

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DEVELOPMENT_DATA", "."))
RESULT = ROOT / "nbs" / "02_data" / "mixture.json"
PURE, MIXED, FOREIGN = 200, 500, 0.1
Pairs = list[tuple[str, str]]


# --- the sets

def scored_pairs(file: str, column: str, least: float) -> Pairs:
    "Pairs of a file with at least this score; a file without the column gives all."
    return [(row["anchor"], row["positive"]) for row in read_rows(DATA / file) if row.get(column, 1) >= least]


def judged_pairs(folder: Path, split: str, corpus: Corpus | None = None) -> Pairs:
    "Queries with their relevant documents."
    corpus = corpus or read_corpus(folder / "corpus.jsonl")
    judged = read_judged(folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv", corpus)
    return [(judged.queries[query], corpus.passages[corpus.position[document]])
            for query, grades in judged.qrels.items()
            for document, grade in grades.items() if grade > 0 and corpus.texts[corpus.position[document]]]


def two_of_each(groups) -> Pairs:
    "Two texts of each group, in either order."
    chance = random.Random(0)
    return [tuple(chance.sample(sorted(set(texts))[:50], 2)) for texts in groups if len(set(texts)) > 1]


def same_label(file: str) -> Pairs:
    "Texts of one label, paired at random."
    by_label, chance = defaultdict(set), random.Random(0)
    for row in read_rows(DATA / file):
        by_label[row["label"]].add(row["text"])
    shuffled = [chance.sample(sorted(texts), len(texts)) for texts in by_label.values()]
    return [pair for texts in shuffled for pair in zip(texts[::2], texts[1::2])]


def by_key(rows: Pairs) -> list[list[str]]:
    "The second members of the rows, grouped by the first."
    groups = defaultdict(list)
    for key, text in rows:
        groups[key].append(text)
    return list(groups.values())


def summary_and_source() -> Pairs:
    "First lines of docstrings with the code below them, from the standard library."
    pairs = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="replace"))):
            documentation = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if documentation and len(documentation.split()) > 3 and len(node.body) > 1:
                code = "\n".join(ast.unparse(statement) for statement in node.body[1:])
                pairs.append((" ".join(documentation.split("\n\n")[0].split()), code[:1000]))
    return pairs


def title_and_text(corpus: Corpus) -> Pairs:
    return [(title, text) for title, text in zip(corpus.titles, corpus.texts) if title.strip() and text.strip()]


def same_name(corpus: Corpus) -> Pairs:
    "First sentences of documents whose ids end in the same name."
    names = [(id.split(".")[-1], " ".join(text.split(". ")[0].split())) for id, text in zip(corpus.ids, corpus.texts)]
    return two_of_each(by_key(names))


def shuffled_sides(pairs: Pairs) -> Pairs:
    chance = random.Random(0)
    return [pair if chance.random() < 0.5 else pair[::-1] for pair in pairs]


def sharing_a_document(*sides: list[tuple[str, str]]) -> Pairs:
    "Texts of two sides, in their order, that are judged relevant to one document; rows are (document, text)."
    first, second = (defaultdict(set) for _ in range(2))
    for texts, side in zip((first, second), (sides[0], sides[-1])):
        for document, text in side:
            texts[document].add(text)
    return [(a, b) for document, texts in first.items() for a in sorted(texts) for b in sorted(second[document])
            if a != b]


def with_habits(pairs: Pairs, share: float = 0.35) -> Pairs:
    "The second author writes a share of the texts in small letters and without a mark at the end."
    chance = random.Random(0)
    return [(a, b.lower().rstrip("?.! ") if chance.random() < share else b) for a, b in pairs]


def all_sets() -> dict[str, tuple[str, str, Pairs]]:
    "By name: role in the trial, true symmetry, pairs."
    spec = load_spec(ROOT / "data" / "pydocs" / "spec.toml")
    corpus = load_corpus(spec)
    docs = {split: judged_pairs(spec.folder, split, corpus) for split in ("train", "test", "production")}
    first = pairs_from_documents(corpus, "first_sentence")
    bash = scored_pairs("nl2bash/pairs_train.jsonl", "score", 0)
    cranfield, scifact = (read_corpus(DATA / name / "corpus.jsonl") for name in ("cranfield", "scifact"))
    catalogue = scored_pairs("dblp_acm/pairs_train.jsonl", "label", 1)
    typed = [(page, title) for title, page in judged_pairs(DATA / "so_questions", "dev", corpus)]
    written, production, claims = ([(page, text) for text, page in pairs] for pairs in (
        docs["train"] + docs["test"], docs["production"],
        judged_pairs(DATA / "scifact", "train", scifact) + judged_pairs(DATA / "scifact", "test", scifact)))
    of_one_command = two_of_each(by_key([(code, text) for text, code in bash]))
    return {
        "stsb train, score 4 and up": ("design", "symmetric", scored_pairs("stsb/pairs_train.jsonl", "score", 4)),
        "banking77 train, same intent": ("design", "symmetric", same_label("banking77/train.jsonl")),
        "nl2bash train": ("design", "asymmetric", bash),
        "scifact train, claim to abstract": ("design", "asymmetric", judged_pairs(DATA / "scifact", "train")),
        "pydocs train": ("design", "asymmetric", docs["train"]),
        "dblp_acm, DBLP to ACM": ("design", "catalogues", catalogue),
        "stsb test, all scores": ("others", "symmetric", scored_pairs("stsb/pairs_test.jsonl", "score", 0)),
        "stackoverflow20, same label": ("others", "symmetric", same_label("stackoverflow20/texts.jsonl")),
        "pydocs, same name": ("others", "symmetric", same_name(corpus)),
        "cranfield, title to text": ("others", "asymmetric", title_and_text(cranfield)),
        "cranfield, query to text": ("others", "asymmetric", judged_pairs(DATA / "cranfield", "test")),
        "pydocs test and production": ("others", "asymmetric", docs["test"] + docs["production"]),
        "pydocs, first sentence to rest": ("others", "asymmetric", list(zip(first.anchors, first.positives))),
        "pydocs, questions of one document": ("new", "symmetric",
                                              two_of_each(by_key([(page, query) for query, page in docs["train"]]))),
        "nl2bash, descriptions of one command": ("new", "symmetric",
                                                 of_one_command),
        "dblp_acm, sides shuffled": ("new", "symmetric", shuffled_sides(catalogue)),
        "standard library, summary to source": ("new", "asymmetric", summary_and_source()),
        "scifact, title to abstract": ("new", "asymmetric", title_and_text(scifact)),
        "titles typed by people, written questions": ("others", "symmetric", sharing_a_document(typed, written)),
        "pydocs, production and written questions": ("others", "symmetric", sharing_a_document(production, written)),
        "scifact, claims of one abstract": ("held out", "symmetric", sharing_a_document(claims)),
        "stackoverflow20, second author has habits": ("held out", "symmetric",
                                                      with_habits(same_label("stackoverflow20/texts.jsonl"))),
        "nl2bash, second author has habits": ("held out", "symmetric", with_habits(of_one_command)),
        "stsb dev, second author has habits": ("held out", "symmetric",
                                               with_habits(scored_pairs("stsb/pairs_dev.jsonl", "score", 4))),
    }


# --- one draw

SETS: dict[str, tuple[str, str, Pairs]] = {}  # filled before the workers start


def as_pairs(name: str, rows: Pairs) -> PairSet:
    "Rows, declared to be what the set is; catalogues of the same things are symmetric."
    return PairSet("trial", "asymmetric" if SETS[name][1] == "asymmetric" else "symmetric", *zip(*rows))


def pure_draw(job: tuple[str, int]) -> tuple[float, str, set[str]]:
    "The judge's accuracy, the observed symmetry, and the checks that raise a false alarm."
    name, seed = job
    rows = SETS[name][2]
    pairs = as_pairs(name, random.Random(seed).sample(rows, min(PURE, len(rows))))
    sides = read_sides(pairs)
    findings = (finding_of(pairs, sides) for finding_of in (symmetry_finding, direction_finding, mixture_finding))
    return (sides.accuracy.value, sides.observed,
            {finding.id.split(".")[1] for finding in findings if finding.status == "fail"})


def mixed_draw(job: tuple[str, str, int]) -> tuple[bool, float | None, float | None]:
    "Whether the mixture is found, and precision and recall of the rows that are listed."
    name, foreign, seed = job
    chance, few = random.Random(seed), round(FOREIGN * MIXED)
    own = chance.sample(SETS[name][2], MIXED - few)
    pairs = as_pairs(name, own + chance.sample(SETS[foreign][2], few))
    finding = mixture_finding(pairs, read_sides(pairs))
    listed = {row["row"] for row in finding.rows}
    right = sum(row >= len(own) for row in listed)
    return finding.status == "fail", right / len(listed) if listed else None, right / few if listed else None


# --- all draws

def combinations() -> list[tuple[str, str]]:
    "Sets of different symmetry, none held out for false alarms, the first large enough to be the larger population."
    def fit(large: str, small: str) -> bool:
        symmetries = SETS[large][1], SETS[small][1]
        return ((symmetries[0] == "asymmetric") != (symmetries[1] == "asymmetric") and symmetries[1] != "catalogues"
                and "held out" not in (SETS[large][0], SETS[small][0])
                and len(SETS[large][2]) >= MIXED * (1 - FOREIGN))
    return [(large, small) for large, small in itertools.permutations(SETS, 2) if fit(large, small)]


def newest_role(*names: str) -> str:
    roles = {SETS[name][0] for name in names}
    return next(role for role in ("held out", "new", "others", "design") if role in roles)


def pure_row(name: str, draws: list[tuple[float, str, set[str]]]) -> dict:
    role, symmetry, rows = SETS[name]
    expected = "symmetric" if symmetry == "symmetric" else "asymmetric"
    accuracies = [accuracy for accuracy, _, _ in draws]
    return {"set": name, "role": role, "symmetry": symmetry, "size": len(rows), "draws": len(draws),
            "low": min(accuracies), "high": max(accuracies),
            "observed": sum(observed == expected for _, observed, _ in draws),
            "alarms": {check: sum(check in failed for _, _, failed in draws) for check in _ANSWERS}}


def mixed_row(name: str, foreign: str, draws: list[tuple[bool, float | None, float | None]]) -> dict:
    def mean(values) -> float:
        return float(np.mean([value for value in values if value is not None] or [0]))
    return {"set": name, "foreign": foreign, "role": newest_role(name, foreign), "majority": SETS[name][1],
            "draws": len(draws), "found": sum(found for found, _, _ in draws),
            "precision": mean(precision for _, precision, _ in draws), "recall": mean(recall for _, _, recall in draws)}


def trial(draws: int, mixed_draws: int) -> dict:
    "Every pure set `draws` times, and every combination `mixed_draws` times."
    with Pool(int(os.environ.get("WORKERS", 2))) as pool:
        pure = [pure_row(name, pool.map(pure_draw, [(name, seed) for seed in range(draws)]))
                for name in tqdm(SETS, "pure")]
        mixed = [mixed_row(*names, pool.map(mixed_draw, [(*names, seed) for seed in range(mixed_draws)]))
                 for names in tqdm(combinations(), "mixed")]
    return {"pure": pure, "mixed": mixed, "pairs": {"pure": PURE, "mixed": MIXED, "foreign": FOREIGN}}


def main() -> None:
    SETS.update(all_sets())
    draws = [int(number) for number in sys.argv[1:3]] or [100]
    content = trial(draws[0], draws[-1])
    write_json(Path(os.environ.get("OUT", RESULT)), content)
    wrong = [row for row in content["pure"] if any(row["alarms"].values()) or row["observed"] < row["draws"]]
    print(json.dumps(wrong, indent=1))
    print(json.dumps([row for row in content["mixed"] if row["found"] < row["draws"]], indent=1))


if __name__ == "__main__":
    main()
