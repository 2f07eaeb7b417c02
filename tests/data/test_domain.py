import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign import write_lines
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus, Judged, PairSet, read_corpus, read_judged
from semantic_nb.data.domain import (
    _giant_group, _with_documents, copy_groups, held_out_documents, leak_free, load_corpus, load_domain,
    pairs_from_documents, pairs_from_links, parts, split_queries)
from semantic_nb.spec import load_spec

links = st.dictionaries(st.sampled_from("abcdefgh"),
                        st.dictionaries(st.sampled_from("123456789"), st.integers(1, 2), min_size=1, max_size=3),
                        min_size=1)


@given(links)
@hypothesis_settings(max_examples=80, deadline=None)
def test_no_document_is_judged_in_two_splits(qrels):
    splits = split_queries(Judged({q: q for q in qrels}, qrels), {"train": 0.5, "dev": 0.2, "test": 0.3})
    seen = [split.relevant() for split in splits.values()]
    assert sum(len(s.queries) for s in splits.values()) == len(qrels)
    assert all(not a & b for i, a in enumerate(seen) for b in seen[i + 1:])


def test_a_document_that_answers_nothing_links_nothing():
    qrels = {f"q{i}": {f"d{i}": 1, "looked at by all": 0} for i in range(20)}
    splits = split_queries(Judged({q: q for q in qrels}, qrels), {"train": 0.5, "test": 0.5})
    assert all(len(split.queries) for split in splits.values())
    assert len(split_queries(Judged({"q": "q"}, {"q": {"d": 0}}), {"train": 0.5, "test": 0.5})) == 2


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=20), st.sets(st.sampled_from("abcdef")))
@hypothesis_settings(max_examples=80, deadline=None)
def test_leak_free_drops_exactly_what_is_held_out(documents, held):
    pairs = PairSet("p", "asymmetric", tuple(f"anchor {i}" for i in range(len(documents))),
                    tuple(documents), (), tuple(documents))
    kept, finding = leak_free(pairs, held, set())
    assert not set(kept.documents) & held and finding.count == sum(d in held
                                                                   for d in documents) == len(pairs) - len(kept)


def corpus(texts, metadata=None):
    ids = tuple(f"d{i}" for i in range(len(texts)))
    return Corpus(ids, ("",) * len(ids), tuple(texts), metadata or ({},) * len(ids))


def test_near_copies_and_linked_names_fall_together():
    text = "Compute the multiplicative inverse of a square matrix given as a two dimensional array of numbers"
    found = copy_groups(corpus([text, text + " quickly", "plot a line on some axes", "draw many points"],
                               ({}, {}, {"group": "x"}, {"group": "x"})))
    assert found[0] == found[1] != found[2] == found[3]


def test_parts_do_not_depend_on_the_order():
    texts = [f"document number {i} about {'sorting' if i % 2 else 'plotting'} things of kind {i * 7919}"
             for i in range(40)]
    whole = corpus(texts)
    turned = Corpus(*(tuple(reversed(column)) for column in (whole.ids, whole.titles, whole.texts, whole.metadata)))
    groups = np.arange(40)
    assert dict(zip(whole.ids, parts(whole, {"a": 0.5, "b": 0.5}, groups))) == dict(
        zip(turned.ids, parts(turned, {"a": 0.5, "b": 0.5}, groups)))


def test_a_giant_component_is_a_doubt():
    assert _giant_group([0] * 9 + [1]).status == "doubt" and _giant_group(list(range(20))).status == "ok"


def test_the_anchor_sentence_leaves_the_positive():
    pairs = pairs_from_documents(corpus(["Sort the items in place now. It is stable and it is fast too."]),
                                 "first_sentence")
    assert pairs.anchors == ("Sort the items in place now.",) and "Sort" not in pairs.positives[0]


def test_a_loaded_domain_shares_nothing_with_its_tests(domain):
    relevant = set().union(*(split.relevant() for split in domain.splits.values()))
    assert relevant <= set(domain.corpus.ids)
    for pairs in domain.pairs:
        assert len(pairs) and not set(pairs.documents) & relevant


