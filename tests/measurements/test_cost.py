"""The measurements of `make bench`, on little: do they measure what they say?"""
from cost import cluster_command_cost, in_turns, near_copy_cost, recombined, sentences
from semantic_nb.data.records import Corpus


def test_two_functions_are_timed_in_turns_and_the_first_round_is_not_counted(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr("cost.time.perf_counter", lambda: clock[0])

    def work(name, seconds):
        calls.append(name)
        clock[0] += seconds * (10 if len(calls) <= 2 else 1)

    timed = in_turns(lambda: work("a", 2.0), lambda: work("b", 1.0), rounds=3)
    assert calls == ["a", "b"] * 4
    assert timed == {"first_s": 2.0, "second_s": 1.0, "ratio": 2.0, "rounds": 3}


def test_sentences_are_distinct_and_long_enough():
    page = Corpus(("a", "b"), ("", ""), ("Boil the water. Then add the rice to it.\n\nServe it hot.",
                                         "Then add the rice to it."), ({}, {}))
    texts = sentences(page, 10).texts
    assert set(texts) == {"Then add the rice to it.", "Boil the water. Then add the rice to it."}


def test_recombined_texts_are_different_and_keep_their_words():
    pieces = ("sort a long list", "draw a thin red line")
    texts = recombined(pieces, 6)
    assert len(set(texts)) == 6 and set(pieces) <= set(texts)
    assert {word for text in texts for word in text.split()} <= set(" ".join(pieces).split())


def test_near_copies_are_those_of_the_whole_table(settings):
    cost = near_copy_cost(count=300, planted=50, sample=100)
    assert cost["found_of_planted"] == cost["found_of_table"] == 1 and not cost["not_in_the_table"]


def test_a_command_is_measured_on_rows_of_its_own(settings):
    cost = cluster_command_cost(count=40, k=3)
    assert cost["texts"] == 40 and cost["seconds"] > 0 and cost["peak_gib"] > 0.1
