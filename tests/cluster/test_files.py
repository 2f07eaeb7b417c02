"""Clusters and copies of a file: columns, gaps, and what is refused before the work."""
import csv
import json

import pytest

import semantic_nb.cluster.files as files
from semantic_nb.cluster.files import cluster_file, duplicates_file
from semantic_nb.core import ContractError

TEXTS = [f"{verb} a {noun}" for noun in ("matrix", "file", "list")
         for verb in ("sort", "open", "copy", "print", "read")]


def table(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def no_work(monkeypatch):
    def encode(*arguments):
        raise AssertionError("encoded before everything was looked at")
    monkeypatch.setattr(files, "_embedder", encode)


def test_rows_without_a_label_are_left_out_of_the_agreement_and_counted(spec, tmp_path):
    rows = [{"body": text, "kind": text.split()[-1]} for text in TEXTS] + [{"body": "sort it", "kind": ""}] * 2
    source = table(tmp_path / "t.csv", rows)
    found, said = cluster_file(source, spec, text="body", labels="kind", out=tmp_path / "o.csv")
    assert found["without a label"] == 2 and "left out of the agreement: 2" in said
    assert len(found["clusters"]) == 3 and len(found["labels"]) == 17
    assert set(found["agreement"]) == {"V-measure", "ARI", "purity"}
    assert len((tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()) == 18


@pytest.mark.parametrize("lines, layer", [
    (['{"text": "a"}', '{"text": NaN}'], "data.empty"), (['{"text": "a"}', '{"text": " "}'], "data.empty"),
    (['{"text": ["a"]}'], "data.value"), (['{"body": "a"}'], "data.columns")])
def test_a_row_that_holds_no_text_is_refused_before_the_work(no_work, spec, tmp_path, lines, layer):
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    for call in (lambda path: cluster_file(path, spec, k=2), lambda path: duplicates_file(path, spec, threshold=0.9)):
        with pytest.raises(ContractError) as refusal:
            call(tmp_path / "t.jsonl")
        assert refusal.value.layer == layer and "of t.jsonl" in refusal.value.symptom


@pytest.mark.parametrize("out", ["o.xlsx", "o", "a.csv/o.csv", "folder.csv", "/proc/o.csv"])
def test_a_place_that_takes_no_result_is_refused_before_the_work(no_work, spec, tmp_path, out):
    source = table(tmp_path / "a.csv", [{"text": text} for text in TEXTS])
    (tmp_path / "folder.csv").mkdir()
    for call in (lambda path: cluster_file(source, spec, k=2, out=path),
                 lambda path: duplicates_file(source, spec, threshold=0.9, out=path)):
        with pytest.raises(ContractError, match="data.file"):
            call(tmp_path / out)
    with pytest.raises(ContractError, match="cluster.answers.* is no file of answers"):
        cluster_file(source, spec, k=2, judge=source)


@pytest.mark.parametrize("options", [{}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_a_threshold_that_nobody_measured_is_refused(no_work, spec, tmp_path, options):
    with pytest.raises(ContractError, match="cluster.threshold"):
        duplicates_file(tmp_path / "none.csv", spec, **options)


def test_pairs_of_known_and_given_columns_are_decided_and_calibrated(spec, tmp_path):
    rows = [{"question1": one, "question2": other, "is_duplicate": int(one == other)}
            for one in TEXTS for other in TEXTS[:6]]
    found, said = duplicates_file(table(tmp_path / "q.csv", rows), spec, calibrate=tmp_path / "q.csv")
    assert "read anchor from 'question1', positive from 'question2', label from 'is_duplicate'" in said
    assert len(found["rows"]) == len(rows) and found["threshold"] > 0.5
    renamed = [dict(zip(("l", "r", "y"), row.values())) for row in rows]
    columns = {"anchor": "l", "positive": "r", "label": "y"}
    again, _ = duplicates_file(table(tmp_path / "r.csv", renamed), spec, calibrate=tmp_path / "r.csv", columns=columns)
    assert again["threshold"] == found["threshold"] and "--anchor" in str(pytest.raises(
        ContractError, duplicates_file, tmp_path / "q.csv", spec, calibrate=tmp_path / "r.csv").value)


@pytest.mark.parametrize("cell", ["", "nan", "x", None, True, [1]])
def test_a_label_or_score_that_is_no_number_is_refused_by_its_row(no_work, spec, tmp_path, cell):
    lines = [{"anchor": "a", "positive": "b", "score": score} for score in (5, cell, 1)]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ContractError, match=r"data.(value|empty)\] row 2 of s.jsonl: 'score' h"):
        duplicates_file(tmp_path / "s.jsonl", spec, calibrate=tmp_path / "s.jsonl", same_from=4)


@pytest.mark.parametrize("request_, layer", [
    ({"method": "kmeans"}, "cluster.k"), ({"method": "communities", "k": 3}, "cluster.k"),
    ({"method": "kmeans", "k": 1}, "cluster.k"), ({"method": "dbscan", "k": 3}, "cluster.method"),
    ({"labels": "kind"}, "cluster.k")])
def test_a_request_that_no_vectors_could_meet_is_refused_before_the_work(no_work, spec, tmp_path, request_, layer):
    source = table(tmp_path / "a.csv", [{"text": text, "kind": "all"} for text in TEXTS])
    with pytest.raises(ContractError) as refusal:
        cluster_file(source, spec, **request_)
    assert refusal.value.layer == layer


def test_texts_that_the_model_cannot_read_are_doubted(settings, tmp_path):
    words = "แมว นอน หลับ ผู้ใช้ เปิด แฟ้ม ฝน ตก หนัก บ้าน รถ เดิน".split()
    path = tmp_path / "thai.jsonl"
    path.write_text("".join(json.dumps({"text": " ".join(words[i % 7:i % 7 + 2 + i % 4])}) + "\n" for i in range(60)))
    content, text = duplicates_file(path, None, threshold=0.95)
    assert "cluster.collapse" in [finding["id"] for finding in content["findings"] if finding["status"] == "doubt"]
    assert "does not separate these texts" in text
