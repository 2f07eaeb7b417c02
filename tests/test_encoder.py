import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from semantic_nb.core import ContractError
from semantic_nb.encoder import (
    _check_whole, corpus_vectors, encode, encoder_identity, load_encoder, resolve_base, truncate)

TEXTS = ["sort a list", "", "مرحبا 👋 שלום", "x " * 3000]


@pytest.fixture
def model(spec, settings):
    return load_encoder(resolve_base(spec.model.base), spec.model)


def test_vectors_are_finite_and_of_unit_length_at_every_size(model):
    for dim in (None, 16, 8):
        vectors = encode(model, TEXTS, "document", dim)
        assert vectors.dtype == np.float32 and vectors.shape == (4, dim or 32)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_no_text_gives_an_empty_matrix(model):
    assert encode(model, [], "query", 8).shape == (0, 8)


@pytest.mark.parametrize("dim", [0, -1, 33])
def test_a_size_that_does_not_exist_is_refused(model, dim):
    with pytest.raises(ContractError, match="index.dim"):
        truncate(np.ones((2, 32), "float32"), dim)


def test_prompts_go_by_role_and_belong_to_the_identity(model, spec, settings):
    prompted = load_encoder(spec.model.base, spec.model.model_copy(update={"prompts": {"query": "ask: "}}))
    assert np.allclose(encode(model, ["sort"], "document"), encode(prompted, ["sort"], "document"), atol=1e-5)
    assert np.allclose(encode(model, ["ask: sort"], "query"), encode(prompted, ["sort"], "query"), atol=1e-5)
    a, b = encoder_identity(model), encoder_identity(prompted)
    assert {key for key in a if a[key] != b[key]} == {"prompts"}


def test_not_a_number_is_refused(model):
    with torch.no_grad():
        model[0].model.embeddings.LayerNorm.weight.fill_(float("nan"))
    with pytest.raises(ContractError, match="model.vectors"):
        encode(model, ["sort"], "query")


def test_the_wheel_is_verified(monkeypatch):
    monkeypatch.setattr("semantic_nb.bases.file_hash", lambda path: "0" * 64)
    with pytest.raises(ContractError, match="not those of all-MiniLM-L6-v2"):
        resolve_base("all-MiniLM-L6-v2")


def test_offline_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ContractError, match="neither a folder nor an installed package"):
        resolve_base("multi-qa-mpnet-base-dot-v1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert resolve_base("multi-qa-mpnet-base-dot-v1") == "sentence-transformers/multi-qa-mpnet-base-dot-v1"


def test_a_broken_model_folder_is_refused(tmp_path, spec, settings):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[]")
    with pytest.raises(ContractError, match="model.base"):
        load_encoder(str(tmp_path / "model"), spec.model)


@pytest.fixture
def own_copy(tmp_path, tiny_model):
    return Path(shutil.copytree(tiny_model, tmp_path / "own" / "model"))


def lose(weights):
    return {name: w for name, w in weights.items() if "layer.0.output" not in name}


def break_one(weights):
    weights["encoder.layer.0.output.dense.weight"][0, 0] = float("nan")
    return weights


@pytest.mark.parametrize("change", [lose, break_one])
def test_lost_weights_and_weights_that_are_no_numbers_are_refused(own_copy, spec, settings, change):
    file = own_copy / "model.safetensors"
    load_encoder(str(own_copy), spec.model)
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(ContractError, match="model.weights"):
        load_encoder(str(own_copy), spec.model)


def test_layers_that_no_machine_could_build_are_refused_at_once(own_copy, spec, settings):
    config = own_copy / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 1_000_000}))
    with pytest.raises(ContractError, match="model.base.*1,000,000 layers"):
        load_encoder(str(own_copy), spec.model)


def test_a_missing_pooler_is_no_loss(own_copy, spec, settings):
    file = own_copy / "model.safetensors"
    weights = load_file(file)
    assert any("pooler" in name for name in weights)
    save_file({name: w for name, w in weights.items() if "pooler" not in name}, file, metadata={"format": "pt"})
    assert load_encoder(str(own_copy), spec.model)


