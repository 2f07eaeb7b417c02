"""The linter: real-looking scripts with their expected alarms, files that cannot be read, and code that is
none of its business."""
import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from semantic_nb.core import ContractError
from semantic_nb.lint import Alarm, Written, lint_paths, lint_table, lint_text, parse_script, scripts, written_call
from semantic_nb.lint_rules import LINT_RULES, OLD_ARGUMENTS, OLD_METHODS, SIGNATURES, spelling

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py.txt"))
HEAD = "from sentence_transformers import SentenceTransformer\n"


def raised(folder: Path, code: str, name: str = "script.py") -> list[Alarm]:
    (folder / name).write_text(code, encoding="utf-8")
    return lint_paths(folder / name)


def rules(folder: Path, code: str) -> list[str]:
    return [alarm.rule for alarm in raised(folder, HEAD + code)]


def calls(code: str) -> list[Written]:
    file = parse_script([code])
    return [written_call(node, file) for node in ast.walk(file.tree) if isinstance(node, ast.Call)]


def notebook(*cells, **more) -> str:
    kinds = [("markdown", cell[1:]) if cell.startswith("#") and cell.startswith("#!") else ("code", cell)
             for cell in cells]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {},
                       "cells": [{"cell_type": kind, "source": text.splitlines(keepends=True)} for kind, text in kinds]}
                      | more)


def library(*path: str) -> Path:
    return Path(importlib.util.find_spec("sentence_transformers").origin).parent.joinpath(*path)


# --- the scripts

@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name.partition(".")[0])
def test_a_script_raises_exactly_the_alarms_that_are_written_beside_its_lines(script, tmp_path):
    lines = script.read_text(encoding="utf-8").split("\n")
    wanted = {(number, *alarm.split()) for number, line in enumerate(lines, 1) if "# expect:" in line
              for alarm in line.partition("# expect:")[2].split(";")}
    found = raised(tmp_path, "\n".join(re.sub(r"\s*# expect:.*", "", line) for line in lines))
    assert {(alarm.line, alarm.rule, alarm.status) for alarm in found} == wanted


def test_the_scripts_cover_every_rule_but_the_unread_file():
    text = "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    assert len(SCRIPTS) >= 15 and text.count("# expect:") >= 40
    assert {rule.id for rule in LINT_RULES if rule.id not in text} == {"pipeline.unread"}


def test_alarms_name_their_rule_layer_and_what_to_write_instead(tmp_path):
    for script in SCRIPTS:
        for alarm in raised(tmp_path, script.read_text(encoding="utf-8")):
            assert (alarm.rule, alarm.status) in {(rule.id, rule.status) for rule in LINT_RULES}
            assert alarm.layer == alarm.rule.partition(".")[0] and alarm.instead and alarm.symptom


def test_a_name_with_two_meanings_is_left_alone(tmp_path):
    assert rules(tmp_path, "model = SentenceTransformer('a')\nmodel.fit([])") == ["loss.legacy_fit"]
    for other in ("if x:\n    model = KMeans()", "model = KMeans()", "for model in models: pass",
                  "model, y = KMeans(), 1", "model = SentenceTransformer('b')", "with x as model: pass",
                  "del x; model = other", "model += 1"):
        assert rules(tmp_path, f"model = SentenceTransformer('a')\n{other}\nmodel.fit([])") == [], other


def test_a_fallback_for_an_older_version_is_meant(tmp_path):
    old = "from sentence_transformers.losses import CoSENTLoss"
    assert [alarm.rule
            for alarm in raised(tmp_path,
                                f"try:\n    from x import y\nexcept ValueError:\n    {old}")] == ["loss.moved_import"]
    for guard in (f"try:\n    from x import y\nexcept ImportError:\n    {old}", f"if version < 5:\n    {old}"):
        assert raised(tmp_path, guard) == []


def moved(module: str) -> list[Alarm]:
    return lint_text(f"from {module} import name")