def test_a_larger_profile_contains_the_smaller(spec, settings):
    domains = []
    for pairs, documents in ((5, 40), (12, 50)):
        with replace(settings, pairs=pairs, documents=documents).active():
            domains.append(load_domain(spec))
    small, large = domains
    assert set(small.pairs[0].anchors) <= set(large.pairs[0].anchors) and set(small.corpus.ids) <= set(large.corpus.ids)


def test_training_on_test_documents_only_is_refused(domain_folder, settings, spec):
    test = (domain_folder / "qrels" / "test.tsv").read_text()
    (domain_folder / "qrels" / "train.tsv").write_text(test)
    with pytest.raises(ContractError, match="no pair of questions is left"):
        load_domain(spec)


def test_a_missing_miner_is_refused(spec, settings):
    with pytest.raises(ContractError, match="data.corpus"):
        load_domain(spec.model_copy(update={"data": spec.data.model_copy(update={"corpus": "no.such.module:mine"})}))


@pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                    reason="needs the development sets: set DEVELOPMENT_DATA to their folder")
def test_scifact_shares_documents_between_its_splits():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "scifact"
    everything = read_corpus(folder / "corpus.jsonl")
    train, test = (read_judged(folder / "queries.jsonl", folder / "qrels" / f"{name}.tsv", everything)
                   for name in ("train", "test"))
    shared = [q for q, grades in test.qrels.items() if set(grades) & train.relevant()]
    assert (len(shared), len(test.queries)) == (196, 300)


def test_a_positive_that_is_a_document_is_known_and_dropped_with_it(domain):
    corpus = domain.corpus
    pairs = PairSet("faq", "asymmetric", ("one question", "another question", "a third question"),
                    (corpus.texts[0].upper(), corpus.passages[1], "no document at all"))
    known = _with_documents(pairs, corpus)
    assert known.documents == (corpus.ids[0], corpus.ids[1], "")
    kept, finding = leak_free(known, {corpus.ids[0]}, set())
    assert kept.anchors == pairs.anchors[1:] and finding.count == 1


def test_either_text_of_a_paraphrase_may_be_a_held_out_question():
    pairs = PairSet("faq", "symmetric", ("forgot my login",), ("how do I reset my password",))
    for question in ("How do I reset my password?", "forgot my login"):
        kept, finding = leak_free(pairs, set(), {question})
        assert len(kept) == 0 and finding.count == 1
    assert len(leak_free(replace(pairs, symmetry="asymmetric"), set(), {"how do I reset my password"})[0]) == 1


def test_a_title_alone_answers_no_first_sentence():
    one = Corpus(("a",), ("How to reset a password",), ("Click the link in the mail we sent you.",), ({},))
    assert len(pairs_from_documents(one, "first_sentence")) == 0
    two = replace(one, texts=("Click the link in the mail we sent you. It is valid for a day.",))
    assert pairs_from_documents(two, "first_sentence").positives[0].startswith("How to reset a password\n")


