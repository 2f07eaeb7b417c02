"""Faults, each injected into a healthy copy of a checkout, and the layer that has to be named first.

`root` is the copy. A silent fault has a control: what the plain libraries do with the same files, without a complaint.
"""
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.command import call
from faults.healthy import RANDOM_BASE, paraphrases, write_lines
from semantic_nb.bases import resolve_base
from semantic_nb.encoder import truncate
from semantic_nb.store import _hashes, _manifest, write_text

FOLDER = Path("data/small")
SPEC, PAIRS, CORPUS, QUERIES = (FOLDER / "spec.toml", FOLDER / "pairs.jsonl",
                                FOLDER / "corpus.jsonl", FOLDER / "queries.jsonl")
LABELLED, CLICKS, TEST, SCRIPT = (FOLDER / "labelled.jsonl", FOLDER / "clicks.jsonl",
                                  FOLDER / "qrels" / "test.tsv", Path("ours.py"))
CHECK = ("check", "--json")
DIM = 16
SEARCH = ("search", "how to sort a list", "--json")
DATA = ("data", str(SPEC), "--json")
LOG = ("data", str(CLICKS), "--json")
LINT = ("lint", str(SCRIPT), "--json")
DIAGNOSE = ("diagnose", "--json")
CALIBRATE = ("duplicates", str(LABELLED), "--calibrate", str(LABELLED), "--json")
CLUSTER = ("cluster", str(CORPUS), "-k", "5", "--json")
Action = Callable[[Path], object]


@dataclass(frozen=True)
class Fault:
    """`says` what was done by `inject`; `command` has to name `layer` first.

    `control`: for silent faults, what goes through without our checks; `prepare`: a healthy change that the
    fault needs; `degree`: a doubt counts, because the fault is a matter of degree and training goes on without
    the rows; `gap`: why it is not caught yet.
    """
    id: str
    layer: str
    says: str
    inject: Action
    command: tuple[str, ...] = CHECK
    control: Action | None = None
    prepare: Action | None = None
    degree: bool = False
    gap: str = ""

    @property
    def silent(self) -> bool:
        return self.control is not None


# --- files

def edit(name: Path, change: Callable[[str], str]) -> Action:
    def inject(root: Path) -> None:
        before = (root / name).read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"nothing was injected into {name}"
        (root / name).write_text(after, encoding="utf-8")
    return inject


def replace(name: Path, *changes: tuple[str, str]) -> Action:
    def change(text: str) -> str:
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        return text
    return edit(name, change)


def rows(name: Path, change: Callable[[list[dict]], list[dict]]) -> Action:
    return edit(name, lambda text: "".join(json.dumps(row, ensure_ascii=False) + "\n"
                                           for row in change([json.loads(line) for line in text.splitlines()])))


def each(name: Path, change: Callable[[int, dict], dict]) -> Action:
    return rows(name, lambda all_rows: [change(i, row) for i, row in enumerate(all_rows)])


def both(*actions: Action) -> Action:
    return lambda root: [action(root) for action in actions] and None


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_questions(root: Path) -> list[tuple[str, str, str]]:
    "(question, text of its answer, title of its answer) of the test split."
    texts = {row["_id"]: row["text"] for row in read(root / QUERIES)}
    documents = {row["_id"]: row for row in read(root / CORPUS)}
    best = {q: d
            for q, d, _ in (line.split("\t") for line in (root / TEST).read_text(encoding="utf-8").splitlines()[1:])}
    return [(texts[q], documents[d]["text"], documents[d]["title"]) for q, d in best.items()]


# --- artifacts

def kept(root: Path, name: str) -> Path:
    "The one artifact of this name in the store."
    found = list((root / "runs" / "store").glob(f"{name}-*"))
    assert len(found) == 1, found
    return found[0]


def fresh(path: Path, content: bytes) -> None:
    "Write to a new file: large ones are hard links to those of the healthy checkout."
    path.unlink()
    path.write_bytes(content)


def seal(folder: Path, **facts) -> None:
    "Make the manifest fit what lies in the folder now, so that no checksum gives the fault away."
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_text(folder / "manifest.json", _manifest(manifest["recipe"], manifest["facts"] | facts, _hashes(folder)))


def shipped(change: Callable[[Path], None], sealed: bool = True) -> Action:
    "Change the shipped model's folder."
    def inject(root: Path) -> None:
        folder = kept(root, "model")
        change(folder / "model")
        if sealed:
            seal(folder)
    return inject


