"""The trial of chapter 02, symmetry: false alarms and detections of the symmetry and mixture checks, set by set.

    DEVELOPMENT_DATA=… python tests/trials/mixture.py [DRAWS]        writes nbs/mixture.json
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

from semantic_nb.core import Settings, write_json
from semantic_nb.data.records import PairSet, read_corpus, read_judged, read_rows
from semantic_nb.data.symmetry import mixture_finding
from semantic_nb.spec import load_spec
from semantic_nb.data.domain import load_corpus, pairs_from_documents
from semantic_nb.data.symmetry import read_sides

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("DEVELOPMENT_DATA", "."))
PURE, MIXED, FOREIGN = 200, 500, 0.1


def scored(file, column, least):
    return [(row["anchor"], row["positive"]) for row in read_rows(DATA / file) if row.get(column, 1) >= least]


def judged(folder, split, corpus=None):
    corpus = corpus or read_corpus(folder / "corpus.jsonl")
    found = read_judged(folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv", corpus)
    return [(found.queries[q], corpus.passages[corpus.position[d]]) for q, grades in found.qrels.items()
            for d, grade in grades.items() if grade > 0 and corpus.texts[corpus.position[d]]]


def two_of_each(groups):
    "Two texts of each group, in either order."
    chance = random.Random(0)
    return [tuple(chance.sample(sorted(set(texts))[:50], 2)) for texts in groups if len(set(texts)) > 1]


def same_label(file):
    by_label, chance = defaultdict(list), random.Random(0)
    for row in read_rows(DATA / file):
        by_label[row["label"]].append(row["text"])
    texts = [chance.sample(sorted(set(own)), len(set(own))) for own in by_label.values()]
    return [pair for own in texts for pair in zip(own[::2], own[1::2])]


def by_value(pairs):
    groups = defaultdict(list)
    for key, text in pairs:
        groups[key].append(text)
    return list(groups.values())


def summary_and_source():
    "First lines of docstrings with the code below them, from the standard library."
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="replace")
        for node in ast.walk(ast.parse(source)):
            if (isinstance(node, ast.FunctionDef) and (doc := ast.get_docstring(node)) and len(node.body) > 1
                    and len(doc.split()) > 3):
                found.append((" ".join(doc.split("\n\n")[0].split()),
                              "\n".join(ast.unparse(part) for part in node.body[1:])[:1000]))
    return found


def all_sets():
    spec = load_spec(ROOT / "data" / "pydocs" / "spec.toml")
    corpus = load_corpus(spec, Settings.load(ROOT))
    docs = {split: judged(spec.folder, split, corpus) for split in ("train", "test", "production")}
    names, bash = defaultdict(list), scored("nl2bash/pairs_train.jsonl", "score", 0)
    for id, pair in zip(corpus.ids, corpus.texts):
        names[id.split(".")[-1]].append(" ".join(pair.split(". ")[0].split()))
    first = pairs_from_documents(corpus, "first_sentence")
    cranfield, scifact = (read_corpus(DATA / name / "corpus.jsonl") for name in ("cranfield", "scifact"))
    catalogue = scored("dblp_acm/pairs_train.jsonl", "label", 1)
    chance = random.Random(0)
    title = lambda corpus: [(t, x) for t, x in zip(corpus.titles, corpus.texts) if t.strip() and x.strip()]
    return {
        "stsb train, score 4 and up": ("design", "symmetric", scored("stsb/pairs_train.jsonl", "score", 4)),
        "banking77 train, same intent": ("design", "symmetric", same_label("banking77/train.jsonl")),
        "nl2bash train": ("design", "asymmetric", bash),
        "scifact train, claim to abstract": ("design", "asymmetric", judged(DATA / "scifact", "train")),
        "pydocs train": ("design", "asymmetric", docs["train"]),
        "dblp_acm, DBLP to ACM": ("design", "catalogues", catalogue),
        "stsb test, all scores": ("others", "symmetric", scored("stsb/pairs_test.jsonl", "score", 0)),
        "stackoverflow20, same label": ("others", "symmetric", same_label("stackoverflow20/texts.jsonl")),
        "pydocs, same name": ("others", "symmetric", two_of_each(names.values())),
        "cranfield, title to text": ("others", "asymmetric", title(cranfield)),
        "cranfield, query to text": ("others", "asymmetric", judged(DATA / "cranfield", "test")),
        "pydocs test and production": ("others", "asymmetric", docs["test"] + docs["production"]),
        "pydocs, first sentence to rest": ("others", "asymmetric", list(zip(first.anchors, first.positives))),
        "pydocs, questions of one document": ("new", "symmetric",
                                              two_of_each(by_value([(d, q) for q, d in docs["train"]]))),
        "nl2bash, descriptions of one command": ("new", "symmetric", two_of_each(by_value([(c, d) for d, c in bash]))),
        "dblp_acm, sides shuffled": ("new", "symmetric",
                                     [pair if chance.random() < 0.5 else pair[::-1] for pair in catalogue]),
        "standard library, summary to source": ("new", "asymmetric", summary_and_source()),
        "scifact, title to abstract": ("new", "asymmetric", title(scifact)),
    }


def as_pairs(rows):
    return PairSet("trial", "", *zip(*rows))


def one_pure(job):
    name, seed = job
    sides = read_sides(pairs := as_pairs(random.Random(seed).sample(SETS[name][2], min(PURE, len(SETS[name][2])))))
    return sides.accuracy, sides.observed, mixture_finding(pairs, sides).status == "fail"


def one_mixed(job):
    name, foreign, seed = job
    chance, few = random.Random(seed), round(FOREIGN * MIXED)
    own = chance.sample(SETS[name][2], MIXED - few)
    pairs = as_pairs(own + chance.sample(SETS[foreign][2], few))
    finding = mixture_finding(pairs, read_sides(pairs))
    listed = {row["row"] for row in finding.rows}
    right = len([row for row in listed if row >= len(own)])
    return finding.status == "fail", right / len(listed) if listed else None, right / few if listed else None


def trial(draws):
    content = {"pure": [], "mixed": [], "pairs": {"pure": PURE, "mixed": MIXED, "foreign": FOREIGN}}
    latest = lambda *names: next(role for role in ("new", "others", "design") if role in [SETS[n][0] for n in names])
    combinations = [(a, b) for a, b in itertools.permutations(SETS, 2)
                    if (SETS[a][1] == "asymmetric") != (SETS[b][1] == "asymmetric") and SETS[b][1] != "catalogues"
                    and len(SETS[a][2]) >= MIXED * (1 - FOREIGN)]
    with Pool(int(os.environ.get("WORKERS", 2))) as pool:
        for name, (role, symmetry, rows) in tqdm(SETS.items(), "pure"):
            found = pool.map(one_pure, [(name, seed) for seed in range(draws)])
            expected = "symmetric" if symmetry == "symmetric" else "asymmetric"
            content["pure"].append({"set": name, "role": role, "symmetry": symmetry, "size": len(rows), "draws": draws,
                                    "low": min(f[0] for f in found), "high": max(f[0] for f in found),
                                    "observed": sum(f[1] == expected for f in found),
                                    "alarms": sum(f[2] for f in found)})
        for name, foreign in tqdm(combinations, "mixed"):
            found = pool.map(one_mixed, [(name, foreign, seed) for seed in range(draws)])
            mean = lambda values: float(np.mean([v for v in values if v is not None] or [0]))
            content["mixed"].append({"set": name, "foreign": foreign, "role": latest(name, foreign),
                                     "majority": SETS[name][1], "draws": draws, "found": sum(f[0] for f in found),
                                     "precision": mean(f[1] for f in found), "recall": mean(f[2] for f in found)})
    return content


SETS = all_sets() if DATA != Path(".") else {}

if __name__ == "__main__":
    content = trial(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    write_json(Path(os.environ.get("OUT", ROOT / "nbs" / "mixture.json")), content)
    print(json.dumps([row for row in content["pure"] if row["alarms"] or row["observed"] < row["draws"]], indent=1))
    print(json.dumps([row for row in content["mixed"] if row["found"] < row["draws"]], indent=1))
