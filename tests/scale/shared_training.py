"""Train in however many processes a launcher has started, and write down what each loss has compared with.

    torchrun --nproc_per_node=2 tests/scale/shared_training.py SPEC FOLDER CASE…
"""
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from sentence_transformers import util

import semantic_nb.loss.train as train
from semantic_nb.data.domain import load_domain
from semantic_nb.data.records import PairSet
from semantic_nb.loss.processes import lead, rank, share_training
from semantic_nb.spec import load_spec

EVERY_WAY = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
CASES = {"plain": {}, "local": {}, "two sets": {}, "cached": {"name": "CachedMultipleNegativesRankingLoss"},
         "all directions": {"directions": EVERY_WAY, "hardness_mode": "in_batch_negatives", "hardness_strength": 5.0}}


def only_local(trainer) -> None:
    "What the plain library does on several processes: each compares with its own part."
    share_training(trainer)
    for module in trainer.loss.modules():
        if hasattr(module, "gather_across_devices"):
            module.gather_across_devices = False


def triplets() -> PairSet:
    "A second set with other columns, so that a step that mixes the two cannot go unnoticed."
    texts = tuple(f"page {number} of another book" for number in range(96))
    return PairSet("others", "symmetric", texts[:32], texts[32:64], (texts[64:],))


COSINE = util.cos_sim


def counted(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    "Cosines, and a note of the last shape that this process has compared in a step."
    if torch.is_grad_enabled():
        (Path(sys.argv[2]) / f"shape{rank()}.json").write_text(json.dumps((len(a), len(b))))
    return COSINE(a, b)


def share(trainer) -> None:
    "As the package does, but for the case that shows what happens otherwise."
    (only_local if "/.local-" in trainer.args.output_dir else share_training)(trainer)


def train_cases(spec: str, folder: str, *cases: str) -> None:
    "Train every case, and write down the artifact of each."
    made, domain = {}, load_domain(load_spec(Path(spec)))
    sixteen = domain.spec.training.model_copy(update={"batch_size": 16})
    for case in cases:
        loss = domain.spec.loss.model_copy(update=CASES[case])
        asked = replace(domain, spec=domain.spec.model_copy(update={"loss": loss, "training": sixteen}))
        first = domain.pairs[0].take(range(48 if case == "two sets" else 32))  # no pair is left over
        pairs = [first, triplets()] if case == "two sets" else [first]
        stage = train.Stage(case.replace(" ", "-"), 2 if case == "two sets" else 1, 1e-3,
                            (32, 16) if case == "all directions" else ())
        made[case] = train.train_model(domain.spec.model.base, pairs, stage, asked).path.name
    (Path(folder) / "made.json").write_text(json.dumps(made))


if __name__ == "__main__":
    util.cos_sim, train.share_training = counted, share
    lead(lambda: train_cases(*sys.argv[1:]))
