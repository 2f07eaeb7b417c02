"""How many pairs does it take? Search quality against the number of training pairs.

    python tests/measurements/learning_curve.py [--profile full] [--pairs 250 500 1000 2000 0] [--seeds 1 2 3]

Stage 1 is trained on so many pairs of the first source (0: all), its axes are put in order if the spec rotates, and the
test questions are asked at full and at the served size; each is compared with the untouched base at full size. Where
DEVELOPMENT_DATA names a folder with `so_questions`, titles that people typed are asked, too, as in results.py. Writes
`learning_curve.json` beside the spec, after each number of pairs. Scores are averaged over the seeds question by
question.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from measured_on import measured_on
from results import TITLES, development_data, part_of_titles
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.encoder import load_encoder, search_sizes
from semantic_nb.measure import compare, per_query
from semantic_nb.model import learn_space, order_axes
from semantic_nb.output import Table
from semantic_nb.spec import load_spec
from semantic_nb.store import write_json

if TYPE_CHECKING:
    from semantic_nb.data.domain import Domain
    from semantic_nb.data.records import Judged
    from semantic_nb.spec import PipelineSpec

Scores = dict[tuple[str, int], np.ndarray]


def asked(domain: Domain) -> dict[str, Judged]:
    "The test questions, and people's titles where they are at hand and all documents are searched."
    test, folder = domain.spec.validation.test, development_data("so_questions")
    sets = {test: domain.splits[test]}
    if folder and not Settings.current().documents:
        sets[TITLES] = part_of_titles(folder, domain.corpus, "test")
    return sets


def scores_of(path: str, domain: Domain, dims: Sequence[int]) -> Scores:
    "One value per question, by set and size."
    spec = domain.spec
    return {(name, dim): per_query(spec.validation.metric, run, judged) for name, judged in asked(domain).items()
            for dim, run in search_sizes(load_encoder(path, spec.model), domain.corpus, judged, dims).items()}


def trained_on(spec: PipelineSpec, pairs: int, seed: int) -> tuple[int, Scores]:
    "How many pairs there were, and what stage 1 of them scores."
    looks = 4 if pairs else 0  # 250 pairs are eight steps, and dev has to be looked at in between
    with replace(Settings.current(), pairs=pairs, seed=seed, eval_every=looks).active():
        domain = load_domain(spec)
        domain = replace(domain, pairs=domain.pairs[:1])
        model = str(learn_space(domain).path / "model")
        if spec.model.rotate:
            model = str(order_axes(model, domain).path / "model")
        return sum(map(len, domain.pairs)), scores_of(model, domain, (spec.model.dims[0], spec.index.dim))


def rows_of(count: int, seeds: Sequence[Scores], base: Mapping[str, np.ndarray]) -> Iterator[dict]:
    "A row for each set and size: the mean over seeds and questions, and its difference to the base at full size."
    for name, dim in seeds[0]:
        values = np.stack([scores[name, dim] for scores in seeds]).mean(axis=0)
        yield {"pairs": count, "split": name, "dim": dim, "seeds": len(seeds), "value": float(values.mean()),
               **asdict(compare(values, base[name]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--pairs", type=int, nargs="+", default=[250, 500, 1000, 2000, 0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args()
    with Settings.load(profile=chosen.profile).active():
        spec, rows = load_spec(), []
        full = spec.model.dims[0]
        before = scores_of(spec.model.base, load_domain(spec), [full])
        base = {name: values for (name, _), values in before.items()}
        for pairs in chosen.pairs:
            counts, seeds = zip(*(trained_on(spec, pairs, seed) for seed in chosen.seeds))
            rows += rows_of(counts[0], seeds, base)
            write_json(spec.folder / "learning_curve.json", {
                "name": spec.name, "profile": chosen.profile, "metric": spec.validation.metric,
                "measured_on": measured_on(),
                "base": {name: float(values.mean()) for name, values in base.items()}, "rows": rows})
            print(Table(rows[-2 * len(base):]), flush=True)


if __name__ == "__main__":
    main()
