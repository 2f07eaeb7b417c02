"""The three grades of leakage: what would clutter the notebook."""
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.data.leakage import find_leaks
from semantic_nb.data.near_copies import canonical_text, near_copies
from semantic_nb.data.records import Judged, PairSet, read_corpus, read_judged, read_pairs, read_rows


# --- the three grades

def judged(rows):
    return Judged({q: text for q, text, _ in rows}, {q: grades for q, _, grades in rows})


TRAIN = judged([("x", "sort the list of names", {"d1": 1}),
                ("y", "invert a square matrix of numbers", {"d2": 2, "d9": 0}),
                ("z", "plot points on axes", {"d3": 1})])


def counts(found):
    return [finding.count for finding in found.findings]


@pytest.mark.parametrize("item, expected", [
    (("q", "Sort  the LIST\nof names", {"e": 1}), [1, 0, 0]),
    (("q", "invert a square matrix of numbers quickly", {"e": 1}), [0, 1, 0]),
    (("q", "anything else entirely", {"d3": 1}), [0, 0, 1]),
    (("q", "anything else entirely", {"d9": 1, "d3": 0}), [0, 0, 0]),
    (("q", "sort the list of names", {"d1": 1}), [1, 0, 1]),
])
def test_each_grade_is_found_and_no_other(item, expected):
    others = [(f"o{i}", f"unrelated thing number {i}", {f"o{i}": 1}) for i in range(3)]
    found = find_leaks(judged([item, *others]), TRAIN)
    assert counts(found) == expected
    assert [finding.id for finding in found.findings] == ["data.leakage.same_text", "data.leakage.near_copy",
                                                          "data.leakage.shared_document"]
    assert ("q" in found.clean.queries) == ("q" in found.clean.qrels) == (
        "q" in found.untouched) == (sum(expected) == 0)
    assert len(found.rows) == sum(expected) and all(row["held out"] == "q" for row in found.rows)


def test_rows_name_the_training_item_behind_each_leak():
    found = find_leaks(judged([("q", "SORT the list of names", {"d3": 1})]), TRAIN)
    assert [(row["grade"], row["training"], row["training text"]) for row in found.rows] == [
        ("same text", "x", TRAIN.queries["x"]), ("shared document", "z", TRAIN.queries["z"])]
    assert found.findings[0].rows == found.rows[:1] and "d3" in found.rows[1]["why"]


def test_the_status_follows_the_share_that_is_touched():
    train = ["sort the list of names"]
    status = lambda leaks: find_leaks([*train * leaks, *(f"unrelated thing{i}" for i in range(100 - leaks))],
                                   train).findings[0].status
    assert [status(n) for n in (0, 1, 5, 6)] == ["ok", "doubt", "doubt", "fail"]


@given(st.lists(st.sampled_from(["sort a list", "SORT a list", "invert it now", "draw a line", "👍"]), min_size=1,
                max_size=8),
       st.lists(st.sampled_from(["sort a list", "plot points", "Draw a  line", "👍"]), min_size=1, max_size=8))
@hypothesis_settings(max_examples=60, deadline=None)
def test_what_is_clean_is_clean_and_what_is_not_is_counted(test, train):
    found = find_leaks(test, train)
    assert found.clean == [test[i] for i in found.untouched]
    assert not {canonical_text(t) for t in found.clean} & {canonical_text(t) for t in train}
    assert len(found.clean) == len(test) - len({row["held out"] for row in found.rows})
    if found.clean:
        assert counts(find_leaks(found.clean, train))[0] == 0


def test_pairs_share_positives_and_documents():
    train = PairSet("train", "asymmetric", ("list files", "sort lines"), ("ls -l", "sort file"))
    test = PairSet("test", "asymmetric", ("list all the files", "remove a folder", "sort lines"),
                   ("ls  -L", "rm -r x", "sort -u file"), (("n", "m", "o"),))
    found = find_leaks(test, train)
    assert counts(found) == [1, 0,
                             1] and found.clean.anchors == ("remove a folder",) and found.clean.negatives == (("m",),)
    on_documents = find_leaks(Judged({"q": "something"}, {"q": {"d": 1}}),
                           PairSet("p", "asymmetric", ("other",), ("text",), (), ("d",)))
    assert counts(on_documents) == [0, 0, 1]


def test_both_texts_of_a_symmetric_pair_ask():
    train = PairSet("train", "symmetric", ("a man plays the guitar",), ("somebody makes music",))
    turned = PairSet("test", "symmetric", ("Somebody makes music", "a dog runs"),
                     ("a man plays the guitar", "an animal moves"))
    assert counts(find_leaks(turned, train)) == [1, 0, 0] and find_leaks(turned, train).untouched == (1,)


def test_empty_texts_are_not_the_same_question():
    assert counts(find_leaks(["", "draw a line"], ["", "sort a list"])) == [0, 0, 0]


