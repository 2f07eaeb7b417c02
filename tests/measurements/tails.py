"""Do the tails that a model never reads change the answers? The experiment of nbs/09_validate/tails.ipynb.

    python tests/measurements/tails.py            the finding for the last judged split of the spec in settings.ini
    python tests/measurements/tails.py SPEC       the same for another spec.toml, or for a BEIR folder

The rest of each cut document is read in windows, and a document scores as its best passage (MaxP; Dai and Callan,
2019). All tails are encoded once, which takes minutes; the vectors are kept in the store.
"""
import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_nb.checks import read_data_source
from semantic_nb.core import ContractError, Settings
from semantic_nb.data.records import Corpus, Finding, Judged, findings_table
from semantic_nb.bases import resolve_base
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, truncate
from semantic_nb.measure import Comparison, Run, as_run, compare, judged_at, per_query
from semantic_nb.spec import load_spec
from semantic_nb.validate.tails import token_counter

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PLAIN = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
FEWEST = 20  # judged queries


# --- windows over the tails

def tail_windows(model: "SentenceTransformer", corpus: Corpus, most: int = 4) -> tuple[list[str], np.ndarray, int]:
    """What the model does not read of the documents, in windows that it does read.

    Args:
        most: windows per document after its head.
    Returns:
        The m windows, each with its document's title before it; the row of the document of each, (m,) int, ascending;
        and the number of documents that go on after their last window.
    Raises:
        ContractError: `model.tokenizer` if the tokenizer does not say where its tokens stand,
            `model.max_tokens` if hardly a text fits.
    """
    room = room_for_text(model)
    windows, owners, unread = [], [], 0
    for first in range(0, len(corpus), 1000):
        passages = corpus.passages[first:first + 1000]
        for row, (passage, tokens) in enumerate(zip(passages, model.tokenizer(passages, **PLAIN).encodings), first):
            if len(tokens) > room:
                title, length = window_title(model, corpus.titles[row], room)
                edges = window_edges(tokens.word_ids, room, room - length, most)
                starts = [tokens.offsets[edge][0] for edge in edges[:-1]]
                ends = [tokens.offsets[edge - 1][1] for edge in edges[1:]]
                windows += [title + passage[start:end] for start, end in zip(starts, ends)]
                owners += [row] * (len(edges) - 1)
                unread += edges[-1] < len(tokens)
    return windows, np.array(owners, int), unread


def room_for_text(model: "SentenceTransformer") -> int:
    "How many tokens of a document the model reads beside the prompt and the special tokens."
    if not model.tokenizer.is_fast:
        raise ContractError("model.tokenizer", "this tokenizer does not say where its tokens stand",
                            "a tail begins where the head ends", "load the fast tokenizer of this model")
    room = model.max_seq_length - token_counter(model)([""])[0]
    if room < 8:
        raise ContractError("model.max_tokens", f"{max(0, room)} of {model.max_seq_length} tokens are left for a text",
                            "windows of a few tokens mean nothing", "raise max_tokens, or shorten the prompt")
    return room


