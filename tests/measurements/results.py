"""The figures that the README and the datasheet quote: the full profile, trained with several seeds.

    python tests/measurements/results.py [--profile full] [--seeds 1 2 3]        takes hours
    ... --base FOLDER --dims 768 512 256 128 64    with another base than the spec's, to results_<name>.json

Writes `results.json` beside the spec that settings.ini names, and the figures between the marks of the datasheet,
the README.md there. Trainings and vectors are kept in the store, so an interrupted run goes on. Where the environment
variable DEVELOPMENT_DATA names a folder with the sets of `EXTERNAL`, they are measured, too; where it has
`so_questions`, titles that people typed are asked in the full profile (the two thirds on which no recipe was chosen).
Scores are averaged over the seeds question by question before an interval or a test is computed, so that n stays the
number of questions; the spread between seeds is reported beside it.
"""
from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import ContractError, Settings
from semantic_nb.lexical import bm25
from semantic_nb.output import Estimate, Table
from semantic_nb.measure import Run, compare, interval, judged_at, per_query
from semantic_nb.store import write_json

if TYPE_CHECKING:
    from semantic_nb.data.domain import Domain
    from semantic_nb.data.records import Corpus, Judged
    from semantic_nb.spec import PipelineSpec

JUDGED = 0.95
Key = tuple[str, int | None, str]
TITLES, WRITTEN, SHORT = "people's titles", "test: sentences", "test: titles"
EXTERNAL = {"scifact": ("test", "test_unseen_docs"), "nl2bash": ("test",), "cranfield": ("test",)}  # set, splits
START, END = "<!-- figures: written by make results -->", "<!-- end of figures -->"


def development_data(name: str) -> Path | None:
    "A folder of the set aside data, or None where there is none."
    folder = Path(os.environ.get("DEVELOPMENT_DATA", "nowhere")) / name
    return folder if folder.is_dir() else None


def part_of_titles(folder: Path, corpus: Corpus, part: str) -> Judged:
    "Of the titles in a BEIR-like folder, by hash of their id: `dev`, a third, for choices; `test`, the rest."
    from semantic_nb.data.domain import _hash_share
    from semantic_nb.data.records import read_judged
    judged = read_judged(folder / "queries.jsonl", next((folder / "qrels").glob("*.tsv")), corpus)
    return judged.select(q for q in judged.queries if (_hash_share(q) < 1 / 3) == (part == "dev"))


def unordered(domain: Domain, first: Path) -> str:
    "Matryoshka from stage 1 as it was, without the rotation: what stage 2 is compared with in chapter 06."
    from semantic_nb.loss.train import Stage, train_model
    from semantic_nb.model import _with_negatives
    training, base = domain.spec.training, str(first / "model")
    stage = Stage("unordered", training.compress_epochs, training.compress_learning_rate, domain.spec.model.dims)
    return str(train_model(base, _with_negatives(domain, base), stage, domain).path / "model")


def question_metadata(spec: PipelineSpec) -> dict[str, dict]:
    "What the queries file says of each question besides its text."
    lines = (spec.folder / spec.data.queries).read_text(encoding="utf-8").splitlines()
    return {row["_id"]: row.get("metadata", {}) for row in map(json.loads, lines)}


def voices(domain: Domain) -> dict[str, Judged]:
    "The test questions in two parts, those in the voice of titles and the others; empty if all have one voice."
    spec, test = domain.spec, domain.splits[domain.spec.validation.test]
    known = question_metadata(spec)
    titles = [query for query in test.queries if known.get(query, {}).get("style") == "title"]
    parts = {WRITTEN: test.select(q for q in test.queries if q not in {*titles}), SHORT: test.select(titles)}
    return parts if all(part.queries for part in parts.values()) else {}


