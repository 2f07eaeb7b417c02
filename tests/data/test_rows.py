"""Files as people have them: read rightly, or refused with file, row or line, and column."""
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.rows import Grade, MaybeText, Number, Text, judgment_file, pair_columns, read_rows, typed_rows


@pytest.mark.parametrize("name, content, rows", [
    ("a.tsv", b'q\ta\n"Eco" mode: what?\tb\nc\t24"\n', [{"q": '"Eco" mode: what?', "a": "b"}, {"q": "c", "a": '24"'}]),
    ("a.csv", b"q,a\n" + b"x" * 200_000 + b",b\n", [{"q": "x" * 200_000, "a": "b"}]),
    ("a.jsonl", b'\xef\xbb\xbf{"q": 1}\n', [{"q": 1}]), ("A.CSV", b"q,a\n\nx,y\n\n", [{"q": "x", "a": "y"}]),
    ("a.csv", b"q,,\nx,,\n", [{"q": "x", "": ""}]), ("a.csv", b"text\nx\n", [{"text": "x"}])])
def test_what_other_programs_write_is_read(tmp_path, name, content, rows):
    (tmp_path / name).write_bytes(content)
    assert read_rows(tmp_path / name) == rows


@pytest.mark.parametrize("name, content, what", [
    ("a.csv", b"q;a\nx;y\n", "the header has ';' between the names of columns, expected ','"),
    ("a.csv", b'"q";"a"\n"x";"y"\n', "the header has ';'"), ("a.tsv", b"q,a\nx,y\n", "expected '.t'"),
    ("a.csv", b"sep=,\nq,a\nx,y\n", "line 1 is 'sep=,'"), ("a.csv", b"q,q\nx,y\n", "the header has 'q' twice"),
    ("a.csv", b'q,a\nx,y\nx,"y" z\n', "line 3: ',' expected"), ("a.csv", b"q,a\nx,y\nx\n", "line 3 has 1 fields"),
    ("a.jsonl", b'{"q": 1}\n' + b'{"q":' * 100_000 + b"1" + b"}" * 100_000, "line 2 is not JSON .nested too deeply"),
    ("a.jsonl", b'{"q": ' + b"9" * 5000 + b"}\n", "line 1 is not JSON .Exceeds the limit"),
    ("a.jsonl", b'{"q": "\\ud83d"}\n', "line 1 has half a character"), ("a.txt", b"q 0 d 1\n", "is none of"),
    ("a.jsonl", None, "does not exist")])
def test_what_would_be_read_wrongly_is_refused_with_its_line(tmp_path, name, content, what):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError, match=what) as refusal:
        read_rows(tmp_path / name)
    assert name in refusal.value.symptom and str(tmp_path) not in str(refusal.value)


def test_a_folder_in_the_place_of_a_file_and_a_parquet_file_with_a_column_twice(tmp_path):
    import pyarrow
    import pyarrow.parquet
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ContractError, match="a.csv is no file"):
        read_rows(tmp_path / "a.csv")
    table = pyarrow.table([["x"], ["y"]], names=["q", "q"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ContractError, match="data.format"):
        read_rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind, value, read", [
    (Text, "a", "a"), (Text, 404, "404"), (Text, 0, "0"), (Text, 1.5, "1.5"), (MaybeText, None, ""),
    (MaybeText, float("nan"), ""), (MaybeText, " ", " "), (Number, "4.5", 4.5), (Number, 1, 1.0)])
def test_a_value_is_read_as_its_kind(kind, value, read):
    assert typed_rows([{"x": value, "other": [1]}], {"x": kind}) == [{"x": read}]


@pytest.mark.parametrize("kind, value, layer", [
    (Text, None, "data.empty"), (Text, "  ", "data.empty"), (Text, float("nan"), "data.empty"),
    (Text, ["a"], "data.value"), (Text, {}, "data.value"), (Text, b"a", "data.value"), (Text, False, "data.value"),
    (Text, float("inf"), "data.value"), (MaybeText, ["a"], "data.value"), (Number, "", "data.empty"),
    (Number, "nan", "data.value"), (Number, "x", "data.value"), (Number, True, "data.value"),
    (Number, [1], "data.value"), (Number, 10 ** 400, "data.value")])
def test_a_value_of_another_kind_is_refused_with_row_and_column(kind, value, layer):
    rows = [{"x": "1"}, {"x": value}, {"x": value}]
    with pytest.raises(ContractError, match="row 2 of f: 'x' .*; 2 rows have the same") as refusal:
        typed_rows(rows, {"x": kind}, "f")
    assert refusal.value.layer == layer


def test_a_missing_column_shows_the_blank_in_the_name_that_is_there():
    with pytest.raises(ContractError, match="row 1 of f has the columns 'anchor', ' positive', not 'positive'"):
        typed_rows([{"anchor": "a", " positive": "b"}], {"anchor": Text, "positive": Text}, "f")
    with pytest.raises(ContractError, match="data.columns.* row 2 of f"):
        typed_rows([{"x": "a"}, {"y": "b"}], {"x": Text}, "f")


@pytest.mark.parametrize("header, given, columns", [
    (("anchor", "positive", "negative", "score"), {}, {"anchor": "anchor", "positive": "positive",
                                                       "negative": "negative", "label": "score"}),
    (("question", "answer", "score"), {}, {"anchor": "question", "positive": "answer"}),
    (("question1", "question2", "is_duplicate"), {}, {"anchor": "question1", "positive": "question2",
                                                      "label": "is_duplicate"}),
    (("sentence1", "sentence2", "score"), {}, {"anchor": "sentence1", "positive": "sentence2", "label": "score"}),
    (("query", "positive"), {"positive": None}, {"anchor": "query", "positive": "positive"}),
    (("q", "positive"), {"anchor": "q"}, {"anchor": "q", "positive": "positive"}), (("a", "b"), {"anchor": "a"}, {})])
def test_known_names_of_columns_are_read_and_said(header, given, columns):
    found, said = pair_columns(header, given)
    assert found == columns
    assert all((repr(column) in said) == (role != column) for role, column in found.items())


def test_a_split_is_found_under_its_endings(tmp_path):
    assert judgment_file(tmp_path, "test").name == "test.tsv"
    (tmp_path / "test.jsonl").write_text("{}")
    assert judgment_file(tmp_path, "test").name == "test.jsonl"


@pytest.mark.parametrize("grade, good", [("1.0", True), (1000, True), (-1, True), (1001, False), ("999999999", False),
                                         ("1e3", False), (True, False), ("two", False)])
def test_a_grade_is_a_small_whole_number(grade, good):
    if good:
        assert typed_rows([{"score": grade}], {"score": Grade}) == [{"score": int(float(grade))}]
    else:
        with pytest.raises(ContractError, match="data.qrels.*not a whole number up to 1,000"):
            typed_rows([{"score": grade}], {"score": Grade})


@pytest.mark.parametrize("kind, value, fix", [(dict, "x", "write an object"), (dict, ["x"], "write an object"),
                                              (list[str], "abc", "write a list of"), (list[str], 5, "write a list of")])
def test_the_fix_says_what_is_wanted(kind, value, fix):
    with pytest.raises(ContractError) as refusal:
        typed_rows([{"metadata": value}], {"metadata": kind})
    assert refusal.value.fix.startswith(fix)
