"""Benchmarks on other people's files: whose limits hold, what is read, what is refused, and what the text says."""
import json

import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus, Judged, read_corpus
from semantic_nb.encoder import load_encoder
from semantic_nb.loss.train import optimizer_steps
from semantic_nb.validate.bench import _agreement_rows, beir_domain, bench_beir, bench_pairs, bench_spec, bench_table

COLUMNS = ("q1", "q2", "value")


def silent(_):
    pass


def write(path, values, names=COLUMNS):
    rows = [dict(zip(names, (f"sort the list {i}", f"order {'items' if i % 2 else 'a matrix'} {i}", value)))
            for i, value in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_benchmark_takes_from_the_model_what_is_the_models(spec, settings, tiny_model):
    own = load_encoder(str(tiny_model)).max_seq_length
    asked = bench_spec(spec, str(tiny_model))
    assert spec.model.max_tokens == 32 < own == asked.model.max_tokens
    assert bench_spec(spec, str(tiny_model), 64).model.max_tokens == 64
    assert load_encoder(asked.model.base, asked.model).max_seq_length == own
    other = bench_spec(spec, "all-MiniLM-L6-v2")
    assert other.model.dims == (384, 32, 16, 8) and other.model.max_tokens == 256 and other.index.dim == 16


@pytest.mark.parametrize("values, measures", [([0, 1, 1, 0, 1, 0], {"AUC", "average precision"}),
                                              ([1, 2.5, 4, 0, 3, 5], {"Spearman"})])
def test_labels_and_scores_have_their_measures(values, measures, tmp_path, spec, settings):
    content = bench_pairs(write(tmp_path / "pairs.jsonl", values), spec, columns=COLUMNS, say=silent)
    assert {row["metric"] for row in content["agreement"]} == measures
    assert {row["dim"] for row in content["agreement"]} == set(spec.model.dims)
    text = bench_table(content)
    assert "nan" not in text and f"at {spec.model.max_tokens} tokens" in text and "6 pairs" in text


def test_two_pairs_have_no_interval(tmp_path, spec, settings):
    text = bench_table(bench_pairs(write(tmp_path / "p.jsonl", [1, 0]), spec, columns=COLUMNS, say=silent))
    assert "nan" not in text and "(no interval: 2 values are too few)" in text


@pytest.mark.parametrize("values, layer, said", [
    ([3, 3, 3, 3], "data.scores", "all 4 scores of p.jsonl are 3"), ([1, None, 2], "data.empty", "row 2"),
    ([1, 2, "x"], "data.value", "row 3"), ([float("nan"), 1, 2], "data.empty", "row 1"),
    ([1, [2], 3], "data.value", "row 2")])
def test_scores_that_cannot_be_compared_are_refused_with_their_row(values, layer, said, tmp_path, spec, settings):
    with pytest.raises(ContractError) as refusal:
        bench_pairs(write(tmp_path / "p.jsonl", values), spec, columns=COLUMNS, say=silent)
    assert refusal.value.layer == layer and said in refusal.value.symptom


@pytest.mark.parametrize("text", [None, "", ["a"]])
def test_a_row_without_a_text_is_refused(text, tmp_path, spec, settings):
    path = write(tmp_path / "p.jsonl", [1, 2, 3])
    path.write_text(path.read_text() + json.dumps({"q1": text, "q2": "b", "value": 1}) + "\n")
    with pytest.raises(ContractError, match="row 4"):
        bench_pairs(path, spec, columns=COLUMNS, say=silent)


def test_a_file_is_not_tuned_on_itself(tmp_path, spec, settings):
    with pytest.raises(ContractError, match="--train"):
        bench_pairs(write(tmp_path / "p.jsonl", [1, 2, 3]), spec, tune=True, columns=COLUMNS, say=silent)


def test_a_loss_for_scores_is_tuned_on_all_of_them_and_another_on_the_good_ones(tmp_path, spec, settings):
    rows = [{"q1": f"text {i}", "q2": f"other {i}", "value": i % 6} for i in range(240)]
    (tmp_path / "pairs_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    test = write(tmp_path / "pairs_test.jsonl", [1, 2, 5])
    said = {}
    for name in ("MultipleNegativesRankingLoss", "CoSENTLoss"):
        lines = []
        chosen = spec.model_copy(update={"loss": spec.loss.model_copy(update={"name": name})})
        content = bench_pairs(test, chosen, tune=True, columns=COLUMNS, say=lines.append)
        assert {row["system"] for row in content["agreement"]} == {"base", "tuned"}
        said[name] = next(line for line in lines if "tuning on" in line)
    good, watched = 80, 8  # scores 4 and 5 of 240 rows; every tenth of them watches
    assert f"tuning on {good - watched} pairs" in said["MultipleNegativesRankingLoss"]
    assert f"tuning on {240 - watched} pairs" in said["CoSENTLoss"]


@pytest.mark.parametrize("shift, outcome", [(0.5, "better"), (0.0, "not shown"), (-0.5, "worse")])
def test_a_gain_has_the_three_outcomes_of_the_gate(shift, outcome):
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    noise = chance.normal(size=120)
    base = noise + labels * 0.8
    tuned = base + shift * labels * 3 if shift else noise + labels * 0.8 + chance.normal(size=120) * 0.01
    rows, gains = _agreement_rows({("base", 8): base, ("tuned", 8): tuned}, labels)
    assert {row["outcome"] for row in gains if row["metric"] == "AUC"} == {outcome}
    text = bench_table({"source": "s", "model": "m", "pairs": 120, "agreement": rows, "comparisons": gains})
    assert ("ship the tuned model" if outcome == "better" else "keep the base") in text and outcome in text


def test_without_titles_first_sentences_are_tuned_on(domain_folder, spec, settings):
    rows = [json.loads(line) | {"title": ""} for line in (domain_folder / "corpus.jsonl").read_text().splitlines()]
    (domain_folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (domain_folder / "qrels" / "train.tsv").unlink()
    corpus = read_corpus(domain_folder / "corpus.jsonl")
    many = Corpus(tuple(f"d{i}" for i in range(200)), ("",) * 200, tuple(
        f"Here is how you {chr(97 + i % 26) * 5} the {i * 7919} thing. Then {i} more words follow {i * 31}." for i in
        range(200)), ({},) * 200)
    made, source = beir_domain(domain_folder, many, Judged({"q": "x"}, {"q": {"d0": 1}}), spec)
    assert "first sentences" in source and len(made.pairs[0]) and made.splits["dev"].queries
    with pytest.raises(ContractError, match="0 pairs"):
        beir_domain(domain_folder, corpus, Judged({"q": "x"}, {"q": {corpus.ids[0]: 1}}), spec)


def test_what_is_left_out_of_a_folder_is_said(domain_folder, spec, settings):
    lines, qrels = [], domain_folder / "qrels" / "test.tsv"
    corpus = read_corpus(domain_folder / "corpus.jsonl")
    rows = [json.loads(line) for line in (domain_folder / "queries.jsonl").read_text().splitlines()]
    rows.append({"_id": corpus.ids[0], "text": corpus.texts[0]})
    (domain_folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    many = "".join(f"q{i}\t{corpus.ids[i]}\t1\n" for i in range(60))
    qrels.write_text(f"query-id\tcorpus-id\tscore\n{many}{corpus.ids[0]}\t{corpus.ids[1]}\t1\nq0\tgone\t1\n")
    content = bench_beir(domain_folder, spec, say=lines.append)
    said = "\n".join(lines)
    assert "1 judgments without a document" in said and "1 of 61 questions are documents themselves" in said
    assert f"at {spec.model.max_tokens} tokens" in bench_table(content)


@pytest.mark.parametrize("sizes, batch, epochs, steps", [
    ((100,), 32, 1, 4), ((100, 10), 32, 1, 5), ((100,), 32, 1.5, 6), ((10,), 32, 0.2, 1)])
def test_steps_are_counted_as_the_trainer_counts_them(sizes, batch, epochs, steps):
    assert optimizer_steps([range(size) for size in sizes], batch, epochs) == steps


def test_nothing_is_kept_of_an_order_that_is_wrong_at_full_size():
    draw = np.random.default_rng(0)
    scores = draw.normal(size=30)
    rows, _ = _agreement_rows({("base", 32): -scores, ("base", 16): -scores + draw.normal(size=30)}, scores)
    assert rows[0]["value"] < 0 and all(np.isnan(row["kept"]) for row in rows)
