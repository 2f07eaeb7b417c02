"""Documents and no questions to train on: titles of what the test needs left out, or adapted to the corpus.

    DEVELOPMENT_DATA=FOLDER python tests/measurements/adapted.py [--seeds 1 2 3]        a quarter of an hour

FOLDER holds `cranfield`, a BEIR folder of titled abstracts with judged questions and no train split. A third of the
questions, by hash, watches the training; the others are the test. Titles are paired with their texts: *strict* leaves
out the documents that a question needs, *adapted* keeps them (`adapt = "corpus"`). Writes `adapted.json` beside this
file, which 02_data/loading shows: both against the untouched base, paired by question, averaged over the seeds; and the
untrained base with its axes in order beside them.
"""
import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from measured_on import measured_on
from semantic_nb.core import Settings
from semantic_nb.data.domain import (
    Domain, _hash_share, held_out_documents, leak_free, pairs_from_documents)
from semantic_nb.data.records import Corpus, Judged, read_corpus, read_judged
from semantic_nb.encoder import load_encoder, search_sizes
from semantic_nb.measure import compare, per_query
from semantic_nb.model import compress, learn_space, untuned
from semantic_nb.output import Table
from semantic_nb.spec import PipelineSpec, load_spec
from semantic_nb.store import write_json
from semantic_nb.validate.bench import bench_spec

EPOCHS, TOKENS, METRIC = 4, 128, "nDCG@10"


def spec_for(folder: Path) -> PipelineSpec:
    "The demo's spec for titles of this folder: `TOKENS` of each text, `EPOCHS` passes."
    spec = bench_spec(load_spec(), max_tokens=TOKENS)
    training = spec.training.model_copy(update={"epochs": EPOCHS, "compress_epochs": EPOCHS / 2})
    validation = spec.validation.model_copy(update={"dev": "dev", "test": "test", "production": None, "eval_every": 12})
    return spec.model_copy(update={"name": folder.name, "folder": folder, "training": training,
                                   "validation": validation})


def questions(folder: Path, corpus: Corpus) -> dict[str, Judged]:
    judged = read_judged(folder / "queries.jsonl", folder / "qrels" / "test.tsv", corpus)
    dev = [q for q in judged.queries if _hash_share(q) < 1 / 3]
    return {"dev": judged.select(dev), "test": judged.select(q for q in judged.queries if q not in set(dev))}


def domains(folder: Path) -> Iterator[tuple[str, Domain]]:
    "The folder with the pairs of each arm."
    spec, corpus = spec_for(folder), read_corpus(folder / "corpus.jsonl")
    splits = questions(folder, corpus)
    asked = {text for judged in splits.values() for text in judged.queries.values()}
    mined = pairs_from_documents(corpus, "title")
    held = held_out_documents(corpus, splits.values())
    for name, documents in (("strict", held), ("adapted", set())):
        pairs, finding = leak_free(mined, documents, asked)
        yield name, Domain(spec, corpus, splits, (replace(pairs, name="titles"),), (finding,))


def scores(model: str, domain: Domain) -> dict[int, np.ndarray]:
    runs = search_sizes(load_encoder(model, domain.spec.model), domain.corpus, domain.splits["test"],
                        domain.spec.model.dims)
    return {dim: per_query(METRIC, run, domain.splits["test"]) for dim, run in runs.items()}


def row_of(name: str, domain: Domain, found: list[dict[int, np.ndarray]], base: np.ndarray) -> Iterator[dict]:
    "A row for each size: the mean over the seeds, question by question, against the untouched base at full size."
    for dim in domain.spec.model.dims:
        values = np.mean([one[dim] for one in found], axis=0)
        yield {"arm": name, "pairs": len(domain.pairs[0]), "dim": dim, "value": float(values.mean()),
               "base": float(base.mean()), "seeds": len(found), **asdict(compare(values, base))}


def rows(folder: Path, seeds: list[int]) -> Iterator[dict]:
    "The rows of the untrained base with its axes in order, and of each arm."
    arms = list(domains(folder))
    untrained = replace(arms[0][1], pairs=(arms[0][1].pairs[0].take(()),))
    base = scores(untrained.spec.model.base, untrained)[untrained.spec.model.dims[0]]
    yield from row_of("untrained, axes in order", untrained, [scores(untuned(untrained), untrained)], base)
    for name, domain in arms:
        found = []
        for seed in seeds:
            with replace(Settings.current(), seed=seed).active():
                found.append(scores(str(compress(learn_space(domain), domain).path / "model"), domain))
        yield from row_of(name, domain, found, base)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("adapted.json"))
    arguments = parser.parse_args()
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "cranfield"
    found = list(rows(folder, arguments.seeds))
    write_json(arguments.out, {"set": folder.name, "metric": METRIC, "measured_on": measured_on(), "rows": found})
    print(Table([{"arm": row["arm"], "pairs": row["pairs"], "dim": row["dim"], METRIC: f"{row['value']:.3f}",
                  "against the base": f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"}
                 for row in found]))


if __name__ == "__main__":
    main()
