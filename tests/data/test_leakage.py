"""Near-copies against the whole table, other scripts, and the three grades of
leakage: what would clutter chapter 02, leakage."""
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

import semantic_nb.data.near_copies as module
from semantic_nb.core import ContractError, fingerprint
from semantic_nb.data.records import Judged, PairSet, read_corpus, read_judged, read_pairs, read_rows
from semantic_nb.data.near_copies import NEAR_COPY_CODE, canonical_text, near_copies, text_features
from semantic_nb.data.leakage import find_leaks

ROOT = Path(__file__).parents[2]
EDGE = 1e-5                                              # a cosine this close to the threshold may fall on either side
words = st.lists(st.sampled_from([f"w{i}" for i in range(12)]), max_size=9).map(" ".join)
texts = st.lists(words, min_size=1, max_size=14)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.85, 0.95, 1.0])


def table(left, right=()):
    """All cosines of texts with others, or of one set's pairs i < j, from scikit-learn alone."""
    if not any(text.strip() for text in [*left, *right]):
        return np.zeros((len(left), len(right or left)))
    vectors = TfidfVectorizer(sublinear_tf=True, dtype=np.float64).fit_transform([*left, *right])
    return ((vectors[:len(left)] @ vectors[len(left):].T).toarray() if right
            else np.triu((vectors @ vectors.T).toarray(), 1))


def same_groups(n, one, other):
    label = [connected_components(sparse.coo_matrix((np.ones(len(links)), np.reshape(links, (-1, 2)).T), shape=(n, n)),
                                  directed=False)[1] for links in (one, other)]
    return len(set(zip(*map(np.ndarray.tolist, label)))) == len(set(label[0].tolist())) == len(set(label[1].tolist()))


# --- exact

@given(texts, texts, thresholds)
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_best_match_of_each_text_is_that_of_the_whole_table(left, right, threshold):
    cosines = table(left, right)
    links, found = near_copies(left, right, threshold)
    matched = dict(links.tolist())
    for i, row in enumerate(cosines):
        if row.max() >= threshold + EDGE:
            assert i in matched
        if i in matched:
            assert row[matched[i]] >= max(threshold, row.max()) - EDGE
    assert np.allclose(found, [cosines[i, j] for i, j in links],
                       atol=EDGE) and links[:, 0].tolist() == sorted(set(links[:, 0].tolist()))


@given(texts, thresholds)
@hypothesis_settings(max_examples=150, deadline=None)
def test_links_within_a_set_connect_what_the_whole_table_connects(some, threshold):
    cosines = table(some)
    if (np.abs(cosines[cosines > 0] - threshold) < EDGE).any():
        return
    links, found = near_copies(some, threshold=threshold)
    assert all(i < j and cosines[i, j] >= threshold
               for i, j in links) and np.allclose(found, [cosines[i, j] for i, j in links], atol=EDGE)
    assert same_groups(len(some), links, np.argwhere(cosines >= threshold))


@pytest.fixture(scope="module")
def natural():
    """Questions with planted near-copies: long and short, with frequent and rare words, as real ones."""
    draw = np.random.default_rng(0)
    vocabulary = [f"word{i}" for i in range(3000)]
    share = 1 / np.arange(1, 3001)
    texts = [" ".join(draw.choice(vocabulary, size=draw.integers(2, 25), p=share / share.sum())) for _ in range(3000)]
    for i in range(0, 1500, 10):
        tokens = texts[i].split()
        tokens[draw.integers(len(tokens))] = draw.choice(vocabulary)
        texts[i + 5] = texts[i + 1500] = " ".join(tokens)
    return texts


@pytest.mark.parametrize("portion, block", [(50_000, 5e6), (50, 9_000)])
def test_nothing_is_missed_on_many_texts_in_portions_of_any_size(natural, monkeypatch, portion, block):
    monkeypatch.setattr(module, "_PORTION", portion)
    monkeypatch.setattr(module, "_BLOCK", block)
    left, right = natural[:1500], natural[1500:]
    cosines = table(left, right)
    links, _ = near_copies(left, right)
    assert {i for i, _ in links.tolist()} == set(
        np.flatnonzero(cosines.max(1) >= module.NEAR_COPY).tolist()) and len(links) > 20
    assert np.allclose(cosines[links[:, 0], links[:, 1]], cosines[links[:, 0]].max(1), atol=EDGE)
    everything = np.argwhere(table(natural) >= module.NEAR_COPY)
    assert same_groups(len(natural), near_copies(natural)[0], everything)


