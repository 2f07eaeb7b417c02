"""A domain of sixty documents in a checkout of its own."""
from pathlib import Path

from foreign import write_lines

ROOT = Path(__file__).resolve().parents[1]
SPEC = (ROOT / "data" / "pydocs" / "spec.toml").read_text(encoding="utf-8")
LINKS = SPEC[SPEC.index('[[data.pairs]]\nname = "see_also"'):SPEC.index("[loss]")]  # a source that few documents fill
ACTIONS = {"sort": "order the items of a list", "filter": "keep the items that pass a test",
           "join": "put many texts together", "split": "cut a text into parts",
           "invert": "compute the inverse of a matrix", "plot": "draw a curve on axes",
           "save": "write an object to a file", "load": "read an object from a file",
           "count": "tell how often each value occurs", "round": "cut off digits of a number"}
KINDS = {"tables": "with labelled columns", "arrays": "of equal numbers", "streams": "that never end",
         "trees": "with nested branches", "images": "made of pixels", "graphs": "of nodes and edges"}


def make_checkout(root: Path, tiny_model: Path) -> Path:
    "A checkout in small: settings.ini and a domain with corpus, questions, judgments and spec; the domain's folder."
    folder = root / "checkout" / "data" / "toy"
    things = [(action, kind) for action in ACTIONS for kind in KINDS]
    write_lines(folder / "corpus.jsonl",
                [{"_id": f"{a}_{k}", "title": f"{a}_{k}(x)", "metadata": {"topic": a, "library": k},
                  "text": f"Here you {ACTIONS[a]} for {k} {KINDS[k]}. Parameters: x, the {k} "
                          f"number {i} to {a}; raises an error for empty {k}."}
                 for i, (a, k) in enumerate(things)])
    questions, qrels = [], {"train": [], "dev": [], "test": [], "production": []}
    for i, (a, k) in enumerate(things):
        split = ("train", "train", "dev", "test", "train", "production")[i % 6]
        questions.append({"_id": f"q{i}", "text": f"how to {ACTIONS[a]} when I have {k}",
                          "metadata": {"kind": "easy", "style": "sentence"}})
        qrels[split].append((f"q{i}", f"{a}_{k}", 2))
    write_lines(folder / "queries.jsonl", questions)
    (folder / "qrels").mkdir()
    for split, rows in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows), encoding="utf-8")
    mined = '[[data.pairs]]\nname = "mined"\nsource = "documents"\nrule = "first_sentence"\nsymmetry = "asymmetric"\n\n'
    spec = SPEC
    for old, new in ((LINKS, mined), ('name = "pydocs"', 'name = "toy"'),
                     ('"semantic_nb.domains.pydocs:mine"', '"corpus.jsonl"'),
                     ('base = "all-MiniLM-L6-v2"', f'base = "{tiny_model}"'),
                     ("dims = [384, 256, 128, 64, 32]", "dims = [32, 16, 8]"), ("\ndim = 128", "\ndim = 16"),
                     ("batch_size = 64", "batch_size = 32"), ("eval_every = 8  ", "eval_every = 2 "),
                     ("epochs = 1\n", "epochs = 2\n"), ("max_tokens = 128", "max_tokens = 32"),
                     ("\nclusters = 20", "\nclusters = 5"), ('\nlabelled = "duplicates.csv"', "\n")):
        assert old in spec, old
        spec = spec.replace(old, new)
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    ini = (ROOT / "settings.ini").read_text(encoding="utf-8")
    for old, new in (("data/pydocs/spec.toml", "data/toy/spec.toml"), ("profile = quick", "profile = tiny"),
                     ("\neval_every = 2\n", "\n")):  # dev is looked at as often as the spec says
        assert old in ini, old
        ini = ini.replace(old, new)
    (folder.parents[1] / "settings.ini").write_text(ini, encoding="utf-8")
    return folder
