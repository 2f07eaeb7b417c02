"""A run in this process: how often a model is loaded, and what answers afterwards without building anything."""
import shutil
from collections import Counter

import pytest

from semantic_nb import pipeline
from semantic_nb.core import ContractError, Settings
from semantic_nb.data.records import read_rows
from semantic_nb.encoder import _LOADED
from semantic_nb.spec import load_spec

QUESTION = "how to sort tables"


@pytest.fixture
def loads(monkeypatch):
    "The folders that models are read from, in order; the memory of earlier tests is put aside."
    from sentence_transformers import SentenceTransformer
    read, initialize = [], SentenceTransformer.__init__

    def counted(self, *arguments, **options):
        if arguments:  # else it is made of the modules of another, and nothing is read
            read.append(str(arguments[0]))
        initialize(self, *arguments, **options)
    monkeypatch.setattr(SentenceTransformer, "__init__", counted)
    earlier = dict(_LOADED)
    _LOADED.clear()
    yield read
    _LOADED.update(earlier)


@pytest.fixture
def spec(domain_folder, monkeypatch):
    monkeypatch.chdir(domain_folder.parents[1])
    return load_spec()


def silent(_: str) -> None:
    pass


def test_a_run_loads_each_model_once(spec, loads):
    with pytest.raises(ContractError, match="has no readable report"):
        pipeline.read_report(spec)
    report = pipeline.run(spec, silent)
    ours = Counter(path for path in loads if "checkpoint" not in path)  # the trainer reads its best one back
    assert len(ours) <= 6 and max(ours.values()) <= 2, ours  # the second is the copy that a stage trains
    assert pipeline.read_report(spec).content["name"] == "toy" and "Gate" in report.text
    del loads[:]
    pipeline.run(spec, silent)
    assert loads == []


def test_what_was_served_answers_without_building(spec, loads, monkeypatch):
    built = pipeline.build(spec, silent)
    first = pipeline.Served(built.domain.corpus, built.served, built.index).answer(QUESTION)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "build", None)
        _LOADED.clear()
        del loads[:]
        assert pipeline.open_run(spec).answer(QUESTION) == first and len(loads) == 1
    for content in ("{x", "[]", "5", '{"model": 5, "index": null}', '{"model": "none", "index": [1]}'):
        (built.folder / "served.json").write_text(content)
        assert pipeline.open_run(spec).answer(QUESTION) == first
    shutil.rmtree(built.index.folder)
    assert pipeline.open_run(spec).answer(QUESTION) == first


def test_a_changed_file_is_noticed_before_an_answer(spec, monkeypatch):
    pipeline.build(spec, silent)
    corpus = spec.folder / "corpus.jsonl"
    rows = corpus.read_text().splitlines()
    corpus.write_text("\n".join([*rows, rows[0].replace("sort_tables", "sort_again")]))
    assert "sort_again" in pipeline.open_run(spec).corpus.ids
    assert Settings.current().profile == "tiny"


def test_a_run_clusters_what_is_served_and_a_person_judges_it(spec):
    report = pipeline.run(spec, silent)
    clusters, rows = report.content["clusters"], read_rows(report.folder / "clusters.csv")
    assert clusters["method"] == "kmeans" and clusters["count"] == 5 and not clusters["together"]
    assert len(rows) == clusters["documents"] == sum(row["size"] for row in clusters["rows"])
    assert "Coherence: not judged" in report.text and "which of these does not belong?" in report.text
    replies = iter(["1", ""])
    judged = pipeline.judge_clusters(spec, lambda _: next(replies), silent)
    assert "intruders found" in judged.text and pipeline.read_report(spec).content["coherence"] in judged.text
    other = spec.model_copy(update={"clustering": spec.clustering.model_copy(update={"clusters": 3})})
    assert pipeline.run(other, silent).content["coherence"] == "not judged"  # the answers are about other clusters
    with pytest.raises(ContractError, match="cluster.answers"):
        pipeline.judge_clusters(other, lambda _: "", silent)


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"', "{}", "[" * 20_000, "{"])
def test_a_report_that_is_none_is_refused(spec, content):
    folder = pipeline.run_folder(spec)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(content)
    (folder / "report.md").write_text("# Report")
    for read in (pipeline.read_report, lambda spec: pipeline.judge_clusters(spec, input, silent)):
        with pytest.raises(ContractError, match="pipeline.report"):
            read(spec)
