"""A round of pooling: which answers of many systems nobody has judged, and the judgments put into the qrels.

    python tests/measurements/pool.py make FOLDER --models PATH ... [--batches 8]
    python tests/measurements/pool.py merge FOLDER

`make` asks BM25, the base, the base with its axes in order, each of the models, and BM25 fused with the last of them
every judged question of dev, test and production. A model with its axes in order is asked at every size of the spec;
another one at full and at the served size, because cut further it finds little that is worth judging. What is
among the first ten of any of them and not judged is written to FOLDER/batch-NN.txt, shuffled, without the name of a
system: each question with its documents by number. A judge who has not written the questions writes
FOLDER/grades-NN.jsonl, one line for each question: {"q": id, "grades": {number: 1 or 2}}; a number left out was read
and has grade 0. `merge` refuses what is missing or unknown, and appends the rest to the qrels.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import ContractError, Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.encoder import load_encoder, search_sizes
from semantic_nb.lexical import bm25, fuse
from semantic_nb.measure import Run
from semantic_nb.model import untuned
from semantic_nb.spec import load_spec
from semantic_nb.store import write_text

if TYPE_CHECKING:
    from semantic_nb.data.domain import Domain
    from semantic_nb.data.records import Corpus, Judged

TITLE, WORDS = 90, 30  # characters of a document's title (name and signature) and words of its text, for the judge


def all_runs(domain: Domain, judged: Judged, paths: Sequence[str]) -> list[Run]:
    "What BM25, every model at its sizes, and BM25 with the last model answer."
    spec, sizes = domain.spec, {}
    runs = [words := bm25(domain.corpus, judged.queries)]
    for path in paths:
        model = load_encoder(path, spec.model)
        turned = "rotation" in dict(model.named_children())
        dims = spec.model.dims if turned else dict.fromkeys((spec.model.dims[0], spec.index.dim))
        sizes = search_sizes(model, domain.corpus, judged, [*dims])
        runs += sizes.values()
    return [*runs, fuse(words, sizes[spec.index.dim])]


def unjudged(runs: Iterable[Run], judged: Judged, k: int) -> dict[str, list[str]]:
    "For each question with a judgment, documents among the first `k` of a run that nobody has judged, sorted."
    found: dict[str, set[str]] = {query: set() for query in judged.qrels}
    for run in runs:
        for query in found:
            best = sorted(run.get(query, {}), key=run.get(query, {}).get, reverse=True)[:k]
            found[query] |= set(best) - set(judged.qrels[query])
    return {query: sorted(documents) for query, documents in found.items() if documents}


def blocks_of(pool: Mapping[str, Sequence[str]], judged: Judged, corpus: Corpus,
              rng: np.random.Generator) -> dict[str, tuple[str, list[str]]]:
    "For each question what a judge sees, its documents shuffled, and their ids, which the judge does not see."
    blocks = {}
    for query, documents in pool.items():
        shuffled = [documents[i] for i in rng.permutation(len(documents))]
        rows = [corpus.position[id] for id in shuffled]
        shown = [f"{number} {corpus.titles[row][:TITLE]} | {' '.join(corpus.texts[row].split()[:WORDS])}"
                 for number, row in enumerate(rows)]
        blocks[query] = "\n".join([f"## {query} | {judged.queries[query]}", *shown, ""]), shuffled
    return blocks


def write_batches(blocks: Mapping[str, tuple[str, list[str]]], folder: Path, batches: int,
                  rng: np.random.Generator) -> None:
    "Batches of about the same length, and beside them the key."
    names, parts = list(blocks), [""] * batches
    for number in rng.permutation(len(names)):
        shortest = min(range(batches), key=lambda part: len(parts[part]))
        parts[shortest] += blocks[names[number]][0] + "\n"
    for number, part in enumerate(parts):
        write_text(folder / f"batch-{number:02d}.txt", part)
    write_text(folder / "key.json", json.dumps({query: ids for query, (_, ids) in blocks.items()}))


def grades_in(folder: Path) -> dict[str, dict[str, int]]:
    "The judged documents of each question. Raises `ContractError` (`validate.pool`) for what is missing or unknown."
    key, graded = json.loads((folder / "key.json").read_text(encoding="utf-8")), {}
    for path in sorted(folder.glob("grades-*.jsonl")):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            documents, grades = key.get(line["q"], []), line["grades"]
            if not documents or any(int(number) >= len(documents) or grade not in (0, 1, 2)
                                    for number, grade in grades.items()):
                raise ContractError("validate.pool", f"{path.name}, {line['q']}: {grades}",
                                    "a grade of something else would be taken for a judgment",
                                    "give numbers of that line's documents, and 1 or 2")
            graded[line["q"]] = {id: int(grades.get(str(number), 0)) for number, id in enumerate(documents)}
    if missing := sorted(set(key) - set(graded)):
        raise ContractError("validate.pool", f"{len(missing)} questions were not judged, the first is {missing[0]}",
                            "what was left out would count as wrong", "judge every line of every batch")
    return graded


def append_qrels(folder: Path, splits: Mapping[str, Judged], graded: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    "Append to each split's file; how many rows each got."
    counts = {}
    for name, judged in splits.items():
        rows = [f"{query}\t{id}\t{grade}\n" for query in judged.qrels for id, grade in graded.get(query, {}).items()]
        path = folder / f"{name}.tsv"
        write_text(path, path.read_text(encoding="utf-8") + "".join(rows))
        counts[name] = len(rows)
    return counts


def make(domain: Domain, folder: Path, models: Sequence[str], batches: int) -> None:
    rng, blocks = np.random.default_rng(1), {}
    paths = dict.fromkeys([domain.spec.model.base, untuned(domain), *models])
    for name, judged in domain.splits.items():
        pool = unjudged(all_runs(domain, judged, list(paths)), judged, domain.spec.validation.k)
        print(f"{name}: {sum(map(len, pool.values())):,} documents of {len(pool)} questions", flush=True)
        blocks |= blocks_of(pool, judged, domain.corpus, rng)
    folder.mkdir(parents=True, exist_ok=True)
    write_batches(blocks, folder, batches, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "merge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", default=[], help="folders of trained models, the served one last")
    parser.add_argument("--batches", type=int, default=8)
    chosen = parser.parse_args()
    with Settings.load(profile="full").active():
        domain = load_domain(load_spec())
        if chosen.what == "make":
            make(domain, chosen.folder, chosen.models, chosen.batches)
        else:
            qrels = domain.spec.folder / domain.spec.data.qrels
            print(append_qrels(qrels, domain.splits, grades_in(chosen.folder)))


if __name__ == "__main__":
    main()