@pytest.mark.parametrize("prefix", ["bert.", "model.encoder."])
def test_the_names_of_a_file_may_have_a_prefix(own_copy, spec, settings, prefix):
    model = load_encoder(str(own_copy), spec.model)
    file = own_copy / "model.safetensors"
    save_file({prefix + name.replace("LayerNorm.weight", "LayerNorm.gamma"): w for name, w in load_file(file).items()},
              file, metadata={"format": "pt"})
    _check_whole(model, str(own_copy))


def test_a_file_that_breaks_off_is_refused(own_copy, spec, settings):
    file = own_copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ContractError, match="model.base"):
        load_encoder(str(own_copy), spec.model)


def test_a_lost_tokenizer_is_refused(own_copy, spec, settings):
    (own_copy / "tokenizer.json").unlink()
    with pytest.raises(ContractError, match="knows 5 tokens"):
        load_encoder(str(own_copy), spec.model)


def test_a_model_without_a_transformer_loads(tmp_path, spec, settings):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2")).backend_tokenizer
    SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=32)]).save_pretrained(str(tmp_path / "static"))
    _check_whole(SentenceTransformer(str(tmp_path / "static"), device="cpu"), str(tmp_path / "static"))


def kept_as(model, folder: Path) -> None:
    (folder.parent / "manifest.json").write_text(
        json.dumps({"recipe": {}, "facts": {"encoder": encoder_identity(model)}}))


@pytest.mark.parametrize("name, old, new, field", [
    ("config_sentence_transformers.json", '"query": ""', '"query": "ask: "', "prompts"),
    ("1_Pooling/config.json", '"mean"', '"cls"', "modules"),
    ("tokenizer_config.json", '"model_max_length": 512', '"model_max_length": 8', "max_tokens")])
def test_a_shipped_model_that_was_changed_is_refused_by_field(own_copy, spec, settings, name, old, new, field):
    from sentence_transformers import SentenceTransformer
    kept_as(SentenceTransformer(str(own_copy), device="cpu"), own_copy)
    load_encoder(str(own_copy), spec.model)
    text = (own_copy / name).read_text()
    assert old in text, text
    (own_copy / name).write_text(text.replace(old, new))
    with pytest.raises(ContractError, match=f"model.changed. {field}: shipped"):
        load_encoder(str(own_copy), spec.model)


@pytest.mark.parametrize("content", ["{}", '{"facts": {"encoder": "a name"}}', '{"recipe": {"base": {}}}'])
def test_a_manifest_that_describes_no_model_is_ignored(own_copy, spec, settings, content):
    (own_copy.parent / "manifest.json").write_text(content)
    assert load_encoder(str(own_copy), spec.model)


def test_another_size_is_refused(spec, settings):
    with pytest.raises(ContractError, match="model.dims"):
        load_encoder(spec.model.base, spec.model.model_copy(update={"dims": (64, 16)}))


@pytest.mark.parametrize("claims,pays,half", [(True, True, True), (True, False, False), (False, True, False)])
def test_half_precision_needs_a_processor_that_claims_it_and_gains_by_it(monkeypatch, claims, pays, half):
    from contextlib import nullcontext
    import torch
    from semantic_nb import encoder
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: claims)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(encoder, "_bf16_pays", lambda store: pays)
    assert isinstance(encoder.bf16_context("cpu"), nullcontext) != half


def test_the_number_format_is_decided_once_for_a_store(tmp_path):
    from semantic_nb import encoder
    first = encoder._bf16_pays(tmp_path / "store")
    (note,) = (tmp_path / "store").iterdir()
    note.write_text(json.dumps({name: not pays for name, pays in json.loads(note.read_text()).items()}))
    encoder._bf16_pays.cache_clear()
    assert encoder._bf16_pays(tmp_path / "store") != first