def test_the_module_counts_and_not_the_class():
    for right in ("sentence_transformers", "sentence_transformers.util", "sentence_transformers.cross_encoder",
                  "sentence_transformers.sentence_transformer.losses", "mylib.losses", ".sentence_transformers.losses"):
        assert moved(right) == []
    assert lint_text("from sentence_transformers import SentenceTransformer, LoggingHandler") == []
    assert lint_text("import sentence_transformers.util") == []
    for wrong in ("from sentence_transformers import losses", "import sentence_transformers.losses as those"):
        assert [alarm.rule for alarm in lint_text(wrong)] == ["loss.moved_import"]
    assert moved("sentence_transformers.evaluation")[0].layer == "validate"


# --- against the installed library, which is read and not imported

def test_the_old_addresses_are_those_of_the_library():
    tree = ast.parse(library("util", "deprecated_import.py").read_text(encoding="utf-8"))
    forwarded = next(ast.literal_eval(node.value) for node in tree.body
                     if isinstance(node, ast.Assign) and node.targets[0].id == "DEPRECATED_MODULE_PATHS")
    ours = [old for old in forwarded if not re.search(r"cross_encoder|sparse_encoder|modules\.normalize", old)]
    assert len(ours) > 70
    for old in ours:
        (alarm,) = moved(old)
        place = library().parent.joinpath(*alarm.instead.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), alarm.instead
        name = old.rpartition(".")[2]
        if name[0].isupper() and (place / "__init__.py").is_file() and "models.tokenizer." not in old:
            assert re.search(rf"\b{name}\b",
                             (place / "__init__.py").read_text(encoding="utf-8")), f"{name} is not offered by {place}"


def test_present_names_of_arguments_exist_in_the_library():
    text = "\n".join(path.read_text(encoding="utf-8") for path in library().rglob("*.py"))
    for call, names in OLD_ARGUMENTS.items():
        for new in names.values():
            if "Arguments" not in call:
                assert re.search(rf"\b{new.partition('=')[0]}\b\s*:", text), f"{call}: {new}"


def test_present_training_arguments_exist_and_removed_ones_do_not():
    place = Path(importlib.util.find_spec("transformers").origin).parent / "training_args.py"
    fields = {node.target.id for node in ast.walk(ast.parse(place.read_text(encoding="utf-8")))
              if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    for old, new in OLD_ARGUMENTS["SentenceTransformerTrainingArguments"].items():
        assert old == "warmup_ratio" or old not in fields, old
        assert new.startswith("nothing") or re.match(r"\w+", new)[0] in fields, new


def test_present_names_of_methods_exist_in_the_library():
    text = library("sentence_transformer", "model.py").read_text(encoding="utf-8") + library(
        "base", "model.py").read_text(encoding="utf-8")
    for new in OLD_METHODS.values():
        assert re.search(rf"\b(def|class) {re.match(r'[a-zA-Z_]+', new)[0]}\(", text), new


@pytest.mark.parametrize("package", ["sklearn", "umap", "datasets"])
def test_packages_that_do_not_use_the_library_raise_no_alarm(package):
    place = Path(importlib.util.find_spec(package).origin).parent
    assert len(scripts(place)) > 5 and lint_paths(place) == []


def test_a_fit_is_not_mistaken_when_everything_is_followed(tmp_path):
    """Without the shortcut for files that never mention the library: each of these has many calls of a method fit."""
    place, fits = Path(importlib.util.find_spec("sklearn").origin).parent, []
    for name in ("pipeline.py", "ensemble/_stacking.py", "cluster/_kmeans.py",
                 "multiclass.py", "tests/test_pipeline.py"):
        text = HEAD + (place / name).read_text(encoding="utf-8").replace("from __future__", "from future")
        fits += [call.name for call in calls(text) if ast.unparse(call.node.func).endswith("fit")]
        assert lint_text(text) == [], name
    assert len(fits) > 50 and not any(fit.startswith("st.") for fit in fits)


def test_the_project_follows_its_own_rules():
    for folder in ("semantic_nb", "nbs", "tests"):
        assert [alarm for alarm in lint_paths(ROOT / folder) if alarm.status == "fail"] == []


# --- notebooks

def test_names_carry_over_between_cells_and_lines_count_within_them(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook("#!markdown", HEAD + "model = SentenceTransformer('a')",
                                               "texts = []\n\nmodel.fit(texts)"), encoding="utf-8")
    (alarm,) = lint_paths(tmp_path)
    assert (alarm.file, alarm.cell, alarm.line, alarm.rule) == ("a.ipynb", 2, 3, "loss.legacy_fit")


MAGICS = ["%matplotlib inline", "!pip install \\\n   umap-learn", "%%bash\nfor x in *; do echo $x; done", "%%html\n<b>",
          "files = !ls *.py", "x = %sql select 1", "model?", "?model", "model.encode??",
          "if True:\n    !ls\n    %cd ..", "%load_ext autoreload\n%autoreload 2", "%%time\nx = 1",
          "!echo it's (open", "%env TOKEN=a'b"]


@pytest.mark.parametrize("cell", MAGICS)
def test_lines_for_ipython_do_not_break_a_cell(cell, tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD + "model = SentenceTransformer('a')",
                                               cell + "\n" if cell.startswith("%%") else cell + "\nmodel.fit([])",
                                               "model.fit([])"), encoding="utf-8")
    found = lint_paths(tmp_path)
    assert {alarm.rule for alarm in found} == {"loss.legacy_fit"}
    assert [(alarm.cell, alarm.line) for alarm in found][-1] == (3, 1)
    assert cell.startswith("%%") or found[0].line == cell.count("\n") + 2


