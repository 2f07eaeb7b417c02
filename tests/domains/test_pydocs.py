"""The demo domain: what its datasheet promises."""
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from semantic_nb.core import Settings
from semantic_nb.spec import load_spec
from semantic_nb.data.domain import copy_groups, held_out_documents, load_corpus, load_domain
from semantic_nb.domains.pydocs import see_also
from semantic_nb.store import file_hash, fingerprint

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data" / "pydocs"
QUERIES = [json.loads(line) for line in (FOLDER / "queries.jsonl").read_text(encoding="utf-8").splitlines()]


def qrels(split):
    rows = [line.split("\t")
            for line in (FOLDER / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    return [(q, d, int(g)) for q, d, g in rows]


@pytest.fixture(scope="module")
def settings():
    return Settings.load(ROOT, profile="quick")


@pytest.fixture(scope="module")
def corpus(settings):
    return load_corpus(load_spec(FOLDER / "spec.toml"))


@pytest.mark.parametrize("split, least", [("train", 600), ("dev", 120), ("test", 240), ("production", 100)])
def test_enough_questions_with_an_answer(split, least):
    answered = {q for q, _, grade in qrels(split) if grade == 2}
    assert len(answered) >= least and {g for _, _, g in qrels(split)} <= {0, 1, 2}
    assert sum(row["metadata"]["split"] == "production" for row in QUERIES) >= 150


def test_no_opening_and_no_text_dominates():
    openings = Counter(" ".join(row["text"].lower().split()[:3]) for row in QUERIES)
    assert openings.most_common(1)[0][1] <= 0.05 * len(QUERIES)
    assert len({row["text"].lower() for row in QUERIES}) == len(QUERIES)


def test_every_judged_document_exists(corpus):
    known = set(corpus.ids)
    assert not [d for split in ("train", "dev", "test", "production") for _, d, _ in qrels(split) if d not in known]


def test_training_stays_in_its_part_and_off_every_test_document(corpus, settings):
    part = {id: meta["part"] for id, meta in zip(corpus.ids, corpus.metadata)}
    assert all(part[d] == "train" for _, d, _ in qrels("train"))
    groups = dict(zip(corpus.ids, copy_groups(corpus)))
    held = {groups[d] for split in ("dev", "test", "production") for _, d, grade in qrels(split) if grade > 0}
    with Settings.load(ROOT, profile="full").active():
        domain = load_domain(load_spec(FOLDER / "spec.toml"))
    for pairs in domain.pairs:
        assert pairs.documents and not {groups[d] for d in pairs.documents} & held
    for split in ("dev", "test"):
        answers = defaultdict(set)
        for query, document, grade in qrels(split):
            answers[query] |= {part[document]} if grade == 2 else set()
        assert all(split in parts for parts in answers.values())


def test_equal_functions_of_two_libraries_fall_together(corpus):
    groups = dict(zip(corpus.ids, copy_groups(corpus)))
    assert groups["numpy.linalg.inv"] == groups["scipy.linalg.inv"] == groups["torch.linalg.inv"]


def test_the_corpus_is_large_quiet_and_names_no_machine(corpus):
    assert len(corpus) > 10_000 and {m["library"] for m in corpus.metadata} == {
        "python", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "torch"}
    text = "\n".join(corpus.passages)
    assert not re.search(r"at 0x[0-9a-f]{6}",
                         text) and str(ROOT) not in text and all(len(t.split()) >= 8 for t in corpus.texts)
    assert not any(part.startswith("_") for id in corpus.ids for part in id.split("."))


def test_the_quick_corpus_holds_every_relevant_document(settings):
    with settings.active():
        domain = load_domain(load_spec(FOLDER / "spec.toml"))
    assert 2_900 <= len(domain.corpus) <= 3_100 and all(split.relevant() <= set(domain.corpus.ids)
                                                        for split in domain.splits.values())


def test_judgments_are_the_frozen_ones():
    frozen = fingerprint({split: file_hash(FOLDER / "qrels" / f"{split}.tsv")
                          for split in ("dev", "test", "production")})
    assert frozen in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_nothing_outside_the_domain_knows_python_documentation():
    for path in (ROOT / "semantic_nb").glob("*.py"):
        if path.name != "_modidx.py":
            assert not re.search(r"pydocs|getdoc|numpydoc|sphinx", path.read_text(encoding="utf-8")), path.name


def test_a_docstring_speaks_of_the_objects_that_its_see_also_names():
    text = ("Join two frames.\n\nSee Also\n--------\nmerge : Merge on columns of\n    another frame as well.\n"
            "frame.join : Join as before with itself.\n:func:`~lib.sort` : Put the rows in an order.\n"
            "absent : An object that is nowhere.\n\nNotes\n-----\nlater : not a part")
    ids = {"lib.frame.join", "lib.frame.merge", "lib.sort", "lib.frame.later"}
    assert see_also("lib.frame.join", text, ids) == {"lib.frame.merge": "Merge on columns of another frame as well.",
                                                     "lib.sort": "Put the rows in an order."}


def test_links_lead_to_documents_and_a_thousand_can_be_trained_on(corpus):
    assert all(target in corpus.position for meta in corpus.metadata for target in meta["links"])
    with Settings.load(ROOT, profile="full").active():
        domain = load_domain(load_spec(FOLDER / "spec.toml"))
    held = held_out_documents(corpus, domain.splits.values())
    pairs = next(pairs for pairs in domain.pairs if pairs.name == "see_also")
    assert len(pairs) >= 1_000 and not held & set(pairs.documents)
