"""Checkers for the exercises of chapter 01. Each answers with a sentence; a solved one begins with "Well done"."""
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantic_nb.core import ContractError, Settings
from semantic_nb.spec import SPEC_RULES, parse_spec

_BROKEN = """\
name = "recipes"

[data]
corpus = "recipes.jsonl"
queries = "queries.jsonl"
qrels = "qrels"
pair_type = "pairs"
symmetry = "asymmetric"

[[data.pairs]]
name = "wishes"                     # what people asked for, and the recipe that they cooked
source = "annotations"
symmetry = "asymmetric"

[loss]
name = "MultipleNegativesRankingLoss"
scale = 1.0

[model]
base = "multi-qa-mpnet-base-dot-v1"
similarity = "cosine"
dims = [768, 256, 128]
max_tokens = 256

[training]
batch_size = 64

[index]
type = "auto"
dim = 256
similarity = "cosine"
documents = 30_000

[clustering]
method = "kmeans"
clusters = 12

[validation]
metric = "P@10"
k = 10
dev = "dev"
test = "test"
eval_every = 50
audit_dims = [768, 256, 128]
"""


def broken_file() -> str:
    "A spec.toml that two rules refuse."
    return _BROKEN


def _mistakes(raw: Mapping[str, Any]) -> dict[str, str]:
    "What refuses these decisions, and its symptom."
    try:
        parse_spec(raw, Path.cwd())
    except ContractError as error:
        return {one.layer: one.symptom for one in error.more or (error,)}
    return {}


def _change(raw: Mapping[str, Any], change: Any) -> tuple[dict, str]:
    "The decisions with one value replaced; or what is wrong with the change."
    if not (isinstance(change, tuple) and len(change) == 3 and all(isinstance(name, str) for name in change[:2])):
        return {}, 'Write the change as ("section", "key", value), for example ("index", "dim", 64).'
    section, key, value = change
    if not isinstance(raw.get(section), dict):
        return {}, f"The file has no section [{section}]; it has {', '.join(k for k in raw if k != 'name')}."
    if raw[section].get(key) == value:
        return {}, f"{key} in [{section}] already has this value."
    return {**raw, section: raw[section] | {key: value}}, ""


def exercise_1(layer: str | None, change: tuple | None) -> str:
    "The layer to repair, and the one value that repairs the broken file."
    raw = tomllib.loads(_BROKEN)
    if layer is None or change is None:
        return ("Not solved yet. Print check_01.broken_file(), or hand it to tomllib.loads and parse_spec to see what "
                "refuses it; then give the layer and the one change that satisfies both rules.")
    repaired, problem = _change(raw, change)
    if problem:
        return problem
    if left := _mistakes(repaired):
        return "With this change the file is still refused: " + "; ".join(f"[{i}] {text}" for i, text in left.items())
    if layer != change[0]:
        return f"The change is right, and the file is accepted. But is {layer!r} the layer that was repaired?"
    return "Well done: one value was wrong, and it contradicted two others. A rule names a tie, not always the culprit."


def exercise_2(text: str | None) -> str:
    "A spec.toml of a symmetric search, with a name of its own."
    if text is None:
        return "Not solved yet. Copy the file above into a text, change what has to change, and hand it in."
    try:
        raw = tomllib.loads(text)
        spec = parse_spec(raw, Path.cwd())
    except (tomllib.TOMLDecodeError, TypeError) as error:
        return f"This is no TOML text: {error}"
    except ContractError as error:
        return f"This spec is refused:\n{error}"
    if spec.data.symmetry != "symmetric":
        return "The spec is accepted, but its search is still asymmetric: which key in [data] says so?"
    if spec.name == tomllib.loads(Settings.current().spec.read_text(encoding="utf-8")).get("name"):
        return "Give your spec a name of its own, so that its results do not lie among those of the other domain."
    return (f"Well done: {spec.name} is a symmetric search, taught by "
            f"{', '.join(pairs.name for pairs in spec.data.pairs if pairs.symmetry == 'symmetric')}.")


def exercise_3(change: tuple | None) -> str:
    "One changed value of the domain's spec that rules of two layers refuse."
    raw = tomllib.loads(Settings.current().spec.read_text(encoding="utf-8"))
    if change is None:
        return "Not solved yet. Which value of the file do decisions in other sections depend on?"
    broken, problem = _change(raw, change)
    if problem:
        return problem
    mistakes = _mistakes(broken)
    if not mistakes:
        return "This spec is accepted. No rule says anything about that value, or it happens to fit."
    if strangers := set(mistakes) - {rule.id for rule in SPEC_RULES}:
        return f"Refused before any rule is looked at: {', '.join(sorted(strangers))}. Take a value of the right kind."
    layers = list(dict.fromkeys(rule.split(".")[0] for rule in mistakes))
    if len(layers) < 2:
        return f"Refused by {', '.join(mistakes)}: that is one layer only. Which decision do several layers share?"
    return f"Well done: {len(mistakes)} rules refuse it ({', '.join(mistakes)}), in {len(layers)} layers."
