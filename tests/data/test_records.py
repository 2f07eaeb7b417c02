import json

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.data.near_copies import duplicate_pairs
from semantic_nb.data.records import (
    Corpus, Judged, PairSet, over_length, positive_pairs, read_corpus, read_judged, read_pairs, write_corpus)
from semantic_nb.data.rows import read_rows

ROWS = [{"anchor": "wie groß?", "positive": "1 ,5 m"}, {"anchor": 'a "quoted" one', "positive": "مرحبا 👋"}]


def write(path, rows):
    import csv
    import pyarrow
    import pyarrow.parquet
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            kind = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if path.suffix == ".tsv" else {}
            writer = csv.DictWriter(file, rows[0], **kind)
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.jsonl", "p.parquet"])
def test_every_format_gives_the_same_pairs(tmp_path, name):
    pairs = read_pairs(write(tmp_path / name, ROWS), "p", "symmetric")
    assert pairs.columns() == {"anchor": [r["anchor"] for r in ROWS], "positive": [r["positive"] for r in ROWS]}


def test_a_dataset_and_triplets(tmp_path):
    from datasets import Dataset
    rows = [row | {"no": "x"} for row in ROWS]
    assert read_pairs(Dataset.from_list(rows), "p", "symmetric", negative="no").columns()["negative_1"] == ["x", "x"]


@pytest.mark.parametrize("name, content, layer", [
    ("a.csv", b"anchor,positive\n\xe4,b\n", "data.encoding"), ("a.csv", b"", "data.file"),
    ("a.csv", b"anchor,positive\n", "data.file"), ("a.csv", b"anchor,positive\na\n", "data.format"),
    ("a.csv", b"anchor,positive\na,b,c\n", "data.format"), ("a.jsonl", b'{"anchor": 1\n', "data.format"),
    ("a.jsonl", b'{"anchor": "cut \\ud83d", "positive": "b"}\n', "data.format"),
    ("a.parquet", b"not parquet", "data.format"), ("a.xml", b"<a/>", "data.file"),
    ("a.csv", b"question;answer\na;b\n", "data.format"), ("a.csv", b"anchor,positive\na,\n", "data.empty"),
    ("missing.csv", None, "data.file")])
def test_bad_files_are_refused_by_layer(tmp_path, name, content, layer):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError) as refusal:
        read_pairs(tmp_path / name, "p", "symmetric")
    assert refusal.value.layer == layer and str(tmp_path) not in str(refusal.value)


def test_the_line_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": 2}\n{oops}\n')
    with pytest.raises(ContractError, match="line 3"):
        read_rows(tmp_path / "a.jsonl")


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffanchor,positive\na,b\n".encode())
    assert len(read_pairs(tmp_path / "a.csv", "p", "symmetric")) == 1


@given(st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.text()), min_size=1, max_size=8,
                unique_by=lambda row: row[0]))
@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_corpus_survives_writing_and_reading(tmp_path, rows):
    corpus = Corpus(tuple(id for id, _ in rows), ("t",) * len(rows),
                    tuple(text for _, text in rows), ({"k": 1},) * len(rows))
    again = read_corpus(write_corpus(corpus, tmp_path / "c.jsonl"))
    assert again == corpus and again.content == corpus.content


@pytest.mark.parametrize("qrels, what",
                         [("q999\tsort_tables\t1\n", "does not have"),
                          ("q0\tsort_tables\t0\n", "no query with a relevant"),
                          ("q0\tnowhere\t1\n", "not in the corpus"),
                          ("q0\tsort_tables\tgood\n", "row 1 of bad.tsv: 'score' holds 'good'"),
                          ("q0\tsort_tables\t0.5\n", "'0.5', not a whole"),
                          ("q0\tsort_tables\t" + "9" * 24, "whole number"),
                          ("q0\t\t1\n", "'corpus-id' has no text")])