def test_a_pool_gives_the_same_vectors(model):
    pool = model.start_multi_process_pool(["cpu"])
    try:
        assert np.allclose(encode(model, TEXTS[:2], "document", pool=pool, chunk_size=1, bf16=False),
                           encode(model, TEXTS[:2], "document", bf16=False), atol=1e-4)
    finally:
        model.stop_multi_process_pool(pool)


def test_corpus_vectors_are_kept_and_follow_model_and_corpus(model, domain, settings, monkeypatch):
    first = corpus_vectors(model, domain.corpus, progress=False)
    monkeypatch.setattr("semantic_nb.encoder.encode", lambda *a, **k: pytest.fail("encoded again"))
    assert np.array_equal(first, np.load(next(settings.store.glob("vectors-*")) / "vectors.npy"))


def test_the_dot_base_takes_its_own_path(dot_folder, spec, settings):
    dot_spec = spec.model.model_copy(
        update={"base": str(dot_folder), "similarity": "dot", "dims": (768, 512, 256, 128, 64)})
    model = load_encoder(str(dot_folder), dot_spec)
    vectors = encode(model, ["sort a list", "invert a matrix"], "query")
    assert vectors.shape == (2, 768) and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.1)
    with pytest.raises(ContractError, match="model.similarity"):
        load_encoder(str(dot_folder), dot_spec.model_copy(update={"similarity": "cosine"}))


def test_matryoshka_turns_a_dot_model_into_a_cosine_one(dot_folder, domain, settings):
    from semantic_nb.loss.train import Stage, train_model
    dims = (768, 512, 256, 128, 64)
    spec = domain.spec.model_copy(update={
        "model": domain.spec.model.model_copy(update={"base": str(dot_folder), "similarity": "dot", "dims": dims}),
        "loss": domain.spec.loss.model_copy(update={"scale": 1.0}),
        "index": domain.spec.index.model_copy(update={"dim": 128})})
    made = train_model(str(dot_folder), domain.pairs, Stage("m", 2, 1e-4, dims), replace(domain, spec=spec))
    model = load_encoder(str(made.path / "model"), spec.model)
    assert model.similarity_fn_name == "cosine" and np.allclose(
        np.linalg.norm(encode(model, ["sort"], "query", 64), axis=1), 1, atol=1e-4)


def test_the_dot_base_goes_through_the_whole_pipeline(dot_folder, domain_folder, settings):
    from semantic_nb.pipeline import build, open_run
    from semantic_nb.spec import load_spec
    text = (domain_folder / "spec.toml").read_text()
    for old, new in (("dims = [32, 16, 8]", "dims = [768, 512, 256, 128, 64]"), ("\ndim = 16", "\ndim = 128"),
                     ("scale = 20.0", "scale = 1.0"), ('similarity = "cosine"\ndims', 'similarity = "dot"\ndims'),
                     ('rotate = "corpus" ', "rotate = false ")):  # it has fewer documents than axes
        assert old in text, old
        text = text.replace(old, new)
    start = text.index('base = "')
    (domain_folder / "spec.toml").write_text(text[:start] + f'base = "{dot_folder}"' + text[text.index("\n", start):])
    spec = load_spec(domain_folder / "spec.toml")
    built = build(spec, say=lambda line: None)
    served = open_run(spec)
    similarity = "cosine" if built.trained.decision.ship else "dot"
    assert served.index.facts["similarity"] == served.model.similarity_fn_name == similarity
    assert served.index.index.d == 128 and len(served.answer("how to sort tables", 3)) == 3


def test_prompts_of_the_base_are_not_dropped_in_silence(tiny_model, spec, settings, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "prompted")
    config = tmp_path / "prompted" / "config_sentence_transformers.json"
    own = {"query": "query: ", "passage": "passage: "}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prompts": own}))
    load = lambda **prompts: load_encoder(str(tmp_path / "prompted"),
                                          spec.model.model_copy(update={"prompts": prompts}))
    for said in ({}, {"query": "query: "}):
        with pytest.raises(ContractError, match="model.prompts"):
            load(**said)
    assert load(query="query: ", document="passage: ").prompts["document"] == "passage: "
    assert load(query="", document="").prompts == {"query": "", "document": ""}


