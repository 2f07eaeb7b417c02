"""Checkers of chapter 09: what is missing, or "Well done"."""
import tomllib
from collections.abc import Mapping

from semantic_nb.core import ContractError, Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.data.records import Judged
from semantic_nb.encoder import load_encoder
from semantic_nb.measure import judged_at, per_query
from semantic_nb.model import train
from semantic_nb.spec import SHARP_DROP, load_spec, parse_spec
from semantic_nb.validate.audit import _audit_rows, truncation_audit


def exercise_1(rule: str | None = None) -> str:
    "The rule that refuses a spec whose dev and test are one split."
    if rule is None:
        return "Which rule is it? Change the two lines in a copy of your spec and read it with `load_spec`."
    spec, raw = load_spec(), tomllib.loads(Settings.current().spec.read_text(encoding="utf-8"))
    raw["validation"]["dev"] = raw["validation"]["test"]
    try:
        parse_spec(raw, spec.folder)
    except ContractError as error:
        if rule in {error.layer, *(one.layer for one in error.more)}:
            return "Well done: a choice and its judge need different questions, and the rule says so early."
    return f"{rule!r} does not refuse it. The id stands in brackets at the beginning of the refusal."


def exercise_2(judged: Judged | None = None, run: Mapping | None = None, test: Judged | None = None) -> str:
    "A set of judgments from which the best answer of half of the questions is gone."
    if judged is None:
        return "Make a `Judged` with fewer judgments: leave out the highest grade of half of the questions."
    if list(judged.queries) != list(test.queries) or set(judged.qrels) != set(test.qrels):
        return "Keep all questions, and an entry in `qrels` for each of them; only judgments are lost."
    if any(not set(grades.items()) <= set(test.qrels[query].items()) for query, grades in judged.qrels.items()):
        return "Some grades are new or changed. Only leave judgments out."
    best = {query: max(grades.values(), default=0) for query, grades in test.qrels.items()}
    lost = [query for query, grades in test.qrels.items()
            if any(grade == best[query] and hit not in judged.qrels[query] for hit, grade in grades.items())]
    if not 0.4 <= len(lost) / len(test.qrels) <= 0.6:
        return f"{len(lost)} of {len(test.qrels)} questions lost a best answer; it should be about half."
    k = load_spec().validation.k
    (value, share), (less, less_share) = [(per_query(f"P@{k}", run, one).mean(), judged_at(k, run, one))
                                          for one in (test, judged)]
    if not less_share < share:
        return "The lost answers do not stand on the first page of any question, so nothing moves. Lose others."
    return (f"Well done: the value moves from {value:.3f} to {less:.3f} and the judged share from {share:.1%} to "
            f"{less_share:.1%}. The search is the same; only the second column says so.")


def exercise_3(size: int | None = None, share: float | None = None) -> str:
    "The smallest size that loses no more than half of SHARP_DROP on dev, and what it keeps on test."
    if size is None or share is None:
        return "Two answers are needed: the size that dev recommends, and the share that it keeps on test."
    spec = load_spec()
    domain = load_domain(spec)
    model = load_encoder(train(domain, lambda line: None).path, spec.model)
    rows = truncation_audit(model, domain).rows
    full = rows[0]["dim"]
    if size != min((row["dim"] for row in rows if row["kept"] >= 1 - SHARP_DROP / 2), default=full):
        return "Dev recommends another size. Compare the column `kept` with 1 - SHARP_DROP / 2."
    kept = _audit_rows(model, domain, spec.validation.test, [full, size])[-1]["kept"]
    if not (abs(share - kept) < 0.005 or kept != kept):
        return "The size is right, the share is not that of the test questions."
    outcome = "confirms" if kept >= 1 - SHARP_DROP / 2 else "does not confirm"
    return f"Well done: dev recommends {size}, and the test {outcome} it ({kept:.1%} kept)."
