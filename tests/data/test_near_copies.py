"""Near-copies against the whole table, and in other scripts: what would clutter the notebook."""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

import semantic_nb.data.near_copies as module
from semantic_nb.core import ContractError
from semantic_nb.data.near_copies import NEAR_COPY_CODE, canonical_text, near_copies, text_features
from semantic_nb.data.records import read_rows
from semantic_nb.store import fingerprint

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
    monkeypatch.setattr(module, "_BLOCK_WORK", block)
    left, right = natural[:1500], natural[1500:]
    cosines = table(left, right)
    links, _ = near_copies(left, right)
    assert {i for i, _ in links.tolist()} == set(
        np.flatnonzero(cosines.max(1) >= module.NEAR_COPY).tolist()) and len(links) > 20
    assert np.allclose(cosines[links[:, 0], links[:, 1]], cosines[links[:, 0]].max(1), atol=EDGE)
    everything = np.argwhere(table(natural) >= module.NEAR_COPY)
    assert same_groups(len(natural), near_copies(natural)[0], everything)


@pytest.mark.parametrize("end", [1, 0.85, 0.3, 0.01])
def test_the_length_of_the_prefixes_changes_the_work_and_not_the_result(natural, monkeypatch, end):
    expected = near_copies(natural[:1500], natural[1500:])
    monkeypatch.setattr(module, "_PREFIX_END", end)
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
                                     module._word_pattern} <= named <= helpers
    assert fingerprint([*NEAR_COPY_CODE]) != fingerprint([*NEAR_COPY_CODE[1:]])


def test_a_single_character_between_other_scripts_counts():
    assert text_features("買 iPhone") == ["買", "iphone"]
    assert len(near_copies(["買 iPhone"], ["賣 iPhone"])[0]) == 0


def test_what_is_kept_for_near_copies_has_the_same_key_in_every_process():
    code = ("from semantic_nb.store import fingerprint\nfrom semantic_nb.data.near_copies import NEAR_COPY_CODE\n"
            "print(fingerprint([*NEAR_COPY_CODE]))")
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert fingerprint([*NEAR_COPY_CODE]) == other
