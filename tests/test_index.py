import json
import shutil
from dataclasses import replace

import faiss
import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.records import Corpus
from semantic_nb.encoder import corpus_vectors, encode, load_encoder, truncate
from semantic_nb.index import build_index, choose_type, make_index, open_index, tune_effort
from semantic_nb.store import _hashes, _manifest

NAN = float("nan")


def vectors(n, dim=16, seed=0):
    return truncate(np.random.default_rng(seed).normal(size=(n, dim)).astype("float32"), dim)


def with_type(spec, **change):
    return spec.index.model_copy(update=change)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "ivfpq"])
def test_every_type_searches_by_inner_product_and_reaches_its_recall(spec, kind):
    data, queries = vectors(4000), vectors(50, seed=1)
    index = build_index(
        data, with_type(spec, type=kind, nlist=40 if "ivf" in kind else None, pq_m=16 if kind == "ivfpq" else None))
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    _, exact = faiss.knn(queries, data, 10, metric=faiss.METRIC_INNER_PRODUCT)
    effort, tried = tune_effort(index, queries, exact, 0.95, 10)
    best = max(row["recall"] for row in tried)
    assert best >= 0.95
    if kind == "ivf":
        assert tried[0]["recall"] < best and effort != "nprobe=1"


def test_auto_follows_size_and_memory(spec):
    assert [choose_type(spec.index, n) for n in (10, 99_999, 100_000)] == ["flat", "flat", "ivf"]
    assert choose_type(with_type(spec, memory_mb=1.0), 1_000_000) == "ivfpq"


@pytest.mark.parametrize("change, data, layer", [
    ({}, vectors(10, 8), "index.dim"), ({}, vectors(10) * 2, "index.vectors"),
    ({}, np.full((10, 16), NAN, "float32"), "index.vectors"),
    ({"type": "ivf", "nlist": 10}, vectors(300), "index.training"),
    ({"type": "ivfpq", "nlist": 2}, vectors(200), "index.training")])
def test_what_cannot_be_indexed_is_refused(spec, change, data, layer):
    with pytest.raises(ContractError) as refusal:
        build_index(data, with_type(spec, **change))
    assert refusal.value.layer == layer


@pytest.fixture
def served(domain, settings):
    model = load_encoder(domain.spec.model.base, domain.spec.model)
    return model, make_index(model, domain)


def test_the_saved_index_answers_like_exact_search_and_is_plain(served, domain):
    model, index = served
    answers = index.ask(model, ["how to sort tables", "invert a graph"], k=3)
    plain = faiss.read_index(str(index.folder / "index.faiss"))
    ids = json.loads((index.folder / "ids.json").read_text())
    _, rows = plain.search(encode(model, ["how to sort tables", "invert a graph"], "query", 16), 3)
    assert [[id for id, _ in answer] for answer in answers] == [[ids[i] for i in row] for row in rows]


def test_asking_for_more_than_there_is(served, domain):
    model, index = served
    assert len(open_index(index.folder, model).ask(model, ["sort"], k=1000)[0]) == len(domain.corpus)


@pytest.mark.parametrize("queries", [np.ones(16, "float32"), np.ones((1, 32), "float32")])
def test_a_wrong_shape_is_refused_not_asserted(served, queries):
    model, index = served
    with pytest.raises(ContractError, match="index.dim"):
        open_index(index.folder, model).search(queries, 3)


def test_another_models_question_is_refused_by_name(served, domain, settings):
    import torch
    model, index = served
    with torch.no_grad():
        model[0].model.embeddings.LayerNorm.bias.add_(0.1)
    with pytest.raises(ContractError, match="weights: index") as refusal:
        open_index(index.folder, model)
    assert refusal.value.layer == "index.model"


