"""Texts that are too long, and words that all of them share: what would clutter nbs/09_validate/tails.ipynb."""
import copy
import os
from pathlib import Path

import pytest

from semantic_nb.data.records import read_corpus, read_rows
from semantic_nb.encoder import load_encoder
from semantic_nb.validate.tails import boilerplate, token_counter, truncation_by_role, unknown_tokens


@pytest.fixture
def model(spec, settings):
    return load_encoder(spec.model.base, spec.model)


def numbered(n, word="item"):
    return " ".join(f"{word}{i}" for i in range(n))


# --- counting

@pytest.mark.parametrize("prompt", ["", "query: "])
def test_tokens_are_counted_as_the_model_reads_them(model, prompt):
    model.prompts["query"] = prompt
    model.max_seq_length = 512
    texts = ["sort a list", "", "numpy.linalg.eigvalsh", "排序列表", "كيف أرتب", "\N{SNAKE}"]
    read = [model.preprocess([prompt + text])["input_ids"].shape[1] for text in texts]
    assert token_counter(model, "query")(texts) == read and token_counter(model)([]) == []


def test_a_prompt_takes_room_from_every_text(model):
    text = numbered(9, "a ")
    model.max_seq_length = token_counter(model)([text])[0]
    assert truncation_by_role(model, {"document": [text]})[0].count == 0
    model.prompts["document"] = "passage: "
    assert truncation_by_role(model, {"document": [text]})[0].count == 1 and truncation_by_role(
        model, {"query": [text]})[0].count == 0


def test_a_role_without_texts_is_no_role_that_passed(model):
    found = truncation_by_role(model, {"query": [], "document": ["a"]})
    assert [f.status for f in found] == ["doubt", "ok"] and found[0].evidence.startswith("not enough evidence: ")


# --- the same words everywhere

PAGE = "all rights reserved by the authors of this page and by nobody else in the world "


def test_a_common_head_is_boilerplate_with_and_without_titles(model):
    own = [f"{word}{i} and nothing else" for i, word in enumerate(["sorting", "reading", "drawing", "hashing"] * 30)]
    assert boilerplate(model, own).status == "ok"
    for texts in ([PAGE * 5 + text for text in own], [f"{text}\n{PAGE * 5}" for text in own]):
        found = boilerplate(model, texts)
        assert (found.id, found.status, found.count) == ("data.boilerplate.document", "doubt",
                                                         120) and found.rows[0]["texts"] == 120
    some = boilerplate(model, [PAGE * 5 + text if i < 10 else text for i, text in enumerate(own)])
    assert some.status == "ok" and some.count == 0  # ten of 120 are not a tenth


@pytest.mark.parametrize("texts", [[], ["one"], ["same"] * 500, ["🙂" * i for i in range(1, 15)]])
def test_few_different_texts_are_no_evidence(model, texts):
    assert boilerplate(model, texts).status == "doubt" and "not enough evidence" in boilerplate(model, texts).evidence


def test_any_script_and_order_is_read(model):
    texts = ["排序列表" * i for i in range(1, 12)] + ["كيف أرتب " * i for i in range(1, 12)] + [""]
    assert boilerplate(model, texts) == boilerplate(model, texts[::-1])


@pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                    reason="needs the development sets: set DEVELOPMENT_DATA to their folder")
@pytest.mark.parametrize(
    "file", ["scifact/corpus.jsonl", "cranfield/corpus.jsonl", "nl2bash/pairs_train.jsonl", "dblp_acm/texts.jsonl"])
def test_public_sets_have_little(model, file):
    path = Path(os.environ["DEVELOPMENT_DATA"]) / file
    texts = (read_corpus(path).passages if path.name == "corpus.jsonl"
             else [str(row.get("text") or row["positive"]) for row in read_rows(path)])
    found = boilerplate(model, texts)
    assert found.status == "ok" and found.count < 20


def test_anchors_of_several_sets_are_read_as_questions(model):
    prompted = copy.copy(model)
    long = "find the page that answers this question: " * 10
    prompted.prompts = {"query": long, "document": ""}
    for role, cut in (("anchor", 1), ("one.anchor", 1), ("one.positive", 0)):
        assert truncation_by_role(prompted, {role: ["sort a list"]})[0].count == cut


# --- words that the model does not know

CHINESE = ["如何打开文件", "怎样给列表排序", "读取图片的大小", "把文本分成词", "求矩阵的逆", "画一条曲线"] * 5


def test_a_script_that_the_model_does_not_know_fails_and_is_no_boilerplate(model):
    texts = [f"{text}{i}" for i, text in enumerate(CHINESE)]
    assert unknown_tokens(model, texts).status == "fail"
    assert boilerplate(model, [text + "排序" * 40 for text in texts]).status == "ok"


@pytest.mark.parametrize("unknown, status", [(0, "ok"), (1, "ok"), (5, "doubt"), (40, "fail")])
def test_the_share_of_unknown_tokens_decides(model, unknown, status):
    found = unknown_tokens(model, ["sort " * (100 - unknown) + "🙂 " * unknown])
    assert found.status == status and found.count == (unknown > 0) and f"{unknown:.1f}%" in found.evidence


def test_the_check_of_data_counts_unknown_tokens_by_role(model):
    from semantic_nb.checks import check_data
    from semantic_nb.data.records import PairSet
    pairs = PairSet("toy", "asymmetric", tuple(f"how to open file {i}" for i in range(30)), tuple(CHINESE))
    found = {finding.id: finding.status for finding in check_data(pairs, model=model, say=lambda _: None)}
    assert found["data.unknown_tokens.anchor"] == "ok" and found["data.unknown_tokens.positive"] == "fail"
