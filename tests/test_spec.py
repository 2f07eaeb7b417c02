import copy
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from semantic_nb.brief import implementation_brief, checklist, pipeline_map
from semantic_nb.core import ContractError
from semantic_nb.spec import SPEC_RULES, PipelineSpec, broken_rules, load_spec, parse_spec

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "pydocs"
RAW = tomllib.loads((FOLDER / "spec.toml").read_text(encoding="utf-8"))
REQUIRED = [*(("data", key) for key in ("corpus", "queries", "qrels", "pair_type", "symmetry", "pairs")),
            ("loss", "name"), ("loss", "scale"), ("model", "base"), ("model", "similarity"), ("model", "dims"),
            ("model", "max_tokens"), ("training", "batch_size"),
            ("index", "type"), ("index", "dim"), ("index", "similarity"), ("index", "documents"),
            ("clustering", "method"), ("validation", "metric"), ("validation", "k"),
            ("validation", "dev"), ("validation", "test"), ("validation", "eval_every")]


@pytest.mark.parametrize("section, key", REQUIRED)
def test_what_changes_meaning_has_no_default(section, key):
    raw = copy.deepcopy(RAW)
    del raw[section][key]
    with pytest.raises(ContractError, match="not declared") as refusal:
        parse_spec(raw, FOLDER)
    assert refusal.value.layer.endswith(key)


@pytest.mark.parametrize("section", ["data", "loss", "model", "training", "index", "clustering", "validation"])
def test_a_missing_section_and_a_misspelt_key_are_refused(section):
    with pytest.raises(ContractError, match="not declared"):
        parse_spec({k: v for k, v in RAW.items() if k != section}, FOLDER)
    raw = copy.deepcopy(RAW)
    raw[section]["dimm"] = 1
    with pytest.raises(ContractError, match="no such key"):
        parse_spec(raw, FOLDER)


@pytest.mark.parametrize("text", ["name = ", "[data\n", "name = 'a'\nname = 'b'"])
def test_malformed_toml_is_refused(tmp_path, text):
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(ContractError, match="spec.file"):
        load_spec(tmp_path / "spec.toml")


@pytest.mark.parametrize("loss, rules", [
    ({}, []), ({"hardness_mode": "all_negatives"}, ["loss.formulation"]), ({"mined_negatives": 2}, ["data.pair_type"])])
def test_a_loss_for_scores_reads_scored_pairs_and_has_no_wrong_answers(loss, rules):
    raw = copy.deepcopy(RAW)
    raw["data"]["pair_type"] = "scored_pairs"
    raw["loss"] |= {"name": "CoSENTLoss"} | loss
    assert [one.layer for one in broken_rules(PipelineSpec(**raw, folder=FOLDER))] == rules


@pytest.mark.parametrize("change, rule", [
    (("data", {"pair_type": "triplets"}), "data.pair_type"),
    (("data", {"pair_type": "scored_pairs"}), "data.pair_type"),
    (("loss", {"name": "CoSENTLoss"}), "data.pair_type"),
    (("loss", {"directions": ["doc_to_query"]}), "loss.formulation"),
    (("loss", {"partition_mode": "per_direction", "directions": ["query_to_doc", "doc_to_doc"]}), "loss.formulation"),
    (("index", {"nlist": 4096}), "index.type"), (("index", {"pq_m": 7}), "index.type"),
    (("index", {"type": "ivfpq"}), "index.type"), (("validation", {"test": "dev"}), "validate.evidence"),
    (("validation", {"k": 5}), "validate.evidence"), (("validation", {"metric": "loss"}), "validate.metric"),
    (("model", {"dims": [384, 128, 256]}), "model.dims"),
    (("model", {"base": "multi-qa-mpnet-base-dot-v1", "dims": [768, 128]}), "model.similarity")])
def test_contradictions(change, rule):
    raw = copy.deepcopy(RAW)
    raw[change[0]] |= change[1]
    if change[0] == "model" and "base" in change[1]:
        raw["index"]["dim"], raw["validation"]["audit_dims"] = 128, [768, 128]
    with pytest.raises(ContractError) as refusal:
        parse_spec(raw, FOLDER)
    assert refusal.value.layer == rule


def test_a_dot_base_with_matryoshka_must_serve_cosine():
    raw = copy.deepcopy(RAW)
    raw["model"] |= {"base": "multi-qa-mpnet-base-dot-v1", "similarity": "dot", "dims": [768, 512, 256, 128, 64]}
    raw["loss"]["scale"] = 1.0
    raw["validation"]["audit_dims"] = [768, 128]
    assert parse_spec(raw, FOLDER).index.similarity == "cosine"
    raw["index"]["similarity"] = "dot"
    with pytest.raises(ContractError, match="index.similarity"):
        parse_spec(raw, FOLDER)