@pytest.mark.parametrize("change", [{"prompts": {"query": "ask: "}}, {"max_tokens": 16}])
def test_another_prompt_or_length_is_refused(served, domain, settings, change):
    model, index = served
    with pytest.raises(ContractError, match="index.model"):
        open_index(index.folder,
                   load_encoder(domain.spec.model.base, domain.spec.model.model_copy(update=change)))


@pytest.mark.parametrize("damage", [
    lambda p: (p / "index.faiss").write_bytes((p / "index.faiss").read_bytes()[:200]),
    lambda p: (p / "index.faiss").unlink(), lambda p: (p / "ids.json").write_text("["),
    lambda p: (p / "manifest.json").write_text("{}"), shutil.rmtree])
def test_a_damaged_index_is_refused_and_the_good_one_stays(served, tmp_path, damage):
    model, index = served
    shutil.copytree(index.folder, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(ContractError, match="index.file"):
        open_index(tmp_path / "copy", model)
    assert open_index(index.folder, model).ask(model, ["sort"], k=1)


def seal(folder, **facts):
    """Make the manifest fit the folder, so that no checksum gives the change away."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(_manifest(manifest["recipe"], manifest["facts"] | facts, _hashes(folder)))


def rewrite(kind, scale=1.0):
    def change(folder, documents):
        index = kind(documents.shape[1])
        index.add(documents * scale)
        faiss.write_index(index, str(folder / "index.faiss"))
    return change


def reorder(pick):
    return lambda folder, documents: (folder / "ids.json").write_text(
        json.dumps(pick(json.loads((folder / "ids.json").read_text()))))


@pytest.mark.parametrize("change, layer", [
    (rewrite(faiss.IndexFlatIP), None), (rewrite(faiss.IndexFlatIP, 1.1), "index.answers"),
    (rewrite(faiss.IndexFlatL2), "index.metric"),
    (reorder(lambda ids: ids[::-1]), "index.answers"), (reorder(lambda ids: ids[1:]), "index.ids")])
def test_an_index_that_changed_is_refused_though_its_checksums_fit(served, domain, settings, tmp_path, change, layer):
    model, index = served
    copy = shutil.copytree(index.folder, tmp_path / "copy")
    change(copy, truncate(corpus_vectors(model, domain.corpus), 16))
    seal(copy)
    if layer is None:
        assert open_index(copy, model)
        return
    with pytest.raises(ContractError) as refusal:
        open_index(copy, model)
    assert refusal.value.layer == layer


def test_a_replaced_tokenizer_is_refused_though_the_weights_are_the_same(served, tmp_path, domain, settings):
    model, index = served
    open_index(index.folder, model)
    content = json.loads(model.tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    words = [word for word, row in vocabulary.items() if row > 1000]
    content["model"]["vocab"] = vocabulary | dict(zip(words, [vocabulary[word] for word in words[1:] + words[:1]]))
    from tokenizers import Tokenizer
    model.tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    with pytest.raises(ContractError, match=r"index.model\] tokenizer"):
        open_index(index.folder, model)


def test_vectors_that_changed_without_a_trace_are_noticed_by_the_kept_questions(served, monkeypatch):
    from semantic_nb import index as module
    model, index = served
    plain = module.encode
    monkeypatch.setattr(module, "encode", lambda *args, **more: np.ascontiguousarray(plain(*args, **more)[:, ::-1]))
    with pytest.raises(ContractError, match="model.encoding"):
        open_index(index.folder, model)


@pytest.mark.parametrize("facts, layer",
                         [({"corpus": "0" * 16}, "index.corpus"), ({"model": {"weights": "0" * 64}}, "index.model")])
def test_another_index_in_the_place_of_this_one_is_refused(served, domain, settings, facts, layer):
    model, index = served
    seal(index.folder, **facts)
    with pytest.raises(ContractError) as refusal:
        make_index(model, domain)
    assert refusal.value.layer == layer


def test_a_recall_below_the_target_is_refused(domain, settings, monkeypatch):
    model = load_encoder(domain.spec.model.base, domain.spec.model)
    approximate = replace(
        domain, spec=domain.spec.model_copy(update={"index": domain.spec.index.model_copy(update={"type": "hnsw"})}))
    monkeypatch.setattr("semantic_nb.index.tune_effort", lambda *a: ("", [{"effort": "", "recall": 0.5, "ms": 0.1}]))
    monkeypatch.setattr("semantic_nb.index.fingerprint", lambda thing: "0")
    with pytest.raises(ContractError, match="index.recall"):
        make_index(model, approximate)
    assert make_index(model, domain).facts["recall"] == 0.5


def test_a_list_of_texts_is_enough(tiny_model, settings):
    texts = [f"how to {verb} a {thing}" for verb in ("sort", "draw", "invert") for thing in ("list", "matrix", "line")]
    model = load_encoder(str(tiny_model))
    index = make_index(model, texts)
    assert index.ask(model, [texts[4]], k=1)[0][0][0] == "4" and index.facts["type"] == "flat"
    assert open_index(index.folder, model).ids == index.ids
    corpus = Corpus(("a", "b"), ("", ""), ("sort a list", "draw a line"), ({}, {}))
    assert make_index(model, corpus).ask(model, ["draw a line"], k=5)[0][0][0] == "b"


@pytest.mark.parametrize("texts", [[], "one text", [1, 2], [None]])
def test_what_is_no_list_of_texts_is_refused(tiny_model, settings, texts):
    with pytest.raises(ContractError, match="data.corpus"):
        make_index(load_encoder(str(tiny_model)), texts)


def test_an_index_that_was_never_built_is_named(tiny_model, tmp_path, settings):
    with pytest.raises(ContractError, match="there is no index at nothing"):
        open_index(tmp_path / "nothing", load_encoder(str(tiny_model)))


def test_equal_vectors_tie_and_any_of_them_is_right(spec):
    import faiss
    from semantic_nb.measure import _tied_rows
    chance = np.random.default_rng(0)
    different = chance.normal(size=(60, 16)).astype("float32")
    different /= np.linalg.norm(different, axis=1, keepdims=True)
    vectors = np.repeat(different, 40, axis=0)[chance.permutation(2400)]
    queries = different[:20] + 0.01
    index = build_index(vectors, spec.index.model_copy(update={"type": "hnsw", "dim": 16}))
    by_row = faiss.knn(queries, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)[1]
    best = lambda exact: max(row["recall"] for row in tune_effort(index, queries, exact, 0.98, 10)[1])
    assert best(by_row) < 0.9 and best(_tied_rows(queries, vectors, 10)) >= 0.98


@pytest.mark.parametrize("n, kind, nlist, symptom, fix", [
    (200, "ivfpq", None, "200 vectors for the 16 codes", 'type = "flat"'),
    (30, "ivf", None, "30 vectors for 1 list", 'type = "flat"'),
    (90, "ivf", 8, "90 vectors for 8 lists", "nlist <= 2")])
def test_the_fix_for_too_few_vectors_works(spec, n, kind, nlist, symptom, fix):
    vectors = np.random.default_rng(0).normal(size=(n, 16)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = spec.index.model_copy(update={"type": kind, "dim": 16, "nlist": nlist})
    with pytest.raises(ContractError) as refused:
        build_index(vectors, asked)
    assert symptom in refused.value.symptom and refused.value.fix.endswith(fix)
    build_index(vectors, asked.model_copy(update={"type": "flat"}))
    if nlist:
        build_index(vectors, asked.model_copy(update={"nlist": 2}))


def test_fewer_documents_than_answers_are_all_found(spec):
    from semantic_nb.measure import _tied_rows
    vectors = np.eye(16, dtype="float32")[:5]
    index = build_index(vectors, spec.index.model_copy(update={"type": "hnsw", "dim": 16}))
    assert tune_effort(index, vectors, _tied_rows(vectors, vectors, 10), 0.98, 10)[1][-1]["recall"] == 1