def test_sides_that_cannot_be_compared_by_document_say_so():
    against_texts = find_leaks(TRAIN, ["draw a line"]).findings[2]
    assert against_texts.status == "doubt" and against_texts.evidence.startswith(
        "not enough evidence: ") and against_texts.count == 0
    assert find_leaks(["draw a line"], ["sort a list"]).findings[2].status == "ok"


@pytest.mark.parametrize("test, train, layer",
                         [([], ["a"], "data.empty"), (["a"], [], "data.empty"), (TRAIN, Judged({}, {}), "data.empty"),
                          ("a text", ["a"], "data.leakage"), (["a"], None, "data.leakage"),
                          ([1, 2], ["a"], "data.leakage"),
                          (TRAIN, {"a": 1}.values(), "data.leakage")])
def test_sides_without_items_or_of_another_type_are_refused(test, train, layer):
    with pytest.raises(ContractError) as error:
        find_leaks(test, train)
    assert error.value.layer == layer


def test_what_leak_free_keeps_is_healthy_and_an_injected_leak_is_found():
    from semantic_nb.data.domain import leak_free
    test = judged([("q", "draw many points", {"d4": 2}), ("r", "sort list of the names", {"d5": 1})])
    written = PairSet("p", "asymmetric", (*TRAIN.queries.values(), "points, many"), ("p1", "p2", "p3", "p4"),
                      (), ("d1", "d2", "d3", "d4"))
    kept, finding = leak_free(written, test.relevant(), set(test.queries.values()))
    assert finding.count == 2 and counts(find_leaks(test, written)) == [0, 1, 1] and counts(find_leaks(test, kept)) == [
        0, 0, 0] and find_leaks(test, kept).clean == test
    leaky = PairSet("p", "asymmetric", (*kept.anchors, "DRAW many points"), (*kept.positives, "p5"),
                    (), (*kept.documents, "d5"))
    assert counts(find_leaks(test, leaky)) == [1, 0, 1] and find_leaks(test, leaky).untouched == ()


def test_training_drops_near_copies_of_held_out_questions():
    from semantic_nb.data.domain import leak_free
    pairs = PairSet("p", "asymmetric", ("invert a square matrix of numbers", "draw lines"),
                    ("p1", "p2"), (), ("d1", "d2"))
    kept, finding = leak_free(pairs, set(), {"invert the square matrix of numbers"})
    assert kept.anchors == ("draw lines",) and finding.count == 1 and "1 nearly its text" in finding.evidence


# --- public sets

development = pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                                 reason="needs the development sets: set DEVELOPMENT_DATA to their folder")


@development
def test_scifact_shares_abstracts_between_its_splits():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "scifact"
    corpus = read_corpus(folder / "corpus.jsonl")
    train, test, unseen = (read_judged(folder / "queries.jsonl", folder / "qrels" / f"{name}.tsv", corpus)
                           for name in ("train", "test", "test_unseen_docs"))
    found = find_leaks(test, train)
    assert (found.findings[2].count, len(test.queries), found.findings[2].status) == (196, 300, "fail")
    assert len(unseen.queries) == 104 and set(found.clean.queries) <= set(unseen.queries)
    extra = {row["held out"] for row in found.rows if row["grade"] != "shared document"} & set(unseen.queries)
    assert set(unseen.queries) - set(found.clean.queries) == extra and len(extra) == 1


@development
def test_nl2bash_near_copies_a_fifth_of_its_test_texts():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "nl2bash"
    train, test = (read_pairs(folder / f"pairs_{name}.jsonl", name, "asymmetric") for name in ("train", "test"))
    found = find_leaks(test, train)
    assert [finding.status for finding in found.findings] == ["fail", "fail", "doubt"] and counts(found)[0] == 191
    assert len(near_copies(test.anchors, train.anchors, 0.9)[0]) == pytest.approx(0.215 * len(test), rel=0.25)
    assert len(found.clean) == len(test) - len({row["held out"] for row in found.rows})


@development
def test_labelled_texts_are_compared_as_plain_texts():
    train, test = ([row["text"]
                    for row in read_rows(Path(os.environ["DEVELOPMENT_DATA"]) / "banking77" / f"{name}.jsonl")]
                   for name in ("train", "test"))
    found, known = find_leaks(test, train), set(map(canonical_text, train))
    assert found.findings[0].count == sum(canonical_text(t) in known
                                          for t in test) and found.findings[1].status == "fail"
    assert isinstance(found.clean, list) and len(found.clean) < len(test)


def test_documents_without_a_name_are_no_shared_document():
    nameless = PairSet("p", "asymmetric", ("sort a list",), ("use sorted",), (), ("",))
    other = PairSet("q", "asymmetric", ("draw a line",), ("use plot",), (), ("",))
    assert [finding.count for finding in find_leaks(nameless, other).findings] == [0, 0, 0]
    judged = Judged({"q": "draw a line"}, {"q": {"d": 1}})
    shared = find_leaks(judged, replace(nameless, positives=("use plot",))).findings[2]
    assert shared.status == "doubt" and shared.evidence.startswith("not enough evidence") and shared.fix
    named = replace(nameless, documents=("d",))
    assert find_leaks(judged, named).findings[2].count == 1