def test_judgments_must_resolve(domain_folder, qrels, what):
    path = domain_folder / "qrels" / "bad.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n" + qrels)
    with pytest.raises(ContractError, match=what) as refusal:
        read_judged(domain_folder / "queries.jsonl", path, read_corpus(domain_folder / "corpus.jsonl"))
    assert refusal.value.layer in ("data.qrels", "data.empty") and "constraints" not in refusal.value.fix


def test_a_few_lost_judgments_are_dropped_and_counted(domain_folder):
    path = domain_folder / "qrels" / "few.tsv"
    rows = [f"q0\t{id}\t1\n" for id in read_corpus(domain_folder / "corpus.jsonl").ids]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows) + "q1\tgone\t1\n")
    judged = read_judged(domain_folder / "queries.jsonl", path, read_corpus(domain_folder / "corpus.jsonl"))
    assert sum(judged.dropped.values()) == 2 and set(judged.queries) == {"q0"}
    finding = judged.finding("few")
    assert (finding.id, finding.status) == ("data.unresolved.few", "doubt")
    assert "1 judgments without a document" in finding.evidence and "left out: 'q1'" in finding.evidence


def test_aliases_resolve(domain_folder):
    corpus = read_corpus(domain_folder / "corpus.jsonl")
    renamed = Corpus(corpus.ids, corpus.titles, corpus.texts, ({"aliases": ["old.name"]}, *corpus.metadata[1:]))
    path = domain_folder / "qrels" / "alias.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq0\told.name\t2\n")
    assert read_judged(domain_folder / "queries.jsonl", path, renamed).qrels == {"q0": {corpus.ids[0]: 2}}


def test_an_id_twice_and_an_empty_corpus(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": ""}\n')
    with pytest.raises(ContractError, match="data.empty"):
        read_corpus(tmp_path / "c.jsonl")
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "x"}\n' * 2)
    with pytest.raises(ContractError, match="data.duplicate_id"):
        read_corpus(tmp_path / "c.jsonl")


def test_findings_count():
    finding = over_length(["a b c d", "a"], "query", 2, lambda texts: [len(t.split()) for t in texts])
    assert (finding.status, finding.count) == ("doubt", 1)
    assert duplicate_pairs(PairSet("p", "symmetric", ("a", "b"), ("x", "x"))).count == 1


def test_an_unclosed_quote_swallows_nothing(tmp_path):
    (tmp_path / "p.csv").write_text('anchor,positive\na,b\nc,"d\ne,f\ng,h\n')
    with pytest.raises(ContractError, match="data.format"):
        read_rows(tmp_path / "p.csv")
    (tmp_path / "q.csv").write_text('\ufeffanchor,positive\r\na,"b\nc"\r\n', encoding="utf-8", newline="")
    assert read_rows(tmp_path / "q.csv") == [{"anchor": "a", "positive": "b\nc"}]


def test_a_bad_byte_is_told_by_its_line(tmp_path):
    lines = [b"anchor,positive"] + [b"a question,an answer"] * 5000
    lines[4001] = b"caf\xe9,coffee"
    (tmp_path / "p.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(ContractError, match=r"data.encoding\] .* in line 4002"):
        read_rows(tmp_path / "p.csv")


@pytest.mark.parametrize("line", ["null", "3", '"anchor positive"', "[1]"])
def test_a_line_that_is_no_object_is_refused(tmp_path, line):
    (tmp_path / "p.jsonl").write_text('{"anchor": "a", "positive": "b"}\n' + line + "\n")
    with pytest.raises(ContractError, match="line 2 is no JSON object"):
        read_rows(tmp_path / "p.jsonl")


def test_aliases_that_are_null_are_none(tmp_path):
    documents = Corpus(("d",), ("",), ("sort a list",), ({"aliases": None},))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "sort"}\n')
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert read_judged(tmp_path / "queries.jsonl", tmp_path / "test.tsv", documents).qrels == {"q": {"d": 1}}


