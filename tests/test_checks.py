"""`semantic-nb data` on every kind of source: what is sound passes, what is
wrong is named, what cannot be known is said."""
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from foreign import write_lines
from semantic_nb.checks import check_data, check_pairs, pairing_finding, read_data_source, require_pairs
from semantic_nb.cli import app
from semantic_nb.core import ContractError
from semantic_nb.data.records import PairSet

sys.path.insert(0, str(Path(__file__).parent / "data"))
from test_symmetry import answers, joined, paraphrases  # noqa: E402

DATA = Path(os.environ.get("DEVELOPMENT_DATA", "nowhere"))


KEYS = {"id", "layer", "status", "count", "evidence", "fix", "rows"}


def rows_of(pairs):
    return [{"anchor": a, "positive": p} for a, p in zip(pairs.anchors, pairs.positives)]


@pytest.fixture
def ask(domain_folder, tiny_model, monkeypatch):
    monkeypatch.chdir(domain_folder)

    def run(*args):
        result = CliRunner().invoke(app, ["data", *map(str, args), "--json"], catch_exceptions=True)
        if isinstance(result.exception, ContractError):
            return result.exception, 2
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return {row["id"]: row for row in json.loads(result.stdout)}, result.exit_code
    return run


def test_sound_pairs_pass(ask, tmp_path):
    write_lines(tmp_path / "faq.jsonl", rows_of(answers(150)))
    found, code = ask(tmp_path / "faq.jsonl", "--symmetry", "asymmetric")
    assert code == 0 and all(set(row) == KEYS and row["layer"] == "data" for row in found.values())
    assert not [row for row in found.values() if row["status"] == "fail"]
    assert "observed asymmetric" in found["data.symmetry.faq"]["evidence"]


def test_a_wrong_declaration_and_a_mixture_fail(ask, tmp_path):
    write_lines(tmp_path / "faq.jsonl", rows_of(answers(150)))
    found, code = ask(tmp_path / "faq.jsonl", "--symmetry", "symmetric")
    assert code == 1 and [id for id, row in found.items() if row["status"] == "fail"] == ["data.symmetry.faq"]
    write_lines(tmp_path / "mixed.jsonl", rows_of(joined(paraphrases(180), answers(20))))
    found, code = ask(tmp_path / "mixed.jsonl", "--symmetry", "symmetric")
    assert code == 1 and found["data.mixture.mixed"]["status"] == "fail"
    assert {row["row"] for row in found["data.mixture.mixed"]["rows"]} >= set(range(185, 200))


def test_without_a_declaration_the_observation_is_reported(ask, tmp_path):
    write_lines(tmp_path / "alike.jsonl", rows_of(paraphrases(60)))
    found, code = ask(tmp_path / "alike.jsonl")
    assert code == 0 and found["data.symmetry.alike"]["evidence"].startswith("observed symmetric")


def test_leakage_against_a_training_file(ask, tmp_path):
    write_lines(tmp_path / "train.jsonl", rows_of(answers(100, 1)))
    write_lines(tmp_path / "test.jsonl", rows_of(answers(50, 7)) + rows_of(answers(100, 1))[:10])
    found, code = ask(tmp_path / "test.jsonl", "--against", tmp_path / "train.jsonl")
    assert code == 1 and found["data.leakage.same_text.test"]["count"] >= 10
    write_lines(tmp_path / "clean.jsonl", rows_of(answers(50, 3)))
    found, _ = ask(tmp_path / "clean.jsonl", "--against", tmp_path / "train.jsonl")
    assert found["data.leakage.same_text.clean"]["status"] == "ok"


def test_only_positives_of_a_labelled_file_are_pairs(ask, tmp_path):
    rows = [row | {"score": 5 if i < 60 else 1} for i, row in enumerate(rows_of(paraphrases(100)))]
    write_lines(tmp_path / "scored.jsonl", rows)
    found, _ = ask(tmp_path / "scored.jsonl")
    assert found["data.rows.scored"]["count"] == 40 and found["data.rows.scored"]["status"] == "doubt"
    write_lines(tmp_path / "none.jsonl", [row | {"label": 0} for row in rows])
    refusal, code = ask(tmp_path / "none.jsonl")
    assert code == 2 and refusal.layer == "data.labels"


