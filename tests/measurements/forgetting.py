"""What a model that was tuned for one domain has lost of others: the tuned model against its base on foreign sets.

    DEVELOPMENT_DATA=FOLDER python tests/measurements/forgetting.py [--profile full] [--seeds 1 2 3]

FOLDER holds `stsb` (pairs_test.jsonl: anchor, positive, score) and `scifact` (a BEIR folder). Both models read as many
tokens as the spec says, at full size. Writes `forgetting.json` beside the spec: a row for each set and seed.
"""
from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from measured_on import measured_on
from results import development_data
from semantic_nb.core import ContractError, Settings
from semantic_nb.data.records import read_corpus, read_judged
from semantic_nb.data.rows import read_rows
from semantic_nb.encoder import Encoder, encode, load_encoder, search_sizes
from semantic_nb.measure import compare, per_query
from semantic_nb.output import Table
from semantic_nb.pipeline import build
from semantic_nb.spec import load_spec
from semantic_nb.store import write_json
from semantic_nb.validate.bench import _agreement_rows

if TYPE_CHECKING:
    from semantic_nb.spec import PipelineSpec


def similarity(tuned: Encoder, base: Encoder, folder: Path) -> dict:
    "Spearman's correlation of both with people's scores, and the difference with its interval over the pairs."
    rows = read_rows(folder / "pairs_test.jsonl")
    cosines = {}
    for name, model in (("base", base), ("tuned", tuned)):
        sides = [encode(model, [row[side] for row in rows], "document") for side in ("anchor", "positive")]
        cosines[name, sides[0].shape[1]] = np.prod(sides, axis=0).sum(axis=1)
    values, gains = _agreement_rows(cosines, np.array([float(row["score"]) for row in rows]))
    found = {row["system"]: row["value"] for row in values if row["metric"] == "Spearman"}
    gain = next(row for row in gains if row["metric"] == "Spearman")
    return {"set": folder.name, "metric": "Spearman", **found, "difference": gain["value"], "low": gain["low"],
            "high": gain["high"], "n": len(rows), "outcome": gain["outcome"]}


def retrieval(tuned: Encoder, base: Encoder, folder: Path, metric: str) -> dict:
    "nDCG of both on the test split of a BEIR folder, paired by question."
    corpus = read_corpus(folder / "corpus.jsonl")
    judged = read_judged(folder / "queries.jsonl", folder / "qrels" / "test.tsv", corpus)
    full = base.get_embedding_dimension()
    values = [per_query(metric, search_sizes(model, corpus, judged, [full])[full], judged) for model in (tuned, base)]
    found = compare(*values)
    return {"set": folder.name, "metric": metric, "base": float(values[1].mean()), "tuned": float(values[0].mean()),
            "difference": found.difference, "low": found.low, "high": found.high, "n": found.n,
            "outcome": found.outcome}


def forgotten(spec: PipelineSpec, path: str, stsb: Path, scifact: Path) -> list[dict]:
    "The model in this folder against the spec's base on both sets."
    tuned, base = (load_encoder(one, spec.model) for one in (path, spec.model.base))
    return [similarity(tuned, base, stsb), retrieval(tuned, base, scifact, spec.validation.metric)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args()
    folders = [development_data(name) for name in ("stsb", "scifact")]
    if not all(folders):
        raise ContractError("validate.data", "DEVELOPMENT_DATA has no stsb or no scifact", "nothing else is measured",
                            "name the folder that holds both")
    with Settings.load(profile=chosen.profile).active():
        spec, rows = load_spec(), []
        for seed in chosen.seeds:
            with replace(Settings.current(), seed=seed).active():
                path = str(build(spec).trained.second.path / "model")
                rows += [{"seed": seed} | row for row in forgotten(spec, path, *folders)]
            write_json(spec.folder / "forgetting.json", {
                "name": spec.name, "profile": chosen.profile, "measured_on": measured_on(), "rows": rows})
        print(Table(rows))


if __name__ == "__main__":
    main()
