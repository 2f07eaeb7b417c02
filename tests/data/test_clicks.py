"""Clicks and their simulation: what would clutter the notebooks clicks and click_noise."""
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from measurements.click_log import (
    Search, Users, against_truth, open_domain, searches, simulate, training_sets, typed_name, write_clicks)
from semantic_nb.data.clicks import (
    NAME_MATCH, RELEVANT, filter_clicks, name_match, navigational, position_model, read_clicks)
from semantic_nb.core import ContractError, Settings
from semantic_nb.data.records import Corpus, Judged, read_corpus, read_judged, read_rows
from semantic_nb.spec import load_spec
from semantic_nb.data.domain import leak_free, load_domain

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "data" / "pydocs" / "clicks.csv"
PINNED = "8480ca6c8acdef06"  # Corpus.content with the versions in constraints.txt


def toy_corpus(n: int = 400) -> Corpus:
    draw = random.Random(0)
    word = lambda: "".join(draw.choice("bcdfgklmnprstv") + draw.choice("aeiou") for _ in range(4))
    ids = tuple(f"{word()}.{word()}" for _ in range(n))
    return Corpus(ids, tuple(f"{id}(x)" for id in ids), tuple(f"What {i} does." for i in range(n)), ({},) * n)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return toy_corpus()


@pytest.fixture(scope="module")
def pool(corpus) -> list[Search]:
    draw = np.random.default_rng(1)
    found = []
    for i in range(300):
        documents = [corpus.ids[j] for j in draw.permutation(len(corpus))[:20]]
        scores = dict(zip(documents, np.linspace(3, 1, 20)))
        found.append(Search(f"a question of somebody about thing number {i}", "informational",
                            {documents[int(draw.integers(8))]: 2, documents[int(draw.integers(8, 20))]: 1}, scores))
        found.append(Search(typed_name(documents[0], draw), "navigational", {documents[0]: 2}, scores))
    return found


@pytest.fixture(scope="module")
def log(pool) -> list[dict]:
    return simulate(pool, Users(searches=6000, noise=0.2, seed=3))


def rows_of(*clicks: tuple) -> list[dict]:
    return [{"query": query, "document": document, "position": position} for query, document, position in clicks]


def without(rows, *columns):
    return [{name: value for name, value in row.items() if name not in columns} for row in rows]


# --- reading

@pytest.mark.parametrize("position", [0, -1, 1.5, "x", "", None, float("nan"), float("inf")])
def test_a_position_is_a_whole_number_from_1(corpus, position):
    with pytest.raises(ContractError, match=r"data\.(clicks\.position|value)\] row 2 "):
        read_clicks(rows_of(("q", corpus.ids[0], 1), ("q", corpus.ids[0], position)), corpus)


@pytest.mark.parametrize("position", [3, "3", 3.0, "3.0"])
def test_a_position_may_be_written_as_text(corpus, position):
    assert read_clicks(rows_of(("q", corpus.ids[0], position)), corpus).clicked[0, 2] == 1


@pytest.mark.parametrize("rows, layer", [([], "data.clicks.empty"), ([{"query": "q", "document": "d"}], "data.columns"),
                                         ([{"query": "q", "document": "", "position": ""}], "data.clicks.empty"),
                                         ([{"query": "q", "document": "unknown", "position": 1}],
                                          "data.clicks.unresolved"),
                                         ([{"query": ["q"], "document": "d", "position": 1}], "data.value"),
                                         ([{"query": "q", "document": "d", "position": 1, "shown": [["d"]]}],
                                          "data.value"),
                                         ([{"query": "q", "document": "d", "position": 1}, {"query": "q"}],
                                          "data.columns"),
                                         ([{"query": "   ", "document": "d", "position": 1}],
                                          "data.clicks.unresolved")])
def test_a_log_that_says_nothing_is_refused(rows, layer):
    with pytest.raises(ContractError) as error:
        read_clicks(rows, Corpus(("d",), ("",), ("text",), ({},)))
    assert error.value.layer == layer