@pytest.mark.parametrize("work", [0, 10, 1000, 1e9])
def test_the_length_of_the_prefixes_changes_the_work_and_not_the_result(natural, monkeypatch, work):
    expected = near_copies(natural[:1500], natural[1500:])
    monkeypatch.setattr(module, "_WORK", work)
    links, cosines = near_copies(natural[:1500], natural[1500:])
    assert links.tolist() == expected[0].tolist() and np.allclose(cosines, expected[1], atol=EDGE)


def test_few_pairs_are_compared(natural):
    vectors = module._tfidf(natural, 1000)
    assert sum(len(i) for i, _ in module._candidates(vectors, vectors, 0.85)) < 0.02 * len(natural)**2


def test_many_equal_texts_make_few_links_and_take_no_time():
    many = ["the same text again", "The same: text, again!"] * 25_000
    start = time.perf_counter()
    within, against = near_copies(many)[0], near_copies(many, many)[0]
    assert time.perf_counter() - start < 8
    assert len(within) == len(many) - 1 and set(within[:, 0].tolist()) == {0}
    assert against[:, 0].tolist() == list(range(len(many))) and set(against[:, 1].tolist()) == {0}


def test_english_words_are_those_of_scikit_learn():
    analyzer = TfidfVectorizer().build_analyzer()
    path = ROOT / "data" / "pydocs" / "queries.jsonl"
    questions = [row["text"] for row in read_rows(path)]
    assert all(text_features(q) == analyzer(q) for q in questions if analyzer(q) and q.isascii())
    assert text_features("déjà vu, naïve café") == analyzer("déjà vu, naïve café")


# --- scripts and odd texts

@pytest.mark.parametrize("one, near, far", [
    ("如何对列表进行排序并删除重复的元素", "如何对列表进行排序并删除重复的元素?", "在图上画一条红色的线和几个点"),
    ("リストを並べ替えて重複を削除する方法", "リストを並べ替えて、重複を削除する方法", "赤い線をグラフに描く"),
    ("วิธีเรียงลำดับรายการและลบรายการที่ซ้ำกัน", "วิธีเรียงลำดับรายการและลบรายการที่ซ้ำกัน!", "วาดเส้นสีแดงบนกราฟ"),
    ("सूची को क्रमबद्ध कैसे करें और दोहराव हटाएँ", "सूची को क्रमबद्ध कैसे करें और दोहराव हटाएँ?",
     "ग्राफ पर लाल रेखा खींचें"),
    ("كيف أرتب قائمة وأحذف العناصر المكررة", "كيف أرتب قائمة وأحذف العناصر المكررة؟",
     "ارسم خطا أحمر على الرسم البياني"),
    ("איך ממיינים רשימה ומוחקים כפילויות", "איך ממיינים רשימה ומוחקים כפילויות?", "לצייר קו אדום על הגרף"),
    ("👍🎉", "👍 🎉", "😀"), ("C++", "c++", "R"), ("?!", "? !", "..."),
    ("ｓｏｒｔ ａ ｌｉｓｔ of names", "Sort a list of names", "draw lines"),
])
def test_near_copies_in_every_script(one, near, far):
    links, cosines = near_copies([one], [far, near])
    assert links.tolist() == [[0, 1]] and cosines[0] > 0.9
    assert near_copies([one, far])[0].tolist() == []


def test_one_character_more_or_less_in_a_script_without_spaces_is_a_near_copy():
    one = "如何对列表进行排序并删除重复的元素以及空白的元素"
    assert len(near_copies([one], [one[:-1]])[0]) == 1 and len(near_copies([one], [one[::-1]])[0]) == 0


