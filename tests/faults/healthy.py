"""Healthy checkouts that every fault starts from: some hundred documents of the demo domain and its questions.

Two bases: the demo's own, for what depends on quality, and a random one of a layer and 32 dimensions, for
what depends on files and artifacts alone.
"""
from functools import cache
from pathlib import Path

from checkout import LINKS
from foreign import write_lines
from semantic_nb.core import Settings
from semantic_nb.data.records import Corpus, Judged, read_judged, write_corpus
from semantic_nb.bases import resolve_base
from semantic_nb.spec import load_spec
from semantic_nb.data.domain import copy_groups, load_corpus

ROOT = Path(__file__).parents[2]
PYDOCS = ROOT / "data" / "pydocs"
QUESTIONS = {"train": 20, "dev": 12, "test": 30, "production": 20}
MORE = QUESTIONS | {"train": 300}
PAIRS, LABELLED = 200, 40
CHANGES = (
    ('name = "pydocs"', 'name = "small"'), ('"semantic_nb.domains.pydocs:mine"', '"corpus.jsonl"'),
    ("documents = 14_000", "documents = 1000"), (LINKS, ""),  # so few documents hardly speak of one another
    ('source = "annotations"', 'source = "annotations"\npath = "pairs.jsonl"'),
    ('method = "kmeans"\nclusters = 20 ', 'method = "communities"\nthreshold = "calibrate"'),
    ('labelled = "duplicates.csv"', 'labelled = "labelled.jsonl"'),
    ("max_tokens = 128", 'max_tokens = 32\nprompts = { query = "question: " }'),
    ('rotate = "corpus" ', "rotate = false "),  # there are fewer documents than its axes
    *2 * (("dims = [384, 256, 128, 64, 32]", "dims = [384, 128]"),),
    ("batch_size = 64", "batch_size = 32"), ("\nepochs = 2", "\nepochs = 0.2"),
    ("compress_epochs = 1", "compress_epochs = 0.2"), ("eval_every = 8  ", "eval_every = 1 "))
RANDOM_BASE = (('base = "all-MiniLM-L6-v2"', 'base = "base"'), *2 * (("dims = [384, 128]", "dims = [32, 16]"),),
               ("\ndim = 128", "\ndim = 16"), ("rotate = false ", 'rotate = "corpus" '))


def write_random_base(folder: Path) -> None:
    "A BERT of one layer with mean pooling, as a Sentence Transformer."
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel
    torch.manual_seed(0)
    AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2")).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=64)).save_pretrained(folder)
    SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, pooling_mode="mean")],
                        similarity_fn_name="cosine").save_pretrained(str(folder))


def write_qrels(path: Path, judged: Judged) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, grades in judged.qrels.items()
                                                             for d, g in grades.items()), encoding="utf-8")


def some(judged: Judged, count: int) -> Judged:
    "The first questions, with the judgments that name an answer."
    chosen = list(judged.queries)[:count]
    return Judged({q: judged.queries[q] for q in chosen},
                  {q: {d: g for d, g in judged.qrels[q].items() if g > 0} for q in chosen})


@cache
def pydocs() -> tuple[Corpus, dict[str, Judged]]:
    "The demo domain: all its documents and judged questions."
    with Settings.load(ROOT).active():
        corpus = load_corpus(load_spec(PYDOCS / "spec.toml"))
    return (corpus,
            {split: read_judged(PYDOCS / "queries.jsonl", PYDOCS / "qrels" / f"{split}.tsv", corpus)
             for split in QUESTIONS})


@cache
def paraphrases() -> tuple[dict, ...]:
    "Two questions with the same answer, from the train split of the demo domain; no text twice."
    train, asked, used, found = pydocs()[1]["train"], {}, set(), []
    for q, grades in train.qrels.items():
        for document, grade in grades.items():
            if grade == 2:
                asked.setdefault(document, []).append(q)
    for questions in asked.values():
        fresh = [q for q in questions if q not in used][:2]
        if len(fresh) == 2:
            used.update(fresh)
            found.append({"anchor": train.queries[fresh[0]], "positive": train.queries[fresh[1]]})
    return tuple(found)


