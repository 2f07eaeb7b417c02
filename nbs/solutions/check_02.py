"""The checkers of chapter 02. Each says what is missing, and `Well done` where nothing is."""
import tempfile
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from semantic_nb.core import ContractError
from semantic_nb.data.leakage import find_leaks
from semantic_nb.data.near_copies import text_features
from semantic_nb.data.records import read_corpus, read_judged, read_pairs

BROKEN_FILES = {
    "pairs.csv": 'anchor,positive\nhow do I sort a list,"Sort the list, in place."\nhow do I copy a list,\n',
    "corpus.jsonl": '{"_id": "1", "title": "Sorting", "text": "Sort the list in place."}\n'
                    '{"_id": "1", "title": "Copying", "text": "Return a shallow copy."}\n',
    "judged.tsv": "query-id\tcorpus-id\tscore\nq1\t1\t2\nq1\t2\tgood\n",
    "swapped.csv": 'anchor,positive\n"Sort the list, in place.",how do I sort a list\n'
                   "Return a shallow copy of the list.,how do I copy a list\n"}


def _rules() -> dict[str, str]:
    "Each broken file and the rule that the package's reader refuses it by."
    folder = Path(tempfile.mkdtemp())
    for name, content in BROKEN_FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    queries = folder / "queries.jsonl"
    queries.write_text('{"_id": "q1", "text": "how do I sort a list"}\n', encoding="utf-8")
    rules = {}
    for name in BROKEN_FILES:
        try:
            if name.endswith(".csv"):
                read_pairs(folder / name, "pairs", "asymmetric")
            elif name.endswith(".tsv"):
                read_judged(queries, folder / name, None)
            else:
                read_corpus(folder / name)
            rules[name] = "none"
        except ContractError as error:
            rules[name] = error.layer
    return rules


def exercise_1(answer: "dict[str, str] | None" = None) -> str:
    "Which rule refuses which file?"
    if not isinstance(answer, dict) or set(answer) != set(BROKEN_FILES):
        return f"Give a dictionary with a rule, or 'none', for each of {', '.join(BROKEN_FILES)}."
    wrong = [name for name, rule in _rules().items() if answer[name] != rule]
    if wrong:
        return (f"{len(wrong)} of 4 are not right, {wrong[0]} among them. What can a reader notice in it that knows "
                "nothing about the topic?")
    return "Well done: swapped columns pass, because each row by itself is a sound pair of texts."


def exercise_2(pairs=None, domain=None) -> str:
    "Pairs with a planted leak that only the answers show."
    if pairs is None or domain is None:
        return "Put one pair behind those of the domain with `replace`, and give the result together with `domain`."
    given = domain.pairs[0]
    if not len(given) < len(pairs) <= len(given) + 3 or pairs.anchors[:len(given)] != given.anchors:
        return f"Keep the {len(given):,} pairs, and put one to three new ones behind them."
    if not len(pairs.anchors) == len(pairs.positives) == len(pairs.documents):
        return "Each new pair needs an anchor, a positive, and the id of the document behind the positive."
    test = domain.splits[domain.spec.validation.test]
    leakage = find_leaks(test, pairs.take(range(len(given), len(pairs))))
    same, near, shared = (finding.count for finding in leakage.findings)
    if same or near:
        return "Whoever compares the questions would notice: a new text repeats a test question, or nearly does."
    if not shared:
        return "No test question is touched. Which document answers one, and is its id in `documents`?"
    return f"Well done: the answers alone give away {shared} test question(s), and find_leaks names the pair behind it."


def _remembered(test: list[str], train: list[str], texts: dict, answers: dict) -> int:
    "How many test questions a memory of the training questions answers among its first ten documents."
    words = TfidfVectorizer(analyzer=text_features, sublinear_tf=True)
    table = words.fit_transform([texts[query] for query in train])
    hits = 0
    for query, vector in zip(test, words.transform([texts[query] for query in test])):
        order = np.argsort(-(table @ vector.T).toarray().ravel(), kind="stable")[:10]
        documents = list(dict.fromkeys(document for place in order for document in answers[train[place]]))[:10]
        hits += any(document in answers[query] for document in documents)
    return hits


def exercise_3(chosen=None, judged=None) -> str:
    "A test that a memory cannot answer."
    if chosen is None or judged is None:
        return "Give a list of ids of questions, and the judgments that they are chosen from."
    answers = {query: [document for document, grade in grades.items() if grade > 0]
               for query, grades in judged.qrels.items()}
    test = list(dict.fromkeys(chosen))
    if unknown := [query for query in test if query not in answers]:
        return f"{unknown[0]!r} is no judged question."
    share = len(test) / len(answers)
    if not 0.1 <= share <= 1 / 3:
        return f"Your test holds {share:.0%} of the questions. Choose between a tenth and a third of them."
    hits = _remembered(test, sorted(set(answers) - set(test)), judged.queries, answers)
    if hits > 0.01 * len(test):
        return (f"The memory answers {hits / len(test):.1%} of your {len(test)} test questions, because training has "
                "seen their answers. Which questions share no answer with the others?")
    return f"Well done: the memory answers {hits} of your {len(test)} test questions."
