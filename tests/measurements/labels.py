"""Does k-means find the labels of other people's texts again? The experiment of nbs/09_validate/bench.ipynb.

    python tests/measurements/labels.py FILE            TF-IDF and the base, on a file with the columns text and label
    python tests/measurements/labels.py FILE --tune     and a space that is learned from train_10.jsonl beside FILE

V-measure, ARI and purity, with intervals, of as many clusters as there are labels.
"""
import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.cluster.groups import cluster_texts
from semantic_nb.cluster.quality import agreement
from semantic_nb.core import ContractError, Settings
from semantic_nb.output import Estimate, Table
from semantic_nb.data.domain import Domain
from semantic_nb.data.near_copies import canonical_text
from semantic_nb.data.records import PairSet, read_rows
from semantic_nb.bases import resolve_base
from semantic_nb.encoder import encode, load_encoder
from semantic_nb.model import learn_space
from semantic_nb.spec import PipelineSpec, load_spec
from semantic_nb.validate.bench import text_domain

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHIFTS = (1, 2, 3, 4)  # a text is paired with the next, the next but one, ... of its label


def bench_labels(path: Path, spec: PipelineSpec, tune: bool = False, say: Callable[[str], None] = print,
                 few: str = "train_10.jsonl") -> dict:
    """V-measure, ARI and purity of k-means on TF-IDF, base and (with `tune`) tuned vectors, with
    intervals, for a file of `text`, `label` rows; `few` names the labelled texts beside it to learn from."""
    rows, domain, source = read_rows(path), None, ""
    texts, truth = ([str(row[column]) for row in rows] for column in ("text", "label"))
    k, seed = len(set(truth)), Settings.current().seed
    say(f"{path.name}: {len(texts):,} texts, {k} labels")
    if tune:
        domain, source = label_domain(read_rows(path.with_name(few)), set(texts), spec)
        say(f"{path.name}: tuning on {source}")
    clusters = {"TF-IDF": tfidf_clusters(texts, k, seed)}
    for name, model in systems(spec, domain).items():
        clusters[name] = cluster_texts(encode(model, texts, "document"), texts, "kmeans", k, seed=seed).labels
    rows = []
    for name, labels in clusters.items():
        estimates = agreement(labels, truth, seed)
        rows += [{"system": name, "measure": measure, **asdict(value)} for measure, value in estimates.items()]
    return {"source": f"{path.parent.name}/{path.name}", "tuned on": source, "clusters": k, "agreement": rows}


def systems(spec: PipelineSpec, domain: Domain | None) -> "dict[str, SentenceTransformer]":
    "The base, and the model that learned the space of `domain`."
    models = {"base": load_encoder(resolve_base(spec.model.base), spec.model)}
    if domain:
        models["tuned"] = load_encoder(str(learn_space(domain).path / "model"), spec.model)
    return models


def tfidf_clusters(texts: Sequence[str], k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer
    vectors = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    return KMeans(k, n_init=3, random_state=seed).fit_predict(vectors)


def label_domain(rows: Sequence[dict], held_out: set[str], spec: PipelineSpec) -> tuple[Domain, str]:
    """Few labelled texts as a symmetric domain: pairs of one label, and the first text of each label as the watching
    question. Raises `ContractError` (`data.pairs`) if no pair is left."""
    tested = {canonical_text(text) for text in held_out}
    free = [row for row in rows if canonical_text(row["text"]) not in tested]
    groups: dict[str, list[str]] = {}
    for row in free:
        groups.setdefault(row["label"], []).append(row["text"])
    dev = [(first, others) for first, *others in groups.values() if others]
    pairs: list[tuple[str, str]] = []
    for _, texts in dev:
        for shift in SHIFTS[:len(texts) - 1]:
            pairs += zip(texts, texts[shift:] + texts[:shift])
    if not pairs:
        raise ContractError("data.pairs", f"{len(free)} texts of {len(groups)} labels are left",
                            "two texts of one label make a pair", "give at least three texts per label")
    paired = PairSet("labels", "symmetric", *zip(*pairs))
    return (text_domain(paired, dev, spec), f"{len(pairs)} pairs of {len(free)} labelled texts; "
            f"{len(rows) - len(free)} texts dropped that are tested on")


def labels_table(content: dict) -> str:
    "The result of `bench_labels` for people."
    rows = [{"system": row["system"], "measure": row["measure"],
             "value": str(Estimate(row["value"], row["low"], row["high"], row["n"])), "texts": row["n"]}
            for row in content["agreement"]]
    return f"{content['source']}, {content['clusters']} clusters {content['tuned on']}\n\n{Table(rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="JSONL, CSV, TSV or Parquet with the columns text and label")
    parser.add_argument("--tune", action="store_true", help="learn the space of some labelled texts beside it, too")
    parser.add_argument("--train", default="train_10.jsonl", help="the name of the file of these texts")
    arguments = parser.parse_args()
    print(labels_table(bench_labels(arguments.file, load_spec(), arguments.tune, few=arguments.train)))


if __name__ == "__main__":
    main()