def tensors(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def inject(folder: Path) -> None:
        from safetensors.torch import load_file, save_file
        changed = change(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").unlink()
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return inject


def own_base(change: Callable[[Path], None]) -> Action:
    "Train from a copy of the base that lies in the checkout, and that `change` has damaged."
    def inject(root: Path) -> None:
        shutil.copytree(root / "base", root / "our-base")
        change(root / "our-base")
        replace(SPEC, ('base = "base"', 'base = "our-base"'))(root)
    return inject


def shuffled_weights(weights: dict) -> dict:
    import torch
    torch.manual_seed(0)
    return {name: torch.randn_like(w) * w.std() if w.is_floating_point() and w.ndim > 1 else w
            for name, w in weights.items()}


def other_index(make: Callable[[np.ndarray], object], **facts) -> Action:
    """Put another FAISS index of the same documents in the place of the served one.
    `make` gets the vectors at full size."""
    def inject(root: Path) -> None:
        import faiss
        folder = kept(root, "index")
        faiss.write_index(make(served_vectors(root)), str(folder / "index.faiss"))
        seal(folder, **facts)
    return inject


def served_vectors(root: Path) -> np.ndarray:
    "The corpus as the served model encodes it; of the kept vectors, those whose recipe names its weights."
    known = lambda folder: json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    weights = known(kept(root, "index"))["facts"]["model"]["weights"]
    return next(np.load(folder / "vectors.npy") for folder in (root / "runs" / "store").glob("vectors-*")
                if known(folder)["recipe"]["model"]["weights"] == weights)


def flat(vectors: np.ndarray, euclidean: bool = False):
    import faiss
    index = (faiss.IndexFlatL2 if euclidean else faiss.IndexFlatIP)(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, "float32"))
    return index


def rotated(vectors: np.ndarray) -> np.ndarray:
    "The same texts in another model's space: every cosine among them as before."
    return vectors @ np.linalg.qr(np.random.default_rng(0).normal(size=(vectors.shape[1],) * 2))[0].astype("float32")


def ids(change: Callable[[list[str]], list[str]]) -> Action:
    def inject(root: Path) -> None:
        folder = kept(root, "index")
        known = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        (folder / "ids.json").write_text(json.dumps(change(known)), encoding="utf-8")
        seal(folder)
    return inject


def search_once(root: Path) -> None:
    "Build what the changed spec asks for."
    assert call(SEARCH).code == 0


# --- what goes through without our checks

def plain_training(root: Path) -> None:
    "The library takes these pairs for a data set and computes a loss on them."
    import torch
    from datasets import Dataset
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    model, data = _plain_base(), Dataset.from_list(read(root / PAIRS))
    columns = [model.preprocess(data[name][:8]) for name in data.column_names]
    with torch.no_grad():
        assert torch.isfinite(MultipleNegativesRankingLoss(model)(columns, None))


@functools.cache
def _plain_base():
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(resolve_base("all-MiniLM-L6-v2"), device="cpu")


def plain_reading(root: Path) -> None:
    "The base encodes the documents."
    documents = read(root / CORPUS)[:20]
    assert _plain_base().encode([f"{row['title']}\n{row['text']}" for row in documents]).shape == (20, 384)


def plain_batches(root: Path) -> None:
    "The sampler makes its batches, however few."
    from datasets import Dataset
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
    assert list(NoDuplicatesBatchSampler(Dataset.from_list(read(root / PAIRS)), batch_size=32, drop_last=False))


def plain_model(folder: str = "", stage: str = "model") -> Action:
    "`SentenceTransformer(path)` loads the folder, or the model of a stage, and encodes with it."
    def control(root: Path) -> None:
        from sentence_transformers import SentenceTransformer
        model = SentenceTransformer(str(root / folder if folder else kept(root, stage) / "model"), device="cpu")
        assert len(model.encode_query(["how to sort a list"])) == 1
    return control


def plain_index(root: Path) -> None:
    "FAISS opens the file, finds five rows, and the ids name five documents."
    import faiss
    index = faiss.read_index(str(kept(root, "index") / "index.faiss"))
    known = json.loads((kept(root, "index") / "ids.json").read_text(encoding="utf-8"))
    from sentence_transformers import SentenceTransformer
    asked = truncate(SentenceTransformer(str(kept(root, "model") / "model"),
                                         device="cpu").encode_query(["how to sort a list"]), index.d)
    assert len([known[row] for row in index.search(asked, 5)[1][0] if row >= 0]) == 5


def plain_lists(root: Path) -> None:
    "FAISS trains a hundred lists on what there is, with a warning at most."
    import faiss
    vectors = truncate(served_vectors(root), DIM)
    index = faiss.index_factory(DIM, "IVF100,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    assert index.ntotal == len(vectors)


def plain_codes(root: Path) -> None:
    "FAISS packs each vector into a byte, and answers."
    import faiss
    vectors = truncate(served_vectors(root), DIM)
    index = faiss.index_factory(DIM, "IVF19,PQ1np", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    assert (index.search(vectors[:1], 5)[1] >= 0).all()


def plain_threshold(root: Path) -> None:
    "scikit-learn computes precision and recall, and the best F1 has a threshold."
    from sklearn.metrics import precision_recall_curve
    pairs, model = read(root / LABELLED), _plain_base()
    sides = (model.encode([row[side] for row in pairs], normalize_embeddings=True) for side in ("anchor", "positive"))
    scores = np.multiply(*sides).sum(axis=1)
    precision, recall, thresholds = precision_recall_curve([row["label"] for row in pairs], scores)
    assert np.isfinite(thresholds[np.argmax((2 * precision * recall / np.maximum(precision + recall, 1e-9))[:-1])])


def plain_clusters(root: Path) -> None:
    "k-means returns a label for every text."
    from sklearn.cluster import KMeans
    texts = [row["text"] for row in read(root / CORPUS)]
    assert len(KMeans(5, n_init=1, random_state=0).fit_predict(_plain_base().encode(texts[:50]))) == 50


def plain_clicks(root: Path) -> None:
    "A data set of queries and clicked documents, as good as any."
    from datasets import Dataset
    assert len(Dataset.from_list(read(root / CLICKS)).select_columns(["query", "document"]))


def plain_script(root: Path) -> None:
    "Python runs the script."
    import runpy
    (root / "all-MiniLM-L6-v2").symlink_to(resolve_base("all-MiniLM-L6-v2"))
    runpy.run_path(str(root / SCRIPT))


def plain_metric(root: Path) -> None:
    "ir-measures gives a number for the judgments that there are."
    import ir_measures
    from ir_measures import nDCG
    lines = (line.split("\t") for line in (root / TEST).read_text(encoding="utf-8").splitlines()[1:])
    qrels = [ir_measures.Qrel(q, d, int(g)) for q, d, g in lines]
    run = [ir_measures.ScoredDoc(one.query_id, one.doc_id, 1.0) for one in qrels]
    assert ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10] > 0


# --- data

def _swap(row: dict) -> dict:
    return {"anchor": row["positive"], "positive": row["anchor"]}


def _leak(make: Callable[[tuple[str, str, str], dict], dict], count: int = 20) -> Action:
    "Turn the first rows of the training pairs into what `make` returns for a test question."
    def inject(root: Path) -> None:
        asked = test_questions(root)[:count]
        pairs = read(root / PAIRS)
        write_lines(root / PAIRS, [make(question, row) for question, row in zip(asked, pairs)] + pairs[len(asked):])
    return inject


def _reworded(text: str) -> str:
    "A near-copy: one word more, another case, another end."
    return f"please {text[0].upper()}{text[1:].rstrip('?.')} ?"


def _mixed(all_rows: list[dict]) -> list[dict]:
    return [*all_rows[:120], *paraphrases()]


NOTICE = ("This page is part of the documentation. It is provided as is, without warranty of any kind, express or "
          "implied, to the extent permitted by law. " * 3)


def script(text: str) -> Action:
    return lambda root: (root / SCRIPT).write_text(text, encoding="utf-8")


def _dressed(text: str) -> str:
    return f"Note. {text.upper()}"


def _shifted_answers(step: int) -> Action:
    "Every `step`-th pair has the answer of the next one of these."
    def shift(all_rows: list[dict]) -> list[dict]:
        moved = all_rows[::step]
        for row, other in zip(moved, [one["positive"] for one in moved[1:] + moved[:1]]):
            row["positive"] = other
        return all_rows
    return rows(PAIRS, shift)


TRIPLETS = both(replace(SPEC, ('pair_type = "pairs"', 'pair_type = "triplets"'),
                        ('path = "pairs.jsonl"', 'path = "pairs.jsonl"\nnegative = "negative"')),
                rows(PAIRS, lambda all_rows: [row | {"negative": other["positive"]}
                                              for row, other in zip(all_rows, all_rows[7:] + all_rows[:7])]))

DATA_FAULTS = (
    Fault("column-missing", "data", "the file of pairs calls its second column answer",
          each(PAIRS, lambda i, row: {"anchor": row["anchor"], "answer": row["positive"]})),
    Fault("not-utf8", "data", "the corpus was saved in Latin-1",
          lambda root: (root / CORPUS).write_bytes(
              (root / CORPUS).read_text(encoding="utf-8").replace("a", "é", 5).encode("latin-1", "replace"))),
    Fault("broken-line", "data", "a line of the corpus breaks off", edit(CORPUS, lambda text: text[:len(text) // 2])),
    Fault("no-file", "data", "the file of pairs is gone", lambda root: (root / PAIRS).unlink()),
    Fault("empty-text", "data", "three pairs have an empty positive",
          each(PAIRS, lambda i, row: row | {"positive": " "} if i < 3 else row)),
    Fault("empty-corpus", "data", "every document lost its title and text",
          each(CORPUS, lambda i, row: row | {"title": "", "text": ""})),
    Fault("duplicate-id", "data", "one document stands in the corpus twice",
          rows(CORPUS, lambda all_rows: all_rows + all_rows[:1])),
    Fault("judged-unknown-document", "data", "the judgments name documents of another release",
          edit(TEST, lambda text: "\n".join(line.replace(".", "_", 3) for line in text.splitlines()) + "\n")),
    Fault("judged-unknown-query", "data", "the questions of the test split were renumbered, its judgments were not",
          each(QUERIES, lambda i, row: row | {"_id": row["_id"].replace("test-", "t")})),
    Fault("grade-in-words", "data", "the judgments say yes instead of a grade",
          edit(TEST, lambda text: text.replace("\t2\n", "\tyes\n"))),
    Fault("grade-of-millions", "data", "a judgment has the grade 999999999",
          edit(TEST, lambda text: text.replace("\t2\n", "\t999999999\n", 1))),
    Fault("null-for-a-text", "data", "a pair has null where its positive belongs",
          each(PAIRS, lambda i, row: row | {"positive": None if i == 5 else row["positive"]})),
    Fault("list-for-a-text", "data", "a pair has two positives in a list",
          each(PAIRS, lambda i, row: row | {"positive": [row["positive"]] * 2 if i == 5 else row["positive"]})),
    Fault("judgments-empty", "data", "the test split has a header and no judgment",
          edit(TEST, lambda text: text.splitlines()[0] + "\n")),
    Fault("function-of-a-stranger", "data", "a spec from somebody else names a function of Python as its corpus",
          replace(SPEC, ('corpus = "corpus.jsonl"', 'corpus = "os:system"'))),
    Fault("file-elsewhere", "data", "a spec from somebody else names a file outside of its folder",
          replace(SPEC, ('queries = "queries.jsonl"', 'queries = "../../settings.ini"'))),
    Fault("epochs-infinite", "loss", "the spec asks for infinitely many epochs",
          replace(SPEC, ("\nepochs = ", "\nepochs = inf  # not "))),
    Fault("split-elsewhere", "validate", "the name of a split leads out of the folder of results",
          replace(SPEC, ('production = "production"', 'production = "../../x"'))),
    Fault("symmetry-undeclared", "data", "the spec does not say whether the search is symmetric",
          replace(SPEC, ('symmetry = "asymmetric"                       #', "#"))),
    Fault("paraphrases-as-questions", "data", "paraphrases are declared for a search from questions to documents",
          replace(SPEC, ('source = "annotations"', 'source = "paraphrases"'))),
    Fault("triplets-without-negatives", "data", "the spec promises triplets, the file holds pairs",
          replace(SPEC, ('pair_type = "pairs"', 'pair_type = "triplets"'))),
    Fault("leak-question", "data", "twenty test questions stand in the training pairs, word for word",
          _leak(lambda asked, row: row | {"anchor": asked[0]}), control=plain_training, degree=True),
    Fault("leak-document", "data",
          "the answers to twenty test questions stand in the training pairs, with other questions",
          _leak(lambda asked, row: row | {"positive": f"{asked[2]}\n{asked[1]}"}), DATA,
          control=plain_training, degree=True),
    Fault("leak-near-copy", "data", "all test questions stand in the training pairs, reworded a little",
          _leak(lambda asked, row: row | {"anchor": _reworded(asked[0])}, 40), DATA,
          control=plain_training, degree=True),
    Fault("symmetric-pairs", "data", "the pairs are paraphrases, declared as questions and answers",
          rows(PAIRS, lambda all_rows: [*paraphrases()]), DATA, control=plain_training),
    Fault("mixed-pairs", "data", "paraphrases were mixed into the questions and answers", rows(PAIRS, _mixed),
          DATA, control=plain_training),
    Fault("columns-swapped", "data", "the answers stand in the column of the questions",
          each(PAIRS, lambda i, row: _swap(row)), DATA, control=plain_training, degree=True),
    Fault("rows-swapped", "data", "anchor and positive changed places in every third row",
          each(PAIRS, lambda i, row: row if i % 3 else _swap(row)), DATA, control=plain_training),
    Fault("repeated-positives", "data",
          "every answer stands with three questions, so that a batch calls it wrong for two",
          rows(PAIRS, lambda all_rows: [row | {"positive": all_rows[i // 3]["positive"]}
                                        for i, row in enumerate(all_rows)]), DATA, control=plain_training,
          degree=True),
    Fault("answers-shifted", "data", "each question stands with the answer to the next one", _shifted_answers(1), DATA,
          control=plain_training, degree=True),
    Fault("tenth-shifted", "data", "every tenth question stands with a wrong answer", _shifted_answers(10), DATA,
          control=plain_training, degree=True,
          gap="whether an answer answers is asked of the set, not of each pair: some wrong ones go unnoticed"),
    Fault("negatives-that-answer", "data", "the negatives are the right answers in other clothes",
          each(PAIRS, lambda i, row: row | {"negative": _dressed(row["positive"])}), DATA, control=plain_training,
          prepare=TRIPLETS, degree=True),
    Fault("boilerplate-first", "data", "every document begins with the same notice, longer than what the model reads",
          each(CORPUS, lambda i, row: row | {"title": "", "text": NOTICE + row["text"]}), DATA,
          control=plain_reading, degree=True),
    Fault("navigational-log", "data", "most queries of the click log are names of documents",
          each(CLICKS, lambda i, row: row | {"query": row["document"]} if i % 4 else row), LOG, control=plain_clicks),
)

# --- loss

LOSS_FAULTS = (
    Fault("small-batch", "loss", "seven wrong answers for each question",
          replace(SPEC, ("batch_size = 32", "batch_size = 8"))),
    Fault("hardness-of-nothing", "loss", "hard negatives are to weigh more, and there are none",
          replace(SPEC, ('partition_mode = "joint"', 'partition_mode = "joint"\nhardness_mode = "hard_negatives"'))),
    Fault("one-way-missing", "loss", "the loss looks from document to question only",
          replace(SPEC, ('directions = ["query_to_doc"]', 'directions = ["doc_to_query"]'))),
    Fault("same-side-alone", "loss", "questions are told from questions in a softmax of their own",
          replace(SPEC, ('["query_to_doc"]\npartition_mode = "joint"',
                         '["query_to_doc", "query_to_query"]\npartition_mode = "per_direction"'))),
    Fault("misspelt-setting", "loss", "the batch size is spelt batchsize",
          replace(SPEC, ("batch_size = 32", "batchsize = 32"))),
    Fault("flat-softmax", "loss", "cosines go into the softmax unscaled",
          replace(SPEC, ("scale = 20.0", "scale = 1.0"))),
    Fault("one-anchor", "loss", "every pair asks the same question, so no batch has a wrong answer",
          each(PAIRS, lambda i, row: row | {"anchor": "how do I do this"}), SEARCH, control=plain_batches),
)

LEGACY = """from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from ours_data import loader
model = SentenceTransformer("all-MiniLM-L6-v2")
model.fit(train_objectives=[(loader, MultipleNegativesRankingLoss(model))], epochs=1)
"""
TRAINED = """from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
model = SentenceTransformer("all-MiniLM-L6-v2")
pairs = Dataset.from_dict({"anchor": questions, "positive": answers})
args = SentenceTransformerTrainingArguments("out", batch_sampler="no_duplicates")
loss = CachedMultipleNegativesRankingLoss(model)
SentenceTransformerTrainer(model, args, pairs, loss=loss, evaluator=evaluator).train()
"""
COLUMNS = TRAINED.replace('"anchor": questions, "positive": answers', '"positive": answers, "anchor": questions')
PROMPTS = TRAINED.replace('L6-v2"', 'L6-v2", prompts={"query": "query: ", "document": "passage: "}')
DATA_FAULTS += (Fault("script-columns", "data", "a script hands its columns to the loss in the wrong order",
                      script(COLUMNS), LINT),)
LOSS_FAULTS += (Fault("legacy-script", "loss", "a script trains with the fit of version 2", script(LEGACY), LINT),
                Fault("script-prompts", "loss", "a script trains without the prompts that its model encodes with",
                      script(PROMPTS), LINT, degree=True))

# --- model


def _base_without(pattern: str) -> Callable[[Path], None]:
    return tensors(lambda weights: {name: w for name, w in weights.items() if pattern not in name})


def _with_nan(weights: dict) -> dict:
    weights["encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    return weights


def _without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def _config(name: str, key: str, value) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        assert content[key] != value
        (folder / name).write_text(json.dumps(content | {key: value}), encoding="utf-8")
    return change


def _other_vocabulary(folder: Path) -> None:
    "The tokens of another release: the same words, other rows."
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    words = [word for word, row in vocabulary.items() if row > 2000]
    content["model"]["vocab"] = (vocabulary
                                 | {word: vocabulary[other] for word, other in zip(words, words[1:] + words[:1])})
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _half(name: str) -> Callable[[Path], None]:
    return lambda folder: fresh(folder / name, (folder / name).read_bytes()[:(folder / name).stat().st_size // 2])


def _stage_two(root: Path) -> None:
    folder = kept(root, "stage2")
    tensors(shuffled_weights)(folder / "model")
    seal(folder)


def _turn(folder: Path) -> None:
    "The model in the folder, with an orthogonal matrix in front of everything that reads its vectors."
    from sentence_transformers import SentenceTransformer
    from semantic_nb.model import rotated
    model = SentenceTransformer(str(folder), device="cpu")
    width = model.get_embedding_dimension()
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0].astype("float32")
    turned = rotated(model, axes)
    shutil.rmtree(folder)
    turned.save_pretrained(str(folder), create_model_card=False)


DEMO_BASE = replace(SPEC, *((new, old) for old, new in RANDOM_BASE))
DOT = replace(SPEC, ('similarity = "cosine"\ndims', 'similarity = "dot"\ndims'), ("scale = 20.0", "scale = 1.0"))

MODEL_FAULTS = (
    Fault("size-above-the-model", "model", "Matryoshka sizes begin at 768, the base has 384",
          both(DEMO_BASE, replace(SPEC, ("dims = [384, 128]", "dims = [768, 384, 128]")))),
    Fault("rotation-of-one-size", "model", "the axes are put in order, and the only size is the full one",
          replace(SPEC, *2 * (("dims = [32, 16]", "dims = [32]"),), ("\ndim = 16", "\ndim = 32"))),
    Fault("rotated-base", "model", "the base has its axes in order, and the spec says that nothing is rotated",
          both(own_base(_turn), replace(SPEC, ('rotate = "corpus"', "rotate = false"))),
          control=plain_model("our-base")),
    Fault("base-without-reason", "model",
          "a base for paraphrases under a search from questions to documents, without a word why",
          replace(SPEC, ('base_reason = "', '# base_reason = "'))),
    Fault("dot-on-cosine-base", "model",
          "a base trained for cosine is declared as a dot-product model", both(DEMO_BASE, DOT)),
    Fault("dot-on-own-base", "model",
          "a base of one's own that was trained for cosine is declared as a dot-product model",
          DOT, SEARCH, control=plain_model("base")),
    Fault("base-euclidean", "model", "a base that was trained for Euclidean distance",
          own_base(_config("config_sentence_transformers.json", "similarity_fn_name", "euclidean")),
          control=plain_model("our-base")),
    Fault("base-cross-encoder", "model", "a cross-encoder is named as the base",
          own_base(_config("config.json", "architectures", ["BertForSequenceClassification"])),
          control=plain_model("our-base")),
    Fault("base-without-pooling", "model", "the base was copied without the file that says how it pools",
          own_base(lambda folder: (folder / "modules.json").unlink()), control=plain_model("our-base")),
    Fault("reads-too-much", "model", "the spec has 4,096 tokens read by a base that reads 512",
          replace(SPEC, ("max_tokens = ", "max_tokens = 4096  # "))),
    Fault("base-truncated", "model", "the file of the base's weights ends in the middle",
          own_base(_half("model.safetensors")), SEARCH),
    Fault("base-not-a-number", "model", "one weight of the base is NaN", own_base(tensors(_with_nan)), SEARCH,
          control=plain_model("our-base")),
    Fault("base-without-tokenizer", "model", "the base was copied without its tokenizer", own_base(_without_tokenizer),
          SEARCH, control=plain_model("our-base")),
    Fault("base-lost-a-layer", "model", "the base was copied without the weights of a layer",
          own_base(_base_without("layer.0.output")), SEARCH, control=plain_model("our-base")),
    Fault("shipped-weights", "model", "the shipped model's weights were replaced by random ones, checksums and all",
          shipped(tensors(shuffled_weights)), SEARCH, control=plain_model()),
    Fault("shipped-prompt", "model", "the shipped model lost its prompt for questions, checksums and all",
          shipped(_config("config_sentence_transformers.json", "prompts", {"query": "", "document": ""})),
          SEARCH, control=plain_model()),
    Fault("shipped-pooling", "model", "the shipped model pools by its first token, checksums and all",
          shipped(_config("1_Pooling/config.json", "pooling_mode", "cls")), SEARCH, control=plain_model()),
    Fault("shipped-length", "model", "the shipped model reads eight tokens of each text, checksums and all",
          shipped(_config("tokenizer_config.json", "model_max_length", 8)), SEARCH, control=plain_model()),
    Fault("shipped-vocabulary", "model", "the shipped model's words are those of another vocabulary, checksums and all",
          shipped(_other_vocabulary), SEARCH, control=plain_model()),
    Fault("shipped-truncated", "model", "the shipped model's file of weights ends in the middle",
          shipped(_half("model.safetensors"), sealed=False), SEARCH),
    Fault("stage-two-random", "model", "stage 2 was replaced by random weights, checksums and all", _stage_two,
          DIAGNOSE, control=plain_model(stage="stage2")),
)

# --- index

IVF = both(replace(SPEC, ('type = "auto"', 'type = "ivf"')), search_once)


def _one_list(root: Path) -> None:
    "As whoever builds with FAISS and sets nothing: the file says one list, and so does the manifest."
    import faiss
    older, newest = sorted((root / "runs" / "store").glob("index-*"), key=lambda folder: folder.stat().st_mtime)
    shutil.rmtree(older)
    index = faiss.read_index(str(newest / "index.faiss"))
    assert index.nprobe > 1
    index.nprobe = 1
    faiss.write_index(index, str(newest / "index.faiss"))
    seal(newest, effort="nprobe=1")


def _older(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors[:-60], vectors[:60]])


INDEX_FAULTS = (
    Fault("size-not-trained", "index", "the index serves 12 dimensions, the model was trained at 32 and 16",
          replace(SPEC, ("\ndim = 16", "\ndim = 12"))),
    Fault("too-many-lists", "index", "a hundred lists for a thousand documents",
          replace(SPEC, ('type = "auto"', 'type = "ivf"\nnlist = 100'))),
    Fault("codes-do-not-divide", "index", "16 dimensions in five codes",
          replace(SPEC, ('type = "auto"', 'type = "ivfpq"\nmemory_mb = 0.01\npq_m = 5'))),
    Fault("served-by-dot", "index", "the index compares by dot product what Matryoshka has normalised",
          replace(SPEC, ('similarity = "cosine"\ndocuments', 'similarity = "dot"\ndocuments'))),
    Fault("starved-lists", "index",
          "a hundred lists for the hundred thousand documents that were promised, trained on the few that came",
          replace(SPEC, ('type = "auto"', 'type = "ivf"\nnlist = 100'), ("documents = 1000", "documents = 100_000")),
          SEARCH, control=plain_lists),
    Fault("coarse-codes", "index", "one byte for each vector, and a recall that nobody looked at",
          replace(SPEC, ('type = "auto"', 'type = "ivfpq"\nmemory_mb = 0.01\npq_m = 1'),
                  ("recall_target = 0.98", "recall_target = 1.0")), SEARCH,
          control=plain_codes),  # better copies put right what the codes miss, but they are rounded, too
    Fault("not-normalised", "index", "the index holds the first numbers of each vector, not normalised again",
          other_index(lambda v: flat(v[:, :DIM])), SEARCH, control=plain_index),
    Fault("euclidean", "index", "the index measures Euclidean distance",
          other_index(lambda v: flat(truncate(v, DIM), euclidean=True)), SEARCH, control=plain_index),
    Fault("one-list-visited", "index", "an approximate index is served at FAISS' default of one list", _one_list,
          SEARCH, control=plain_index, prepare=IVF),
    Fault("ids-shuffled", "index", "the ids are in another order than the vectors",
          ids(lambda known: sorted(known, key=lambda id: id[::-1])), SEARCH, control=plain_index),
    Fault("ids-of-fewer", "index", "the list of ids lacks the first document", ids(lambda known: known[1:]),
          SEARCH, control=plain_index),
    Fault("index-of-another-model", "index", "the index of another model was copied into place",
          other_index(lambda v: flat(truncate(rotated(v), DIM)), model={"weights": "0" * 64}),
          SEARCH, control=plain_index),
    Fault("index-of-another-corpus", "index", "last month's index was copied into place",
          other_index(lambda v: flat(truncate(_older(v), DIM)), corpus="0" * 16), SEARCH, control=plain_index),
    Fault("vectors-of-another-model", "index", "the vectors come from another model, and the manifest denies it",
          other_index(lambda v: flat(truncate(rotated(v), DIM))), SEARCH, control=plain_index),
    Fault("index-truncated", "index",
          "the index file ends in the middle", lambda root: _half("index.faiss")(kept(root, "index")), SEARCH),
)

SLICED = """import faiss
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("all-MiniLM-L6-v2", truncate_dim=64)
vectors = model.encode(["sort a list", "open a file"])
index = faiss.IndexFlatIP(64)
index.add(vectors)
"""
ONE_LIST = """import faiss
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("all-MiniLM-L6-v2")
vectors = model.encode([f"sort a list of {n} things" for n in range(50)], normalize_embeddings=True)
index = faiss.IndexIVFFlat(faiss.IndexFlatIP(384), 384, 4, faiss.METRIC_INNER_PRODUCT)
index.train(vectors)
index.add(vectors)
scores, rows = index.search(model.encode(["sort"], normalize_embeddings=True), 5)
"""
INDEX_FAULTS += (
    Fault("script-slices", "index", "a script indexes the first 64 numbers of each vector, not normalised again",
          script(SLICED), LINT, control=plain_script),
    Fault("script-one-list", "index", "a script searches an index of lists at the default of one", script(ONE_LIST),
          LINT, control=plain_script),
    Fault("script-wrapped-lists", "index", "a script sets nprobe on an index that hands the vectors on to its lists",
          script(ONE_LIST.replace('faiss.IndexIVFFlat(faiss.IndexFlatIP(384), 384, 4, ',
                                  'faiss.index_factory(384, "PCA32,IVF4,Flat", ').replace(
              "scores,", "index.nprobe = 4\nscores,")), LINT),
)

# --- cluster

CLUSTER_FAULTS = (
    Fault("threshold-guessed", "cluster", "a threshold of 0.8, from nowhere",
          replace(SPEC, ('threshold = "calibrate"', "threshold = 0.8"))),
    Fault("nothing-to-calibrate-on", "cluster",
          "near-copies are to leave at a calibrated threshold, and no pair is labelled",
          both(replace(SPEC, ('labelled = "labelled.jsonl"', "")),
               replace(SPEC, ('pair_type = "pairs"', 'pair_type = "pairs"\nduplicates = "drop"'))), SEARCH),
    Fault("option-without-effect", "cluster", "twelve clusters are asked of a method that finds their number itself",
          replace(SPEC, ('method = "communities"', 'method = "communities"\nclusters = 12'))),
    Fault("one-label", "cluster", "all labelled pairs are the same", each(LABELLED, lambda i, row: row | {"label": 1}),
          CALIBRATE, control=plain_threshold),
    Fault("scores-as-labels", "cluster", "the labels are scores from 0 to 5",
          each(LABELLED, lambda i, row: row | {"label": i % 6}), CALIBRATE),
    Fault("labels-shuffled", "cluster", "the labels belong to other pairs",
          each(LABELLED, lambda i, row: row | {"label": i % 2}), CALIBRATE, control=plain_threshold),
    Fault("all-the-same", "cluster", "every text is the same, and five clusters are asked for",
          each(CORPUS, lambda i, row: row | {"text": "See the documentation."}), CLUSTER, control=plain_clusters),
    Fault("everything-the-same", "cluster",
          "a threshold that was measured elsewhere makes one document stand for nearly all",
          each(CORPUS, lambda i, row: row | {"text": NOTICE + row["text"][:40]}),
          ("duplicates", str(CORPUS), "--threshold", "0.98", "--json"),
          control=plain_clusters, degree=True),
    Fault("more-clusters-than-texts", "cluster", "a file of three texts, and five clusters are asked for",
          rows(CORPUS, lambda all_rows: all_rows[:3]), CLUSTER),
)

# --- validate


def _three(text: str) -> str:
    lines = text.splitlines()
    few = list(dict.fromkeys(line.split("\t")[0] for line in lines[1:]))[:3]
    return "\n".join([lines[0], *(line for line in lines[1:] if line.split("\t")[0] in few)]) + "\n"


def _shifted(text: str) -> str:
    "Each question gets the judgments of the next one."
    lines = [line.split("\t") for line in text.splitlines()]
    order = list(dict.fromkeys(q for q, _, _ in lines[1:]))
    following = dict(zip(order, order[1:] + order[:1]))
    return "\n".join("\t".join(line) for line in [lines[0], *([following[q], d, g] for q, d, g in lines[1:])]) + "\n"


def _logs(i: int, row: dict) -> dict:
    text = row["text"]
    line = f"[ERROR] {i:05d} worker.py:{i * 7}: RuntimeError('{text[:18].upper()}') -> exit(1) // {text[:10]}"
    return row | {"text": line} if row["_id"].startswith("prod") else row


VALIDATE_FAULTS = (
    Fault("tested-on-dev", "validate", "the model is chosen and judged on the same questions",
          replace(SPEC, ('test = "test"', 'test = "dev"'))),
    Fault("another-k", "validate", "the metric looks at ten answers, five are served",
          replace(SPEC, ("\nk = 10", "\nk = 5"))),
    Fault("only-the-loss", "validate", "nothing is evaluated during training",
          replace(SPEC, ("eval_every = 1", "eval_every = 0"))),
    Fault("unknown-metric", "validate", "the metric is called NDCG_10",
          replace(SPEC, ('metric = "nDCG@10"', 'metric = "NDCG_10"'))),
    Fault("three-questions", "validate", "three questions are all that the test split has", edit(TEST, _three),
          DIAGNOSE, control=plain_metric, degree=True),
    Fault("judgments-shifted", "validate", "each test question has the judgments of the next one", edit(TEST, _shifted),
          DIAGNOSE, control=plain_metric),
    Fault("production-drifted", "validate", "in production, people paste lines of a log", each(QUERIES, _logs),
          DIAGNOSE, control=plain_metric),
)

FAULTS = DATA_FAULTS + LOSS_FAULTS + MODEL_FAULTS + INDEX_FAULTS + CLUSTER_FAULTS + VALIDATE_FAULTS
