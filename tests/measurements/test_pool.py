"""A round of pooling: what is given to the judges, and what comes back from them."""
import json
from pathlib import Path

import numpy as np
import pytest

from pool import append_qrels, blocks_of, grades_in, unjudged, write_batches
from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus, Judged
from semantic_nb.store import file_hash, fingerprint

JUDGED = Judged({"q1": "sort a list", "q2": "open a file", "free": "hello"}, {"q1": {"a": 2}, "q2": {"c": 1, "d": 0}})
CORPUS = Corpus(tuple("abcde"), tuple(f"lib.{id}(x)" for id in "abcde"), ("some words of it",) * 5, ({},) * 5)
POOL = {"q1": ["b", "c", "e"], "q2": ["a"]}


def test_only_unjudged_documents_among_the_first_of_judged_questions_are_pooled():
    runs = [{"q1": {"a": 0.9, "b": 0.8, "c": 0.1}, "free": {"a": 1.0}}, {"q1": {"e": 1.0, "b": 0.5}, "q2": {"c": 1.0}}]
    assert unjudged(runs, JUDGED, k=2) == {"q1": ["b", "e"]}


def made(folder):
    write_batches(blocks_of(POOL, JUDGED, CORPUS, np.random.default_rng(1)), folder, 2, np.random.default_rng(1))
    return "".join(path.read_text() for path in sorted(folder.glob("batch-*")))


def test_a_judge_sees_questions_and_documents_and_nothing_of_systems(tmp_path):
    shown = made(tmp_path)
    key = json.loads((tmp_path / "key.json").read_text())
    ids = key["q1"]
    assert sorted(ids) == POOL["q1"] and key["q2"] == ["a"]
    block = "\n".join(["## q1 | sort a list", *(f"{n} lib.{id}(x) | some words of it" for n, id in enumerate(ids))])
    assert block in shown and "## q2 | open a file" in shown and "## free" not in shown


def judge(folder, **grades):
    (folder / "grades-00.jsonl").write_text("".join(
        json.dumps({"q": query, "grades": some}) + "\n" for query, some in grades.items()))


def test_grades_go_to_the_documents_they_were_given_to_and_the_rest_is_zero(tmp_path):
    made(tmp_path)
    key = json.loads((tmp_path / "key.json").read_text())
    judge(tmp_path, q1={"1": 2}, q2={})
    graded = grades_in(tmp_path)
    assert graded == {"q1": {key["q1"][0]: 0, key["q1"][1]: 2, key["q1"][2]: 0}, "q2": {"a": 0}}
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t2\n")
    assert append_qrels(tmp_path, {"test": JUDGED.select(["q1"])}, graded) == {"test": 3}
    assert f"q1\t{key['q1'][1]}\t2\n" in (tmp_path / "test.tsv").read_text()


@pytest.mark.parametrize("grades", [{"q1": {"1": 2}}, {"q1": {"7": 1}, "q2": {}}, {"q1": {"0": 3}, "q2": {}},
                                    {"q1": {}, "q2": {}, "q9": {}}])
def test_what_is_missing_or_unknown_is_refused(tmp_path, grades):
    made(tmp_path)
    judge(tmp_path, **grades)
    with pytest.raises(ContractError) as refusal:
        grades_in(tmp_path)
    assert refusal.value.layer == "validate.pool"


def test_the_datasheet_names_the_judgments_as_they_are():
    folder = Path(__file__).parents[2] / "data" / "pydocs"
    splits = "dev", "test", "production"
    frozen = fingerprint({split: file_hash(folder / "qrels" / f"{split}.tsv") for split in splits})
    assert f"The files as they are now: `{frozen}`" in (folder / "README.md").read_text(encoding="utf-8")
