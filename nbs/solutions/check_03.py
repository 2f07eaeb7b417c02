"Checkers of the exercises of chapter 03: each says what is missing, and none gives the answer away."
import tomllib
from collections.abc import Mapping

import numpy as np

from semantic_nb.core import ContractError
from semantic_nb.data.domain import load_domain
from semantic_nb.measure import Run, compare, holm, per_query
from semantic_nb.spec import load_spec, parse_spec

FEWEST_SETTINGS, ROUNDING = 3, 0.02


def exercise_1(rule: str | None) -> str:
    "The name of the rule that refuses a metric and a k that disagree."
    if rule is None:
        return "Hand `raw` to `parse_spec` and read the first line of the refusal."
    spec = load_spec()
    raw = tomllib.loads((spec.folder / "spec.toml").read_text(encoding="utf-8"))
    raw["validation"]["k"] = spec.validation.k + 5
    try:
        parse_spec(raw, spec.folder)
    except ContractError as error:
        if str(rule).strip("[] ") == error.layer:
            return f"Well done: {error.symptom}. {error.cause.capitalize()}."
    return f"{rule!r} is not the name in brackets. It has the form layer.rule."


def exercise_2(silent: Run | None, plain: Run | None) -> str:
    "A run that answers fewer questions and has a higher mean over those that it answers."
    if silent is None or plain is None:
        return "Make a run: a dictionary with some of the questions of `plain`, and their answers unchanged."
    spec = load_spec()
    dev, metric = load_domain(spec).splits[spec.validation.dev], f"nDCG@{spec.validation.k}"
    answered = np.array([bool(silent.get(question)) for question in dev.queries])
    if changed := [question for question in silent if silent[question] and silent[question] != plain.get(question)]:
        return f"{len(changed)} questions have other answers than in `plain`. Only leave questions out."
    if not answered.any() or answered.sum() >= sum(bool(answers) for answers in plain.values()):
        return "A silent search answers some questions and not others; this one leaves out none, or all."
    every, honest = (per_query(metric, run, dev) for run in (silent, plain))
    if every[answered].mean() <= honest.mean():
        return (f"Over the questions that it answers it has {every[answered].mean():.3f}, `plain` has "
                f"{honest.mean():.3f} over all. Leave out questions on which `plain` is bad.")
    return (f"Well done: over the {answered.sum()} questions that it answers it has {every[answered].mean():.3f}, but "
            f"`per_query` counts silence as zero and gives {every.mean():.3f}, no more than the {honest.mean():.3f} of "
            "`plain`.")


def exercise_3(runs: Mapping[str, Run] | None, adjusted: Mapping[str, float] | None, plain: Run | None) -> str:
    "At least three other settings of BM25, each compared with `plain` on precision, with Holm-adjusted p-values."
    if runs is None or adjusted is None or plain is None:
        return "Collect runs of other settings in a dictionary, and their adjusted p-values in a second one."
    spec = load_spec()
    dev, metric = load_domain(spec).splits[spec.validation.dev], f"P@{spec.validation.k}"
    if len(runs) < FEWEST_SETTINGS or set(runs) != set(adjusted):
        return f"Give at least {FEWEST_SETTINGS} settings, and a p-value for each under the same name."
    if all(run == plain for run in runs.values()):
        return "These runs are all the same as `plain`. Change k1 or b."
    values = per_query(metric, plain, dev)
    comparisons = {name: compare(per_query(metric, run, dev), values) for name, run in runs.items()}
    right = dict(zip(comparisons, holm([comparison.p for comparison in comparisons.values()])))
    wrong = [name for name, p in right.items() if not abs(p - adjusted[name]) <= ROUNDING]
    if wrong:
        return (f"The adjusted p-value of {', '.join(wrong)} is another one. Compare {metric} per question with "
                "`plain`, then give all p-values to `holm` at once.")
    shown = [name for name, comparison in comparisons.items()
             if comparison.outcome != "not shown" and right[name] < 0.05]
    verdict = f"shown after Holm: {', '.join(shown)}" if shown else "none is shown to differ from the default"
    return f"Well done: of {len(runs)} settings, {verdict}."