@pytest.mark.parametrize("some", [[], [""], ["", ""], [" \n", "\u3000"]])
def test_texts_without_content_resemble_nothing(some):
    for others in (None, [], some):
        links, cosines = near_copies(some, others)
        assert links.shape == (0, 2) and len(cosines) == 0
    assert near_copies([*some, "sort a list"], [*some, "sort a list"])[0].tolist() == [[len(some), len(some)]]


def test_what_texts_are_made_of():
    assert text_features("हिन्दी में") == ["हिन्दी",
                                           "में"] and text_features("Sort a list in C") == ["sort", "list", "in"]
    assert text_features("整列する") == ["整列", "列す", "する"] and text_features("👍!") == ["👍", "!", "👍!"]
    assert canonical_text("Ｓｏｒｔ\n a  STRASSE") == canonical_text("sort a straße") != canonical_text("sort the straße")


def test_only_the_beginning_of_a_text_is_compared():
    one, other = (f"{'sort the list of names ' * 3}{' '.join(f'{word}{i}' for i in range(50))}"
                  for word in ("left", "right"))
    assert len(near_copies([one], [other])[0]) == 0 and len(near_copies([one], [other], characters=60)[0]) == 1


def test_the_rest_of_a_row_is_its_length_from_there_on(natural):
    vectors = module._tfidf(natural[:50], 1000)
    rest = module._rest(vectors)
    assert all(np.isclose(rest[k], np.linalg.norm(vectors.data[k:b]), atol=EDGE)
               for a, b in zip(vectors.indptr[:-1], vectors.indptr[1:]) for k in range(a, b))


def test_a_very_long_line_is_compared_by_its_beginning():
    line = "sort the list of names " * 45_000
    assert near_copies([line], ["draw", line[:1000]])[0].tolist() == [[0, 1]]


@given(st.text(max_size=30))
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_text_is_a_near_copy_of_itself_unless_it_is_blank(text):
    assert len(near_copies([text], ["zebra crossing", text], threshold=0.99)[0]) == bool(text.strip())


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ContractError) as error:
        near_copies(["a text"], ["a text"], threshold)
    assert error.value.layer == "data.threshold"


def test_what_decides_about_near_copies_is_part_of_stored_keys():
    helpers = {f for name, f in vars(module).items() if callable(f) and getattr(f, "__module__", "") == module.__name__}
    named = set(NEAR_COPY_CODE)
    assert near_copies in named and {module._candidates, module._tfidf, text_features,
                                     module._words} <= named <= helpers
    assert fingerprint([*NEAR_COPY_CODE]) != fingerprint([*NEAR_COPY_CODE[1:]])


# --- the three grades

def judged(rows):
    return Judged({q: text for q, text, _ in rows}, {q: grades for q, _, grades in rows})


TRAIN = judged([("x", "sort the list of names", {"d1": 1}),
                ("y", "invert a square matrix of numbers", {"d2": 2, "d9": 0}),
                ("z", "plot points on axes", {"d3": 1})])


def counts(found):
    return [finding.count for finding in found.findings]


@pytest.mark.parametrize("item, expected", [
    (("q", "Sort  the LIST\nof names", {"e": 1}), [1, 0, 0]),
    (("q", "invert a square matrix of numbers quickly", {"e": 1}), [0, 1, 0]),
    (("q", "anything else entirely", {"d3": 1}), [0, 0, 1]),
    (("q", "anything else entirely", {"d9": 1, "d3": 0}), [0, 0, 0]),
    (("q", "sort the list of names", {"d1": 1}), [1, 0, 1]),
])
def test_each_grade_is_found_and_no_other(item, expected):
    found = find_leaks(judged([item, *((f"o{i}", f"unrelated thing number {i}", {f"o{i}": 1}) for i in range(3))]), TRAIN)
    assert counts(found) == expected
    assert [finding.id for finding in found.findings] == ["data.leakage.same_text", "data.leakage.near_copy",
                                                          "data.leakage.shared_document"]
    assert ("q" in found.clean.queries) == ("q" in found.clean.qrels) == (
        "q" in found.untouched) == (sum(expected) == 0)
    assert len(found.rows) == sum(expected) and all(row["held out"] == "q" for row in found.rows)