def measured_runs(spec: PipelineSpec, say: Callable[[str], None]) -> tuple[Domain, dict[Key, Run]]:
    "What one build answers: its domain, with further voices as splits, and a run for each system, size and split."
    from semantic_nb.encoder import load_encoder, search_sizes
    from semantic_nb.pipeline import build, measure_runs
    built = build(spec, say)
    trained, folder, further = built.domain, development_data("so_questions"), voices(built.domain)
    if folder and not Settings.current().documents:  # their answers are certain to be searched only with all documents
        further[TITLES] = part_of_titles(folder, trained.corpus, "test")
    built = replace(built, domain=replace(trained, splits={**trained.splits, **further}))
    runs = dict(measure_runs(built).runs)
    if spec.model.rotate:
        say("Matryoshka without the rotation")
        model = load_encoder(unordered(trained, built.trained.first.path), spec.model)
        for name, split in built.domain.splits.items():
            runs |= {("unordered", dim, name): run
                     for dim, run in search_sizes(model, trained.corpus, split, spec.model.dims).items()}
    return built.domain, runs


def seed_scores(spec: PipelineSpec, seeds: Sequence[int],
                say: Callable[[str], None] = print) -> tuple[dict[Key, np.ndarray], dict[Key, float], Domain]:
    "Scores by (system, dim, split), shape (seeds, questions); the share judged among the first k; the domain."
    scores: dict[Key, list] = {}
    judged: dict[Key, list] = {}
    for seed in seeds:
        say(f"seed {seed}")
        with replace(Settings.current(), seed=seed).active():
            domain, runs = measured_runs(spec, say)
        for key, run in runs.items():
            split = domain.splits[key[2]]
            scores.setdefault(key, []).append(per_query(spec.validation.metric, run, split))
            judged.setdefault(key, []).append(judged_at(spec.validation.k, run, split))
    stacked = {key: np.stack(values) for key, values in scores.items()}
    return stacked, {key: float(np.mean(values)) for key, values in judged.items()}, domain


def summary_rows(scores: Mapping[Key, np.ndarray], judged: Mapping[Key, float], metric: str, n_docs: int,
                 profile: str) -> list[dict]:
    """`retrieval` rows over seeds, with the smallest and the largest mean of a single seed: the interval speaks about
    other questions, that spread about other trainings."""
    rows = []
    for (system, dim, split), values in scores.items():
        means = values.mean(axis=1)
        rows.append({"system": system, "dim": dim, "metric": metric, "split": split, "profile": profile,
                     **asdict(interval(values.mean(axis=0))), "n_docs": n_docs,
                     "judged_at_k": judged[system, dim, split], "seeds": len(values),
                     "seed_min": float(means.min()), "seed_max": float(means.max())})
    return rows


def planned(spec: PipelineSpec) -> list[tuple]:
    "(a, dim, b, b_dim): stage 2 at each size against its rivals; what a rotation does to the base, BM25 to stage 2."
    from semantic_nb.model import _in_order
    full, base, first = spec.model.dims[0], *(_in_order(name, spec.model) for name in ("base", "stage 1"))
    rivals = "base", base, "stage 1", first, "unordered"
    plan = [("stage 2", dim, *rival) for dim in spec.model.dims
            for rival in (("base", full), *((name, dim) for name in rivals))]
    plan += [(base, dim, "base", full) for dim in spec.model.dims if base != "base"]
    plan += [("hybrid", dim, "stage 2", dim) for dim in spec.model.dims]
    return list(dict.fromkeys(plan))


def summary_comparisons(scores: Mapping[Key, np.ndarray], spec: PipelineSpec, profile: str) -> list[dict]:
    "The planned comparisons, on per-question scores averaged over seeds: the same for every file, whatever came out."
    rows = []
    for split in filter(None, (spec.validation.test, WRITTEN, SHORT, spec.validation.production, TITLES)):
        for a, dim, b, b_dim in planned(spec):
            if {(a, dim, split), (b, b_dim, split)} <= scores.keys():
                pair = scores[a, dim, split], scores[b, b_dim, split]
                rows.append({"a": a, "dim": dim, "b": b, "b_dim": b_dim, "metric": spec.validation.metric,
                             "split": split, "profile": profile, "seeds": len(pair[0]),
                             **asdict(compare(*(values.mean(axis=0) for values in pair)))})
    return rows


