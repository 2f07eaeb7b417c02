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
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.data.records import PairSet
from semantic_nb.loss.processes import rank, share_training
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
    texts = tuple(f"page {number} of another book" for number in range(63))
    return PairSet("others", "symmetric", texts[:21], texts[21:42], (texts[42:],))


def main(spec: str, folder: str, *cases: str) -> None:
    shapes, cosine = [], util.cos_sim

    def counted(a, b):
        if torch.is_grad_enabled():
            shapes.append((len(a), len(b)))
        return cosine(a, b)

    util.cos_sim = counted
    found, domain = {}, load_domain(load_spec(Path(spec)))
    for case in cases:
        shapes.clear()
        train.share_training = only_local if case == "local" else share_training
        loss = domain.spec.loss.model_copy(update=CASES[case])
        sixteen = domain.spec.training.model_copy(update={"batch_size": 16})
        asked = replace(domain, spec=domain.spec.model_copy(update={"loss": loss, "training": sixteen}))
        pairs = [domain.pairs[0], triplets()] if case == "two sets" else [domain.pairs[0].take(range(32))]
        dims = (32, 16) if case == "all directions" else ()
        stage = train.Stage(case.replace(" ", "-"), 2 if case == "two sets" else 1, 1e-3, dims)
        made = train.train_model(domain.spec.model.base, pairs, stage, asked)
        found[case] = {"shape": shapes[0], "artifact": made.path.name}
    (Path(folder) / f"{rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