def test_rows_name_the_training_item_behind_each_leak():
    found = find_leaks(judged([("q", "SORT the list of names", {"d3": 1})]), TRAIN)
    assert [(row["grade"], row["training"], row["training text"]) for row in found.rows] == [
        ("same text", "x", TRAIN.queries["x"]), ("shared document", "z", TRAIN.queries["z"])]
    assert found.findings[0].rows == found.rows[:1] and "d3" in found.rows[1]["why"]


def test_the_status_follows_the_share_that_is_touched():
    train = ["sort the list of names"]
    status = lambda leaks: find_leaks([*train * leaks, *(f"unrelated thing{i}" for i in range(100 - leaks))],
                                   train).findings[0].status
    assert [status(n) for n in (0, 1, 5, 6)] == ["ok", "doubt", "doubt", "fail"]


@given(st.lists(st.sampled_from(["sort a list", "SORT a list", "invert it now", "draw a line", "👍"]), min_size=1,
                max_size=8),
       st.lists(st.sampled_from(["sort a list", "plot points", "Draw a  line", "👍"]), min_size=1, max_size=8))
@hypothesis_settings(max_examples=60, deadline=None)
def test_what_is_clean_is_clean_and_what_is_not_is_counted(test, train):
    found = find_leaks(test, train)
    assert found.clean == [test[i] for i in found.untouched]
    assert not {canonical_text(t) for t in found.clean} & {canonical_text(t) for t in train}
    assert len(found.clean) == len(test) - len({row["held out"] for row in found.rows})
    if found.clean:
        assert counts(find_leaks(found.clean, train))[0] == 0


def test_pairs_share_positives_and_documents():
    train = PairSet("train", "asymmetric", ("list files", "sort lines"), ("ls -l", "sort file"))
    test = PairSet("test", "asymmetric", ("list all the files", "remove a folder", "sort lines"),
                   ("ls  -L", "rm -r x", "sort -u file"), (("n", "m", "o"),))
    found = find_leaks(test, train)
    assert counts(found) == [1, 0,
                             1] and found.clean.anchors == ("remove a folder",) and found.clean.negatives == (("m",),)
    on_documents = find_leaks(Judged({"q": "something"}, {"q": {"d": 1}}),
                           PairSet("p", "asymmetric", ("other",), ("text",), (), ("d",)))
    assert counts(on_documents) == [0, 0, 1]


def test_both_texts_of_a_symmetric_pair_ask():
    train = PairSet("train", "symmetric", ("a man plays the guitar",), ("somebody makes music",))
    turned = PairSet("test", "symmetric", ("Somebody makes music", "a dog runs"),
                     ("a man plays the guitar", "an animal moves"))
    assert counts(find_leaks(turned, train)) == [1, 0, 0] and find_leaks(turned, train).untouched == (1,)


def test_empty_texts_are_not_the_same_question():
    assert counts(find_leaks(["", "draw a line"], ["", "sort a list"])) == [0, 0, 0]


def test_sides_that_cannot_be_compared_by_document_say_so():
    against_texts = find_leaks(TRAIN, ["draw a line"]).findings[2]
    assert against_texts.status == "doubt" and against_texts.evidence.startswith(
        "not enough evidence: ") and against_texts.count == 0
    assert find_leaks(["draw a line"], ["sort a list"]).findings[2].status == "ok"


@pytest.mark.parametrize("test, train, layer",
                         [([], ["a"], "data.empty"), (["a"], [], "data.empty"), (TRAIN, Judged({}, {}), "data.empty"),
                          ("a text", ["a"], "data.leakage"), (["a"], None, "data.leakage"),
                          ([1, 2], ["a"], "data.leakage"),
                          (TRAIN, {"a": 1}.values(), "data.leakage")])
def test_sides_without_items_or_of_another_type_are_refused(test, train, layer):
    with pytest.raises(ContractError) as error:
        find_leaks(test, train)
    assert error.value.layer == layer