def test_the_tokenizer_belongs_to_the_identity(tiny_model, spec, settings, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "cased")
    tokenizer = next((tmp_path / "cased").rglob("tokenizer.json"))
    content = json.loads(tokenizer.read_text())
    content["normalizer"]["lowercase"] = False
    tokenizer.write_text(json.dumps(content))
    config = tokenizer.with_name("tokenizer_config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"do_lower_case": False}))
    plain, cased = (load_encoder(str(folder), spec.model) for folder in (tiny_model, tmp_path / "cased"))
    before = encoder_identity(plain)
    encode(plain, ["Sort a list", "a much longer text about sorting lists of numbers"], "query")
    assert encoder_identity(plain) == before and encoder_identity(cased) != before


def test_a_dot_model_of_one_size_stays_a_dot_model(dot_folder, domain, settings):
    from semantic_nb.model import compress, learn_space
    spec = domain.spec.model_copy(update={
        "model": domain.spec.model.model_copy(update={"base": str(dot_folder), "similarity": "dot", "dims": (768,),
                                                               "rotate": False}),
        "loss": domain.spec.loss.model_copy(update={"scale": 1.0}),
        "index": domain.spec.index.model_copy(update={"dim": 768, "similarity": "dot"}),
        "validation": domain.spec.validation.model_copy(update={"audit_dims": (768,)})})
    only = replace(domain, spec=spec)
    second = compress(learn_space(only), only)
    assert load_encoder(str(second.path / "model"), spec.model).similarity_fn_name == "dot"


@pytest.mark.parametrize("audited, zero", [((16, 8), False), ((8, 32), False), ((), False), ((16,), True)])
def test_the_audit_compares_with_the_full_size_in_whatever_order(tiny_model, domain, settings, monkeypatch,
                                                                 audited, zero):
    from semantic_nb.validate import audit as validate
    model = load_encoder(str(tiny_model), domain.spec.model)
    spec = domain.spec.model_copy(update={
        "validation": domain.spec.validation.model_copy(update={"audit_dims": audited})})
    value = lambda dim: 0.0 if zero else 0.8 if dim == 32 else 0.4
    monkeypatch.setattr(validate, "search_sizes", lambda model, corpus, judged, dims: {d: d for d in dims})
    monkeypatch.setattr(validate, "per_query", lambda metric, dim, judged: np.full(len(judged.queries), value(dim)))
    monkeypatch.setattr(validate, "judged_at", lambda *_: 1.0)
    audit = validate.truncation_audit(model, replace(domain, spec=spec))
    assert audit.recommended == 32 and [row["dim"] for row in audit.rows] == sorted({32, *audited}, reverse=True)


@pytest.mark.parametrize("n", [0, 16, 30])
def test_a_map_of_too_few_texts_is_refused(n):
    from semantic_nb.validate.audit import space_map
    with pytest.raises(ContractError, match="validate.map"):
        space_map(np.random.default_rng(0).normal(size=(n, 8)).astype("float32"))


# --- folders and names that are no sentence encoder

@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize("name", ["./typo", "../../x", "a/b/c", "/nowhere/at/all", "x y", "~/model", "a" * 300])
def test_a_path_that_does_not_exist_is_said_to_be_none(name, offline, spec, settings, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(ContractError, match="model.base. no such folder"):
        load_encoder(name, spec.model)


def write(name, content):
    return lambda folder: (folder / name).write_text(content)


def change_json(name, **keys):
    def change(folder):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | keys))
    return change


def replace_modules(type_):
    return write("modules.json", json.dumps([{"idx": 0, "name": "0", "path": "", "type": type_}]))


def pickled(folder):
    import pickle
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": print}))