@pytest.mark.parametrize("changes, rules", [
    ({"clusters": None}, ["cluster.method"]),
    ({"threshold": "calibrate"}, ["cluster.method"]),
    ({"method": "communities"}, ["cluster.method"]),
    ({"method": "communities", "threshold": "calibrate"}, ["cluster.method"]),
    ({"method": "communities", "threshold": "calibrate", "clusters": None}, []),
    ({"method": "communities", "threshold": "calibrate", "clusters": None, "labelled": None}, ["cluster.labels"]),
    ({"method": "agglomerative"}, []),
    ({"method": "agglomerative", "clusters": None}, ["cluster.method"]),
    ({"method": "agglomerative", "threshold": 0.9, "evidence": "measured"}, ["cluster.method"]),
    ({"method": "agglomerative", "threshold": 0.9, "evidence": "measured", "clusters": None}, [])])
def test_a_method_of_clustering_has_what_it_reads_and_nothing_else(changes, rules):
    raw = copy.deepcopy(RAW)
    raw["clustering"] |= changes
    spec = parse_spec(RAW, FOLDER).model_copy(update={"clustering": PipelineSpec.model_validate(
        {**raw, "folder": FOLDER}).clustering})
    assert [error.layer for error in broken_rules(spec)] == rules
    raw["data"]["duplicates"] = "drop"
    if changes == {"threshold": "calibrate"}:
        assert parse_spec(raw, FOLDER).clustering.clusters == 20
    if changes == {"clusters": None} or changes == {"method": "agglomerative"}:
        with pytest.raises(ContractError, match="cluster.method"):
            parse_spec(raw, FOLDER)


@given(st.lists(st.integers(1, 384), min_size=1, max_size=6))
@hypothesis_settings(max_examples=60, deadline=None)
def test_only_descending_sizes_from_the_models_own_pass(dims):
    raw = copy.deepcopy(RAW)
    raw["model"]["dims"], raw["index"]["dim"], raw["validation"]["audit_dims"] = dims, dims[-1], dims
    raw["model"]["rotate"] = False  # a single size has no use for it
    good = dims[0] == 384 and dims == sorted(set(dims), reverse=True)
    if good:
        assert parse_spec(raw, FOLDER).model.dims == tuple(dims)
    else:
        with pytest.raises(ContractError, match="model.dims"):
            parse_spec(raw, FOLDER)


def test_renderings_say_what_the_spec_says():
    spec = load_spec(FOLDER / "spec.toml")
    assert [row["rule"] for row in checklist().rows] == [rule.id for rule in SPEC_RULES] and not broken_rules(spec)
    assert str(spec.index.dim) in str(pipeline_map(spec)) and spec.model.base in implementation_brief(
        spec) and "never `.fit()`" in implementation_brief(spec)


@pytest.mark.parametrize("change", [{}, {"symmetry": "symmetric"}])
def test_the_brief_says_how_the_result_is_judged(change):
    spec = load_spec(FOLDER / "spec.toml")
    text = implementation_brief(spec.model_copy(update={"data": spec.data.model_copy(update=change)}))
    assert f"Build {'a symmetric' if change else 'an asymmetric'} semantic search" in text
    judged = text.split("VALIDATION")[1]
    for needed in ("P@10", spec.validation.metric, "through the index", "paired", "Truncation audit", "384, 256, 128",
                   "UMAP", "blob", "Coherence", f"`{spec.validation.production}`", "encode_multi_process", ".fit()"):
        assert needed in judged, needed


@pytest.mark.parametrize("scale", [0.05, 0.0, -20.0, 1.0, float("nan")])
def test_a_scale_that_teaches_nothing_is_refused(scale):
    raw = copy.deepcopy(RAW)
    raw["loss"]["scale"] = scale
    with pytest.raises(ContractError, match="loss.scale"):
        parse_spec(raw, FOLDER)


def test_two_sources_of_one_name_are_refused():
    raw = copy.deepcopy(RAW)
    raw["data"]["pairs"] *= 2
    with pytest.raises(ContractError, match="data.pair_names"):
        parse_spec(raw, FOLDER)


def single(refusal):
    return [error.layer for error in refusal.value.more]