def test_a_timed_cell_is_followed(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD + "model = SentenceTransformer('a')", "%%time\nmodel.fit([])",
                                               "%%timeit -n 1\nmodel.fit([])"), encoding="utf-8")
    assert [(alarm.cell, alarm.line) for alarm in lint_paths(tmp_path)] == [(2, 2), (3, 2)]


@pytest.mark.parametrize("cell", ["rest = (10\n        % 3)", "same = (x\n        != y)",
                                  'x = """\nwhat?\n%s\n"""'])
def test_python_that_looks_like_ipython_does_not_break_a_cell(cell, tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD, cell), encoding="utf-8")
    assert lint_paths(tmp_path) == []


def test_a_broken_cell_is_said_and_the_others_are_followed(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD, "x = 1\ndef (", "model = SentenceTransformer('a')\nmodel.fit([])"),
                                      encoding="utf-8")
    unread, fit = lint_paths(tmp_path)
    assert (unread.rule, unread.status, unread.cell,
            unread.line) == ("pipeline.unread", "doubt", 2, 2) and unread.symptom.startswith("not enough evidence: ")
    assert (fit.rule, fit.cell, fit.line) == ("loss.legacy_fit", 3, 2)


# --- files

@pytest.mark.parametrize("name, content, word", [
    ("latin.py", "name = 'Jürgen'".encode("latin-1"), "UTF-8"), ("wide.py", (HEAD + "x = 1").encode("utf-16"), "UTF-8"),
    ("cookie.py", "# coding: latin-1\nname = 'Jürgen'".encode("latin-1"), "UTF-8"),
    ("syntax.py", (HEAD + "def (").encode(), "syntax"), ("null.py", (HEAD + "x = '\0'").encode(), "null"),
    ("deep.py", (HEAD + "x = " + "(" * 5000 + ")" * 5000).encode(), "nested"),
    ("chain.py", (HEAD + "x = " + "+".join(["y"] * 5000)).encode(), "recursion"),
    ("cut.ipynb", b'{"cells": [', "JSON"), ("none.ipynb", b"", "JSON"), ("list.ipynb", b"[]", "not a notebook"),
    ("cells.ipynb", b'{"nbformat": 4, "cells": [1]}', "TypeError"),
    ("old.ipynb",
     json.dumps({"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": HEAD}]}]}).encode(),
     "format 4"),
])
def test_what_cannot_be_read_is_said_with_its_reason(name, content, word, tmp_path):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "fine.py").write_text(HEAD + "SentenceTransformer('a').fit([])", encoding="utf-8")
    alarms = {alarm.file: alarm for alarm in lint_paths(tmp_path)}
    assert alarms[name].rule == "pipeline.unread" and word.lower() in alarms[name].symptom.lower() and str(
        tmp_path) not in alarms[name].symptom
    assert alarms["fine.py"].rule == "loss.legacy_fit"