def test_a_little_dirt_is_left_out_and_counted_more_is_refused(corpus):
    good = [(f"some question {i}", corpus.ids[i], 1) for i in range(19)]
    found = filter_clicks(rows_of(*good, ("q", "gone", 1)), corpus)
    assert found.dropped["unresolved"] == (19,) and len(found.kept) == 19
    with pytest.raises(ContractError, match=r"2 of 21 clicks do not resolve: row 20: 'q' on 'gone'"):
        filter_clicks(rows_of(*good, ("q", "gone", 1), ("q", "gone too", 1)), corpus)


def test_a_click_on_what_was_not_shown_there_does_not_resolve(corpus):
    page = list(corpus.ids[:3])
    rows = [{"query": "q", "document": page[1], "position": 2, "shown": page},
            {"query": "q", "document": page[1], "position": 1, "shown": page}]
    assert read_clicks([rows[0]] * 30 + rows, corpus).unresolved == (31,)


def test_aliases_resolve():
    known = Corpus(("new",), ("",), ("text",), ({"aliases": ["old"]},))
    assert read_clicks(rows_of(("q", "old", 1)), known).pairs == (("q", "new"),)


def test_a_page_counts_once_per_search_however_it_is_written(corpus):
    page = corpus.ids[:4]
    full = [{"session": s, "query": "q", "document": d, "position": p, "shown": list(page)}
            for s, d, p in ((1, page[0], 1), (1, page[2], 3), (2, "", ""), (3, page[0], 1))]
    joined = [row | {"shown": "|".join(row["shown"])} for row in full]
    named = [row | {"page": 7, "shown": "|".join(page) if i == 0 else ""} for i, row in enumerate(full)]
    logs = [read_clicks(rows, corpus) for rows in (full, joined, named)]
    assert all(one.shown[0, 0] == 3 and one.shown.sum() == 12 and (one.searches, one.without_click) == (3, 1)
               for one in logs)
    assert all((one.clicked == logs[0].clicked).all() for one in logs)


def test_queries_that_differ_in_case_and_spaces_are_one(corpus):
    log = read_clicks(rows_of(("Wie  groß?", corpus.ids[0], 1), ("wie GROSS?", corpus.ids[0], 2)), corpus)
    assert log.pairs == (("Wie groß?", corpus.ids[0]),) and log.clicked[0, :2].tolist() == [1, 1]


def test_ranks_far_down_share_a_column(corpus):
    log = read_clicks(rows_of(("q", corpus.ids[0], 10**9), ("q", corpus.ids[0], 20)), corpus)
    assert log.clicked.shape[1] < 100 and log.clicked[0, -1] == 2


# --- names

@pytest.mark.parametrize("query, id, title, named", [
    ("merge", "pandas.DataFrame.merge", "", True), ("dataframe merge", "pandas.DataFrame.merge", "", True),
    ("PANDAS.MERGE", "pandas.DataFrame.merge", "", True),
    ("pandas mrege", "pandas.merge", "", True), ("np.linalg.inv", "numpy.linalg.inv", "", True),
    ("read csv", "pandas.read_csv", "", True),
    ("reset-password", "https://example.org/help/reset-password", "", True),
    ("reseting your pasword", "kb-1", "Resetting your password", True),
    ("Größe ändern", "a", "Groesse", False), ("GRÖSSE", "a", "Größe", True), ("数据框合并", "a", "数据框合并", True),
    ("דמגו", "a", "דמגו", True),
    ("invert a matrix", "numpy.linalg.inv", "", False), ("how to merge", "how.to_merge", "", False),
    ("merge?", "pandas.merge", "", False), ("合并？", "a", "合并", False),
    ("", "a.b", "", False), ("🙂", "a.b", "🙂", False), ("...", "a.b", "...", False), ("merge", "", "", False),
    ("x", "a.b", "title of something else", False),
])
def test_what_is_a_name(query, id, title, named):
    assert (name_match(query, id, title) >= NAME_MATCH) == named


