"""Checkers for the exercises of chapter 05."""
from dataclasses import replace

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_domain, sample_corpus
from semantic_nb.data.records import PairSet
from semantic_nb.loss.negatives import false_negatives
from semantic_nb.loss.train import check_columns, dev_evaluator
from semantic_nb.spec import load_spec

LEAST, BATCH = 64, 64


def exercise_1(rule: str | None) -> str:
    "The rule that refuses hardness weighting of negatives that the pairs do not have."
    if not isinstance(rule, str):
        return "Not yet: change the loss of the spec with model_copy, call check_columns, and read the brackets."
    spec = load_spec()
    pairs = PairSet("pairs", "asymmetric", ("a", "b"), ("c", "d"))
    try:
        check_columns(pairs, spec.loss.model_copy(update={"hardness_mode": "hard_negatives"}))
    except ContractError as refusal:
        if rule.strip("[] ").lower() == refusal.layer:
            return "Well done: an option that would do nothing is refused before training."
        if rule.strip("[] ").split(".")[0].lower() == refusal.layer.split(".")[0]:
            return "The layer is right. The rule is the word after the point."
    return "That is not what check_columns prints. Was hardness_mode really changed in the loss that you gave it?"


def exercise_2(pairs: PairSet | None) -> str:
    "A set in which no text occurs twice, and false negatives are frequent all the same."
    if not isinstance(pairs, PairSet):
        return "Not yet: give a PairSet. What would a second pair look like that a person takes for the first?"
    if len(pairs) < LEAST:
        return f"{len(pairs)} pairs are too few for a batch; {LEAST} are needed."
    if len({*pairs.anchors, *pairs.positives}) < 2 * len(pairs):
        return "A text occurs twice, so NO_DUPLICATES would notice. Change at least one letter of each copy."
    finding = false_negatives(pairs, None, BATCH)
    if finding.status == "ok":
        return f"Nothing is wrong with these pairs yet: {finding.evidence}. More of them have to resemble each other."
    return f"Well done: {finding.evidence}. NO_DUPLICATES would let all of them into one batch."


def exercise_3(mine, plain, keep: str | None) -> str:
    "Which of two models searches dev better?"
    if mine is None or plain is None or keep not in ("mine", "plain"):
        return 'Not yet: train a second model, and answer "mine" or "plain". evaluate_dev(model) measures the search.'
    if mine is plain or _same_weights(mine, plain):
        return "Both models are the same. Build a new SentenceTransformer before you train again."
    values = {name: evaluate_dev(model) for name, model in (("mine", mine), ("plain", plain))}
    measured = f"dev retrieval is {values['mine']:.3f} for yours and {values['plain']:.3f} for the plain one"
    if values[keep] >= max(values.values()):
        return f"Well done: {measured}."
    return f"Not that one: {measured}."


def _same_weights(one, other) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        value.shape == states[1][name].shape and bool((value == states[1][name]).all())
        for name, value in states[0].items())


def evaluate_dev(model) -> float:
    "nDCG at full size on the first sixty dev questions, among their documents and three hundred others."
    domain = load_domain(load_spec())
    name = domain.spec.validation.dev
    few = domain.splits[name].select(list(domain.splits[name].queries)[:60])
    small = replace(domain, splits={**domain.splits, name: few},
                    corpus=sample_corpus(domain.corpus, [few], len(few.relevant()) + 300))
    evaluator = dev_evaluator(small, domain.spec.model.dims[0])
    return float(evaluator(model)[evaluator.primary_metric])