@pytest.mark.parametrize("content",
                         [b"", b"\xef\xbb\xbf" + HEAD.encode(),
                          HEAD.encode() + b"x = '" + b"a" * 1_000_000 + b"'\n",
                          HEAD.replace("\n", "\r\n").encode(), HEAD.encode() + "名 = 'שלום 🙂'\n".encode(),
                          HEAD.encode() + b"x = [" + b"1, " * 20_000 + b"]\n"])
def test_unusual_files_that_are_right_raise_nothing(content, tmp_path):
    (tmp_path / "a.py").write_bytes(content)
    assert lint_paths(tmp_path) == []


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_numbers_hold_for_other_line_ends(end, tmp_path):
    (tmp_path / "a.py").write_bytes((HEAD + "\nx = 1\nSentenceTransformer('a').fit([])").replace("\n", end).encode())
    assert [alarm.line for alarm in lint_paths(tmp_path)] == [4]


def test_a_broken_file_that_never_mentions_the_library_is_left_alone(tmp_path):
    assert raised(tmp_path, "print 'old'") == [] and raised(tmp_path, HEAD + "print 'old'")[0].rule == "pipeline.unread"


@pytest.mark.parametrize("path", ["nowhere", "nowhere.py", "notes.txt", "empty"])
def test_a_path_with_nothing_to_check_is_refused(path, tmp_path):
    (tmp_path / "notes.txt").write_text(HEAD)
    (tmp_path / "empty" / ".venv").mkdir(parents=True)
    (tmp_path / "empty" / ".venv" / "a.py").write_text(HEAD)
    with pytest.raises(ContractError) as error:
        lint_paths(tmp_path / path)
    assert error.value.layer == "pipeline.lint"


