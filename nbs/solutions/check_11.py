"""Checkers for the exercises of chapter 11. Each answers with a sentence; a solved one begins with "Well done"."""
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_corpus, load_domain
from semantic_nb.data.records import read_judged
from semantic_nb.model import gate, train
from semantic_nb.pipeline import read_report
from semantic_nb.spec import load_spec

DOCUMENTS, QUESTIONS = 200, 20


def _quiet(line: str) -> None:
    pass


def _refusal_of_numbered_judgments() -> str:
    "The rule that refuses this domain with other ids in the judgments of the test split."
    spec = load_spec()
    with TemporaryDirectory() as folder:
        copytree(spec.folder, folder, dirs_exist_ok=True)
        path = Path(folder) / spec.data.qrels / f"{spec.validation.test}.tsv"
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines]
        broken = [f"{query}\tno-{number}\t{grade}" for number, (query, _, grade) in enumerate(rows)]
        path.write_text("\n".join([first, *broken]) + "\n", encoding="utf-8")
        try:
            load_domain(load_spec(Path(folder) / "spec.toml"))
        except ContractError as error:
            return error.layer
    return "nothing"


def exercise_1(answer: tuple[str, str] | None = None) -> str:
    if answer is None:
        return "Not answered yet: give the id of the rule, and `before` or `after`."
    rule, when = answer
    refusal = _refusal_of_numbered_judgments()
    if rule != refusal:
        layer = refusal.split(".")[0]
        return (f"Another rule of the layer {layer} refuses it." if rule.startswith(layer)
                else "That is not the layer that reads the judgments.")
    return ("Well done: all files are read, and their mistakes named, before anything is trained." if when == "before"
            else "That is the rule. Now look at the order in `build`.")


def gates() -> dict[int, bool]:
    "For each size of the spec: would the gate let the tuned model pass there?"
    spec = load_spec()
    domain = load_domain(spec)
    candidate = train(domain, _quiet).second
    decisions = {}
    for dim in spec.model.dims:
        at_size = spec.model_copy(update={"index": spec.index.model_copy(update={"dim": dim})})
        decisions[dim] = gate(candidate, replace(domain, spec=at_size)).ship
    return decisions


def exercise_2(answer: Mapping[int, bool] | None = None) -> str:
    if answer is None:
        return "Not answered yet: give a dictionary with a True or False for each size in [model] dims."
    decided = gates()
    if missing := sorted(set(decided) - set(answer)):
        return f"No answer for {', '.join(map(str, missing))}."
    wrong = [dim for dim in decided if bool(answer[dim]) != decided[dim]]
    return (f"{len(wrong)} of {len(decided)} sizes are decided otherwise; ask the gate at each of them." if wrong else
            f"Well done: it ships at {', '.join(str(dim) for dim, ship in decided.items() if ship) or 'no size'}.")


def exercise_3(path: str | Path | None = None) -> str:
    if path is None:
        return f"Not answered yet: give the path of a spec.toml, with {DOCUMENTS} documents and {QUESTIONS} questions."
    try:
        spec = load_spec(Path(path))
        corpus = load_corpus(spec)
        judged = [read_judged(spec.folder / spec.data.queries, spec.folder / spec.data.qrels / f"{split}.tsv", corpus)
                  for split in (spec.validation.dev, spec.validation.test)]
        questions = sum(len(split.queries) for split in judged)
        if spec.data.corpus == load_spec().data.corpus and spec.folder == load_spec().folder:
            return "That is the domain of this book. Bring documents of your own."
        if len(corpus) < DOCUMENTS or questions < QUESTIONS:
            return (f"{len(corpus)} documents and {questions} judged questions in dev and test; "
                    f"at least {DOCUMENTS} and {QUESTIONS} are wanted.")
        content = read_report(spec).content
    except ContractError as error:
        return f"Not yet: {error}"
    clusters = content["clusters"]["count"]
    return f"Well done: {content['gate']['text']}. {clusters} clusters; coherence {content['coherence']}."
