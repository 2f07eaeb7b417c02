"""Two small domains that share nothing with the demo: what the chapters and commands must also work on.

    python tests/foreign.py FOLDER        writes FOLDER/model, FOLDER/repairs/spec.toml and FOLDER/twin/spec.toml

`repairs` is asymmetric (a complaint finds the page that helps), `twin` symmetric (a complaint finds the same complaint
in other words). Ids are numbers, there is no metadata, every third document has no title, and there are no production
questions and no labelled duplicates. All of it is written here, by rule; nobody said any of it.
"""
import json
import os
import random
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

THINGS = {"tap": "faucet", "door": "entrance", "lamp": "light", "window": "pane", "chair": "seat", "bicycle": "bike",
          "shoe": "boot", "coat": "jacket", "table": "desk", "clock": "timer", "stove": "cooker", "fence": "railing",
          "drain": "outlet", "kettle": "boiler"}
TROUBLES = {"leaks": ("drips all night", "tighten the nut, then renew the washer"),
            "squeaks": ("makes a shrill noise", "put two drops of oil on the moving part"),
            "is loose": ("wobbles when touched", "turn the screws until nothing moves"),
            "is dirty": ("has brown stains", "rub it with soap and warm water"),
            "is stuck": ("does not move at all", "warm the metal and pull slowly"),
            "rusts": ("has orange spots", "sand it down and paint it"),
            "smells": ("gives off a bad odour", "leave it in fresh air for a day"),
            "is cracked": ("shows a long crack", "fill the gap with glue and clamp it"),
            "is cold": ("does not get warm", "look for a broken wire and replace it"),
            "is bent": ("has lost its shape", "press it flat between two boards"),
            "is too short": ("ends a hand too early", "add a piece of the same material"),
            "is missing a part": ("came without a screw", "order the part by its number")}
SPLITS = ("train", "train", "dev", "test", "train")


def make_model(folder: Path) -> Path:
    "A random BERT of one layer and width 32 with mean pooling, saved as a Sentence Transformer."
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel
    from semantic_nb.bases import resolve_base
    torch.manual_seed(0)
    AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2")).save_pretrained(folder / "bert")
    BertModel(BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=64)).save_pretrained(folder / "bert")
    SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(32, pooling_mode="mean")],
                        similarity_fn_name="cosine").save_pretrained(str(folder / "tiny"))
    return folder / "tiny"


def write_lines(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_domain(folder: Path, model: Path, symmetric: bool = False, size: int = len(THINGS) * len(TROUBLES)) -> Path:
    "A domain of `size` documents, its questions, judgments and spec. Returns the spec's path."
    rows = [(thing, trouble) for thing in THINGS for trouble in TROUBLES][:size]
    documents, questions, qrels = [], [], {"train": [], "dev": [], "test": []}
    for number, (thing, trouble) in enumerate(rows):
        other, (sign, help_text) = THINGS[thing], TROUBLES[trouble]
        question = f"the {other} in my flat {sign}"
        text = f"When a {thing} {trouble}: {help_text}. Keep the old parts of the {thing} until it works again."
        if symmetric:  # both sides drawn in one way, so that neither has a style of its own
            draw = random.Random(number)
            question, text = (f"{start} {draw.choice((thing, other))} {draw.choice((trouble, sign))}"
                              for start in draw.sample(("my", "our old", "again the", "help, the"), 2))
        title = f"The {thing} {trouble}" if number % 3 and not symmetric else ""
        documents.append({"_id": str(1000 + number), "title": title, "text": text})
        questions.append({"_id": str(number), "text": question})
        qrels[SPLITS[number % len(SPLITS)]].append((number, 1000 + number))
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", questions)
    for split, judged in qrels.items():
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
            f"{question}\t{document}\t1\n" for question, document in judged), encoding="utf-8")
    symmetry = "symmetric" if symmetric else "asymmetric"
    pairs = 'source = "annotations"'
    if symmetric:  # the pairs of the train split again, as a file of paraphrases
        pairs = 'source = "paraphrases"\npath = "pairs.jsonl"'
        write_lines(folder / "pairs.jsonl", [{"anchor": questions[question]["text"],
                                              "positive": documents[document - 1000]["text"]}
                                             for question, document in qrels["train"]])
    few = size < 100  # then a pass over the pairs is a single step, so several passes are made
    (folder / "spec.toml").write_text(
        SPEC.format(name=folder.name, symmetry=symmetry, pairs=pairs, model=model, size=size, epochs=4 if few else 1,
                    clusters=2 if few else 12, rotate="false" if few or symmetric else '"corpus"'), encoding="utf-8")
    return folder / "spec.toml"


SPEC = """\
name = "{name}"

[data]
corpus = "corpus.jsonl"
queries = "queries.jsonl"
qrels = "qrels"
pair_type = "pairs"
symmetry = "{symmetry}"

[[data.pairs]]
name = "complaints"
{pairs}
symmetry = "{symmetry}"

[loss]
name = "MultipleNegativesRankingLoss"
scale = 20.0

[model]
base = "{model}"
base_reason = "a test is not about the quality of the base"
similarity = "cosine"
dims = [32, 16, 8]
max_tokens = 32
rotate = {rotate}

[training]
batch_size = 32
epochs = {epochs}
compress_epochs = {epochs}

[index]
type = "auto"
dim = 16
similarity = "cosine"
documents = {size}

[clustering]
method = "kmeans"
clusters = {clusters}

[validation]
metric = "nDCG@10"
k = 10
dev = "dev"
test = "test"
eval_every = 2
audit_dims = [32, 16, 8]
"""

if __name__ == "__main__":
    target = Path(sys.argv[1])
    tiny = make_model(target / "model").resolve()
    for name, symmetric in (("repairs", False), ("twin", True)):
        print(make_domain(target / name, tiny, symmetric))