def test_a_megabyte_is_compared_with_nothing():
    start = time.perf_counter()
    assert name_match("merge " * 200_000,
                      "pandas.merge") == 0 and name_match("merge", "pandas.merge", "merge " * 200_000) == 1
    assert time.perf_counter() - start < 3


def test_one_named_click_condemns_the_query(corpus):
    name = corpus.ids[0]
    rows = rows_of((name.replace(".", " "), name, 1),
                   (name.replace(".", " "), corpus.ids[1], 2), ("what is that", name, 1))
    found = filter_clicks(rows, corpus)
    assert found.dropped["navigational"] == (0, 1) and found.kept == (2,)
    assert list(navigational(read_clicks(rows, corpus), corpus)) == [name.replace(".", " ")]
    assert found.findings[0].status == "fail" and name in found.findings[
        0].evidence and found.findings[0].rows[0]["row"] == 0


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_match_is_a_share(query, id, title):
    assert 0 <= name_match(query, id, title) <= 1


# --- position

@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_examination_of_ranks_is_recovered_better_than_by_counting(pool, corpus, eta):
    log = read_clicks(simulate([one for one in pool if one.intent == "informational"],
                               Users(searches=8000, navigational=0, eta=eta, noise=0.1, seed=4)), corpus)
    model, truth = position_model(log), np.arange(1, 11.0) ** -eta
    off = lambda curve: np.abs(np.log(np.maximum(curve, 1e-3) / truth))[:6].mean()
    assert off(model.examination) < 0.35 and off(model.examination) < off(model.raw / model.raw[0]) / 1.5
    assert (model.relevant > model.other).all() and model.varied > 200


def test_the_posterior_means_what_it_says(pool, corpus, log):
    found = filter_clicks(log, corpus)
    right = [str(log[n]["truth_relevant"]) == "1" for n in found.kept]
    assert np.mean(right) >= RELEVANT


def test_the_filter_finds_most_of_what_is_wrong_and_keeps_most_of_what_is_right(corpus, log):
    counted = against_truth(log, filter_clicks(log, corpus).dropped)
    assert counted["name precision"] > 0.95 and counted["name recall"] > 0.9
    assert counted["position precision"] > 0.7 and counted["position recall"] > 0.8
    assert counted["right after"] > counted["right before"] + 0.3 and counted["right kept"] > 0.4


@pytest.mark.parametrize("change, says", [
    (lambda rows: without(rows, "shown"), "does not say what was shown"),
    (lambda rows: [row for row in rows if row["document"]], "no search without a click"),
    (lambda rows: rows[:60], "clicks on questions"),
])
def test_without_evidence_nothing_is_dropped_for_position(corpus, log, change, says):
    log = [row | {"shown": row["shown"] or first[row["page"]]}
           for first in [{row["page"]: row["shown"] for row in log if row["shown"]}] for row in log]
    found = filter_clicks(change(log), corpus)
    finding = found.findings[1]
    assert finding.status == "doubt" and finding.evidence.startswith(
        "not enough evidence: ") and says in finding.evidence
    assert not found.dropped["position"] and found.model is None and len(found.pairs)


def test_one_order_is_no_evidence(pool, corpus):
    found = filter_clicks(simulate(pool, Users(searches=4000, rankers=1)), corpus)
    assert "seen at two ranks" in found.findings[1].evidence and not found.dropped["position"]


def test_one_query_is_no_evidence(corpus):
    found = filter_clicks([{"session": i, "query": "the one question", "document": corpus.ids[0], "position": 1,
                            "shown": list(corpus.ids[:3])} for i in range(40)], corpus)
    assert found.findings[1].evidence.startswith("not enough evidence: ") and len(found.pairs) == 1


