"""Sentence similarity at every size: what a rotation does to a task that it was not made for, and what training does.

    DEVELOPMENT_DATA=FOLDER python tests/measurements/similarity.py               the base alone, a minute
    DEVELOPMENT_DATA=FOLDER python tests/measurements/similarity.py --epochs 4    trained with CoSENT as well
    ... --base FOLDER    another base than all-MiniLM-L6-v2, for example all-mpnet-base-v2, in a folder of that name

FOLDER holds `stsb` with pairs_train.jsonl, pairs_dev.jsonl and pairs_test.jsonl (anchor, positive, score). Writes its
figures under the name of the base into `similarity.json` beside this file, which the notebook on rotations shows. The
axes are fitted on the texts of the train split. Nothing is chosen on the test pairs; dev chooses the checkpoint.
"""
import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from measured_on import measured_on
from semantic_nb.core import Settings
from semantic_nb.data.rows import read_rows
from semantic_nb.encoder import bf16_context, encode, load_encoder, truncate
from semantic_nb.model import axes_by_weight, rotated
from semantic_nb.output import Estimate, Table
from semantic_nb.store import write_json
from semantic_nb.validate.bench import _agreements, _resampled

DIMS = (768, 512, 384, 256, 128, 64, 32)  # of these, what the base has
Pairs = tuple[list[str], list[str], np.ndarray]


def read_pairs(path: Path) -> Pairs:
    rows = read_rows(path)
    return ([row["anchor"] for row in rows], [row["positive"] for row in rows],
            np.array([float(row["score"]) for row in rows]))


def correlation(cosines: np.ndarray, scores: np.ndarray) -> Estimate:
    "Spearman's correlation with a 95 % bootstrap interval over the pairs, as `semantic-nb bench` has it."
    return _resampled(_agreements(scores)["Spearman"], cosines, scores)


def sizes_of(model) -> list[int]:
    return [dim for dim in DIMS if dim <= model.get_embedding_dimension()]


def row_of(system: str, model, pairs: Pairs) -> dict:
    "A system at every size: correlation, interval, and what is kept of the one at full size."
    first, second = (encode(model, texts, "document", bf16=False) for texts in pairs[:2])
    dims = sizes_of(model)
    values = {dim: correlation((truncate(first, dim) * truncate(second, dim)).sum(axis=1), pairs[2]) for dim in dims}
    return {"system": system, "sizes": {str(dim): {**asdict(value), "kept": value.value / values[dims[0]].value}
                                        for dim, value in values.items()}}


def trained(model, train: Pairs, dev: Pairs, epochs: float, dims: Sequence[int], rate: float, turn_rate: float = 0):
    "The model, trained in place with CoSENT (and Matryoshka over `dims`); the best checkpoint on dev."
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    loss = losses.CoSENTLoss(model)
    loss = losses.MatryoshkaLoss(model, loss, matryoshka_dims=list(dims)) if dims else loss
    seed = Settings.current().seed
    arguments = SentenceTransformerTrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=epochs, per_device_train_batch_size=64, learning_rate=rate,
        learning_rate_mapping={r"\brotation\.": turn_rate} if turn_rate else {}, warmup_steps=0.1, seed=seed,
        data_seed=seed, bf16=type(bf16_context(model.device)).__name__ != "nullcontext", eval_strategy="epoch",
        save_strategy="epoch", save_total_limit=1, save_only_model=True, load_best_model_at_end=True,
        metric_for_best_model="eval_dev_spearman_cosine", report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, use_cpu=str(model.device) == "cpu")
    data = Dataset.from_dict({"anchor": train[0], "positive": train[1], "score": (train[2] / 5).tolist()})
    evaluator = EmbeddingSimilarityEvaluator(*dev[:2], (dev[2] / 5).tolist(), name="dev", write_csv=False)
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss, evaluator=evaluator).train()
    return model


def turned(model, train: Pairs):
    "The model with the axes of the train texts in order."
    return rotated(model, axes_by_weight(encode(model, [*train[0], *train[1]], "document", bf16=False)))


def rows(name: str, train: Pairs, dev: Pairs, test: Pairs, epochs: float) -> Iterator[dict]:
    base = load_encoder(name, fresh=True)
    yield row_of("base, cut", base, test)
    yield row_of("base, rotated", turned(base, train), test)
    if epochs:
        at_once = trained(turned(load_encoder(name, fresh=True), train), train, dev, epochs, sizes_of(base), 5e-5)
        yield row_of("base, rotated, Matryoshka at once", at_once, test)
        first = trained(load_encoder(name, fresh=True), train, dev, epochs, (), 5e-5)
        yield row_of("trained, cut", first, test)
        with tempfile.TemporaryDirectory() as folder:
            first.save_pretrained(folder, create_model_card=False)
            start = turned(load_encoder(folder, fresh=True), train)
            yield row_of("trained, rotated", start, test)
            both = trained(start, train, dev, epochs / 2, sizes_of(base), 1e-5, 1e-4)
            yield row_of("trained, rotated, Matryoshka", both, test)
            own = trained(load_encoder(folder, fresh=True), train, dev, epochs / 2, sizes_of(base), 1e-5)
            yield row_of("trained, Matryoshka without a rotation", own, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=0, help="of training at full size; 0: only the base")
    parser.add_argument("--base", default="all-MiniLM-L6-v2", help="a name or a folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("similarity.json"))
    arguments = parser.parse_args()
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "stsb"
    train, dev, test = (read_pairs(folder / f"pairs_{name}.jsonl") for name in ("train", "dev", "test"))
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    found = []
    for row in rows(arguments.base, train, dev, test, arguments.epochs):
        found.append(row)
        print({row["system"]: {dim: round(size["value"], 4) for dim, size in row["sizes"].items()}}, flush=True)
        write_json(arguments.out, known | {Path(arguments.base).name: {
            "pairs": len(test[2]), "fitted on": f"axes fitted on {2 * len(train[2]):,} train sentences",
            "epochs": arguments.epochs, "seed": Settings.current().seed, "measured_on": measured_on(), "rows": found}})
    print(Table([{"system": row["system"], **{dim: f"{size['value']:.3f}" for dim, size in row["sizes"].items()}}
                 for row in found]))


if __name__ == "__main__":
    main()