def test_the_two_files_of_a_split_are_refused_with_all_their_mistakes(domain_folder):
    queries, qrels = domain_folder / "queries.jsonl", domain_folder / "qrels" / "bad.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\nq999\tsort_tables\t1\nq0\tsort_tables\t0\nq1\tnowhere\t1\n")
    corpus = read_corpus(domain_folder / "corpus.jsonl")
    with pytest.raises(ContractError) as refusal:
        read_judged(queries, qrels, corpus)
    unknown, gone = [error.symptom for error in refusal.value.more]
    assert "does not have: 'q999'" in unknown and "not in the corpus: 'nowhere'; there is '" in gone
    queries.write_text('{"_id": "q0"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\nq0\tsort_tables\tgood\n")
    with pytest.raises(ContractError) as refusal:
        read_judged(queries, qrels, None)
    assert [error.layer for error in refusal.value.more] == ["data.columns", "data.qrels"]


def test_judgments_become_pairs():
    documents = Corpus(("a", "b", "c"), ("", "", ""), ("sort a list", "order items", ""), ({},) * 3)
    judged = Judged({"q": "sorting", "r": "none"}, {"q": {"a": 2, "b": 1, "c": 2}, "r": {"a": 0}})
    pairs = judged.pairs(documents, "train", "asymmetric")
    assert (pairs.anchors, pairs.positives, pairs.documents) == (
        ("sorting", "sorting"), ("sort a list", "order items"), ("a", "b"))
    assert judged.pairs(documents, "train", "asymmetric", best=True).documents == ("a",)
    assert judged.select(["r"]) == Judged({"r": "none"}, {"r": {"a": 0}})
    assert len(judged.select(["r"]).pairs(documents, "train", "asymmetric")) == 0


@pytest.mark.parametrize("name, text", [
    ("split.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1.0\nq\tb\t-1\nq\ta\t2\nr\tb\t0\n"),
    ("split.tsv", "\ufeffq 0 a 1\nq 0 b -1\nq\t0\ta\t2\n\nr 0 b 0\n"),
    ("split.txt", "q 0 a 1\nq 0 b -1\nq 0 a 2\nr 0 b 0"),
    ("split.jsonl", "".join(json.dumps({"query-id": q, "corpus-id": d, "score": g}) + "\n"
                            for q, d, g in (("q", "a", 1.0), ("q", "b", "-1"), ("q", "a", 2), ("r", "b", 0))))])
def test_judgments_are_read_in_their_layouts_and_what_is_dropped_is_said(tmp_path, name, text):
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "sort"}\n{"_id": "r", "text": 404}\n')
    (tmp_path / name).write_text(text, encoding="utf-8")
    documents = Corpus(("a", "b"), ("", ""), ("one", "two"), ({}, {}))
    judged = read_judged(tmp_path / "queries.jsonl", tmp_path / name, documents)
    assert judged.qrels == {"q": {"a": 2, "b": 0}} and judged.queries == {"q": "sort"}
    said = judged.finding("s").evidence
    assert said.startswith("1 queries without a relevant document, left out: 'r'; 1 grades below 0 read as 0, not "
                           "relevant; 1 pairs with two grades, of which the higher counts")
    assert ("four columns of TREC" in said) == ("q 0 a 1" in text)


def test_a_blank_at_the_end_of_an_id_shows(tmp_path):
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "sort"}\n')
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    with pytest.raises(ContractError, match="'a'; there is 'a '"):
        read_judged(tmp_path / "queries.jsonl", tmp_path / "test.tsv",
                    Corpus(("b", "a "), ("", ""), ("x", "y"), ({}, {})))