def test_what_others_wrote_is_left_out_but_may_be_asked_for(tmp_path):
    for folder in (".git", ".venv/lib", "lib/site-packages/x", "__pycache__", "build", "environment/lib", "a b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text(HEAD + "SentenceTransformer('a').fit([])")
    (tmp_path / "environment" / "pyvenv.cfg").touch()
    (tmp_path / "directory.py").mkdir()
    assert [alarm.file for alarm in lint_paths(str(tmp_path))] == ["a b/c/a.py"]
    assert len(lint_paths(tmp_path / "build")) == 1 and [alarm.file
                                                   for alarm in lint_paths(tmp_path / "build" / "a.py")] == ["a.py"]


def test_nothing_is_executed_and_nothing_heavy_imported(tmp_path):
    (tmp_path / "a.py").write_text(HEAD + f"open({str(tmp_path / 'ran')!r}, 'w')\nSentenceTransformer('a').fit([])")
    code = (f"import sys; from semantic_nb.lint import lint_paths; assert len(lint_paths({str(tmp_path)!r})) == 1; "
            "print([m for m in ('torch', 'numpy', 'sentence_transformers', 'pydantic', 'IPython')"
            " if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()


def test_the_table_shows_cell_and_line(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD, "SentenceTransformer('a').fit([])"), encoding="utf-8")
    assert "a.ipynb [2]:1" in str(lint_table(lint_paths(tmp_path))) and "(empty)" in str(lint_table([]))


# --- what is known

NAMES = ("SentenceTransformer('a')", "KMeans(2)", "None", "load()", "model", "other", "[model]",
         "model or other", "model if x else other")
LINES = st.sampled_from([
    *(f"{name} = {value}" for name in ("model", "other") for value in NAMES), "if x:\n    model = KMeans(2)",
    "for model in other: pass", "def load(model=other):\n    return model", "class A:\n    model = other",
    "other.model = model", "del other", "global model", "model.fit(other)"])


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_any_order_of_lines_comes_to_rest(lines):
    code = (HEAD + "from sklearn.cluster import KMeans\n" + "\n".join(lines)
            + "\nKMeans(2).fit(1)\nSentenceTransformer('b').fit(1)\n")
    names = [call.name for call in calls(code)]
    assert "sklearn.cluster.KMeans().fit" in names and "st.SentenceTransformer().fit" in names
    assert [alarm.line for alarm in lint_text(code)][-1] == code.count("\n")


@pytest.mark.parametrize("dotted, name",
                         [("sentence_transformers.SentenceTransformer", "st.SentenceTransformer"),
                          ("sentence_transformers.SentenceTransformer.SentenceTransformer", "st.SentenceTransformer"),
                          ("sentence_transformers.cross_encoder.losses.MultipleNegativesRankingLoss",
                           "sentence_transformers.cross_encoder.losses.MultipleNegativesRankingLoss"),
                          ("mylib.SentenceTransformer", "mylib.SentenceTransformer")])
def test_one_spelling_for_every_path(dotted, name):
    assert spelling(dotted) == name


def kind(name: str) -> str:
    "What the linter takes a model of this name for, told by the alarms about its loss and its index."
    alarms = {alarm.rule: alarm.status for alarm in lint_text(
        HEAD + "import faiss\nfrom sentence_transformers import util\n"
        "from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss\n"
        f"model = SentenceTransformer({name!r})\nindex = faiss.IndexFlatIP(8)\nindex.add(model.encode(texts))\n"
        "MultipleNegativesRankingLoss(model, similarity_fct=util.dot_score)\n")}
    if "index.not_normalised" in alarms:
        return "cosine"
    return {"fail": "dot", "doubt": "", None: "unit"}[alarms.get("loss.scale")]


@pytest.mark.parametrize("name, expected", [
    ("multi-qa-MiniLM-L6-dot-v1", "dot"), ("multi-qa-MiniLM-L6-cos-v1", "unit"), ("all-MiniLM-L6-v2", "unit"),
    ("sentence-transformers/all-MiniLM-L6-v2", "unit"), ("paraphrase-albert-small-v2", "cosine"),
    ("runs/dot-model", ""), ("", ""), ("None", ""), ("models/multi-qa-mine-dot-v1", ""), ("acme/stsb-dot", ""),
    ("./all-minilm-support", "")])
def test_only_documented_names_say_what_a_model_is(name, expected):
    assert kind(name) == expected


def test_a_similarity_that_is_given_overrides_the_name_of_a_model():
    code = (HEAD + "from sentence_transformers import util\n"
            "from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss\n"
            "model = SentenceTransformer('multi-qa-mpnet-base-dot-v1'{more})\n"
            "MultipleNegativesRankingLoss(model, similarity_fct=util.dot_score)\n")
    for more, status in (("", "fail"), (", similarity_fn_name='cosine'", "doubt")):
        assert [(alarm.rule, alarm.status) for alarm in lint_text(code.format(more=more))] == [("loss.scale", status)]


@pytest.mark.parametrize("test, quiet", [("args.model_version == 'v1'", False), ("conversion_rate > 0", False),
                                         ("sentence_transformers.__version__ < '5'", True),
                                         ("parse_version(st) < parse_version('5')", True)])
def test_only_the_version_of_a_library_guards_an_old_call(tmp_path, test, quiet):
    code = f"model = SentenceTransformer('a')\nif {test}:\n    model.fit(train_objectives=[])\n"
    assert ("loss.legacy_fit" in rules(tmp_path, code)) != quiet


def test_an_argument_that_is_set_later_may_be_anything(tmp_path):
    code = ("from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments\n"
            "model = SentenceTransformer('a')\n"
            "args = SentenceTransformerTrainingArguments('out', load_best_model_at_end=True)\n"
            "args.metric_for_best_model = 'eval_ndcg'\n"
            "SentenceTransformerTrainer(model, args, data).train()\n")
    certain = [alarm.rule for alarm in raised(tmp_path, HEAD + code) if alarm.status == "fail"]
    assert "validate.loss_only" not in certain


INDEXED = ("import faiss\nmodel = SentenceTransformer('all-MiniLM-L6-v2')\n{index}\n"
           "index.add({vectors})\n{after}\nindex.search(model.encode(['q']), 5)\n")


def test_what_unknown_code_may_set_is_left_alone(tmp_path):
    index = "index = faiss.IndexIVFFlat(faiss.IndexFlatIP(384), 384, 100, faiss.METRIC_INNER_PRODUCT)"
    for after, quiet in (("", False), ("from ours import configure\nconfigure(index)", True)):
        code = INDEXED.format(index=index, vectors="model.encode(texts)", after=after)
        assert ("index.nprobe" in [alarm.rule for alarm in raised(tmp_path, HEAD + code)]) != quiet


@pytest.mark.parametrize("vectors, quiet", [("model.encode(texts)", True), ("model.encode(texts)[:, :64]", False),
                                            ("other.encode(texts)", False),
                                            ("other.encode(texts, normalize_embeddings=True)", True)])
def test_unit_vectors_need_no_metric(tmp_path, vectors, quiet):
    code = "other = SentenceTransformer('ours')\n" + INDEXED.format(index="index = faiss.IndexHNSWFlat(384, 32)",
                                                                   vectors=vectors, after="")
    assert ("index.default_metric" in rules(tmp_path, code)) != quiet


def test_empty_cells_have_no_number(tmp_path):
    (tmp_path / "a.ipynb").write_text(notebook(HEAD, "", "SentenceTransformer('a').fit(train_objectives=[])"))
    assert [alarm.cell for alarm in lint_paths(tmp_path / "a.ipynb")] == [2]


def silent(code: str) -> bool:
    return "loss.legacy_fit" not in [alarm.rule for alarm in lint_text(HEAD + code)]


def test_what_a_class_holds_is_not_what_the_module_holds():
    assert not silent("class A:\n    def __init__(self):\n        self.model = SentenceTransformer('a')\n"
                      "    def go(self):\n        self.model.fit([])\n")
    for code in ("class A:\n    model = SentenceTransformer('a')\n    def go(self, x):\n        model.fit(x)\n",
                 "model = SentenceTransformer('a')\nclass A(Base):\n    def go(self):\n        self.model.fit([])\n",
                 "class A:\n    def __init__(self):\n        self.model = SentenceTransformer('a')\n"
                 "class B(Base):\n    def go(self):\n        self.model.fit([])\n",
                 "class A:\n    def a(self):\n        model = SentenceTransformer('a')\n        self.model = model\n"
                 "    def b(self, model):\n        self.model = model\n    def go(self):\n        self.model.fit([])\n",
                 "class A:\n    def b(self, model):\n        self.model = model\n    def go(self):\n"
                 "        self.model.fit([])\n    def a(self):\n        model = SentenceTransformer('a')\n"
                 "        self.model = model\n",
                 "class Mine(SentenceTransformer):\n    def fit(self, x): pass\nMine('a').fit([])\n"):
        assert silent(code), code


def test_a_function_that_may_return_something_else_says_nothing():
    load = "def load(x):\n    {body}\nload(1).fit([])\n"
    assert not silent(load.format(body="return SentenceTransformer('a')"))
    for body in ("yield SentenceTransformer('a')", "x = SentenceTransformer('a')",
                 "if x:\n        return KMeans()\n    return SentenceTransformer('a')"):
        assert silent(load.format(body=body)), body


def test_a_fit_of_something_unknown_is_told_by_its_argument():
    assert not silent("def train(model):\n    model.fit(train_objectives=[])\n")
    assert silent("def train(model):\n    model.fit([])\n")
    assert silent("class A:\n    def fit(self, train_objectives): pass\nA().fit(train_objectives=[])\n")


SEARCHED = ("import faiss\nmodel = SentenceTransformer('all-MiniLM-L6-v2')\n"
            "index = {index}\nindex.add(model.encode(texts))\n{line}\nindex.search(model.encode(asked), 5)\n")
LISTS = "faiss.IndexIVFFlat(faiss.IndexFlatIP(384), 384, 64, faiss.METRIC_INNER_PRODUCT)"


@pytest.mark.parametrize("line, quiet", [
    ("index.nprobe = 8", True), ("index.nprobe = args.lists", True), ("index.nprobe = 1", False),
    ("index.nprobs = 8", False), ("# TODO: raise nprobe", False), ("print(index.nprobe)", False),
    ("faiss.ParameterSpace().set_index_parameter(index, 'nprobe', 8)", True)])
def test_only_code_that_sets_nprobe_counts(line, quiet):
    for index in (LISTS, "faiss.index_factory(384, 'IVF64,Flat', faiss.METRIC_INNER_PRODUCT)",
                  "faiss.GpuIndexIVFFlat(resources, 384, 64, faiss.METRIC_INNER_PRODUCT)"):
        alarms = lint_text(HEAD + SEARCHED.format(index=index, line=line))
        assert [alarm.rule for alarm in alarms] == [] if quiet else ["index.nprobe"]


def test_the_expressions_of_the_rules_compile():
    for rule in LINT_RULES:
        for expression in (rule.call, rule.lacks, rule.unless, rule.source, *rule.has):
            re.compile(expression)
        assert rule.status in ("fail", "doubt") and re.fullmatch(r"[a-z]+\.[a-z_]+", rule.id)


def test_the_order_of_arguments_is_that_of_the_library():
    places = {"st.SentenceTransformerTrainer": ("sentence_transformer", "trainer.py"),
              "st.SentenceTransformer().encode": ("sentence_transformer", "model.py")}
    for call, path in places.items():
        tree = ast.parse(library(*path).read_text(encoding="utf-8"))
        wanted = "encode" if call.endswith("encode") else "__init__"
        orders = [[part.arg for part in node.args.args][1:] for node in ast.walk(tree)
                  if isinstance(node, ast.FunctionDef) and node.name == wanted]
        names = SIGNATURES[call].split()
        assert names in [order[:len(names)] for order in orders], call


@pytest.mark.parametrize("line", ["other = model.to('cuda')", "other = copy.deepcopy(model)"])
def test_a_conversion_is_looked_through(line):
    code = "import copy\nmodel = SentenceTransformer('a')\n{line}\nother.fit([])\n"
    assert not silent(code.format(line=line)) and silent(code.format(line="other = unknown.to('cuda')"))


def test_vectors_that_are_normalised_in_place_are_left_alone():
    code = ("import faiss, numpy as np\nmodel = SentenceTransformer('a')\nindex = faiss.IndexFlatIP(64)\n"
            "vectors = model.encode(texts, truncate_dim=64)\n{line}\nindex.add(vectors)\n")
    alarms = lint_text(HEAD + code.format(line="np.save('v.npy', vectors)"))
    assert [alarm.rule for alarm in alarms] == ["index.truncated"]
    for line in ("faiss.normalize_L2(vectors)", "np.divide(vectors, lengths, out=vectors)", "ours(vectors)",
                 "vectors /= lengths", "vectors[:] = vectors / lengths", "vectors = vectors / lengths"):
        assert lint_text(HEAD + code.format(line=line)) == [], line


def test_an_index_that_normalises_takes_cut_vectors():
    code = ("import faiss\nindex = faiss.index_factory(64, '{}', faiss.METRIC_INNER_PRODUCT)\n"
            "index.add(SentenceTransformer('ours').encode(texts)[:, :64])\n")
    assert lint_text(HEAD + code.format("L2norm,Flat")) == []
    assert [alarm.rule for alarm in lint_text(HEAD + code.format("Flat"))] == ["index.truncated"]


def test_a_trainer_that_is_not_started_is_not_judged():
    code = ("from sentence_transformers import SentenceTransformerTrainer\n"
            "trainer = SentenceTransformerTrainer(model, None, pairs)\n")
    assert lint_text(HEAD + code) == []
    assert [alarm.rule for alarm in lint_text(HEAD + code + "trainer.train()\n")] == ["validate.loss_only"]


def test_arguments_that_nobody_can_see_may_be_anything():
    head = HEAD + ("from sentence_transformers import SentenceTransformerTrainer\n"
                   "from sentence_transformers import SentenceTransformerTrainingArguments\n"
                   "from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss\n")
    train = "SentenceTransformerTrainer({}).train()\n"
    assert lint_text(head + train.format("*given")) == lint_text(head + train.format("**given")) == []
    typed = "def train(model: SentenceTransformer, args: SentenceTransformerTrainingArguments, pairs):\n    " + train
    batches = {"validate.loss_only", "loss.small_batch", "loss.duplicates_in_batch"}
    for args, expected in (("None", batches), ("args", set())):
        given = f"model, {args}, pairs, loss=MultipleNegativesRankingLoss(model)"
        assert {alarm.rule for alarm in lint_text(head + typed.format(given))} == expected


@pytest.mark.parametrize("name, index", [("ours", "faiss.IndexFlatIP(64)"), ("stsb-a", "faiss.IndexFlatIP(64)"),
                                         ("multi-qa-a-dot-v1", "faiss.IndexFlatL2(64)")])
def test_an_encoding_with_options_may_be_normalised(name, index):
    dim = 64 if name == "ours" else None
    code = (HEAD + f"import faiss\nmodel = SentenceTransformer('{name}', truncate_dim={dim})\nindex = {index}\n"
            "index.add(model.encode(texts, {}))\n")
    assert lint_text(code.format("**options")) == lint_text(code.format("normalize_embeddings=True")) == []
    assert len(lint_text(code.format("batch_size=8"))) == 1


def test_names_that_lead_back_to_themselves_stand_for_nothing():
    assert lint_text(HEAD + "model = other\nother = model\nmodel.fit([])\nmodel.next = model\n") == []


def test_an_index_of_other_vectors_is_nobodys_business():
    code = "import faiss\nindex = faiss.IndexHNSWFlat(384, 32)\nindex.add({})\nindex.search(asked, 5)\n"
    assert lint_text(HEAD + code.format("'text'.encode('utf-8')")) == []
    assert [alarm.rule for alarm in lint_text(HEAD + code.format("SentenceTransformer('ours').encode(texts)"))
            ] == ["index.default_metric"]


def test_what_is_nested_too_deeply_is_said(tmp_path):
    assert raised(tmp_path, HEAD + "+".join(["y"] * 400)) == []
    (alarm,) = raised(tmp_path, HEAD + "+".join(["y"] * 5000))
    assert alarm.rule == "pipeline.unread" and "RecursionError" in alarm.symptom


def test_a_strange_escape_in_the_code_is_no_warning_of_ours(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert raised(tmp_path, HEAD + "pattern = '\\d'\n") == []


# --- work and files

def steps(code: str) -> int:
    "How many lines of Python the linter executes, and characters it is told by `ast.unparse`."
    count, unparse = 0, ast.unparse

    def step(frame, event, argument):
        nonlocal count
        count += event == "line"
        return step

    def weighed(node):
        nonlocal count
        text = unparse(node)
        count += len(text)
        return text
    before = sys.gettrace()
    ast.unparse = weighed
    try:
        sys.settrace(step)
        lint_text(HEAD + code)
    finally:
        sys.settrace(before)
        ast.unparse = unparse
    return count


GROWING = {
    "ifs": lambda n: "".join(f"if x == {i}:\n    model = SentenceTransformer('a')\n" for i in range(n))
    + "model.fit([])\n",
    "uses": lambda n: "model = SentenceTransformer('a')\nmodel = other()\n" + "model.encode(x)\n" * n,
    "bindings": lambda n: "model = load()\nmodel.encode(queries)\n" * n,
    "calls of one function": lambda n: ("def load():\n" + "    x = 1\n" * n + "    return SentenceTransformer('a')\n"
                                        + "load().encode(x)\n" * n),
    "texts": lambda n: f"x = 'represent this {'represent this ' * n}'\nSentenceTransformer('a').encode(x)\n",
    "searches": lambda n: "index = faiss.IndexIVFFlat(q, 8, 4)\n" + "index.search(model.encode(q), 5)\n" * n,
    "wrappers": lambda n: "import faiss\na0 = faiss.IndexFlatIP(8)\n" + "".join(
        f"a{i + 1} = faiss.IndexShards(a{i}, a{i})\n" for i in range(n // 5)),
}


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING.keys())
def test_twice_the_file_is_twice_the_work(make):
    assert steps(make(100)) < 3 * steps(make(50))


def test_what_is_no_regular_file_is_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.py").symlink_to(tmp_path / "itself.py")
    (tmp_path / "nowhere.ipynb").symlink_to(tmp_path / "missing.ipynb")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ContractError, match="no script"):
        scripts(tmp_path)
    with pytest.raises(ContractError, match="no script"):
        scripts(tmp_path / "pipe.py")
    (tmp_path / "real.py").write_text(HEAD)
    assert scripts(tmp_path) == [tmp_path / "real.py"]