def test_a_calm_log_is_ok_and_a_wild_one_fails(pool, corpus):
    calm = filter_clicks(simulate(pool, Users(searches=4000, navigational=0.01, eta=0, noise=0)), corpus)
    assert [finding.status for finding in calm.findings] == ["ok", "ok"] and len(calm.kept) > 3000
    wild = filter_clicks(simulate(pool, Users(searches=4000, navigational=0.8, eta=2, noise=0.9)), corpus)
    assert [finding.status for finding in wild.findings] == ["fail", "fail"]


def test_equal_counts_for_everything_give_no_nan(corpus):
    page = list(corpus.ids[:2])
    rows = [{"session": i, "query": f"a question number {i % 149}", "document": page[i % 2] if i % 5 else "",
             "position": 1 if i % 5 else "", "shown": page if i % 2 == 0 else page[::-1]} for i in range(900)]
    model = position_model(read_clicks(rows, corpus))
    assert np.isfinite(model.posterior).all() and np.isfinite(model.examination).all() and (
        (0 <= model.posterior) & (model.posterior <= 1)).all()


# --- the filter

def test_the_truth_is_never_read(corpus, log):
    draw = random.Random(0)
    shuffled = [row | {name: draw.choice(log)[name] for name in row if name.startswith("truth_")} for row in log]
    seen = filter_clicks(log, corpus)
    for other in (shuffled, without(log, "truth_intent", "truth_relevant")):
        found = filter_clicks(other, corpus)
        assert (found.kept, found.dropped, found.findings,
                found.pairs) == (seen.kept, seen.dropped, seen.findings, seen.pairs)


def test_every_click_is_kept_or_dropped_once(corpus, log):
    found = filter_clicks(log, corpus)
    everything = [*found.kept, *(row for rows in found.dropped.values() for row in rows)]
    assert sorted(everything) == [n for n, row in enumerate(log) if row["document"]]


def test_pairs_are_distinct_and_carry_their_documents(corpus, log):
    pairs = filter_clicks(log, corpus, "mine").pairs
    assert (pairs.name,
            pairs.symmetry) == ("mine", "asymmetric") and len(set(zip(pairs.anchors, pairs.documents))) == len(pairs)
    assert all(positive == corpus.passages[corpus.position[id]]
               for positive, id in zip(pairs.positives, pairs.documents))


def test_the_order_of_rows_does_not_matter(corpus, log):
    first = {row["page"]: row["shown"] for row in log if row["shown"]}
    full = [row | {"shown": first[row["page"]]} for row in log]
    turned = filter_clicks(full[::-1], corpus)
    assert set(zip(turned.pairs.anchors, turned.pairs.documents)) == set(
        zip(*(lambda p: (p.anchors, p.documents))(filter_clicks(full, corpus).pairs)))


def test_a_log_of_names_only_leaves_no_pair(corpus):
    found = filter_clicks(rows_of(*((id, id, 1) for id in corpus.ids[:80])), corpus)
    assert len(found.pairs) == 0 and found.findings[0].status == "fail" and found.findings[
        1].evidence.startswith("not enough evidence: ")


# --- the simulation

def test_the_same_users_give_the_same_log(pool, tmp_path):
    one, same, other = (write_clicks(simulate(pool, Users(searches=300, seed=seed)), tmp_path / f"{i}.csv").read_bytes()
                        for i, seed in enumerate((5, 5, 6)))
    assert one == same != other


def test_a_log_survives_its_file(pool, corpus, log, tmp_path):
    again = read_rows(write_clicks(log, tmp_path / "clicks.csv"))
    assert filter_clicks(again, corpus).kept == filter_clicks(log, corpus).kept
    assert against_truth(again,
                         filter_clicks(again, corpus).dropped) == against_truth(log, filter_clicks(log, corpus).dropped)


def test_the_users_do_what_their_numbers_say(pool):
    rows = simulate(pool, Users(searches=8000, navigational=0.4, eta=1, noise=0.3, seed=2))
    intent = {row["session"]: row["truth_intent"] for row in rows}
    assert abs(np.mean([value == "navigational" for value in intent.values()]) - 0.4) < 0.02
    wrong = [row["position"] for row in rows if row["document"] and not row["truth_relevant"]]
    # examined half as often, and clicked half as often when examined
    assert abs(wrong.count(2) / wrong.count(1) - 0.25) < 0.06
    careful = simulate(pool, Users(searches=500, eta=0, noise=0))
    assert all(row["truth_relevant"] for row in careful if row["document"])