@pytest.mark.parametrize("row, what", [
    ({"text": ["a", "b"]}, "'text' holds a list"), ({"text": True}, "'text' holds true or false"),
    ({"metadata": ["v2"]}, "'metadata' "), ({"metadata": "v2"}, "'metadata' "), ({"_id": None}, "'_id' has no text"),
    ({"metadata": {"aliases": "abc"}}, "'metadata.aliases' "), ({"metadata": {"aliases": 3}}, "'metadata.aliases' "),
    ({"metadata": {"aliases": [{}]}}, "'metadata.aliases.0' holds an object"),
    ({"title": {}}, "'title' holds an object"),
    ({"metadata": {"group": ["a"]}}, "'metadata.group' holds a list")])
def test_a_document_of_another_kind_is_refused_by_row_and_column(tmp_path, row, what):
    lines = [{"_id": "a", "text": "one"}, {"_id": "b", "text": "two"} | row]
    with pytest.raises(ContractError, match=f"data.(value|empty)\\] row 2 of c.jsonl: {what}"):
        read_corpus(write(tmp_path / "c.jsonl", lines))


def test_empty_documents_are_left_out_and_counted_and_nan_is_nothing(tmp_path):
    rows = [{"_id": 1, "title": float("nan"), "text": "one"}, {"_id": "b", "title": "", "text": None},
            {"_id": "c", "text": " "}, {"_id": "d", "title": "only a title", "text": ""}]
    documents = read_corpus(write(tmp_path / "c.jsonl", rows))
    assert documents.ids == ("1", "d") and documents.empty == 2 and documents.passages == ["one", "only a title"]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True, float("nan"), None, float("inf"), b"a", " "])
def test_no_value_of_another_kind_becomes_a_text_to_train_on(value):
    with pytest.raises(ContractError, match="row 1 of p: 'positive' (holds|has)"):
        read_pairs([{"anchor": "a", "positive": value}], "p", "symmetric")
    assert read_pairs([{"anchor": "a", "positive": 404}], "p", "symmetric").positives == ("404",)


@pytest.mark.parametrize("column, values, kept, status", [
    ("label", [1, "0", 1.0], 2, "ok"), ("is_duplicate", ["1", "0", "0"], 1, "ok"), ("score", [5, 4.1, 1], 2, "doubt")])
def test_only_positives_are_trained_on_and_the_others_are_counted(column, values, kept, status):
    rows = [{"anchor": f"a{i}", "positive": "p", column: value} for i, value in enumerate(values)]
    pairs, (finding,) = positive_pairs(rows, "p", "symmetric", {"anchor": "anchor", "positive": "positive"})
    assert len(pairs) == len(read_pairs(rows, "p", "symmetric")) == kept
    assert (finding.id, finding.count, finding.status) == ("data.rows.p", 3 - kept, status)


def test_scored_pairs_keep_every_row_and_know_which_belong_together():
    rows = [{"anchor": f"a{i}", "positive": f"p{i}", "score": value} for i, value in enumerate([5, "4.1", 1])]
    columns = {"anchor": "anchor", "positive": "positive"}
    pairs, findings = positive_pairs(rows, "p", "symmetric", columns, scored=True)
    assert pairs.columns()["score"] == [5.0, 4.1, 1.0] and not findings
    assert pairs.belonging().anchors == ("a0", "a1") and pairs.take([2]).scores == (1.0,)
    plain, _ = positive_pairs(rows, "p", "symmetric", columns)
    assert plain.belonging() is plain and "score" not in plain.columns()
    with pytest.raises(ContractError, match="data.labels"):
        positive_pairs([{"anchor": "a", "positive": "p"}], "p", "symmetric", columns, scored=True)


@pytest.mark.parametrize("values", [[0, 0], [1, 2], [1, None], ["yes", "no"], [True, False], [1, -1]])
def test_labels_that_say_nothing_are_refused(values):
    with pytest.raises(ContractError, match="data.(labels|value|empty)"):
        read_pairs([{"anchor": "a", "positive": "p", "label": value} for value in values], "p", "symmetric")