def test_columns_of_other_names_are_read_where_known_or_given(ask, tmp_path):
    rows = [dict(zip(("question", "answer"), row.values())) for row in rows_of(answers(150))]
    write_lines(tmp_path / "faq.jsonl", rows)
    found, code = ask(tmp_path / "faq.jsonl")
    assert code == 0 and found["data.columns"]["evidence"] == "read anchor from 'question', positive from 'answer'"
    write_lines(tmp_path / "own.jsonl", [{"q": row["question"], "a": row["answer"], "y": i % 2}
                                         for i, row in enumerate(rows)])
    refusal, code = ask(tmp_path / "own.jsonl")
    assert code == 2 and "'q', 'a', 'y'" in refusal.symptom and "--anchor and --positive" in refusal.fix
    found, code = ask(tmp_path / "own.jsonl", "--anchor", "q", "--positive", "a", "--label", "y")
    assert code == 0 and found["data.rows.own"]["count"] == 75
    refusal, code = ask(tmp_path / "own.jsonl", "--anchor", "q", "--positive", "b")
    assert code == 2 and "not 'b'" in refusal.symptom
    write_lines(tmp_path / "texts.jsonl", [{"body": row["answer"]} for row in rows] + [{"body": float("nan")}])
    found, code = ask(tmp_path / "texts.jsonl", "--text", "body")
    assert found["data.empty.text"]["count"] == 1 and found["data.empty.text"]["status"] == "doubt"


