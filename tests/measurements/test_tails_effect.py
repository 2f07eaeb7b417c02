"""The experiment on unread tails: windows, scores, effect and finding."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tails
from hypothesis import given, settings as hypothesis_settings, strategies as st
from tails import (
    TailEffect, last_split_finding, max_passage, tail_effect, tail_vectors, tail_windows, tails_finding)

from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus, Judged
from semantic_nb.encoder import load_encoder
from semantic_nb.measure import Comparison
from semantic_nb.validate.tails import token_counter


@pytest.fixture
def model(spec, settings):
    return load_encoder(spec.model.base, spec.model)


def corpus(*texts, titles=None):
    ids = tuple(f"d{i}" for i in range(len(texts)))
    return Corpus(ids, tuple(titles or [""] * len(texts)), tuple(texts), ({},) * len(texts))


def numbered(n, word="item"):
    return " ".join(f"{word}{i}" for i in range(n))


# --- windows

WORDS = st.lists(st.sampled_from(["sort", "eigvalsh", "numpy.linalg", "a", "antidisestablishmentarianism", "排序", "كيف",
                                  "\N{SNAKE}", "x=1,y=2"]), min_size=1, max_size=120)


@given(WORDS, st.sampled_from(["", "A title of some words", "t" * 200 + " and " * 30]))
@hypothesis_settings(max_examples=40, deadline=None)
def test_head_and_windows_read_the_whole_text_and_fit(shared_model, words, title):
    one = corpus(" ".join(words), titles=[title])
    windows, owners, unread = tail_windows(shared_model, one, most=1000)
    room = shared_model.max_seq_length - 2
    at = shared_model.tokenizer(one.passages[0], return_offsets_mapping=True, add_special_tokens=False,
                                truncation=False)["offset_mapping"]
    rest = one.passages[0][at[room][0]:] if len(at) > room else ""
    pieces = [window.split("\n", 1)[-1] if title else window for window in windows]
    assert unread == 0 and len(owners) == len(windows)
    assert "".join("".join(pieces).split()).endswith("".join(rest.split()))
    assert all(n <= shared_model.max_seq_length for n in token_counter(shared_model)(windows))


@pytest.fixture(scope="module")
def shared_model(tiny_model):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.max_seq_length = 32
    return model


def test_windows_begin_with_a_word(shared_model):
    windows, _, _ = tail_windows(shared_model, corpus("antidisestablishmentarianism " * 40))
    assert windows and all(window.startswith("antidis") for window in windows)


def test_windows_carry_the_title_and_at_most_a_quarter_is_title(shared_model):
    windows, owners, _ = tail_windows(shared_model,
                                      corpus("short", numbered(60), numbered(60),
                                             titles=["s", "the title", "word " * 50]))
    assert set(owners.tolist()) == {1, 2} and list(owners) == sorted(owners)
    headings = {owner: window.split("\n")[0] for window, owner in zip(windows, owners)}
    assert headings[1] == "the title" and headings[2].split() == ["word"] * (30 // 4)


def test_windows_per_document_are_bounded_and_the_rest_is_told(shared_model):
    windows, owners, unread = tail_windows(shared_model, corpus(numbered(500), numbered(3), numbered(16)), most=2)
    assert owners.tolist() == [0, 0, 2] and unread == 1


def test_a_very_long_line_and_one_endless_word(shared_model):
    windows, owners, unread = tail_windows(shared_model,
                                           corpus("sort the list " * 75_000, "x" * 1_000_000, "，" * 5000), most=4)
    assert np.bincount(owners, minlength=3).tolist() == [4, 0, 4] and unread == 2


def test_limits_without_room_and_slow_tokenizers_are_refused(shared_model):
    class Slow:
        tokenizer, max_seq_length, prompts = SimpleNamespace(is_fast=False), 32, {}
    with pytest.raises(ContractError) as error:
        tail_windows(Slow(), corpus("a"))
    assert error.value.layer == "model.tokenizer"
    shared_model.prompts, before = {"document": "word " * 28}, shared_model.prompts
    with pytest.raises(ContractError) as error:
        tail_windows(shared_model, corpus("a"))
    shared_model.prompts = before
    assert error.value.layer == "model.max_tokens"


# --- scores

@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 12))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_document_scores_as_its_best_passage(seed, n, m):
    draw = np.random.default_rng(seed)
    queries, heads, tails, owners = (draw.normal(size=(3, 4)), draw.normal(size=(n, 4)),
                                     draw.normal(size=(m, 4)), draw.integers(0, n, m))
    wanted = [[max([q @ heads[d], *(q @ tails[i] for i in range(m) if owners[i] == d)]) for d in range(n)]
              for q in queries]
    assert np.allclose(max_passage(queries, heads, tails, owners), wanted)


# --- the effect

def test_nothing_changes_where_nothing_is_cut(model, domain, settings):
    effect = tail_effect(model, domain.corpus.subset(domain.corpus.ids), domain.splits["dev"], most=0, progress=False)
    assert effect.changed == 0 and effect.cut == 0 and effect.head == effect.tails and tails_finding(
        effect).evidence == f"none of {effect.documents} documents is cut"


def hidden_answers(n=24):
    things = [f"zebra{i} quokka{i * 7}" for i in range(n)]
    texts = [" ".join(["boilerplate"] * 40) + f" {thing} {thing} {thing}" for thing in things]
    found = corpus(*texts)
    return found, Judged(dict(zip(found.ids, things)), {id: {id: 1} for id in found.ids})


def test_answers_in_the_tail_are_found_there(model, settings):
    effect = tail_effect(model, *hidden_answers(), progress=False)
    assert effect.over_all.difference > 0.1 and effect.over_all.outcome == "better"
    assert effect.cut == effect.documents == 24
    finding = tails_finding(effect)
    assert finding.status == "doubt" and "raise max_tokens" in finding.fix and finding.id == "data.length.tails"


def test_the_effect_is_measured_at_the_size_that_is_asked_for(model, settings):
    small, full = (tail_effect(model, *hidden_answers(), dim=dim, progress=False) for dim in (8, None))
    assert small.head != full.head


def test_windows_are_encoded_once(model, settings, monkeypatch):
    found, _ = hidden_answers()
    first = tail_vectors(model, found, progress=False)
    monkeypatch.setattr(model, "encode_document", lambda *given, **options: pytest.fail("encoded again"))
    again = tail_vectors(model, found, progress=False)
    assert np.array_equal(first[0], again[0]) and first[2] == again[2]


def test_what_cannot_be_measured_is_refused_before_anything_is_encoded(model, settings, monkeypatch):
    monkeypatch.setattr(tails, "tail_vectors", lambda *given: pytest.fail("encoded"))
    found, judged = hidden_answers()
    for metric, judged, layer in (("nDGC@10", judged, "validate.metric"),
                                  ("nDCG@10", Judged({}, {}), "validate.empty")):
        with pytest.raises(ContractError) as error:
            tail_effect(model, found, judged, metric)
        assert error.value.layer == layer


def test_odd_texts_go_through(model, settings):
    found = corpus("", "\N{SNAKE}" * 100, "كيف أرتب قائمة " * 30, "sort " * 50)
    effect = tail_effect(model, found, Judged({"q": "sort"}, {"q": {"d3": 1}}), progress=False)
    assert effect.documents == 4 and tails_finding(effect).evidence.startswith("not enough evidence: 1 judged")


# --- the finding

def comparison(difference, low, high, n=100):
    return Comparison(difference, low, high, 0.01, n, "better" if low > 0 else "worse" if high < 0 else "not shown")


NONE, MORE, TINY, LESS = (comparison(0.0, -0.02, 0.02), comparison(0.05, 0.02, 0.08), comparison(0.004, 0.001, 0.007),
                          comparison(-0.05, -0.08, -0.02))


@pytest.mark.parametrize("over_all, over_judged, status, words", [
    (NONE, NONE, "ok", "a gain is not shown"),
    (MORE, MORE, "doubt", "make the answers better"),
    (MORE, NONE, "doubt", "make the answers better"),
    (NONE, MORE, "doubt", "not enough evidence: better over judged"),
    (LESS, MORE, "doubt", "not enough evidence: better over judged"),
    (TINY, TINY, "ok", "a gain of 0.01 is ruled out"),
    (LESS, NONE, "ok", "make the answers worse"),
    (comparison(0.05, 0.02, 0.08, n=5), MORE, "doubt", "not enough evidence: 5 judged"),
    (replace(NONE, low=float("nan"), high=float("nan")), NONE, "ok", "+0.000, n = 100"),
])
def test_the_verdict_follows_both_comparisons(over_all, over_judged, status, words):
    finding = tails_finding(TailEffect("nDCG@10", 10, 50, 20, 3, 0.4, over_all, over_judged, (0.5, 0.4), {}, {}))
    assert finding.status == status and finding.count == 20
    assert words in finding.evidence and "3 documents go on" in finding.evidence and "nan" not in finding.evidence


def test_without_judged_questions_there_is_no_evidence():
    for splits in ({}, {"train": Judged({"q": "sort"}, {"q": {"d0": 1}})}):
        finding = last_split_finding(None, corpus("one text", "another"), splits)
        assert (finding.id, finding.status) == ("data.length.tails", "doubt")
        assert finding.evidence.startswith("not enough evidence")


def test_the_spec_of_a_domain_is_measured_on_its_test_questions(domain_folder, settings, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tails.py", str(domain_folder / "spec.toml")])
    asked = []
    monkeypatch.setattr(tails, "tail_effect", lambda model, corpus, judged: asked.append(judged) or tail_effect(
        model, corpus, judged, progress=False))
    tails.main()
    assert "data.length.tails" in capsys.readouterr().out and {q for judged in asked for q in judged.queries} == {
        f"q{i}" for i in range(3, 60, 6)}
