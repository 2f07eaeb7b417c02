"""The command as a user meets it: in a process of its own, with exit codes and no traceback."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(folder, *arguments, **environment):
    done = subprocess.run([sys.executable, "-m", "semantic_nb", *arguments], cwd=folder,
                          capture_output=True, text=True, input="",
                          env=os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"} | environment)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


@pytest.fixture
def checkout(domain_folder):
    return domain_folder.parents[1]


def test_from_check_to_search(checkout):
    checked = call(checkout, "check", "--json")
    assert checked.returncode == 0 and {"map", "checklist", "findings"} <= set(json.loads(checked.stdout))
    ran = call(checkout, "run", "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert {"system", "dim", "metric", "split", "profile", "value", "low", "high", "n", "n_docs",
            "judged_at_k"} <= set(report["retrieval"][0])
    assert {"a", "b", "dim", "metric", "split", "profile", "difference", "low", "high", "p",
            "n"} <= set(report["comparisons"][0])
    folder = checkout / "runs" / "toy-tiny"
    assert report["clusters"]["method"] == "kmeans" and report["clusters"]["sheet"]
    assert {"report.md", "report.json", "audit.png", "map.png", "trec", "clusters.csv"} <= {
        p.name for p in folder.iterdir()}
    shown = call(checkout, "report").stdout
    assert "Gate" in shown and "Coherence: not judged" in shown
    found = call(checkout, "search", "how to sort tables", "-k", "2", "--json")
    assert len(json.loads(found.stdout)["answers"]) == 2
    both = call(checkout, "search", "how to sort tables", "-k", "3", "--hybrid", "--json")
    assert [hit["score"] <= 0.033 for hit in json.loads(both.stdout)["answers"]] == [True] * 3
    started = time.time()
    assert call(checkout, "run").returncode == 0
    assert all(p.stat().st_mtime < started for p in (checkout / "runs" / "store").glob("*/manifest.json"))


def test_a_fork_with_an_edited_corpus_runs(checkout, tmp_path):
    forked = call(checkout, "fork", str(tmp_path / "My Domain"), "--json")
    assert forked.returncode == 0
    spec = json.loads(forked.stdout)["spec"]
    corpus = tmp_path / "My Domain" / "corpus.jsonl"
    rows = [json.loads(line) for line in corpus.read_text().splitlines()]
    rows[0]["text"] += " Edited by hand."
    rows.append({"_id": "new", "title": "new(x)", "text": "Here you do something entirely new with tables and graphs."})
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = call(checkout, "run", spec)
    assert ran.returncode == 0, ran.stderr
    report = json.loads((checkout / "runs" / "my-domain-tiny" / "report.json").read_text())
    assert report["retrieval"][0]["n_docs"] == 61
    assert call(checkout, "fork", str(tmp_path / "My Domain")).returncode == 2


@pytest.mark.parametrize("name, edit, layer", [
    ("spec.toml", lambda t: t.replace('symmetry = "asymmetric"', "", 1), "data.symmetry"),
    ("spec.toml", lambda t: t.replace("batch_size", "batchsize"), "loss"),
    ("spec.toml", lambda t: t.replace("\ndim = 16", "\ndim = 64"), "index.dim"),
    ("corpus.jsonl", lambda t: "", "data.file"),
    ("corpus.jsonl", lambda t: t + t.splitlines()[0] + "\n", "data.duplicate_id"),
    ("corpus.jsonl", lambda t: t.replace('"text"', '"body"'), "data.columns"),
    ("qrels/test.tsv", lambda t: t.replace("\t2", "\t0"), "data.qrels"),
    ("qrels/test.tsv", lambda t: t.replace("_", "-", 30), "data.qrels"),
    ("queries.jsonl", lambda t: t[:200], "data.format")])
def test_bad_input_is_named_and_exits_with_two(checkout, domain_folder, name, edit, layer):
    path = domain_folder / name
    path.write_text(edit(path.read_text()))
    done = call(checkout, "run")
    assert done.returncode == 2 and done.stderr.startswith(f"[{layer}"), done.stderr
    assert "Fix:" in done.stderr and str(checkout) not in done.stderr


def test_refusals_are_json_too(checkout):
    done = call(checkout, "check", "nowhere.toml", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["layer"] == "spec.file"


def test_bench_on_a_folder(checkout, domain_folder):
    rows = [json.loads(line) for line in (domain_folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    # so that no question nearly repeats another
    words = lambda i: " ".join(f"{'abcdefghij'[i // 10]}{'klmnopqrst'[i % 10]}{letter * 3}" for letter in "uvwxyz")
    (domain_folder / "queries.jsonl").write_text("".join(json.dumps(row | {"text": f"{row['text']} {words(i)}"}) + "\n"
                                                         for i, row in enumerate(rows)), encoding="utf-8")
    done = call(checkout, "bench", str(domain_folder), "--tune", "--json")
    assert done.returncode == 0, done.stderr
    assert {row["system"] for row in json.loads(done.stdout)["retrieval"]} == {
        "BM25", "base", "base + BM25", "tuned", "tuned + BM25"}
    assert call(checkout, "bench", str(checkout / "nowhere")).returncode == 2


def test_bench_takes_no_labelled_texts(checkout, tmp_path):
    path = tmp_path / "labelled.jsonl"
    path.write_text(json.dumps({"text": "sort a list", "label": "sort"}) + "\n", encoding="utf-8")
    done = call(checkout, "bench", str(path))
    assert done.returncode == 2 and done.stderr.startswith("[data.columns")
    assert "'text', 'label', not 'anchor'" in done.stderr and "BEIR folder" in done.stderr


def test_cluster_and_duplicates_need_only_a_file(checkout, tmp_path):
    texts = [f"{verb} a {noun}" for noun in ("matrix", "file", "list")
             for verb in ("sort", "open", "copy", "print", "sort")]
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": text, "kind": text.split()[-1]}) + "\n" for text in texts), encoding="utf-8")
    done = call(checkout, "cluster", str(tmp_path / "texts.jsonl"), "--labels", "kind", "--out",
                str(tmp_path / "out.csv"), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and len(found["labels"]) == 15 and found["coherence"] == "not judged" and set(
        found["agreement"]) == {"V-measure", "ARI", "purity"}
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[0] == "text,kind,cluster,outlier"
    done = call(checkout, "duplicates", str(tmp_path / "texts.jsonl"), "--threshold", "0.999", "--out",
                str(tmp_path / "out.parquet"), "--json")
    found = json.loads(done.stdout)
    assert sum(not row["keep"] for row in found["rows"]) >= 3 and (tmp_path / "out.parquet").is_file()
    for wrong in (["duplicates", str(tmp_path / "texts.jsonl")],
                  ["cluster", str(tmp_path / "texts.jsonl"), "--text", "title"],
                  ["cluster", str(tmp_path / "texts.jsonl"), "-k", "40"]):
        assert call(checkout, *wrong).returncode == 2


def test_control_c_stops_cleanly_and_the_run_continues(checkout):
    process = subprocess.Popen([sys.executable, "-m", "semantic_nb", "run"], cwd=checkout, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"},
                               start_new_session=True,
                               # a shell in the background ignores it
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    for line in process.stdout:
        if "stage 1" in line:
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), (process.returncode, errors)  # a shell shows 130 for both
    assert "Traceback" not in errors and "continues from there" in errors
    assert call(checkout, "run").returncode == 0


def test_a_disk_that_takes_no_more_is_a_refusal(checkout):
    assert call(checkout, "run").returncode == 0
    kept = {p.name for p in (checkout / "runs" / "store").iterdir() if p.is_dir()}
    limited = ("import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
               "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); import sys; sys.argv = ['semantic-nb', "
               "'run']; runpy.run_module('semantic_nb', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", limited], cwd=checkout, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "SEMANTIC_NB_SEED": "7", "TQDM_DISABLE": "1"})
    assert done.returncode == 2 and "could not be written" in done.stderr, done.stderr
    assert kept <= {p.name for p in (checkout / "runs" / "store").iterdir() if p.is_dir()}
    assert call(checkout, "search", "sort").returncode == 0


def test_help_is_complete():
    done = call(ROOT, "--help")
    assert all(command in done.stdout
               for command in ("check", "run", "search", "report", "fork", "bench", "cluster", "duplicates"))


def test_lint_exits_with_one_if_a_fault_is_certain(tmp_path):
    script = tmp_path / "a.py"
    script.write_text("from sentence_transformers import SentenceTransformer\nSentenceTransformer('a').fit([])\n",
                      encoding="utf-8")
    done = call(tmp_path, "lint", str(tmp_path), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["alarms"][0]["rule"] == "loss.legacy_fit"
    script.write_text("print('nothing')\n", encoding="utf-8")
    assert call(tmp_path, "lint", str(tmp_path)).returncode == 0


@pytest.mark.parametrize("lines, arguments, layer", [
    (['{"text": "a"}', '{"other": "b"}'], ("cluster", "-k", "2"), "data.columns"),
    (['{"text": "a"}', '{"text": null}'], ("cluster", "-k", "2"), "data.empty"),
    (['"a"', '"b"'], ("cluster", "-k", "2"), "data.format"),
    (['{"anchor": "a", "positive": null}'], ("duplicates", "--threshold", "0.9"), "data.empty")])
def test_odd_rows_are_refused_in_words(checkout, lines, arguments, layer):
    (checkout / "odd.jsonl").write_text("\n".join(lines) + "\n")
    done = call(checkout, arguments[0], "odd.jsonl", *arguments[1:])
    assert done.returncode == 2 and layer in done.stderr


def test_a_fork_onto_a_file_is_refused(checkout):
    (checkout / "taken").write_text("x")
    assert "pipeline.fork" in call(checkout, "fork", "taken").stderr


def test_cluster_duplicates_and_data_need_no_settings_and_take_a_model_of_any_size(tmp_path, tiny_model):
    texts = [f"{verb} a {noun}" for noun in ("matrix", "file") for verb in ("sort", "open", "copy", "print", "read")]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for options in ([], ["--model", str(tiny_model)]):
        for command in (["cluster", "t.jsonl", "-k", "2"], ["duplicates", "t.jsonl", "--threshold", "0.99"],
                        ["data", "t.jsonl"]):
            done = call(tmp_path, *command, *options)
            assert done.returncode == 0, (command, options, done.stderr)