def test_what_a_folder_lost_is_said(ask, domain_folder, tmp_path):
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    for name in ("queries.jsonl", "corpus.jsonl"):
        (beir / name).write_bytes((domain_folder / name).read_bytes())
    with open(beir / "corpus.jsonl", "a", encoding="utf-8") as file:
        file.write('{"_id": "hollow", "title": null, "text": ""}\n')
    lines = (domain_folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
    trec = [" ".join([query, "0", document, grade]) for query, document, grade in (line.split("\t") for line in lines)]
    (beir / "qrels" / "test.txt").write_text("\n".join(trec) + "\n")
    found, code = ask(beir)
    assert found["data.unresolved.test"]["status"] == "ok" and found["data.empty.document"]["count"] == 1
    (beir / "qrels" / "test.txt").write_text("\n".join([trec[0][:-1] + "-1", *trec[1:]]) + "\n")
    found, code = ask(beir)
    assert "read as 0" in found["data.unresolved.test"]["evidence"]


def test_a_spec_a_folder_and_texts(ask, domain_folder, tmp_path):
    found, code = ask(domain_folder / "spec.toml")
    assert {"data.symmetry.questions", "data.mixture.mined", "data.leakage.shared_document.test",
            "data.length.document"} <= set(found)
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        (beir / name).write_bytes((domain_folder / name).read_bytes())
    (beir / "qrels" / "leaky.tsv").write_bytes((domain_folder / "qrels" / "train.tsv").read_bytes())
    found, code = ask(beir)
    assert code == 1 and found["data.leakage.same_text.leaky"]["status"] == "fail" and found[
        "data.leakage.same_text.test"]["status"] == "ok"
    found, code = ask(beir, "--split", "test")
    assert "data.leakage.same_text.leaky" not in found and found["data.leakage.shared_document.test"]["status"] == "ok"
    write_lines(tmp_path / "texts.jsonl", [{"text": "one and the same sentence about rivers"}] * 5
                + [{"text": f"number {i} of other things"} for i in range(5)])
    found, code = ask(tmp_path / "texts.jsonl")
    assert found["data.copies.text"]["count"] >= 4 and found["data.copies.text"]["status"] == "doubt"


@pytest.mark.parametrize("rows", [[{"left": "a", "right": "b"}], [{"anchor": "", "positive": "b"}]])
def test_what_is_no_source_is_refused(ask, tmp_path, rows):
    write_lines(tmp_path / "odd.jsonl", rows)
    refusal, code = ask(tmp_path / "odd.jsonl")
    assert code == 2 and refusal.layer.startswith("data.")


@pytest.mark.parametrize(
    "rows", [rows_of(answers(3)), rows_of(answers(1)) * 200, [{"anchor": "same", "positive": "same"}] * 50])
def test_too_little_says_so(ask, tmp_path, rows):
    write_lines(tmp_path / "few.jsonl", rows)
    found, code = ask(tmp_path / "few.jsonl", "--symmetry", "symmetric")
    assert code == 0 and all(found[id]["evidence"].startswith("not enough evidence")
                             for id in ("data.symmetry.few", "data.mixture.few"))


@pytest.mark.parametrize("text", ["كيف أرتب القائمة {}؟", "リスト{}を並べ替えるには？", "🙂🙃 {}", "x" * 1_000_000 + "{}"])
def test_odd_texts_are_read(ask, tmp_path, text):
    write_lines(tmp_path / "odd.jsonl",
                [{"anchor": text.format(i), "positive": f"answer {i}"} for i in range(4 if len(text) > 1000 else 40)])
    found, code = ask(tmp_path / "odd.jsonl")
    assert code in (0, 1) and all(row["status"] in ("ok", "doubt", "fail") for row in found.values())


def test_a_run_stops_and_a_reason_lets_it_go_on():
    pairs = answers(120)
    wrong = [type(pairs)("faq", "symmetric", pairs.anchors, pairs.positives)]
    with pytest.raises(ContractError) as refusal:
        require_pairs(wrong)
    assert refusal.value.layer == "data.symmetry.faq"
    reasoned = SimpleNamespace(data=SimpleNamespace(symmetry_reason="agreed", mixture_reason=""))
    assert any(f.status == "doubt" and f.fix == "answered: agreed" for f in require_pairs(wrong, reasoned))
    assert not [f for f in check_pairs(pairs) if f.status == "fail"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the development sets are not at hand")
def test_scifact_shares_abstracts_between_train_and_test():
    from semantic_nb.data.leakage import find_leaks
    source = read_data_source(DATA / "scifact")
    found = {f.id: f for f in find_leaks(source.splits["test"], source.splits["train"]).findings}
    assert found["data.leakage.shared_document"].count == 196 and len(source.splits["test"].queries) == 300


# --- pairing

def with_wrong(pairs, share, seed=0):
    "So many of the pairs have the positive of another of them."
    draw = np.random.default_rng(seed)
    rows, moved = np.arange(len(pairs)), draw.permutation(len(pairs))[:round(share * len(pairs))]
    rows[moved] = np.roll(moved, 1)
    return replace(pairs, positives=tuple(pairs.positives[i] for i in rows), negatives=(), documents=())


def test_a_broken_join_is_doubted_wherever_it_broke():
    pairs = PairSet("p", "asymmetric", tuple(f"how to use tool{i} on a file" for i in range(30)),
                    tuple(f"tool{i}: this function reads a file" for i in range(30)))
    assert pairing_finding(pairs).status == "ok"
    for step in (1, 7, 15, 29):
        assert pairing_finding(
            replace(pairs, positives=pairs.positives[step:] + pairs.positives[:step])).status == "doubt", step


@pytest.mark.parametrize("pairs",
                         [PairSet("p", "asymmetric", ("sort",), ("sort a list",)),
                          PairSet("p", "symmetric", ("same",) * 90, ("same",) * 90),
                          PairSet("p", "asymmetric", tuple(f"كيف{i}" for i in range(50)),
                                  tuple(f"answer{i}" for i in range(50)))])
def test_pairs_that_share_no_words_are_no_evidence(pairs):
    found = pairing_finding(pairs)
    assert found.status == "doubt" and "not enough evidence" in found.evidence


@pytest.mark.skipif(not DATA.is_dir(), reason="the development sets are not at hand")
@pytest.mark.parametrize(
    "source", ["scifact", "cranfield", "nl2bash/pairs_train.jsonl", "stsb/pairs_dev.jsonl", "dblp_acm/pairs_dev.jsonl"])
def test_public_pairs_belong_together_and_broken_ones_do_not(source):
    pairs = read_data_source(DATA / source).pairs[0]
    few = lambda seed: pairs.take(np.random.default_rng(seed).permutation(len(pairs))[:200].tolist())
    assert pairing_finding(pairs).status == "ok" and all(pairing_finding(few(seed)).status == "ok"
                                                         for seed in range(100))
    assert sum(pairing_finding(with_wrong(few(seed), 1, seed)).status == "doubt" for seed in range(100)) >= 95


def test_a_log_of_names_is_reported_and_not_a_crash(ask, tmp_path, domain_folder):
    ids = [json.loads(line)["_id"] for line in (domain_folder / "corpus.jsonl").read_text().splitlines()][:30]
    (tmp_path / "corpus.jsonl").write_bytes((domain_folder / "corpus.jsonl").read_bytes())
    write_lines(tmp_path / "log.jsonl", [{"query": id, "document": id, "position": 1} for id in ids])
    found, code = ask(tmp_path / "log.jsonl")
    assert code == 1 and found["data.clicks.navigational"]["status"] == "fail"
    assert found["data.pairing.log"]["evidence"] == "not enough evidence: 0 pairs"


def test_nothing_to_compare_with_is_said(ask, tmp_path, domain_folder):
    write_lines(tmp_path / "pairs.jsonl", rows_of(answers(60)))
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (beir / name).write_bytes((domain_folder / name).read_bytes())
    found, _ = ask(tmp_path / "pairs.jsonl", "--against", beir)
    assert found["data.leakage"]["status"] == "doubt"
    assert found["data.leakage"]["evidence"].startswith("not enough evidence")


def test_clicks_are_compared_with_what_is_trained_on(ask, tmp_path, domain_folder):
    ids = [json.loads(line)["_id"] for line in (domain_folder / "corpus.jsonl").read_text().splitlines()][:30]
    clicks = [{"query": f"what to do with case {i}", "document": id, "position": 1} for i, id in enumerate(ids)]
    (tmp_path / "corpus.jsonl").write_bytes((domain_folder / "corpus.jsonl").read_bytes())
    write_lines(tmp_path / "log.jsonl", clicks)
    write_lines(tmp_path / "held.jsonl", [{"anchor": "what to do with case 3", "positive": "something else"},
                                          {"anchor": "an entirely new matter", "positive": "another thing"}])
    for held, train in (("held", "log"), ("log", "held")):
        found, _ = ask(tmp_path / f"{held}.jsonl", "--against", tmp_path / f"{train}.jsonl")
        assert found[f"data.leakage.same_text.{held}"]["count"] == 1


@pytest.mark.parametrize("labels, layer", [((0, 1, 2), "data.labels"), ((1, None, 1), "data.empty"),
                                           (("nan", 1, 1), "data.value"), (("yes", "no", "no"), "data.value")])
def test_labels_that_say_nothing_are_refused(ask, tmp_path, labels, layer):
    write_lines(tmp_path / "labelled.jsonl", [row | {"label": label}
                                              for row, label in zip(rows_of(paraphrases(3)), labels)])
    refusal, code = ask(tmp_path / "labelled.jsonl")
    assert code == 2 and refusal.layer == layer


def test_a_reason_for_the_symmetry_excuses_no_mixture():
    pairs = joined(paraphrases(180), answers(20))
    for key, status in (("symmetry_reason", "fail"), ("mixture_reason", "doubt")):
        spec = SimpleNamespace(data=SimpleNamespace(symmetry_reason="", mixture_reason=""))
        setattr(spec.data, key, "we looked")
        reasoned = {finding.id.split(".")[1]: finding.status for finding in check_pairs(pairs, spec)}
        assert reasoned["mixture"] == status


def test_the_command_line_answers_what_is_inferred_and_no_fact(ask, tmp_path):
    write_lines(tmp_path / "mixed.jsonl", rows_of(joined(paraphrases(180), answers(20))))
    found, code = ask(tmp_path / "mixed.jsonl", "--symmetry", "symmetric")
    assert code == 1 and "--because" in found["data.mixture.mixed"]["fix"]
    found, code = ask(tmp_path / "mixed.jsonl", "--symmetry", "symmetric", "--because", "read all twenty")
    assert code == 0 and found["data.mixture.mixed"]["status"] == "doubt"
    assert "read all twenty" in found["data.mixture.mixed"]["fix"]
    known = tmp_path / "known.jsonl"
    write_lines(known, rows_of(answers(60)))
    found, code = ask(known, "--against", known, "--because", "read all of them")
    assert code == 1 and any(row["status"] == "fail" for id, row in found.items() if "leakage" in id)


# --- from Python

def quiet(line):
    "Say nothing."


def test_objects_and_paths_get_the_same_findings(domain_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(domain_folder)
    pairs = replace(answers(60), name="faq")
    write_lines(tmp_path / "faq.jsonl", rows_of(pairs))
    from_file, from_pairs = (check_data(source, symmetry="asymmetric", say=quiet)
                             for source in (tmp_path / "faq.jsonl", pairs))
    assert from_file == from_pairs == check_data(str(tmp_path / "faq.jsonl"), symmetry="asymmetric", say=quiet)
    assert check_data(read_data_source(tmp_path / "faq.jsonl"), symmetry="asymmetric", say=quiet) == from_file
    assert pairs.symmetry == "asymmetric" and any(finding.status == "fail"
                                                  for finding in check_data(pairs, symmetry="symmetric", say=quiet))


def test_texts_are_compared_with_what_is_trained_on(domain_folder, monkeypatch):
    monkeypatch.chdir(domain_folder)
    pairs = answers(60)
    findings = {f.id: f for f in check_data([*pairs.anchors[:3], "an entirely new matter"], pairs, say=quiet)}
    assert findings["data.leakage.same_text.text"].count == 3 and "data.copies.text" in findings


def test_without_any_settings_the_demo_base_counts_the_tokens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {f.id for f in check_data(["one text", "another"], say=quiet)} >= {"data.length.text", "data.copies.text"}


@pytest.mark.parametrize("source", [[], [("how to sort", "sorted(x)")], 7, None, [1, 2], PairSet("none", "", (), ())])
def test_what_is_no_source_names_itself(source):
    with pytest.raises(ContractError, match=type(source).__name__) as refusal:
        check_data(source, say=quiet)
    assert refusal.value.layer == "data.source"


def test_a_symmetry_that_there_is_not_is_refused(tmp_path):
    for symmetry in ("both", "Symmetric"):
        with pytest.raises(ContractError, match=symmetry) as refusal:
            check_data(["a text"], symmetry=symmetry, say=quiet)
        assert refusal.value.layer == "data.symmetry"
    with pytest.raises(ContractError, match="nowhere.jsonl does not exist"):
        check_data(tmp_path / "nowhere.jsonl", say=quiet)


@pytest.mark.parametrize("options", [{"symmetry": "symmetric"}, {"split": "test"}, {"columns": {"anchor": "q"}}])
def test_an_option_that_nothing_reads_is_refused(domain_folder, monkeypatch, options):
    monkeypatch.chdir(domain_folder)
    with pytest.raises(ContractError, match="given for a spec") as refusal:
        check_data(domain_folder / "spec.toml", say=quiet, **options)
    assert refusal.value.layer == "data.options"
    with pytest.raises(ContractError, match="data.options"):
        check_data(["a text"], say=quiet, columns={"text": "body"})


def test_a_checked_spec_brings_its_own_base(domain_folder, tmp_path, monkeypatch):
    other = Path(shutil.copytree(domain_folder, tmp_path / "other"))
    text = (other / "spec.toml").read_text(encoding="utf-8")
    text = re.sub(r'base = ".*"', 'base = "./nowhere/model"', text, count=1)
    (other / "spec.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(domain_folder)
    with pytest.raises(ContractError, match="model.base"):
        check_data(other / "spec.toml", say=quiet)
