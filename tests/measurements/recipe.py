"""The recipe: which epochs, rates, directions, mined negatives and pairs help, on dev of both voices.

    python tests/measurements/recipe.py --people FOLDER [--profile full] [--arms NAME ...]

Writes `recipe.json` beside the spec that settings.ini names, after each arm: one row with the score at full size and at
the served size, rotated, on the written dev questions and on a third of the titles that people typed (FOLDER is a
BEIR-like folder whose judgments name documents of the same corpus; the other two thirds are left for the results). Each
is compared with the untouched base at full size. Every arm trains on the first source of pairs alone, but the one that
adds the others; that one is also compared with the same arm without them. 4,000 documents are searched. Trainings are
kept in the store, so an interrupted run goes on.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from results import part_of_titles
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_corpus, load_domain, sample_corpus
from semantic_nb.data.records import Judged
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, truncate
from semantic_nb.measure import compare, exact_search, per_query
from semantic_nb.model import axes_by_weight, compress, learn_space
from semantic_nb.output import Table
from semantic_nb.spec import load_spec
from semantic_nb.store import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from semantic_nb.data.domain import Domain
    from semantic_nb.spec import PipelineSpec

DOCUMENTS = 4_000  # searched: those with an answer, and others by hash; the choice between recipes needs no more
SEE_ALSO, WITHOUT = "2 epochs, with See Also pairs", "2 epochs"
AVERAGED = "4 epochs", SEE_ALSO
ALL = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
ARMS = {"1 epoch": {"training": {"epochs": 1}},
        "4 epochs": {"training": {"epochs": 4}},
        "2 epochs, 2 mined negatives": {"training": {"epochs": 2}, "loss": {"mined_negatives": 2}},
        SEE_ALSO: {"training": {"epochs": 2}},
        WITHOUT: {"training": {"epochs": 2}},
        "4 epochs, 2 mined negatives": {"training": {"epochs": 4}, "loss": {"mined_negatives": 2}},
        "4 epochs, rate 2e-5": {"training": {"epochs": 4, "learning_rate": 2e-5}},
        "4 epochs, rate 1e-4": {"training": {"epochs": 4, "learning_rate": 1e-4}},
        "4 epochs, all directions": {"training": {"epochs": 4}, "loss": {"directions": ALL}},
        "2 epochs, then Matryoshka, rate 5e-5": {"training": {"epochs": 2, "compress_learning_rate": 5e-5}},
        "2 epochs, then Matryoshka, rate 1e-5": {"training": {"epochs": 2, "compress_learning_rate": 1e-5}},
        "2 epochs, then 2 of Matryoshka, rate 1e-5": {
            "training": {"epochs": 2, "compress_epochs": 2, "compress_learning_rate": 1e-5}}}


def changed(spec: PipelineSpec, sections: dict[str, dict]) -> PipelineSpec:
    "The spec with these keys of these sections changed; every arm looks at dev as often."
    sections = {"validation": {"eval_every": 16}} | sections
    return spec.model_copy(update={name: getattr(spec, name).model_copy(update=values)
                                   for name, values in sections.items()})


def scores(model: SentenceTransformer, domain: Domain, sets: dict[str, Judged]) -> dict[tuple[str, str], np.ndarray]:
    "One value per question, by set and size: full, and the served size with the axes in order."
    spec, corpus = domain.spec, domain.corpus
    documents = corpus_vectors(model, corpus)
    axes, values = axes_by_weight(documents), {}
    for name, judged in sets.items():
        asked = encode(model, list(judged.queries.values()), "query")
        for size, turn, dim in (("full", None, spec.model.dims[0]), ("served", axes.T, spec.index.dim)):
            pair = [some if turn is None else truncate(some @ turn, dim) for some in (asked, documents)]
            run = exact_search(list(judged.queries), pair[0], corpus.ids, pair[1], spec.validation.k)
            values[name, size] = per_query(spec.validation.metric, run, judged)
    return values


def trained(name: str, domain: Domain) -> str:
    "The folder of the model that an arm trains."
    sources = domain.pairs if name == SEE_ALSO else domain.pairs[:1]
    domain = replace(domain, pairs=sources, spec=changed(domain.spec, ARMS[name]))
    arm = learn_space(domain)
    return str((compress(arm, domain) if "then" in name else arm).path / "model")


def averaged(first: str, second: str, spec: PipelineSpec) -> SentenceTransformer:
    "A model whose weights are the means of two."
    model, other = load_encoder(first, spec.model, fresh=True), load_encoder(second, spec.model).state_dict()
    model.load_state_dict({name: (value + other[name]) / 2 if value.is_floating_point() else value
                           for name, value in model.state_dict().items()})
    return model


def row_of(name: str, values: dict[tuple[str, str], np.ndarray], base: dict[tuple[str, str], np.ndarray]) -> dict:
    "An arm against the base at full size, on each set and size."
    return {"arm": name, "scores": {f"{voice}, {size}": {"value": float(one.mean()),
                                                         **asdict(compare(one, base[voice, "full"]))}
                                    for (voice, size), one in values.items()}}


def added(with_all: dict[tuple[str, str], np.ndarray], first_alone: dict[tuple[str, str], np.ndarray]) -> dict:
    "What the further sources of pairs add, on each set and size."
    return {"a": SEE_ALSO, "b": WITHOUT, "scores": {f"{voice}, {size}": asdict(compare(one, first_alone[voice, size]))
                                                    for (voice, size), one in with_all.items()}}


def table(rows: Sequence[dict]) -> Table:
    return Table([{"arm": row["arm"]} | {name: f"{cell['value']:.3f} ({cell['difference']:+.3f} "
                                               f"[{cell['low']:+.3f}, {cell['high']:+.3f}])"
                                         for name, cell in row["scores"].items()} for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--people", type=Path, required=True, help="a BEIR-like folder of questions that people asked")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="default: all")
    chosen = parser.parse_args()
    with Settings.load(profile=chosen.profile).active():
        spec = load_spec()
        domain, whole, file = load_domain(spec), load_corpus(spec), spec.folder / "recipe.json"
        sets = {"written": domain.splits[spec.validation.dev], "titles": part_of_titles(chosen.people, whole, "dev")}
        searched = replace(domain, corpus=sample_corpus(whole, sets.values(), DOCUMENTS))
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"rows": []}
        base = scores(load_encoder(spec.model.base, spec.model), searched, sets)
        found = {row["arm"]: row for row in stored["rows"]} | {"base": row_of("base", base, base)}
        kept = {"name": spec.name, "profile": chosen.profile, "metric": spec.validation.metric,
                "documents": len(searched.corpus), "served": spec.index.dim, "added": stored.get("added")}

        def keep(name: str, model: SentenceTransformer) -> None:
            found[name] = row_of(name, scores(model, searched, sets), base)
            write_json(file, {**kept, "rows": list(found.values())})
            print(table([found[name]]), flush=True)

        for name in chosen.arms:
            if name in found:
                continue
            model = trained(name, domain)
            keep(name, load_encoder(model, spec.model))
            if name in AVERAGED:
                keep(f"{name}, averaged with the base", averaged(model, spec.model.base, spec))
        if {SEE_ALSO, WITHOUT} <= set(chosen.arms) and not kept["added"]:
            pair = [load_encoder(trained(name, domain), spec.model) for name in (SEE_ALSO, WITHOUT)]
            kept["added"] = added(*(scores(model, searched, sets) for model in pair))
            write_json(file, {**kept, "rows": list(found.values())})
    print(table(list(found.values())))


if __name__ == "__main__":
    main()
