import json

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.data.near_copies import duplicate_pairs
from semantic_nb.data.records import (
    Corpus, Judged, PairSet, over_length, read_corpus, read_judged, read_pairs, read_rows, write_corpus)

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
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
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
    ("a.csv", b"question;answer\na;b\n", "data.columns"), ("a.csv", b"anchor,positive\na,\n", "data.empty"),
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


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=8, unique_by=lambda row: row[0]))
@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_corpus_survives_writing_and_reading(tmp_path, rows):
    corpus = Corpus(tuple(id for id, _ in rows), ("t",) * len(rows),
                    tuple(text for _, text in rows), ({"k": 1},) * len(rows))
    again = read_corpus(write_corpus(corpus, tmp_path / "c.jsonl"))
    assert again == corpus and again.content == corpus.content


@pytest.mark.parametrize("qrels, what",
                         [("q999\tsort_tables\t1\n", "does not have"), ("q0\tsort_tables\t0\n", "without a relevant"),
                          ("q0\tnowhere\t1\n", "not in the corpus"), ("q0\tsort_tables\tgood\n", "grade")])
def test_judgments_must_resolve(domain_folder, qrels, what):
    path = domain_folder / "qrels" / "bad.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n" + qrels)
    with pytest.raises(ContractError, match=what) as refusal:
        read_judged(domain_folder / "queries.jsonl", path, read_corpus(domain_folder / "corpus.jsonl"))
    assert refusal.value.layer == "data.qrels"


def test_a_few_lost_judgments_are_dropped_and_counted(domain_folder):
    path = domain_folder / "qrels" / "few.tsv"
    rows = [f"q0\t{id}\t1\n" for id in read_corpus(domain_folder / "corpus.jsonl").ids]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows) + "q1\tgone\t1\n")
    judged = read_judged(domain_folder / "queries.jsonl", path, read_corpus(domain_folder / "corpus.jsonl"))
    assert judged.dropped == 1 and set(judged.queries) == {"q0"}


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
    unknown, gone, hopeless = [error.symptom for error in refusal.value.more]
    assert "does not have: q999" in unknown and "not in the corpus: nowhere" in gone
    assert "without a relevant document: q0" in hopeless
    queries.write_text('{"_id": "q0"}\n')
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