def test_who_stops_clicks_one_answer(pool):
    rows = simulate(pool, Users(searches=2000, eta=0, noise=0, stop=1))
    assert len({row["session"] for row in rows}) == len(rows)


def test_pages_do_not_tell_the_intent(log):
    assert all(isinstance(row["page"], int) for row in log)
    assert {name for name in log[0] if "truth" not in name} == {"session", "query", "page",
                                                                "shown", "position", "document"}


def test_searches_ask_what_the_engine_can_answer():
    corpus = Corpus(tuple(f"lib.thing{i}" for i in range(30)), ("",) * 30,
                    tuple(f"shared words and the special{i} one" for i in range(30)), ({},) * 30)
    found = searches(corpus,
                     Judged({"a": "shared special3", "b": "nothing of the kind"},
                            {"a": {"lib.thing3": 2}, "b": {"lib.thing4": 1}}), [])
    assert [one.query for one in found] == ["shared special3"] and found[0].answers == {"lib.thing3": 2}


def test_the_training_sets_are_of_one_size_and_differ_in_what_is_right(pool, corpus, log):
    sets = training_sets(log, corpus, filter_clicks(log, corpus).pairs, limit=60)
    answers = {(one.query, d) for one in pool if one.intent == "informational" for d in one.answers}
    right = {name: np.mean([pair in answers for pair in zip(pairs.anchors, pairs.documents)])
             for name, pairs in sets.items()}
    assert {len(pairs) for pairs in sets.values()} == {60} and right["raw"] < right["filtered"] <= right["oracle"] == 1
    assert {pairs.name for pairs in sets.values()} == {"clicks-raw", "clicks-filtered", "clicks-oracle"}


def test_open_documents_and_questions_touch_nothing_held_out(spec, settings):
    corpus, questions = open_domain(spec)
    with replace(settings, documents=0).active():
        domain = load_domain(spec)
    held = set().union(*(split.relevant() for split in domain.splits.values()))
    assert len(corpus) and not held & set(corpus.ids) and all(set(grades) <= set(corpus.ids)
                                                              for grades in questions.qrels.values())
    assert not set(questions.queries) & set().union(*(split.queries for split in domain.splits.values()))


# --- the committed log

def test_the_committed_log_is_what_its_datasheet_says():
    rows = read_rows(COMMITTED)
    assert list(rows[0]) == ["session", "query", "page", "shown", "position", "document",
                             "truth_intent", "truth_relevant"]
    assert sum(bool(row["document"]) for row in rows) >= 5000 and COMMITTED.stat().st_size < 2_000_000
    assert {row["truth_intent"] for row in rows} == {"informational", "navigational"}
    text = (COMMITTED.parent / "README.md").read_text(encoding="utf-8")
    assert "simulated" in text and all(f"`{name}`" in text for name in rows[0])
    assert all(f"{value:g}" in text for value in (Users.navigational, Users.eta, Users.noise))


def test_the_committed_log_asks_train_questions_only():
    split = {json.loads(line)["text"]: json.loads(line)["_id"].split("-")[0]
             for line in (COMMITTED.parent / "queries.jsonl").read_text(encoding="utf-8").splitlines()}
    asked = {row["query"] for row in read_rows(COMMITTED) if row["truth_intent"] == "informational"}
    assert {split[query] for query in asked} == {"train"}


@pytest.fixture(scope="module")
def pinned():
    "The demo's corpus as the judgments were made on, if it lies in the store."
    spec = load_spec(ROOT / "data" / "pydocs" / "spec.toml")
    for path in Settings.load(ROOT).store.glob("corpus-*/corpus.jsonl"):
        if (whole := read_corpus(path)).content == PINNED:
            return whole, spec, *open_domain(spec)
    pytest.skip("the corpus of constraints.txt is not in the store: run a chapter first")


