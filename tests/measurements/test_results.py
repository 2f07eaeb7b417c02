"""What `make results` writes: averages over seeds, planned comparisons, and the figures of a datasheet."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from results import (
    END, SHORT, START, TITLES, WRITTEN, content_words, part_of_titles, planned, results_table, slice_rows, split_rows,
    summary_comparisons, summary_rows, voices, voices_table, write_datasheet, write_results)
from semantic_nb.core import ContractError
from semantic_nb.data.domain import Domain
from semantic_nb.data.records import Corpus, Judged


@pytest.fixture
def small(spec):
    "The spec with one size, tested on `test` only."
    return spec.model_copy(update={
        "model": spec.model.model_copy(update={"dims": (8,)}),
        "index": spec.index.model_copy(update={"dim": 8}),
        "validation": spec.validation.model_copy(update={"test": "test", "production": None})})


@pytest.fixture
def two(small, tmp_path):
    "Two documents and two questions, one that has the words of its answer and one that has none of them."
    lines = [{"_id": q, "text": q, "metadata": {"kind": kind, "split": "test"}}
             for q, kind in (("easy", "plain"), ("hard", "fine"))]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = small.model_copy(update={"folder": tmp_path,
                                    "data": small.data.model_copy(update={"queries": "queries.jsonl"})})
    corpus = Corpus(("sort", "join"), ("sort(x)", "join(x)"),
                    ("Order the items of a list.", "Put many texts together."), ({}, {}))
    judged = Judged({"easy": "order items", "hard": "arrange things"}, {"easy": {"sort": 2}, "hard": {"sort": 2}})
    return Domain(spec, corpus, {"test": judged}, (), ())


def test_scores_are_averaged_over_seeds_question_by_question():
    scores = {("tuned", 8, "test"): np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.5]])}
    row = summary_rows(scores, {("tuned", 8, "test"): 1.0}, "nDCG@10", 6, "toy")[0]
    assert row["value"] == pytest.approx(2 / 3) and (row["n"], row["seeds"], row["n_docs"]) == (3, 2, 6)
    assert (row["seed_min"], row["seed_max"]) == (0.5, 2.5 / 3)


def test_two_seeds_that_differ_on_every_question_can_have_one_mean():
    scores = {("tuned", 8, "test"): np.array([[0.0, 1.0], [1.0, 0.0]])}
    row = summary_rows(scores, {("tuned", 8, "test"): 1.0}, "nDCG@10", 6, "toy")[0]
    assert row["seed_min"] == row["seed_max"] == row["value"] == 0.5


def seeded(level, questions=8):
    return level + np.random.default_rng(int(100 * level)).normal(0, 0.1, (2, questions))


def test_the_comparisons_are_planned_and_paired(small):
    scores = {(name, 8, "test"): seeded(level) for name, level in (("base", 0.2), ("stage 1", 0.58), ("stage 2", 0.6))}
    rows = summary_comparisons(scores, small, "toy")
    assert [(row["a"], row["b"], row["b_dim"], row["n"]) for row in rows] == [("stage 2", "base", 8, 8),
                                                                              ("stage 2", "stage 1", 8, 8)]
    assert rows[0]["outcome"] == "better" and rows[0]["difference"] > 0.3 and rows[1]["outcome"] == "not shown"
    assert set(rows[0]) == {"a", "b", "dim", "b_dim", "metric", "split", "profile", "seeds", "difference", "low",
                            "high", "p", "n", "outcome"}
    with pytest.raises(ContractError) as refusal:
        summary_comparisons(scores | {("base", 8, "test"): np.ones((2, 5))}, small, "toy")
    assert refusal.value.layer == "validate.pairing"


def test_a_rotation_brings_its_rivals_into_the_plan(spec):
    turned, plain = (spec.model_copy(update={"model": spec.model.model_copy(update={
        "rotate": rotate, "dims": (16, 8)})}) for rotate in ("corpus", False))
    plan = planned(turned)
    assert {("stage 2", 8, "base", 16), ("stage 2", 8, "rotated base", 8), ("stage 2", 8, "rotated stage 1", 8),
            ("stage 2", 8, "unordered", 8), ("rotated base", 8, "base", 16), ("hybrid", 8, "stage 2", 8)} <= set(plan)
    assert len(plan) == len(set(plan)) and not any("rotated" in row[0] + row[2] for row in planned(plain))


def test_the_test_questions_are_told_apart_by_their_voice(two):
    assert voices(two) == {}  # all of one voice
    lines = [{"_id": q, "text": q, "metadata": {"style": style}} for q, style in (("easy", "title"), ("hard", "terse"))]
    (two.spec.folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {name: list(part.queries) for name, part in voices(two).items()} == {WRITTEN: ["hard"], SHORT: ["easy"]}


@pytest.mark.parametrize("outcomes, agree", [(("better", "better"), "yes"), (("better", "not shown"), "in part"),
                                             (("better", "worse"), "no")])
def test_voices_agree_unless_one_shows_the_opposite_of_another(outcomes, agree):
    row = {"a": "stage 2", "dim": 8, "b": "base", "b_dim": 16, "difference": 0.1, "low": 0.0, "high": 0.2}
    rows = [row | {"split": split, "outcome": outcome} for split, outcome in zip((WRITTEN, TITLES), outcomes)]
    rows += [row | {"split": SHORT, "outcome": "better", "b": "stage 1", "b_dim": 16, "dim": 16}]  # decides nothing
    table = voices_table({"dims": [16, 8], "dim": 8, "comparisons": rows})
    assert [line["agree"] for line in table.rows] == [agree] and table.rows[0][WRITTEN] == "+0.100 [+0.000, +0.200]"


def test_titles_for_choices_and_for_results_share_nothing(two, tmp_path):
    write = [{"_id": f"t{i}", "text": f"title {i}"} for i in range(60)]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in write))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
        f"t{i}\tsort\t2\n" for i in range(60)))
    dev, test = (set(part_of_titles(tmp_path, two.corpus, part).queries) for part in ("dev", "test"))
    assert not dev & test and len(dev | test) == 60 and 8 < len(dev) < 32


def test_words_are_compared_as_word_search_reads_them():
    assert content_words("sorting the rows") == content_words("sorted row")
    assert content_words("of the") == set()
    assert content_words("How do I sort the rows of a table?") >= content_words("table rows, sorted")


def test_overlap_says_how_far_word_search_can_get(two):
    row, = split_rows(two)
    assert (row["questions"], row["judgments"], row["relevant"], row["word overlap"]) == (2, 2, 1, 0.5)
    assert row["BM25 nDCG@10"] == pytest.approx(0.5)


def test_slices_come_from_the_metadata_of_the_questions(two):
    scores = {(system, 8, "test"): np.array([[1.0, hard]]) for system, hard in (("base", 0.1), ("stage 2", 0.6))}
    rows = {(row["slice"], row["system"]): row for row in slice_rows(scores, two)}
    assert set(rows) == {(f"kind: {kind}", system) for kind in ("plain", "fine") for system in ("base", "stage 2")}
    hard = rows["kind: fine", "stage 2"]
    assert (hard["value"], hard["n"]) == (0.6, 1) and np.isnan(hard["low"])


@pytest.fixture
def content(two):
    slices = [{"slice": "kind: fine", "system": "base", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}]
    return {"slices": slices, "splits": split_rows(two), "dim": 8, "metric": "nDCG@10", "profile": "toy", "seeds": [1],
            "date": "today"}


def test_figures_are_replaced_between_the_marks_again_and_again(content, tmp_path):
    sheet = tmp_path / "README.md"
    sheet.write_text(f"Written by hand.\n{START}\nold\n{END}\nAlso by hand.\n")
    write_datasheet(sheet, content)
    once = sheet.read_text()
    assert once.startswith(f"Written by hand.\n{START}\n| split |") and once.endswith(f"{END}\nAlso by hand.\n")
    assert "old" not in once and "| kind: fine | 9 | 0.500 [0.400, 0.600] |" in once
    write_datasheet(sheet, content)
    assert sheet.read_text() == once


def test_a_datasheet_without_marks_is_refused(content, tmp_path):
    sheet = tmp_path / "README.md"
    sheet.write_text("Written by hand.\n")
    with pytest.raises(ContractError) as refusal:
        write_datasheet(sheet, content)
    assert refusal.value.layer == "validate.datasheet" and sheet.read_text() == "Written by hand.\n"


def test_the_table_has_systems_by_size():
    rows = [{"system": name, "dim": dim, "split": "test", "value": value, "judged_at_k": judged}
            for name, dim, value, judged in (("BM25", None, 0.4, 1.0), ("base", 16, 0.5, 0.95), ("base", 8, 0.3, 0.9),
                                             ("served", 8, 0.3, 1.0))]
    table = results_table({"dims": [16, 8], "retrieval": rows})
    assert list(table.rows) == [{"system": "BM25", "16": "0.400", "8": ""},
                                {"system": "base", "16": "0.500", "8": "0.300*"}]
    assert not results_table({"dims": [16, 8], "retrieval": rows}, "production").rows


def test_the_table_needs_no_torch():
    code = "import sys; import results; assert 'torch' not in sys.modules, 'torch was loaded'"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_goes_into_one_file(spec, tmp_path, monkeypatch):
    monkeypatch.delenv("DEVELOPMENT_DATA", raising=False)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"rotate": "corpus"})})
    written = write_results(tmp_path / "results.json", spec, (1, 2), say=lambda line: None)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["seeds"] == [1, 2] and content["profile"] == "tiny" and "external" not in content
    assert {row["seeds"] for row in content["retrieval"]} == {2}
    assert len(content["retrieval"]) == len(written["retrieval"])
    assert {row["split"] for row in content["comparisons"]} == {"test", "production"}
    assert {row["system"] for row in content["retrieval"]} == {"BM25", "base", "rotated base", "stage 1", "unordered",
                                                               "rotated stage 1", "stage 2", "hybrid", "served"}
    assert {row["slice"] for row in content["slices"]} == {"kind: easy", "style: sentence"}
