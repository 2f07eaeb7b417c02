"""The silent failure: the same base, the same number of steps, other pairs. What says the loss, and what retrieval?

    python tests/measurements/silent_failure.py [--profile full] [--steps 88] [--seeds 1 2 3] [--people FOLDER]

Writes `silent_failure.json` beside the spec that settings.ini names: one row for each arm and seed, with the loss of
the first and the last eight steps, dev retrieval along the way, and the paired difference to the untrained base at full
size, on the test questions and, with `--people`, on the titles of a BEIR-like folder whose judgments name documents of
the same corpus. The file is written after each row, and rows that it has are not measured again: stop it when you like,
and start it again. In the full profile a row takes about twenty minutes on two processor cores.

Every arm ends with its *last* step. The package keeps the best checkpoint instead; here the question is what happens to
somebody who watches the loss alone.
"""
from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import ContractError, Settings
from semantic_nb.output import Table
from semantic_nb.data.domain import (
    SENTENCE_END, held_out_documents, leak_free, load_corpus, load_domain, pairs_from_documents, sample_corpus)
from semantic_nb.data.records import Corpus, Judged, PairSet, read_judged
from semantic_nb.bases import resolve_base
from semantic_nb.encoder import bf16_context, encode, load_encoder
from semantic_nb.loss.train import _column_prompts, build_loss, dev_evaluator, mine_negatives
from semantic_nb.measure import compare, exact_search, per_query
from semantic_nb.store import write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from semantic_nb.data.domain import Domain
    from semantic_nb.spec import LossSpec, PipelineSpec

SOURCE = "tests/measurements/silent_failure.py"
STEPS, SEEDS, LOOKS, WORDS = 88, (1, 2, 3), 8, 4
ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")


# --- the arms: pairs by rules that work on any corpus

def same_named(corpus: Corpus) -> PairSet:
    """Symmetric: first sentences of two documents whose ids end in the same name (`a.sort` and `b.sort`), which mostly
    do the same."""
    groups = defaultdict(list)
    for id, text in zip(corpus.ids, corpus.texts):
        sentence = " ".join(SENTENCE_END.split(text, maxsplit=1)[0].split())
        if len(sentence.split()) >= WORDS:
            groups[id.rsplit(".", 1)[-1].lower()].append(sentence)
    rows = [(a, b, "") for group in groups.values() for a, b in zip(group, group[1:]) if a != b]
    return replace(PairSet.of("same-named", "symmetric", rows), documents=())


def halves(corpus: Corpus) -> PairSet:
    "Symmetric: the first and the second half of a document's sentences. Both are about the same thing."
    rows = []
    for text in corpus.texts:
        sentences = [" ".join(sentence.split()) for sentence in SENTENCE_END.split(text) if sentence.strip()]
        middle = (len(sentences) + 1) // 2
        first, second = " ".join(sentences[:middle]), " ".join(sentences[middle:])
        if min(len(first.split()), len(second.split())) >= WORDS:
            rows.append((first, second, ""))
    return replace(PairSet.of("halves", "symmetric", rows), documents=())


def spread(pairs: PairSet, count: int) -> PairSet:
    "`count` of the pairs, evenly over the set; all of them if there are fewer."
    return pairs.take(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int).tolist())


def mixed(one: PairSet, other: PairSet) -> PairSet:
    "As many of the one as of the other, in one set, so that they meet in the same batch."
    count = min(len(one), len(other))
    one, other = spread(one, count), spread(other, count)
    return PairSet(f"half {other.name}", one.symmetry, one.anchors + other.anchors, one.positives + other.positives)


def arm_pairs(domain: Domain) -> dict[str, PairSet]:
    """The pairs of each arm that this domain can offer: its own first source, two symmetric kinds, the first sentence
    with the rest, and half of the own ones with half of a symmetric kind. No held-out document lends a text."""
    whole, judged = load_corpus(domain.spec), list(domain.splits.values())
    held = held_out_documents(whole, judged)
    open_corpus = whole.subset(set(whole.ids) - held)
    asked = {text for split in judged for text in split.queries.values()}
    first = leak_free(pairs_from_documents(open_corpus, "first_sentence"), held, asked)[0]
    own = replace(domain.pairs[0], name="questions")
    kinds = [own, same_named(open_corpus), halves(open_corpus), replace(first, name="first-sentence")]
    arms = {kind.name: kind for kind in kinds if len(set(kind.anchors)) >= domain.spec.training.batch_size}
    for name in {"same-named", "halves"} & set(arms):
        arms[f"half {name}"] = mixed(own, arms[name])
    return arms