def test_the_committed_log_leaks_nothing(pinned):
    whole, spec, opened, _ = pinned
    part = {id: meta["part"] for id, meta in zip(whole.ids, whole.metadata)}
    rows = read_rows(COMMITTED)
    seen = ({row["document"] for row in rows if row["document"]}
            | {id for row in rows for id in row["shown"].split("|") if id})
    assert {part[id] for id in seen} == {"train"}
    judged = [read_judged(spec.folder / spec.data.queries, spec.folder / spec.data.qrels / f"{name}.tsv", whole)
              for name in ("dev", "test", "production")]
    held = set(whole.ids) - set(opened.ids)
    assert not seen & held and set().union(*(split.relevant() for split in judged)) <= held
    pairs = filter_clicks(rows, whole).pairs
    assert len(pairs) and leak_free(pairs, held,
                                    {text for split in judged for text in split.queries.values()})[1].count == 0


def test_the_committed_log_is_what_the_defaults_write(pinned, tmp_path):
    _, _, corpus, questions = pinned
    made = write_clicks(simulate(searches(corpus, questions, corpus.ids), Users()), tmp_path / "clicks.csv")
    assert made.read_bytes() == COMMITTED.read_bytes()


# --- in a pipeline

def test_a_click_log_reaches_training_through_the_filter(domain_folder, spec, settings):
    ids = [json.loads(line)["_id"] for line in (domain_folder / "corpus.jsonl").read_text().splitlines()]
    write_clicks([{"query": f"what to do with case {i}", "document": id, "position": 1} for i, id in enumerate(ids)]
                 + [{"query": ids[0].replace("_", " "), "document": ids[0], "position": 1}],
                 domain_folder / "clicks.csv")
    source = spec.data.pairs[0].model_copy(update={"name": "log", "source": "clicks", "path": "clicks.csv"})
    domain = load_domain(spec.model_copy(update={"data": spec.data.model_copy(update={"pairs": (source,)})}))
    held = set().union(*(split.relevant() for split in domain.splits.values()))
    statuses = {finding.id: finding for finding in domain.findings}
    assert len(domain.pairs[0]) and all(anchor.startswith("what to do")
                                        for anchor in domain.pairs[0].anchors) and not set(
                                            domain.pairs[0].documents) & held
    assert statuses["data.clicks.navigational"].count == 1 and statuses[
        "data.clicks.position"].evidence.startswith("not enough evidence: ")
    assert statuses["data.leakage.log"].count > 0


def test_a_click_file_of_plain_pairs_is_read_as_pairs(domain_folder, spec, settings):
    write_clicks([{"anchor": f"what to do with case {i}", "positive": f"the answer number {i}"} for i in range(40)],
                 domain_folder / "clicks.csv")
    source = spec.data.pairs[0].model_copy(update={"name": "log", "source": "clicks", "path": "clicks.csv"})
    domain = load_domain(spec.model_copy(update={"data": spec.data.model_copy(update={"pairs": (source,)})}))
    assert len(domain.pairs[0]) == 40 and not any(finding.id.startswith("data.clicks") for finding in domain.findings)


def test_a_search_that_found_nothing_is_no_loss_of_evidence(corpus, log):
    nothing = [{"session": f"s{i}", "query": f"nothing {i}", "page": f"nothing-{i}", "shown": "", "position": "",
                "document": "", "truth_intent": "informational", "truth_relevant": ""} for i in range(100)]
    assert filter_clicks(log + nothing, corpus).pairs == filter_clicks(log, corpus).pairs
    assert filter_clicks(log + nothing * 20, corpus).model is None


def test_a_question_word_alone_may_be_a_name():
    assert name_match("where", "numpy.where") >= NAME_MATCH and name_match("which", "shutil.which") >= NAME_MATCH
    assert name_match("where clause", "numpy.where_clause") == 0 and name_match("which?", "shutil.which") == 0