def labelled(questions: list[str]) -> list[dict]:
    "Questions with themselves in other clothes (1), and with another question in the same (0)."
    dressed = [f"please help: {question.rstrip('?.').lower()} ?" for question in questions]
    return [{"anchor": one, "positive": other, "label": 1} for one, other in zip(questions, dressed)] + \
        [{"anchor": one, "positive": other, "label": 0} for one, other in zip(questions, dressed[7:] + dressed[:7])]


def training_pairs(corpus: Corpus, train: Judged, searched: Corpus, held: set[str]) -> list[dict]:
    "Question and best answer of the train split; no document twice, and none that hangs together with a held-out one."
    best = {q: max(grades, key=grades.get) for q, grades in train.qrels.items()}
    mentioned = corpus.subset({*searched.ids, *best.values()})
    group = dict(zip(mentioned.ids, copy_groups(mentioned).tolist()))
    apart = {group[document] for document in held}
    first = {document: q for q, document in reversed(best.items()) if group[document] not in apart}
    return [{"anchor": train.queries[q], "positive": corpus.passages[corpus.position[d]]}
            for q, d in best.items() if first.get(d) == q][:PAIRS]


def clicks(judged: dict[str, Judged]) -> list[dict]:
    """A small log: each question is asked three times, and its answer, shown at the
    first, second or third place, is clicked."""
    asked = [(query, next(iter(grades))) for one in judged.values()
             for query, grades in ((one.queries[q], one.qrels[q]) for q in one.queries)]
    rows = []
    for turn in range(3):
        for place, (query, answer) in enumerate(asked):
            others = [asked[(place + step) % len(asked)][1] for step in (1, 2)]
            shown = [*others[:turn], answer, *others[turn:]]
            rows.append({"session": len(rows), "query": query, "document": answer,
                         "position": turn + 1, "shown": "|".join(shown)})
    return rows


SCRIPT = """import faiss
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("all-MiniLM-L6-v2", truncate_dim=64)
vectors = model.encode(["sort a list", "open a file"], normalize_embeddings=True)
index = faiss.IndexFlatIP(64)
index.add(vectors)
"""


def write_checkout(root: Path, random_base: bool = False) -> None:
    """settings.ini and data/small/: corpus, questions, judgments, a file of training pairs, a click
    log, labelled pairs, spec; and a script."""
    folder = root / "data" / "small"
    folder.mkdir(parents=True)
    whole, judged = pydocs()
    few = {split: some(judged[split], count) for split, count in (MORE if random_base else QUESTIONS).items()}
    searched = whole.subset(set().union(*(split.relevant() for split in few.values())))
    write_corpus(searched, folder / "corpus.jsonl")
    write_lines(folder / "queries.jsonl",
                [{"_id": q, "text": text} for split in few.values() for q, text in split.queries.items()])
    for split, one in few.items():
        write_qrels(folder / "qrels" / f"{split}.tsv", one)
    held = set().union(*(few[split].relevant() for split in ("dev", "test", "production")))
    write_lines(folder / "pairs.jsonl", training_pairs(whole, judged["train"], searched, held))
    write_lines(folder / "labelled.jsonl", labelled(list(judged["train"].queries.values())[:LABELLED]))
    write_lines(folder / "clicks.jsonl", clicks(few))
    spec = (PYDOCS / "spec.toml").read_text(encoding="utf-8")
    if random_base:
        write_random_base(root / "base")
    for old, new in CHANGES + RANDOM_BASE * random_base:
        assert old in spec, old
        spec = spec.replace(old, new, 1)
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    ini = (ROOT / "settings.ini").read_text(encoding="utf-8").replace("data/pydocs/spec.toml",
                                                                      "data/small/spec.toml").replace(
                                                                          "profile = quick", "profile = full")
    (root / "ours.py").write_text(SCRIPT, encoding="utf-8")
    (root / "settings.ini").write_text(ini, encoding="utf-8")