def test_metadata_of_zero_and_none_mean_what_they_say():
    texts = ("draw a red line", "sum of a column", "read a text file", "sort the rows by two keys")
    documents = Corpus(tuple("abcd"), ("",) * 4, texts, tuple({"group": i // 2, "part": None} for i in range(4)))
    assert copy_groups(documents).tolist() == [0, 0, 1, 1]
    assert held_out_documents(documents, [], np.arange(4)) == set()


def test_a_source_without_a_path_does_not_become_the_annotations(spec, settings):
    for kind, symmetry in (("paraphrases", "symmetric"), ("clicks", "asymmetric")):
        source = spec.data.pairs[0].model_copy(update={"name": "faq", "source": kind, "symmetry": symmetry,
                                                       "path": None})
        broken = spec.model_copy(update={"data": spec.data.model_copy(update={"pairs": (source,)})})
        with pytest.raises(ContractError, match=r"data.pairs\] faq"):
            load_domain(broken)


def test_everything_that_is_wrong_with_the_files_is_named_at_once_in_the_order_of_repair(domain_folder, settings, spec):
    corpus = (domain_folder / "corpus.jsonl").read_text().splitlines()
    (domain_folder / "corpus.jsonl").write_text("\n".join([*corpus, corpus[0]]) + "\n")
    queries = (domain_folder / "queries.jsonl").read_text()
    (domain_folder / "queries.jsonl").write_text(queries.replace("how to ", "", 1).replace('"text"', '"question"', 1))
    (domain_folder / "qrels" / "dev.tsv").unlink()
    test = domain_folder / "qrels" / "test.tsv"
    test.write_text(test.read_text().replace("\t2\n", "\tgood\n", 1))
    (domain_folder / "faq.csv").write_text("question,answer\na,b\n")
    faq = spec.data.pairs[0].model_copy(update={"name": "faq", "source": "clicks", "path": "faq.csv"})
    broken = spec.model_copy(update={"data": spec.data.model_copy(update={"pairs": (*spec.data.pairs, faq)})})
    with pytest.raises(ContractError) as refusal:
        load_domain(broken)
    named = [(error.layer, error.symptom) for error in refusal.value.more]
    assert [layer for layer, _ in named] == ["data.duplicate_id", "data.columns", "data.qrels", "data.split",
                                             "data.columns"]
    for (_, symptom), name in zip(named, ("corpus.jsonl", "queries.jsonl", "test.tsv", "dev.tsv", "faq.csv")):
        assert name in symptom
    assert refusal.value.layer == "data.duplicate_id" and "5. [data.columns]" in str(refusal.value)


def test_judgments_are_resolved_against_queries_and_corpus_where_these_can_be_read(domain_folder, settings, spec):
    with (domain_folder / "qrels" / "dev.tsv").open("a") as file:
        file.write("q999\tsort_tables\t1\n")
    with (domain_folder / "qrels" / "train.tsv").open("a") as file:
        file.writelines(f"q0\tgone_{i}\t1\n" for i in range(9))
    with pytest.raises(ContractError) as refusal:
        load_domain(spec)
    assert [error.layer for error in refusal.value.more] == ["data.qrels"] * 2
    assert "q999" in refusal.value.symptom and "train.tsv has 9 of" in refusal.value.symptom


def test_every_source_that_has_nothing_left_is_named(domain_folder, settings, spec):
    qrels = domain_folder / "qrels"
    (qrels / "train.tsv").write_text((qrels / "test.tsv").read_text())
    only = spec.data.pairs[0]
    twins = spec.data.model_copy(update={"pairs": (only, only.model_copy(update={"name": "twin"}))})
    with pytest.raises(ContractError) as refusal:
        load_domain(spec.model_copy(update={"data": twins}))
    assert ["questions is left" in refusal.value.symptom, "twin is left" in refusal.value.symptom] == [True, True]


# --- adapted to the corpus

def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def adapting(domain_folder, rule):
    "The toy spec whose mined pairs are adapted to the corpus."
    path = domain_folder / "spec.toml"
    text = path.read_text(encoding="utf-8")
    assert 'rule = "first_sentence"' in text
    path.write_text(text.replace('rule = "first_sentence"', f'rule = "{rule}"\nadapt = "corpus"'), encoding="utf-8")
    return load_spec(path)


@pytest.mark.parametrize("rule", ["first_sentence", "span"])
def test_pairs_adapted_to_the_corpus_keep_the_documents_of_the_test_and_no_question(domain_folder, settings, rule):
    strict = {pairs.name: pairs for pairs in load_domain(load_spec(domain_folder / "spec.toml")).pairs}
    domain = load_domain(adapting(domain_folder, rule))
    pairs = {pairs.name: pairs for pairs in domain.pairs}
    held = set().union(*(split.relevant() for split in domain.splits.values()))
    assert held & set(pairs["mined"].documents) and not held & set(strict["mined"].documents)
    assert not held & set(pairs["questions"].documents)
    finding = next(one for one in domain.findings if one.id == "data.leakage.mined")
    assert finding.status == "doubt" and "adapted to the corpus" in finding.evidence
    assert finding.count == sum(document in held for document in pairs["mined"].documents)


def test_a_mined_anchor_that_is_a_question_of_the_test_is_dropped_all_the_same(domain_folder, settings):
    rows = read_lines(domain_folder / "queries.jsonl")
    test = (domain_folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    question = next(row["text"] for row in rows if row["_id"] == test)
    corpus = read_lines(domain_folder / "corpus.jsonl")
    corpus[0]["text"] = f"{question}. Then some more words about it, enough for a positive."
    write_lines(domain_folder / "corpus.jsonl", corpus)
    domain = load_domain(adapting(domain_folder, "first_sentence"))
    mined = next(pairs for pairs in domain.pairs if pairs.name == "mined")
    assert corpus[0]["_id"] not in mined.documents
    assert "1 repeated one" in next(one for one in domain.findings if one.id == "data.leakage.mined").evidence


def test_an_adapted_model_says_so_in_the_report_and_is_no_leak_in_the_check(domain_folder, settings):
    from semantic_nb.brief import reasons
    from semantic_nb.checks import check_data
    spec = adapting(domain_folder, "first_sentence")
    assert any("adapted to the corpus" in name and "mined" in text for name, text in reasons(spec).items())
    found = check_data(domain_folder / "spec.toml", say=str)
    shared = [one for one in found if "shared_document" in one.id]
    assert shared and all(one.status == "ok" for one in shared)


def test_only_mined_pairs_can_be_adapted(domain_folder, settings):
    path = domain_folder / "spec.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('source = "annotations"',
                                                             'source = "annotations"\nadapt = "corpus"', 1))
    with pytest.raises(ContractError, match="data.adapt.*adapt in questions"):
        load_spec(path)


def test_a_span_is_a_part_of_its_document_and_left_out_of_the_positive():
    words = [f"w{i}" for i in range(90)]
    corpus = Corpus(("a", "b"), ("", ""), (" ".join(words), "too short"), ({}, {}))
    pairs = pairs_from_documents(corpus, "span")
    assert len(pairs) == 1 and pairs == pairs_from_documents(corpus, "span")
    span = pairs.anchors[0].split()
    assert len(span) == 16 and words[words.index(span[0]):][:16] == span
    assert not set(span) & set(pairs.positives[0].split()) and len(pairs.positives[0].split()) == 74


def linked(corpus, links):
    "The corpus whose first document speaks of these others."
    return replace(corpus, metadata=({"links": links}, *corpus.metadata[1:]))


def test_a_link_pairs_its_words_with_the_document_that_it_leads_to():
    corpus = Corpus(("a", "b", "c"), ("A", "B", "C"), ("about a", "about b", "about c"), ({},) * 3)
    words = "merges\n  two frames by columns"
    pairs = pairs_from_links(linked(corpus, {"b": words, "c": "too short", "a": "this document speaks of itself",
                                             "elsewhere": "a page that nobody searches here"}))
    assert list(zip(pairs.anchors, pairs.positives, pairs.documents)) == [
        ("merges two frames by columns", "B\nabout b", "b")]
    assert pairs.symmetry == "asymmetric" and not len(pairs_from_links(corpus))
    assert pairs_from_documents(linked(corpus, {"b": words}), "links") == pairs


def test_links_to_a_document_of_the_test_are_left_out(domain_folder, settings):
    corpus, path = read_lines(domain_folder / "corpus.jsonl"), domain_folder / "spec.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('rule = "first_sentence"', 'rule = "links"'))
    links = {row["_id"]: f"words of a link to {row['_id']}" for row in corpus[1:]}
    corpus[0]["metadata"] = corpus[0].get("metadata", {}) | {"links": links}
    write_lines(domain_folder / "corpus.jsonl", corpus)
    domain = load_domain(load_spec(path))
    pairs = next(pairs for pairs in domain.pairs if pairs.name == "mined")
    held = held_out_documents(load_corpus(domain.spec), domain.splits.values())
    assert held & set(links) and set(pairs.documents) == set(links) - held
    assert next(one for one in domain.findings if one.id == "data.leakage.mined").count == len(held & set(links))


def test_documents_that_speak_of_no_other_are_refused_as_a_source_of_links(domain_folder, settings):
    path = domain_folder / "spec.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('rule = "first_sentence"', 'rule = "links"'))
    with pytest.raises(ContractError, match="no document gives a pair of mined by rule 'links'"):
        load_domain(load_spec(path))


@pytest.mark.parametrize("links", [["b"], {"b": ["words"]}, "b"])
def test_links_that_are_no_words_by_id_are_refused(domain_folder, settings, links):
    corpus = read_lines(domain_folder / "corpus.jsonl")
    corpus[0]["metadata"] = {"links": links}
    write_lines(domain_folder / "corpus.jsonl", corpus)
    with pytest.raises(ContractError, match="links"):
        load_corpus(load_spec(domain_folder / "spec.toml"))
