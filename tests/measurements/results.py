import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np

from semantic_nb.validate.bench import bench_beir
from semantic_nb.core import ContractError, Settings, Table, write_json
from semantic_nb.measure import bm25, compare, interval, judged_at, per_query
from semantic_nb.pipeline import PACKAGES, all_runs, build
from semantic_nb.spec import PipelineSpec, load_spec
from semantic_nb.data.domain import Domain
from semantic_nb.validate.audit import by_slice

DATA = "DEVELOPMENT_DATA"

def seed_scores(spec: PipelineSpec, seeds: Sequence[int],
                say: Callable[[str], None] = print) -> tuple[dict, dict, Domain]:
    "Per-question scores keyed by (system, dim, split), shape (seeds, questions); judged@k by the same key; the domain."
    scores: dict[tuple, list] = {}
    judged: dict[tuple, list] = {}
    for seed in seeds:
        say(f"seed {seed}")
        varied = replace(settings, seed=seed)
        built = build(spec, varied, say)
        for key, run in all_runs(built, varied).items():
            split = built.domain.splits[key[2]]
            scores.setdefault(key, []).append(per_query(spec.validation.metric, run, split))
            judged.setdefault(key, []).append(judged_at(spec.validation.k, run, split))
    return {k: np.stack(v) for k, v in scores.items()}, {k: float(np.mean(v)) for k, v in judged.items()}, built.domain

def summary_rows(scores: Mapping, judged: Mapping, metric: str, n_docs: int, profile: str) -> list[dict]:
    "`retrieval` rows over seeds, with the smallest and largest mean of a single seed."
    rows = []
    for (system, dim, split), values in scores.items():
        found = interval(values.mean(axis=0))
        means = values.mean(axis=1)
        rows.append({"system": system, "dim": dim, "metric": metric, "split": split, "profile": profile,
                     "value": found.value, "low": found.low, "high": found.high, "n": found.n,
                     "n_docs": n_docs, "judged_at_k": judged[system, dim, split], "seeds": len(values),
                     "seed_min": float(means.min()), "seed_max": float(means.max())})
    return rows

def summary_comparisons(scores: Mapping, spec: PipelineSpec, profile: str) -> list[dict]:
    "The planned comparisons, on per-question scores averaged over seeds."
    rows = []
    for split in filter(None, (spec.validation.test, spec.validation.production)):
        mean = {(system, dim): values.mean(axis=0) for (system, dim, where), values in scores.items() if where == split}
        pairs = ([("stage 2", "base", dim) for dim in spec.model.dims]
                 + [("stage 2", "stage 1", dim) for dim in spec.model.dims])
        for a, b, dim in pairs:
            found = compare(mean[a, dim], mean[b, dim])
            rows.append({"a": a, "b": b, "dim": dim, "metric": spec.validation.metric, "split": split,
                         "profile": profile, "difference": found.difference,
                         "low": found.low, "high": found.high, "p": found.p, "n": found.n, "outcome": found.outcome})
    return rows

def content_words(text: str) -> set[str]:
    "Stemmed words without English stop words, as BM25 reads them."
    import bm25s
    import Stemmer
    found = bm25s.tokenize([text], stopwords="en", stemmer=Stemmer.Stemmer("english"),
                           return_ids=False, show_progress=False)
    return set(found[0])

def split_rows(domain: Domain) -> list[dict]:
    """Per judged split: questions, judgments, content-word overlap with the best
    answers (share of a question's words), BM25."""
    rows, metric = [], domain.spec.validation.metric
    for name, split in domain.splits.items():
        overlap = []
        for q, text in split.queries.items():
            words, best = content_words(text), max(split.qrels[q].values())
            answer = [content_words(domain.corpus.passages[domain.corpus.position[d]])
                      for d, grade in split.qrels[q].items() if grade == best]
            overlap.append(max(len(words & a) for a in answer) / max(1, len(words)))
        rows.append({"split": name, "questions": len(split.queries), "judgments": sum(map(len, split.qrels.values())),
                     "relevant": len(split.relevant()),
                     "word overlap": float(np.mean(overlap)),
                     f"BM25 {metric}": float(per_query(metric, bm25(domain.corpus, split.queries), split).mean())})
    return rows