def window_title(model: "SentenceTransformer", title: str, room: int) -> tuple[str, int]:
    "The title, cut to a quarter of the room, with a line break; and its length in tokens."
    offsets = model.tokenizer(title, return_offsets_mapping=True, **PLAIN)["offset_mapping"][:room // 4]
    heading = title[:offsets[-1][1]] + "\n" if offsets else ""
    return heading, len(model.tokenizer(heading, **PLAIN)["input_ids"])


def window_edges(words: Sequence[int], head: int, step: int, most: int) -> list[int]:
    """Tokens at which windows of at most `step` tokens start, and where the last of them ends.

    Each edge steps back to the start of its word. A word longer than a window is cut where it must be.

    Args:
        words: the number of the word of each token.
        head: the first token that the model does not read.
    """
    def word_start(at: int) -> int:
        starts = (i for i in range(at, at - step, -1) if words[i] != words[i - 1])
        return next(starts, at) if at < len(words) else len(words)

    edges = [word_start(head)]
    while edges[-1] < len(words) and len(edges) <= most:
        edges.append(word_start(edges[-1] + step))
    return edges


def tail_vectors(model: "SentenceTransformer", corpus: Corpus, most: int = 4,
                 progress: bool = True) -> tuple[np.ndarray, np.ndarray, int]:
    """The windows of `tail_windows` at full size, float32, (m, width); the document row of each, int, (m,); and how
    many documents go on after their last window. The vectors are kept in the store."""
    windows, owners, unread = tail_windows(model, corpus, most)
    pieces = Corpus(tuple(map(str, range(len(windows)))), ("",) * len(windows), tuple(windows), ({},) * len(windows))
    return corpus_vectors(model, pieces, progress), owners, unread


# --- rankings with and without them

def max_passage(queries: np.ndarray, heads: np.ndarray, tails: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Scores of documents by their best passage (MaxP; Dai and Callan, 2019), (queries, documents), float32: the
    largest inner product of a query with a document's head (row of `heads`) or one of its tails.

    Args:
        queries, heads, tails: vectors of one dimension.
        owners: the document row of each of `tails`.
    """
    scores = queries @ heads.T
    if len(owners):
        order = np.argsort(owners, kind="stable")
        rows, starts = np.unique(owners[order], return_index=True)
        scores[:, rows] = np.maximum(scores[:, rows], np.maximum.reduceat(queries @ tails[order].T, starts, axis=1))
    return scores


@dataclass(frozen=True)
class TailEffect:
    """Rankings by heads against rankings by heads and tails, on the same queries.

    Args:
        documents, cut, unread: how many there are, are cut, and go on after their last window.
        changed: share of queries with other documents among the first `k`.
        over_all, over_judged: `metric` with tails minus without, over all documents and over the judged ones.
        judged: share of the first `k` answers that somebody judged, without and with tails.
        head, tails: the two runs.
    """
    metric: str
    k: int
    documents: int
    cut: int
    unread: int
    changed: float
    over_all: Comparison
    over_judged: Comparison
    judged: tuple[float, float]
    head: Run = field(repr=False)
    tails: Run = field(repr=False)


def tail_effect(model: "SentenceTransformer", corpus: Corpus, judged: Judged, metric: str = "nDCG@10", k: int = 10,
                dim: int | None = None, most: int = 4, depth: int = 100, progress: bool = True) -> TailEffect:
    """What reading the tails (MaxP over windows) does to the rankings of judged queries.

    Args:
        dim: size of the vectors; None for the model's own.
        most: windows per document after its head.
        depth: length of the two runs that are kept.
    Raises:
        ContractError: `validate.metric`, `validate.empty` without judged queries,
            `model.tokenizer`, `model.max_tokens`, `model.vectors`.
    """
    per_query(metric, {}, judged)  # a misspelt metric should not cost minutes
    tails, owners, unread = tail_vectors(model, corpus, most, progress)
    dim = dim or tails.shape[1]
    heads, tails = (truncate(vectors, dim, model.similarity_fn_name)
                    for vectors in (corpus_vectors(model, corpus, progress), tails))
    queries = encode(model, list(judged.queries.values()), "query", dim)
    head, head_judged = ranked(judged, corpus, depth, queries, heads, tails[:0], owners[:0])
    full, full_judged = ranked(judged, corpus, depth, queries, heads, tails, owners)
    changed = [set(list(head[q])[:k]) != set(list(full[q])[:k]) for q in judged.queries]
    over_all, over_judged = (compare(per_query(metric, with_tails, judged), per_query(metric, without, judged))
                             for with_tails, without in ((full, head), (full_judged, head_judged)))
    return TailEffect(metric, k, len(corpus), len(set(owners.tolist())), unread, float(np.mean(changed)), over_all,
                      over_judged, (judged_at(k, head, judged), judged_at(k, full, judged)), head, full)


def ranked(judged: Judged, corpus: Corpus, depth: int, queries: np.ndarray, heads: np.ndarray,
           tails: np.ndarray, owners: np.ndarray, block: int = 32) -> tuple[Run, Run]:
    "The first `depth` documents of each query, ties in corpus order; and the judged documents alone."
    ids, run, condensed = list(judged.queries), {}, {}
    for first in range(0, len(ids), block):
        scores = max_passage(queries[first:first + block], heads, tails, owners)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        run |= as_run(ids[first:first + block], corpus.ids, np.take_along_axis(scores, order, axis=1), order)
        for query, row in zip(ids[first:], scores):
            known = [document for document in judged.qrels[query] if document in corpus.position]
            condensed[query] = {document: float(row[corpus.position[document]]) for document in known}
    return run, condensed


# --- what follows from it

def tails_finding(effect: TailEffect, gain: float = 0.01) -> Finding:
    """`data.length.tails`: doubt if the tails improve the metric by at least `gain` with an interval above 0, or if
    the judgments cannot tell; ok otherwise, which is no proof that nothing can be won: read the interval."""
    if not effect.cut:
        return Finding("data.length.tails", "ok", 0, f"none of {effect.documents} documents is cut")
    status, verdict, fix = tails_verdict(effect, gain)
    every = effect.over_all
    difference = f"{every.difference:+.3f}, n = {every.n}" if np.isnan(every.low) else str(every)
    later = f"; {effect.unread} documents go on after their last window" if effect.unread else ""
    figures = (f"{effect.cut} of {effect.documents} documents are cut{later}; {effect.changed:.0%} of queries get "
               f"other documents among the first {effect.k}; {effect.metric} with tails minus without: {difference}")
    return Finding("data.length.tails", status, effect.cut, f"{verdict}. {figures}", fix)


def tails_verdict(effect: TailEffect, gain: float) -> tuple[str, str, str]:
    "Status, verdict and fix, by the first rule that applies."
    every, known = effect.over_all, effect.over_judged
    if every.n < FEWEST:
        return "doubt", f"not enough evidence: {every.n} judged queries", f"judge at least {FEWEST}"
    if every.outcome == "better" and every.difference >= gain:
        return ("doubt", "the tails make the answers better",
                "raise max_tokens, or index chunks and let a document score as its best one")
    if known.outcome == "better" and known.difference >= gain:
        return ("doubt", f"not enough evidence: better over judged documents only ({known}), and "
                f"{effect.judged[0]:.0%} -> {effect.judged[1]:.0%} of the answers are judged",
                "judge the answers that the tails bring up, and compare again")
    if every.outcome == "worse":
        return "ok", "the tails make the answers worse", ""
    if not effect.changed:
        return "ok", "the tails change nothing", ""
    size = f"of {gain:g} is ruled out" if every.high < gain else "is not shown"
    return "ok", f"the tails change rankings; a gain {size}", ""


def last_split_finding(model: "SentenceTransformer", corpus: Corpus | None, splits: Mapping[str, Judged]) -> Finding:
    "`tails_finding` of the split `test`, or else of the last one that is not `train`; doubt if there is none."
    names = [name for name in splits if name != "train"]
    if not corpus or not names:
        return Finding("data.length.tails", "doubt", 0, "not enough evidence: there are no judged questions",
                       "give a spec or a BEIR folder")
    return tails_finding(tail_effect(model, corpus, splits["test" if "test" in names else names[-1]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", type=Path, default=Settings.current().spec,
                        help="a spec.toml or a BEIR folder; by default the spec that settings.ini names")
    source = read_data_source(parser.parse_args().spec)
    spec = source.spec or load_spec()
    model = load_encoder(resolve_base(spec.model.base), spec.model)
    print(findings_table([last_split_finding(model, source.corpus, source.splits)]))


if __name__ == "__main__":
    main()