def content_words(text: str) -> set[str]:
    "Stemmed words without English stop words, as BM25 reads them, because it is the one that has to match them."
    import bm25s
    import Stemmer
    words = bm25s.tokenize([text], stopwords="en", stemmer=Stemmer.Stemmer("english"),
                           return_ids=False, show_progress=False)
    return set(words[0])


def word_overlap(domain: Domain, split: str) -> float:
    "The share of a question's words that its best answer has, averaged over the questions."
    judged, shares = domain.splits[split], []
    for q, text in judged.queries.items():
        words, best = content_words(text), max(judged.qrels[q].values())
        answers = [d for d, grade in judged.qrels[q].items() if grade == best]
        shared = [len(words & content_words(domain.corpus.passages[domain.corpus.position[d]])) for d in answers]
        shares.append(max(shared) / max(1, len(words)))
    return float(np.mean(shares))


def split_rows(domain: Domain) -> list[dict]:
    "Per judged split: questions, judgments, content-word overlap with the best answers, BM25."
    rows, metric = [], domain.spec.validation.metric
    for name, split in domain.splits.items():
        lexical = per_query(metric, bm25(domain.corpus, split.queries), split)
        rows.append({"split": name, "questions": len(split.queries), "judgments": sum(map(len, split.qrels.values())),
                     "relevant": len(split.relevant()), "word overlap": word_overlap(domain, name),
                     f"BM25 {metric}": float(lexical.mean())})
    return rows


def slice_rows(scores: Mapping[Key, np.ndarray], domain: Domain) -> list[dict]:
    "Base and stage 2 at the served size on slices of the test questions, from the metadata of the queries file."
    from semantic_nb.validate.audit import by_slice
    spec, rows = domain.spec, []
    test = domain.splits[spec.validation.test]
    known = question_metadata(spec)
    for key in sorted({key for q in test.queries for key in known[q]} - {"split"}):
        labels = {q: known[q].get(key, "") for q in test.queries}
        for system in ("base", "stage 2"):
            values = scores[system, spec.index.dim, spec.validation.test].mean(axis=0)
            rows += [row | {"slice": f"{key}: {row['slice']}", "system": system}
                     for row in by_slice(values, test, labels)]
    return rows


def write_datasheet(path: Path, content: Mapping) -> None:
    "Put the figures of the splits and slices between the marks of a datasheet; the prose around them stays."
    text = path.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ContractError("validate.datasheet", f"{path.name} has no marks for its figures",
                            "figures are rendered between two marks, so that nobody types them",
                            f"add the lines {START} and {END}")
    slices: dict[str, dict] = {}
    for row in content["slices"]:
        line = slices.setdefault(row["slice"], {"slice": row["slice"], "n": row["n"]})
        estimate = Estimate(row["value"], row["low"], row["high"], row["n"])
        line[f"{row['system']} at {content['dim']}"] = str(estimate)
    caption = (f"Results by slice of the test questions ({content['metric']}, {content['profile']} profile, "
               f"seeds {content['seeds']}, {content['date']}):")
    figures = "\n\n".join([f"{START}\n{Table(content['splits'])}", caption, f"{Table(list(slices.values()))}\n{END}"])
    path.write_text(text[:text.index(START)] + figures + text[text.index(END) + len(END):], encoding="utf-8")


def external_rows(spec: PipelineSpec, say: Callable[[str], None], external: Mapping = EXTERNAL) -> list[dict]:
    """Base and tuned on other people's sets, each alone and with BM25, at as many tokens as the base reads by itself.
    No document that a test question needs is trained on; `test_unseen_docs` of SciFact has none of its train split."""
    from semantic_nb.validate.bench import bench_beir, bench_spec
    decided = bench_spec(spec)
    sets = [(folder, split) for name, splits in external.items() if (folder := development_data(name))
            for split in splits]
    return [bench_beir(folder, decided, True, split, say) for folder, split in sets]