@dataclass(frozen=True)
class Arm:
    "What is trained on, and with which loss."
    name: str
    pairs: PairSet
    loss: LossSpec


def all_arms(domain: Domain, wanted: Sequence[str] = ()) -> list[Arm]:
    """The arms by name: `arm_pairs` with the spec's loss, and the own pairs with hardness weighting (strength 9, as in
    Lan et al., 2025), with all four directions, and as triplets with one mined negative each (TripletLoss). Raises
    `ContractError` (`loss.arms`) for a name that is none of them."""
    plain = domain.spec.loss.model_copy(update={"directions": ("query_to_doc",), "hardness_mode": None})
    pairs = arm_pairs(domain)
    own = pairs.get("questions", domain.pairs[0])
    arms = {name: Arm(name, kind, plain) for name, kind in pairs.items()}
    harder = {"hardness_mode": "in_batch_negatives", "hardness_strength": 9.0}
    arms["hardness"] = Arm("hardness", own, plain.model_copy(update=harder))
    arms["directions"] = Arm("directions", own, plain.model_copy(update={"directions": ALL_DIRECTIONS}))
    if "triplets" in wanted or not wanted:
        arms |= _triplet_arm(own, domain)
    if unknown := set(wanted) - set(arms):
        raise ContractError("loss.arms", f"{', '.join(sorted(unknown))}: this domain has no such arm",
                            "an arm needs at least one full batch of pairs", f"one of {', '.join(arms)}")
    return [arm for name, arm in arms.items() if name in wanted or not wanted]


def _triplet_arm(own: PairSet, domain: Domain) -> dict[str, Arm]:
    "The own pairs with one mined negative each; without a margin where the usual one leaves less than a batch."
    spec = domain.spec
    model = load_encoder(spec.model.base, spec.model)
    for margin in (0.05, 0.0):
        triplets = mine_negatives(own, model, 1, margin)
        if len(triplets) >= spec.training.batch_size:
            loss = spec.loss.model_copy(update={"name": "TripletLoss", "hardness_mode": None})
            return {"triplets": Arm("triplets", triplets, loss)}
    return {}


# --- one training, to its last step

def train_arm(arm: Arm, steps: int, seed: int, domain: Domain) -> tuple[SentenceTransformer, list[dict]]:
    "The trained model and the trainer's log: a loss for every step, dev retrieval eight times."
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from transformers import PrinterCallback
    spec = domain.spec
    model = load_encoder(resolve_base(spec.model.base), spec.model, fresh=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=steps, learning_rate=spec.training.learning_rate,
            warmup_steps=spec.training.warmup, per_device_train_batch_size=spec.training.batch_size,
            batch_sampler=BatchSamplers.NO_DUPLICATES, prompts=_column_prompts(spec.model, arm.pairs.columns()),
            seed=seed, data_seed=seed, bf16=not isinstance(bf16_context(model.device), nullcontext),
            use_cpu=str(model.device) == "cpu", eval_strategy="steps", eval_steps=max(1, steps // LOOKS),
            save_strategy="no", logging_steps=1, logging_nan_inf_filter=False, report_to="none", disable_tqdm=True,
            dataloader_pin_memory=False)
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(arm.pairs.columns()),
            loss=build_loss(model, arm.loss), evaluator=dev_evaluator(domain, spec.model.dims[0]))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model.eval(), trainer.state.log_history