def test_what_leak_free_keeps_is_healthy_and_an_injected_leak_is_found():
    from semantic_nb.data.domain import leak_free
    test = judged([("q", "draw many points", {"d4": 2}), ("r", "sort list of the names", {"d5": 1})])
    written = PairSet("p", "asymmetric", (*TRAIN.queries.values(), "points, many"), ("p1", "p2", "p3", "p4"),
                      (), ("d1", "d2", "d3", "d4"))
    kept, finding = leak_free(written, test.relevant(), set(test.queries.values()))
    assert finding.count == 2 and counts(find_leaks(test, written)) == [0, 1, 1] and counts(find_leaks(test, kept)) == [
        0, 0, 0] and find_leaks(test, kept).clean == test
    leaky = PairSet("p", "asymmetric", (*kept.anchors, "DRAW many points"), (*kept.positives, "p5"),
                    (), (*kept.documents, "d5"))
    assert counts(find_leaks(test, leaky)) == [1, 0, 1] and find_leaks(test, leaky).untouched == ()


def test_training_drops_near_copies_of_held_out_questions():
    from semantic_nb.data.domain import leak_free
    pairs = PairSet("p", "asymmetric", ("invert a square matrix of numbers", "draw lines"),
                    ("p1", "p2"), (), ("d1", "d2"))
    kept, finding = leak_free(pairs, set(), {"invert the square matrix of numbers"})
    assert kept.anchors == ("draw lines",) and finding.count == 1 and "1 nearly its text" in finding.evidence


# --- public sets

development = pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                                 reason="needs the development sets: set DEVELOPMENT_DATA to their folder")


@development
def test_scifact_shares_abstracts_between_its_splits():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "scifact"
    corpus = read_corpus(folder / "corpus.jsonl")
    train, test, unseen = (read_judged(folder / "queries.jsonl", folder / "qrels" / f"{name}.tsv", corpus)
                           for name in ("train", "test", "test_unseen_docs"))
    found = find_leaks(test, train)
    assert (found.findings[2].count, len(test.queries), found.findings[2].status) == (196, 300, "fail")
    assert len(unseen.queries) == 104 and set(found.clean.queries) <= set(unseen.queries)
    extra = {row["held out"] for row in found.rows if row["grade"] != "shared document"} & set(unseen.queries)
    assert set(unseen.queries) - set(found.clean.queries) == extra and len(extra) == 1


@development
def test_nl2bash_near_copies_a_fifth_of_its_test_texts():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "nl2bash"
    train, test = (read_pairs(folder / f"pairs_{name}.jsonl", name, "asymmetric") for name in ("train", "test"))
    found = find_leaks(test, train)
    assert [finding.status for finding in found.findings] == ["fail", "fail", "doubt"] and counts(found)[0] == 191
    assert len(near_copies(test.anchors, train.anchors, 0.9)[0]) == pytest.approx(0.215 * len(test), rel=0.25)
    assert len(found.clean) == len(test) - len({row["held out"] for row in found.rows})


@development
def test_labelled_texts_are_compared_as_plain_texts():
    train, test = ([row["text"]
                    for row in read_rows(Path(os.environ["DEVELOPMENT_DATA"]) / "banking77" / f"{name}.jsonl")]
                   for name in ("train", "test"))
    found, known = find_leaks(test, train), set(map(canonical_text, train))
    assert found.findings[0].count == sum(canonical_text(t) in known
                                          for t in test) and found.findings[1].status == "fail"
    assert isinstance(found.clean, list) and len(found.clean) < len(test)


def test_documents_without_a_name_are_no_shared_document():
    nameless = PairSet("p", "asymmetric", ("sort a list",), ("use sorted",), (), ("",))
    other = PairSet("q", "asymmetric", ("draw a line",), ("use plot",), (), ("",))
    assert [finding.count for finding in find_leaks(nameless, other).findings] == [0, 0, 0]
    judged = Judged({"q": "draw a line"}, {"q": {"d": 1}})
    shared = find_leaks(judged, replace(nameless, positives=("use plot",))).findings[2]
    assert shared.status == "doubt" and shared.evidence.startswith("not enough evidence") and shared.fix
    named = replace(nameless, documents=("d",))
    assert find_leaks(judged, named).findings[2].count == 1


def test_a_single_character_between_other_scripts_counts():
    assert text_features("買 iPhone") == ["買", "iphone"]
    assert len(near_copies(["買 iPhone"], ["賣 iPhone"])[0]) == 0