def write_results(path: Path, spec: PipelineSpec, seeds: Sequence[int] = (1, 2, 3),
                  say: Callable[[str], None] = print, external: Mapping = EXTERNAL) -> dict:
    "Run the profile in force with these seeds; write and return the results. One file: rows of two runs are no table."
    from measured_on import measured_on
    scores, judged, domain = seed_scores(spec, seeds, say)
    profile, metric = Settings.current().profile, spec.validation.metric
    content = {"name": spec.name, "profile": profile, "seeds": list(seeds), "date": date.today().isoformat(),
               "base": Path(spec.model.base).name, "measured_on": measured_on(),
               "dim": spec.index.dim, "dims": list(spec.model.dims), "metric": metric,
               "pairs": {pairs.name: len(pairs) for pairs in domain.pairs},
               "retrieval": summary_rows(scores, judged, metric, len(domain.corpus), profile),
               "comparisons": summary_comparisons(scores, spec, profile),
               "slices": slice_rows(scores, domain), "splits": split_rows(domain)}
    if rows := external_rows(spec, say, external):
        content["external"] = rows
    write_json(path, content)
    return content


def results_table(content: Mapping, split: str = "test") -> Table:
    """Systems by size, for the README; * where fewer than 95 % of the first answers are judged. Word search has no
    size, so its value stands once, in the first column."""
    rows = [row for row in content["retrieval"] if row["split"] == split and row["system"] != "served"]
    systems: dict[str, dict] = {}
    for row in rows:
        line = systems.setdefault(row["system"], {"system": row["system"], **{str(dim): "" for dim in content["dims"]}})
        line[str(row["dim"] or content["dims"][0])] = f"{row['value']:.3f}" + "*" * (row["judged_at_k"] < JUDGED)
    return Table(list(systems.values()))


def voices_table(content: Mapping) -> Table:
    """The differences that decide, by who asks. `agree`: yes if every voice has the same outcome, no if one shows the
    opposite of another, else in part."""
    full, served, found = content["dims"][0], content["dim"], {}
    for row in content["comparisons"]:
        key = row["a"], row["dim"], row["b"], row["b_dim"]
        at_served = row["dim"] == served and row["a"] in ("stage 2", "hybrid")
        if row["split"] in (WRITTEN, SHORT, TITLES) and (at_served or (key[0], *key[2:]) == ("stage 2", "base", full)):
            found.setdefault(key, {})[row["split"]] = row
    rows = []
    for (a, dim, b, b_dim), by in found.items():
        outcomes = {row["outcome"] for row in by.values()}
        agree = "yes" if len(outcomes) == 1 else "no" if {"better", "worse"} <= outcomes else "in part"
        cells = {name: f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]" for name, row in by.items()}
        rows.append({"": f"{a} at {dim} against {b} at {b_dim}", **cells, "agree": agree})
    return Table(rows)


def with_base(spec: PipelineSpec, base: Path, dims: Sequence[int]) -> PipelineSpec:
    "The spec with another base, its sizes, and everything else as it was decided for the first one."
    sizes = tuple(dims)
    return spec.model_copy(update={
        "model": spec.model.model_copy(update={"base": str(base), "dims": sizes}),
        "validation": spec.validation.model_copy(update={"audit_dims": sizes})})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--base", type=Path, help="a folder with another base; the sets of others are left out then")
    parser.add_argument("--dims", type=int, nargs="+", default=[768, 512, 256, 128, 64], help="the sizes of that base")
    arguments = parser.parse_args()
    from semantic_nb.spec import load_spec
    with Settings.load(profile=arguments.profile).active():
        spec = load_spec()
        if base := arguments.base:
            path = spec.folder / f"results_{base.name}.json"
            content = write_results(path, with_base(spec, base, arguments.dims), arguments.seeds, external={})
        else:
            content = write_results(spec.folder / "results.json", spec, arguments.seeds)
            write_datasheet(spec.folder / "README.md", content)
    print(results_table(content), voices_table(content), sep="\n\n")


if __name__ == "__main__":
    main()