def course(log: Sequence[Mapping], part: int = 8) -> dict:
    "Mean loss of the first and of the last `part` steps, and dev retrieval by step."
    losses = [row["loss"] for row in log if "loss" in row]
    if not losses or not np.isfinite(losses).all():
        raise ContractError("loss.diverged", "a loss is not a number", "nothing was learned after that step",
                            "use a smaller learning rate")
    part = min(part, max(1, len(losses) // 2))
    dev = [{"step": row["step"], "value": value} for row in log for name, value in row.items()
           if name.startswith("eval_") and "ndcg@" in name]
    return {"loss_first": float(np.mean(losses[:part])), "loss_last": float(np.mean(losses[-part:])), "dev": dev}


# --- judged on the written questions, and on what people typed

def read_people(folder: Path | None, corpus: Corpus) -> Judged | None:
    "The queries of a BEIR-like folder and the first split of its judgments; None without a folder."
    if folder is None:
        return None
    splits = sorted((folder / "qrels").glob("*.tsv"))
    if not splits:
        raise ContractError("data.qrels", f"{folder.name} has no qrels/*.tsv", "nothing is labelled there",
                            "give a folder with queries.jsonl and qrels/")
    return read_judged(folder / "queries.jsonl", splits[0], corpus)


def scores(model: SentenceTransformer, sets: Mapping[str, tuple[Judged, Corpus]], whole: Corpus,
           metric: str) -> dict[str, np.ndarray]:
    "One value per question of each set, at full size. A document that several sets search is encoded once."
    searched = whole.subset({id for _, corpus in sets.values() for id in corpus.ids})
    documents = encode(model, searched.passages, "document")
    values = {}
    for name, (judged, corpus) in sets.items():
        queries = encode(model, list(judged.queries.values()), "query")
        rows = [searched.position[id] for id in corpus.ids]
        values[name] = per_query(metric, exact_search(list(judged.queries), queries, corpus.ids, documents[rows], 100),
                                 judged)
    return values


def difference(tuned: np.ndarray, base: np.ndarray) -> dict:
    "A paired comparison as a row of numbers."
    change = compare(tuned, base)
    return {"difference": change.difference, "low": change.low, "high": change.high, "p": change.p, "n": change.n,
            "outcome": change.outcome, "base": float(base.mean())}


# --- the file

def row_key(row: Mapping) -> tuple:
    return row["arm"], row["seed"], row["profile"], row["steps"]


def is_measured(rows: Sequence[Mapping], key: tuple, people: bool) -> bool:
    "Whether the file has this row, and with people's titles if they are asked for."
    return any(row_key(row) == key and (not people or "people" in row["differences"]) for row in rows)


def with_row(rows: Sequence[Mapping], new: Mapping) -> list[Mapping]:
    "The rows with the new one, in place of the same one and of averages that somebody handed down (seed None)."
    arm, _, profile, _ = row_key(new)
    kept = [row for row in rows if row_key(row) != row_key(new)
            and not (row["seed"] is None and (row["arm"], row["profile"]) == (arm, profile))]
    return [*kept, new]


def read_rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def _longest(rows: Sequence[Mapping], profile: str) -> dict[str, list[Mapping]]:
    "The rows of a profile by arm; where trainings have different lengths, those of the longest."
    chosen = [row for row in rows if row["profile"] == profile]
    steps = max((row["steps"] for row in chosen), default=0)
    groups = defaultdict(list)
    for row in chosen:
        if row["steps"] == steps:
            groups[row["arm"]].append(row)
    return groups


def _course_of(same: Sequence[Mapping]) -> tuple[float, float]:
    first, last = (float(np.mean([row[key] for row in same])) for key in ("loss_first", "loss_last"))
    return first, last


def _change_of(same: Sequence[Mapping], name: str) -> tuple[float, float, float] | None:
    "Mean difference over the seeds and the widest of their intervals (NaN where none was kept); None if not measured."
    changes = [row["differences"][name] for row in same if name in row["differences"]]
    if not changes:
        return None
    low, high = ([math.nan if change[end] is None else change[end] for change in changes] for end in ("low", "high"))
    return float(np.mean([change["difference"] for change in changes])), float(np.min(low)), float(np.max(high))


def summary(rows: Sequence[Mapping], profile: str, on: Sequence[str] = ("test", "people")) -> list[dict]:
    """One line for each arm: its loss, how far it fell, and the mean difference to the base over the seeds, in the
    widest of their intervals. Rows of other profiles, and of shorter trainings than the longest, are left out."""
    lines = []
    for arm, same in _longest(rows, profile).items():
        first, last = _course_of(same)
        line = {"trained on": arm, "loss": f"{first:.2f} → {last:.2f}", "fell by": f"{1 - last / first:.0%}"}
        for name in on:
            change = _change_of(same, name)
            line[name] = "not measured" if change is None else f"{change[0]:+.3f}"
            if change and not math.isnan(change[1]):
                line[name] += f" [{change[1]:+.3f}, {change[2]:+.3f}]"
        lines.append(line | {"seeds": sum(row.get("seeds", 1) for row in same)})
    return lines


def verdicts(rows: Sequence[Mapping], profile: str, on: Sequence[str] = ("test", "people")) -> list[str]:
    "One sentence for each arm: how far the loss fell, and whether the search got better or worse than the base."
    names = {"test": "the test questions", "people": "people's titles"}
    lines = []
    for arm, same in _longest(rows, profile).items():
        first, last = _course_of(same)
        said = [f"{_verdict(_change_of(same, name))} on {names.get(name, name)}" for name in on]
        lines.append(f"{arm}: the loss fell by {1 - last / first:.0%}; the search is {', '.join(said)}")
    return lines


def _verdict(change: tuple[float, float, float] | None) -> str:
    if change is None:
        return "not measured"
    difference, low, high = change
    if math.isnan(low):
        return f"{difference:+.3f} (no interval was kept, so nothing is claimed)"
    return "better" if low > 0 else "worse" if high < 0 else "not shown to differ"


def write_silent_failure(path: Path, spec: PipelineSpec, steps: int = STEPS, seeds: Sequence[int] = SEEDS,
                         arms: Sequence[str] = (), people: Path | None = None,
                         say: Callable[[str], None] = print) -> dict:
    "Measure what is missing in the file, row by row, and return its content."
    settings, domain, whole = Settings.current(), load_domain(spec), load_corpus(spec)
    test, titles = domain.splits[spec.validation.test], read_people(people, whole)
    sets = {"test": (test, domain.corpus)}
    if titles:
        sets["people"] = titles, sample_corpus(whole, [titles], settings.documents)
    base_scores: dict[str, np.ndarray] = {}
    rows = read_rows_of(path)
    content = {"name": spec.name, "metric": spec.validation.metric, "dim": spec.model.dims[0], "rows": rows}
    for arm in all_arms(domain, arms):
        for seed in seeds:
            if is_measured(rows, (arm.name, seed, settings.profile, steps), titles is not None):
                say(f"{arm.name}, seed {seed}: in the file")
                continue
            if not base_scores:
                say("the base")
                base_scores = scores(load_encoder(spec.model.base, spec.model), sets, whole, spec.validation.metric)
            say(f"{arm.name}, seed {seed}: {steps} steps on {len(arm.pairs):,} pairs")
            model, log = train_arm(arm, steps, seed, domain)
            tuned = scores(model, sets, whole, spec.validation.metric)
            row = {"arm": arm.name, "seed": seed, "profile": settings.profile, "steps": steps, "source": SOURCE,
                   "date": date.today().isoformat(), "pairs": len(arm.pairs), "documents": len(domain.corpus),
                   "batch_size": spec.training.batch_size, "learning_rate": spec.training.learning_rate, **course(log),
                   "differences": {name: difference(tuned[name], base_scores[name]) for name in sets}}
            rows = with_row(rows, row)
            content["rows"] = rows
            write_json(path, content)
            say(str(Table(summary([row], settings.profile))))
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps of each training (default: {STEPS})")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--arms", nargs="+", default=[], help="only these (default: all)")
    parser.add_argument("--people", type=Path, help="a BEIR-like folder of questions that people asked")
    chosen = parser.parse_args(arguments)
    from semantic_nb.spec import load_spec
    with Settings.load(profile=chosen.profile).active():
        spec = load_spec()
        content = write_silent_failure(spec.folder / "silent_failure.json", spec, chosen.steps, chosen.seeds,
                                       chosen.arms, chosen.people)
    print(Table(summary(content["rows"], chosen.profile)))


if __name__ == "__main__":
    main()