def slice_rows(scores: Mapping, domain: Domain) -> list[dict]:
    "Base and stage 2 at the served size on slices of the test questions, from the metadata of the queries file."
    spec, rows = domain.spec, []
    test = domain.splits[spec.validation.test]
    lines = (spec.folder / spec.data.queries).read_text(encoding="utf-8").splitlines()
    known = {row["_id"]: row.get("metadata", {}) for row in map(json.loads, lines)}
    for key in sorted({key for q in test.queries for key in known[q]} - {"split"}):
        for system in ("base", "stage 2"):
            values = scores[system, spec.index.dim, spec.validation.test].mean(axis=0)
            rows += [{"slice": f"{key}: {row['slice']}", "system": system,
                      **{k: row[k] for k in ("value", "low", "high", "n")}}
                     for row in by_slice(values, test, {q: known[q].get(key, "") for q in test.queries})]
    return rows

def write_datasheet(path: Path, content: Mapping) -> None:
    "Put the figures of the splits and slices between the marks of a datasheet; the prose around them stays."
    text = path.read_text(encoding="utf-8")
    start, end = "<!-- figures: written by make results -->", "<!-- end of figures -->"
    if start not in text or end not in text:
        raise ContractError("validate.datasheet", f"{path.name} has no marks for its figures",
                            "figures are rendered between two marks, so that nobody types them",
                            f"add the lines {start} and {end}")
    slices = {}
    for row in content["slices"]:
        line = slices.setdefault(row["slice"], {"slice": row["slice"], "n": row["n"]})
        line[f"{row['system']} at {content['dim']}"] = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    figures = (f"{start}\n{Table(content['splits'])}\n\nResults by slice of the test questions ({content['metric']}, "
               f"{content['profile']} profile, seeds {content['seeds']}, "
               f"{content['date']}):\n\n{Table(list(slices.values()))}\n{end}")
    path.write_text(text[:text.index(start)] + figures + text[text.index(end) + len(end):], encoding="utf-8")

def write_results(path: Path, spec: PipelineSpec, seeds: Sequence[int] = (1, 2, 3),
                  say: Callable[[str], None] = print) -> dict:
    """Run the full profile with these seeds, and scifact where `DEVELOPMENT_DATA`
    points at it; write and return the results."""
    scores, judged, domain = seed_scores(spec, seeds, say)
    content = {"name": spec.name, "profile": Settings.current().profile, "seeds": list(seeds), "date": date.today().isoformat(),
               "python": platform.python_version(),
               "versions": {package: metadata.version(package) for package in PACKAGES}, "dim": spec.index.dim,
               "dims": list(spec.model.dims), "metric": spec.validation.metric,
               "pairs": {pairs.name: len(pairs) for pairs in domain.pairs},
               "retrieval": summary_rows(scores, judged, spec.validation.metric, len(domain.corpus), Settings.current().profile),
               "comparisons": summary_comparisons(scores, spec, Settings.current().profile), "slices": slice_rows(scores, domain),
               "splits": split_rows(domain)}
    if (external := Path(os.environ.get(DATA, "nowhere")) / "scifact").is_dir():
        content["external"] = [bench_beir(external, spec, True, qrels, say)
                               for qrels in ("test", "test_unseen_docs")]
    write_json(path, content)
    return content

def results_table(content: Mapping, split: str = "test") -> Table:
    "Systems by size: mean and interval, for the README."
    rows = [r for r in content["retrieval"] if r["split"] == split]
    names = list(dict.fromkeys(r["system"] for r in rows if r["system"] != "served"))
    cell = {(r["system"], r["dim"]): f"{r['value']:.3f}" for r in rows}
    return Table([{"system": name,
                   **{str(dim): cell.get((name, dim), cell.get((name, None), "")) if name != "BM25"
                      or dim == content["dims"][0] else "" for dim in content["dims"]}} for name in names])

if __name__ == "__main__" and "__file__" in globals():
    found = Settings.load(profile="full")
    chosen = load_spec(found.spec)
    write_datasheet(chosen.folder / "README.md", write_results(chosen.folder / "results.json", chosen, found))
