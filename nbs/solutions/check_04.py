"Checkers of the exercises of chapter 04: each says what is missing, and none gives the answer away."
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_domain
from semantic_nb.encoder import corpus_vectors, encode, encoder_identity, load_encoder
from semantic_nb.measure import compare, exact_search, holm, per_query
from semantic_nb.spec import load_spec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FEWEST_WORDINGS, ROUNDING = 3, 0.02
TEXTS = ["a first text that is somewhat longer than the other one, so that a limit can matter", "a second text"]


def exercise_1(rule: str | None, saved: Path | None) -> str:
    "The name of the rule that refuses a model with prompts of which the spec says nothing."
    if rule is None or saved is None:
        return "Load the folder with `load_encoder` and the spec's model section, and read the refusal's first line."
    spec = load_spec()
    try:
        load_encoder(str(saved), spec.model)
    except ContractError as error:
        if str(rule).strip("[] ") == error.layer:
            return f"Well done: {error.symptom}. Why it matters: {error.cause}."
        return f"{rule!r} is not the name in brackets. It has the form layer.rule."
    return "This folder is not refused. Does the model in it really have a prompt that the spec does not name?"


def exercise_2(mine: "SentenceTransformer | None", field: str | None) -> str:
    "A model with the base's weights that gives other vectors, and the field of its identity that tells."
    if mine is None or field is None:
        return "Give the changed model and the name of the field of `encoder_identity` that differs."
    spec = load_spec()
    model = load_encoder(spec.model.base, spec.model, fresh=True)
    before, after = encoder_identity(model), encoder_identity(mine)
    if before["weights"] != after["weights"]:
        return "The weights differ. Leave them alone and change what happens around them."
    different = [name for name in before if before[name] != after[name]]
    if not different:
        return "The identity is the base's own: nothing that decides the vectors was changed."
    if field not in different:
        return f"{field!r} is the same in both identities."
    gap = max(np.abs(encode(model, TEXTS, role) - encode(mine, TEXTS, role)).max() for role in ("query", "document"))
    if gap < 1e-3:
        return f"{field} differs, but the vectors of two short texts do not. Change something that they feel."
    return f"Well done: the weights are the same, the vectors differ by up to {gap:.2f}, and {field} tells."


def exercise_3(adjusted: Mapping[str, float] | None) -> str:
    "Holm-adjusted p-values of at least three wordings in front of the dev questions, against none."
    if adjusted is None:
        return "Give a dictionary: for each wording the Holm-adjusted p-value of its comparison with no wording."
    if len([wording for wording in adjusted if wording.strip()]) < FEWEST_WORDINGS:
        return f"Try at least {FEWEST_WORDINGS} wordings that are not empty."
    spec = load_spec()
    domain = load_domain(spec)
    dev, metric = domain.splits[spec.validation.dev], spec.validation.metric
    model = load_encoder(spec.model.base, spec.model)
    documents = corpus_vectors(model, domain.corpus, progress=False)

    def values(wording: str) -> np.ndarray:
        asked = encode(model, [wording + text for text in dev.queries.values()], "query")
        run = exact_search(list(dev.queries), asked, domain.corpus.ids, documents, spec.validation.k)
        return per_query(metric, run, dev)

    plain = values("")
    comparisons = {wording: compare(values(wording), plain) for wording in adjusted}
    right = dict(zip(comparisons, holm([comparison.p for comparison in comparisons.values()])))
    wrong = [wording for wording, p in right.items() if not abs(p - adjusted[wording]) <= ROUNDING]
    if wrong:
        return (f"The p-value of {wrong[0]!r} is another one. Compare {metric} per question with the run without a "
                "wording, at full size, and give all p-values to `holm` at once.")
    shown = [f"{wording!r} is {comparison.outcome}" for wording, comparison in comparisons.items()
             if comparison.outcome != "not shown" and right[wording] < 0.05]
    verdict = "; ".join(shown) or "none is shown to change anything"
    return f"Well done: of {len(adjusted)} wordings, after Holm, {verdict}."
