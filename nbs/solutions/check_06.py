"""Checkers for the exercises of chapter 06. Each returns a sentence: `Well done: …`, or what is missing."""
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from semantic_nb.core import ContractError
from semantic_nb.data.domain import Domain, load_domain
from semantic_nb.encoder import encoder_identity, load_encoder
from semantic_nb.model import compress, gate, learn_space
from semantic_nb.spec import load_spec, parse_spec
from semantic_nb.store import Artifact


@lru_cache(maxsize=1)
def _second_stage() -> tuple[Domain, Artifact]:
    domain = load_domain(load_spec())
    return domain, compress(learn_space(domain), domain)


def _refusal(raw: dict, folder) -> str:
    "The rule that refuses a spec, or nothing."
    try:
        parse_spec(raw, folder)
    except ContractError as error:
        return error.layer
    return ""


def exercise_1(rule: str | None, dims: Sequence[int] | None) -> str:
    "The rule that refuses three quarters of the numbers, and sizes with which they may be served."
    if rule is None or dims is None:
        return "Give both: the rule as layer.rule, and a list of sizes."
    spec = load_spec()
    raw, full = spec.model_dump(exclude={"folder"}), spec.model.dims[0]
    raw["index"]["dim"] = 3 * full // 4 + (3 * full // 4 in spec.model.dims)
    if rule != _refusal(raw, spec.folder):
        return f"{rule!r} is not the rule that refuses this spec. parse_spec names it in square brackets."
    raw["model"]["dims"] = list(dims)
    if again := _refusal(raw, spec.folder):
        return f"The rule is right. With these sizes the spec is still refused, now by {again}."
    return "Well done: a size that is served has to be trained, and full size stays the first of the list."


def exercise_2(candidate: Artifact | None, entry: str | None) -> str:
    "A fault that loads without an error, that the gate notices, and that the identity of the encoder names."
    if candidate is None or entry is None:
        return "Give both: the broken model as a candidate, and the entry of encoder_identity that differs."
    domain, second = _second_stage()
    try:
        identities = [encoder_identity(load_encoder(str(artifact.path / "model"), domain.spec.model))
                      for artifact in (candidate, second)]
    except ContractError as error:
        return f"This fault is not silent: loading is refused by {error.layer}. Find one that loads."
    different = [name for name in identities[0] if identities[0][name] != identities[1][name]]
    if not different:
        return "This candidate is the healthy model: save it after your change, under a new name."
    broken, healthy = (gate(artifact, domain) for artifact in (candidate, second))
    if broken.ship:
        return f"The gate does not mind: {broken}. Break more."
    if entry not in different:
        return f"The gate noticed it, but {entry!r} is the same in both models."
    note = "" if healthy.ship else " On this domain the gate keeps the base in both cases, so only the identity tells."
    return f"Well done: {broken}. Different from the healthy model: {', '.join(different)}.{note}"


def exercise_3(sizes: Sequence[int] | None, largest: int | None) -> str:
    "The sizes at which stage 2 passes the gate on dev, and the one with the largest difference."
    if sizes is None or largest is None:
        return "Give both: the list of sizes at which the gate ships, and the size with the largest difference."
    domain, second = _second_stage()
    spec, decisions = domain.spec, {}
    if unknown := {*sizes, largest} - set(spec.model.dims):
        return f"{sorted(unknown)} are no sizes of [model] dims."
    validation = spec.validation.model_copy(update={"test": spec.validation.dev})
    for dim in spec.model.dims:
        changed = {"index": spec.index.model_copy(update={"dim": dim}), "validation": validation}
        decisions[dim] = gate(second, replace(domain, spec=spec.model_copy(update=changed)))
    passing = {dim for dim, decision in decisions.items() if decision.ship}
    if wrong := set(sizes) ^ passing:
        return f"{len(wrong)} of {len(spec.model.dims)} sizes are on the wrong side. Ask the gate at each of them."
    if decisions[largest].comparison.difference < max(d.comparison.difference for d in decisions.values()) - 1e-9:
        return f"The list is right. At another size than {largest} the difference is larger."
    rivals = ", ".join(sorted({f"the {one.rival} at {one.rival_dim}" for one in decisions.values()}))
    return (f"Well done. The opponent ({rivals}) is about as strong at each size, so the difference follows what a "
            "smaller size costs the candidate.")
