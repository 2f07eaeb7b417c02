"""Checkers of chapter 10: what is missing, or "Well done"."""
import tomllib
from collections.abc import Mapping

import faiss

from semantic_nb.core import ContractError, Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.diagnose import Diagnosis, budgets_of
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, truncate
from semantic_nb.index import lists_for
from semantic_nb.measure import as_run, exact_search, per_query
from semantic_nb.model import train
from semantic_nb.spec import load_spec, parse_spec


def exercise_1(rule: str | None = None, broken: Mapping[str, Mapping] | None = None) -> str:
    "The rule that refuses the spec with these keys changed."
    if rule is None:
        return "Which rule is it? Read the spec with the changed key (`parse_spec`), and look at the id in brackets."
    spec, raw = load_spec(), tomllib.loads(Settings.current().spec.read_text(encoding="utf-8"))
    try:
        parse_spec({**raw, **{section: raw[section] | dict(keys) for section, keys in broken.items()}}, spec.folder)
    except ContractError as error:
        if rule in {error.layer, *(one.layer for one in error.more)}:
            return "Well done: the index may only be served at a size that was trained, and the spec is refused."
    return f"{rule!r} does not refuse it. Which two numbers of the spec have to agree with the changed one?"


def exercise_2(diagnosis: Diagnosis | None = None) -> str:
    "A diagnosis of a run whose served answers belong to other questions."
    if diagnosis is None:
        return "Give `diagnose_layers` runs in which the served answers were exchanged between the questions."
    if not isinstance(diagnosis, Diagnosis):
        return "Hand in what `diagnose_layers` returns, not its sentence."
    last = diagnosis.steps[-1]
    before = last.value.value - last.change.difference
    if not last.change.difference:
        return "The served index loses nothing in this diagnosis. Were the broken runs handed over?"
    if before < 0.1:  # a search that finds next to nothing has nothing to lose
        return f"Well done: the index step changes by {last.change}. From {before:.3f} it cannot lose more."
    if last.status != "fail" or last.share > -0.5:
        return f"The served index loses {last.share:+.0%} only. Exchange the answers of all questions."
    if diagnosis.layer != "index":
        return f"Well done: the index step fails ({last.share:+.0%}). {diagnosis.layer} is named, as it is worse."
    return f"Well done: the index is named, as it should be ({last.share:+.0%}); all stages before it are untouched."


def exercise_3(nprobe: int | None = None) -> str:
    "The smallest nprobe with which the index step stays within its budget."
    if nprobe is None:
        return "Try one number of lists after another, and compare the score with that of the exact search."
    spec = load_spec()
    domain = load_domain(spec)
    test, model = domain.splits[spec.validation.test], load_encoder(train(domain, lambda line: None).path, spec.model)
    documents = truncate(corpus_vectors(model, domain.corpus), spec.index.dim, model.similarity_fn_name)
    queries = encode(model, list(test.queries.values()), "query", spec.index.dim)
    lists = lists_for(len(documents))
    if not 1 <= nprobe <= lists:
        return f"There are {lists} lists."
    quantizer = faiss.IndexFlatIP(spec.index.dim)
    ivf = faiss.IndexIVFFlat(quantizer, spec.index.dim, lists, faiss.METRIC_INNER_PRODUCT)
    ivf.train(documents)
    ivf.add(documents)
    exact = exact_search(list(test.queries), queries, domain.corpus.ids, documents, 100)
    needed = (1 - budgets_of(spec)["served index"]) * per_query(spec.validation.metric, exact, test).mean()

    def enough(probes: int) -> bool:
        ivf.nprobe = probes
        run = as_run(list(test.queries), domain.corpus.ids, *ivf.search(queries, min(100, len(documents))))
        return per_query(spec.validation.metric, run, test).mean() >= needed - 1e-9

    if not enough(nprobe):
        return f"With {nprobe} of {lists} lists the index still loses more than its budget."
    if any(enough(probes) for probes in range(1, nprobe)):
        return "That is enough, and a smaller number is enough, too."
    return f"Well done: {nprobe} of {lists} lists are the fewest that keep the loss within the budget."
