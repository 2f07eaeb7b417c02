import os
from pathlib import Path

import pytest

from semantic_nb.data.records import Corpus, Judged, read_corpus, read_judged
from semantic_nb.lexical import WordIndex, bm25, fuse
from semantic_nb.measure import _self_findings, per_query


def test_bm25_finds_words_and_nothing_else():
    corpus = Corpus(("a", "b"), ("", ""), ("sorting a list", "inverse matrix"), ({}, {}))
    assert list(bm25(corpus, {"q": "sort", "r": "zebra"})["q"]) == ["a"] and bm25(corpus, {"r": "zebra"})["r"] == {}


def corpus_of(*texts):
    return Corpus(tuple(f"d{i}" for i in range(len(texts))), ("",) * len(texts), texts, ({},) * len(texts))


@pytest.mark.parametrize("texts, question", [
    (("如何给列表排序", "怎样打开一个文件", "求矩阵的逆矩阵"), "打开文件"),
    (("リストを並べ替える", "ファイルを開く方法", "行列の逆を求める"), "ファイルを開く"),
    (("แมวนอนหลับ", "ผู้ใช้เปิดแฟ้ม", "ฝนตกหนัก"), "เปิดแฟ้ม"),
    (("sort a 列表", "numpy 打开文件 quickly", "矩阵 inverse"), "opening 文件 with numpy")])
def test_bm25_reads_scripts_without_spaces(texts, question):
    run = bm25(corpus_of(*texts), {"q": question})
    assert max(run["q"], key=run["q"].get) == "d1"


def test_bm25_is_that_of_the_library_where_words_have_spaces():
    import bm25s
    import Stemmer
    texts = ("Sort the lists quickly", "naïve façade of lists", "Der Löwe schläft", "Открыть файл", "", "the of and")
    queries = {"a": "sorted list", "b": "naïve façades", "c": "löwe", "d": "файл", "e": "the"}
    split = lambda some: bm25s.tokenize(some, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(split(list(texts)), show_progress=False)
    rows, scores = index.retrieve(split(list(queries.values())), k=6, show_progress=False)
    plain = {query: {f"d{row}": score for row, score in zip(rows[n], scores[n]) if score > 0}
             for n, query in enumerate(queries)}
    ours = bm25(corpus_of(*texts), queries)
    assert {query: set(hits) for query, hits in ours.items()} == {query: set(hits) for query, hits in plain.items()}
    assert all(ours[query][document] == score for query, hits in plain.items() for document, score in hits.items())


def test_bm25_ranks_equal_documents_in_the_order_of_the_corpus():
    corpus = corpus_of("quite another text", *["sort a list"] * 50, "list")
    assert list(bm25(corpus, {"q": "sort list"}, k=7)["q"]) == [f"d{row}" for row in range(1, 8)]
    assert bm25(corpus, {"q": "nothing of it"}) == {"q": {}}


def test_a_corpus_without_words_answers_nothing():
    assert bm25(corpus_of("", "the"), {"q": "sort"}) == {"q": {}}


def test_a_question_does_not_answer_itself_unless_only_the_id_is_the_same():
    corpus = corpus_of("how to sort a list", "sort lists with sorted", "how to open a file")
    assert "d1" in (found := bm25(corpus, {"d0": "How to sort  a list"})["d0"]) and "d0" not in found
    assert "d0" in bm25(corpus, {"d0": "sort a list"})["d0"]
    found, = _self_findings(corpus, {"test": Judged({"d0": "how to sort a list", "q": "x"}, {}), "dev": Judged({}, {})})
    assert found.id == "data.self_hits.test" and found.count == 1 and "1 of 2 questions" in found.evidence


def test_a_word_index_answers_any_number_of_questions_and_as_many_as_asked():
    index = WordIndex.of(corpus_of(*(f"sort list {n}" for n in range(5))))
    assert list(index.run({"q": "sort"}, k=2)["q"]) == ["d0", "d1"] and len(index.run({"q": "sort"}, k=9)["q"]) == 5
    assert index.run({}) == {}


def test_reciprocal_ranks_are_those_of_the_paper():
    fused = fuse({"q": {"a": 0.9, "b": 0.8}, "r": {"a": 0.1}}, {"q": {"b": 12.0, "c": 7.0}})
    assert fused["q"] == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62})
    assert list(fused["q"]) == ["b", "a", "c"] and fused["r"] == {"a": 1 / 61}


def test_a_fused_run_is_cut_and_does_not_depend_on_the_order_of_the_hits():
    one, other = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"c": 9.0, "b": 8.0}}
    assert list(fuse(one, other, k=1)["q"]) == ["c"]  # 1/63 + 1/61 against 2/62
    assert fuse({"q": dict(reversed(one["q"].items()))}, other) == fuse(one, other)
    assert fuse({"q": {}}, {"q": {}}) == {"q": {}} and fuse() == {}


def test_a_document_of_both_searches_comes_before_the_best_of_one():
    words, vectors = {"q": {"w": 9.0, "both": 5.0}}, {"q": {"v": 0.9, "both": 0.7}}
    judged = Judged({"q": "?"}, {"q": {"both": 1}})
    assert per_query("P@1", fuse(words, vectors), judged).tolist() == [1.0]
    assert per_query("P@1", words, judged).tolist() == per_query("P@1", vectors, judged).tolist() == [0.0]


@pytest.mark.skipif("DEVELOPMENT_DATA" not in os.environ,
                    reason="needs the development sets: set DEVELOPMENT_DATA to their folder")
def test_bm25_reproduces_the_published_scifact_figure():
    folder = Path(os.environ["DEVELOPMENT_DATA"]) / "scifact"
    corpus = read_corpus(folder / "corpus.jsonl")
    judged = read_judged(folder / "queries.jsonl", folder / "qrels" / "test.tsv", corpus)
    assert per_query("nDCG@10", bm25(corpus, judged.queries), judged).mean() == pytest.approx(0.687, abs=0.01)