@pytest.mark.parametrize("damage", [
    write("adapter_config.json", '{"base_model_name_or_path": "x", "peft_type": "LORA"}'), pickled,
    replace_modules("sentence_transformers.nope.Nope"), replace_modules("sentence_transformers.models.Nope"),
    replace_modules("os.path"), change_json("config.json", hidden_size="x"),
    write("config_sentence_transformers.json", "[]"), change_json("config_sentence_transformers.json", prompts=5),
    change_json("config.json", hidden_size=10 ** 30),
    change_json("config.json", architectures=["BertForSequenceClassification"])],
    ids=["adapter", "pickle", "no such package", "no such class", "no module", "text for a number", "a list", "prompts",
         "too large a number", "cross-encoder"])
def test_whatever_breaks_in_a_folder_is_one_refusal(damage, own_copy, spec, settings):
    damage(own_copy)
    with pytest.raises(ContractError, match="model.base"):
        load_encoder(str(own_copy), spec.model)


@pytest.mark.parametrize("content", ["{", "[]", "5", '{"facts": []}', "[" * 100_000])
def test_somebody_elses_manifest_beside_a_model_is_none_of_ours(content, own_copy, spec, settings):
    (own_copy.parent / "manifest.json").write_text(content)
    assert load_encoder(str(own_copy), spec.model)


def test_a_folder_that_does_not_say_how_it_pools_is_refused_and_the_fix_works(own_copy, spec, settings, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    (own_copy / "modules.json").unlink()
    with pytest.raises(ContractError, match="model.pooling"):
        load_encoder(str(own_copy), spec.model)
    another = str(tmp_path / "another")
    SentenceTransformer(modules=[Transformer(str(own_copy)), Pooling(32, pooling_mode="mean")]).save_pretrained(another)
    assert load_encoder(another, spec.model)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_encoded(kind, own_copy, spec, settings):
    weights = {name: w.to(kind) if w.is_floating_point() else w
               for name, w in load_file(own_copy / "model.safetensors").items()}
    save_file(weights, own_copy / "model.safetensors", metadata={"format": "pt"})
    change_json("config.json", dtype=str(kind).split(".")[1])(own_copy)
    model = load_encoder(str(own_copy), spec.model)
    assert {w.dtype for w in model.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.isfinite(encode(model, TEXTS)).all()


@pytest.fixture
def static_folder(tmp_path):
    "Static embeddings of width 32: no transformer, and no limit to the length of a text."
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2")).backend_tokenizer
    tokenizer.no_truncation()
    folder = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=32)]).save_pretrained(str(folder))
    return folder


def test_static_embeddings_go_through_index_and_data_checks(static_folder, spec, domain, settings):
    from semantic_nb.checks import check_data
    from semantic_nb.index import make_index
    model = load_encoder(str(static_folder), spec.model)
    assert encode(model, TEXTS, dim=16).shape == (4, 16) and encoder_identity(model)["max_tokens"] is None
    index = make_index(model, domain)
    assert index.ask(model, ["how to sort tables"], 3)[0]
    assert make_index(model, domain).folder == index.folder
    findings = {finding.id: finding for finding in check_data([f"text number {i}" for i in range(30)], model=model)}
    assert findings["data.length.text"].status == "ok"


@pytest.mark.parametrize("file, key, value", [
    ("sentence_bert_config.json", "max_seq_length", value) for value in ("x", -1, 0, 2.5, 4096)] + [
    ("config_sentence_transformers.json", "similarity_fn_name", name) for name in ("euclidean", "manhattan")])
def test_a_length_or_a_similarity_that_cannot_be_served_is_refused(own_copy, spec, settings, file, key, value):
    change_json(file, **{key: value})(own_copy)
    for declared in (spec.model, None):
        with pytest.raises(ContractError, match="model.(base|length|similarity)"):
            load_encoder(str(own_copy), declared)


def test_a_spec_reads_no_more_tokens_than_its_model(tiny_model, spec, settings):
    with pytest.raises(ContractError, match="the spec says 4096 tokens, the model reads at most 512") as refusal:
        load_encoder(str(tiny_model), spec.model.model_copy(update={"max_tokens": 4096}))
    assert refusal.value.layer == "model.length"