def test_everything_that_the_sections_lack_is_named_at_once():
    raw = copy.deepcopy(RAW)
    del raw["data"]["symmetry"]
    raw["data"]["pairs"][0]["sauce"] = "clicks"
    raw["training"]["batch_size"] = 1
    raw["clustering"]["threshold"] = "guess"
    del raw["validation"]["k"]
    raw["index"]["dim"] = 100                                    # a broken rule comes after what is missing
    with pytest.raises(ContractError) as refusal:
        parse_spec(raw, FOLDER)
    assert single(refusal) == ["data.symmetry", "data.pairs.0.sauce", "loss.batch_size",
                               "cluster.threshold.literal['calibrate']", "validate.k"]
    assert refusal.value.layer == "data.symmetry" and "5. [validate.k] not declared" in str(refusal.value)


def test_every_broken_rule_is_named_at_once_in_the_order_of_the_rules():
    raw = copy.deepcopy(RAW)
    raw["clustering"]["threshold"] = 0.8
    raw["index"]["dim"] = 100
    raw["loss"]["scale"] = 1.0
    raw["model"]["base_reason"] = ""
    with pytest.raises(ContractError) as refusal:
        parse_spec(raw, FOLDER)
    expected = ["model.base", "loss.scale", "index.dim", "cluster.threshold", "cluster.method"]
    assert single(refusal) == expected and refusal.value.layer == "model.base"
    content = refusal.value.as_dict()
    assert [error["layer"] for error in content["more"]] == expected
    for number, error in enumerate(refusal.value.more, 1):
        assert f"{number}. [{error.layer}] {error.symptom}" in content["symptom"]
        assert f"{number}. {error.fix}" in content["fix"]


def test_a_single_mistake_is_refused_as_itself():
    raw = copy.deepcopy(RAW)
    raw["index"]["dim"] = 100
    with pytest.raises(ContractError) as refusal:
        parse_spec(raw, FOLDER)
    rule = next(rule for rule in SPEC_RULES if rule.id == "index.dim")
    assert refusal.value.as_dict() == {
        "layer": "index.dim", "cause": rule.reason, "fix": rule.fix,
        "symptom": "index or audit at [100], the model is trained at [384, 256, 128, 64, 32]"}


@pytest.mark.parametrize("section, key, value", [
    *[("training", key, value) for key in ("epochs", "compress_epochs", "learning_rate", "compress_learning_rate")
      for value in (float("inf"), float("nan"), 1e300, -1, 0)],
    ("training", "batch_size", 10**9), ("training", "warmup", float("nan")), ("loss", "scale", float("inf")),
    ("loss", "scale", 10**6), ("loss", "hardness_strength", -1), ("index", "nlist", -1), ("index", "nlist", 0),
    ("index", "pq_m", -8), ("index", "documents", 10**30), ("index", "memory_mb", float("inf")),
    ("index", "recall_target", float("nan")), ("model", "dims", [10**30, 8]), ("model", "dims", [8, 0]),
    ("clustering", "threshold", float("nan")), ("clustering", "precision", -1), ("validation", "k", 10**20),
    ("validation", "metric", "nDCG@99999999999999999999"), ("validation", "metric", "P@0"),
    ("validation", "eval_every", 10**30),
    *[("validation", key, name) for key in ("dev", "test", "production")
      for name in ("", "../x", "a/b", "..", ".x", "x..y", "a b", "x\n", "\x1b[31m", "x" * 65)]])
def test_what_no_run_could_use_is_refused_with_its_key(section, key, value):
    raw = copy.deepcopy(RAW)
    raw[section][key] = value
    with pytest.raises(ContractError) as refusal:
        parse_spec(raw, FOLDER)
    assert any(key in one.layer for one in (refusal.value.more or (refusal.value,))), refusal.value


@pytest.mark.parametrize("name", ["", "../x", "<b>x</b>", "a\x1b[31m", "a b"])
def test_names_of_pairs_and_domains_lead_nowhere(name):
    for change in (lambda raw: raw["data"]["pairs"][0].update(name=name), lambda raw: raw.update(name=name)):
        raw = copy.deepcopy(RAW)
        change(raw)
        with pytest.raises(ContractError, match="name"):
            parse_spec(raw, FOLDER)
    with pytest.raises(ContractError, match="name"):
        parse_spec(RAW | {"name": "x" * 5000}, FOLDER)


def test_a_folder_means_the_spec_in_it(tmp_path):
    assert load_spec(FOLDER) == load_spec(FOLDER / "spec.toml")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 20_000 + "]" * 20_000)
    for path in (tmp_path, tmp_path / "loop", tmp_path / "deep.toml", tmp_path / "deep.toml" / "x", Path("x" * 5000)):
        with pytest.raises(ContractError, match="spec.file"):
            load_spec(path)
