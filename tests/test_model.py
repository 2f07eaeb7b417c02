from dataclasses import replace

import numpy as np
import pytest

from semantic_nb.bases import resolve_base
from semantic_nb.core import ContractError
from semantic_nb.encoder import corpus_vectors, encode, encoder_identity, load_encoder
from semantic_nb.measure import Comparison
from semantic_nb.model import (
    Gate, axes_by_weight, compress, gate, learn_space, order_axes, rotated, ship, train, untuned)


@pytest.fixture
def two_stages(domain, settings):
    first = learn_space(domain)
    return first, compress(first, domain)


def test_stage_two_continues_stage_one(two_stages):
    first, second = two_stages
    assert second.manifest["recipe"]["base"]["weights"] != first.manifest["recipe"]["base"]["weights"]
    assert second.manifest["recipe"]["stage"]["dims"] == [32, 16, 8]


def test_compressing_twice_is_refused(two_stages, domain, settings):
    with pytest.raises(ContractError, match="model.order"):
        compress(two_stages[1], domain)


@pytest.mark.parametrize("outcome, shipped", [("better", "tuned"), ("not shown", "base"), ("worse", "base")])
def test_only_a_better_model_leaves(two_stages, domain, settings, outcome, shipped):
    from sentence_transformers import SentenceTransformer
    decision = Gate(outcome == "better", Comparison(0.1, 0.0, 0.2, 0.01, 10, outcome), "nDCG@10", 16, "base", 32,
                    "test")
    made = ship(two_stages[1], decision, domain)
    assert made.manifest["facts"]["shipped"] == shipped
    plain = SentenceTransformer(str(made.path / "model"))
    assert plain.similarity_fn_name == "cosine" and plain.prompts == {"query": "",
                                                                      "document": ""} and plain.max_seq_length == 32
    card = (made.path / "model" / "README.md").read_text()
    assert "16 dimensions" in card and "Gate:" in card


def test_the_gate_reads_the_declared_metric_size_and_split(two_stages, domain, settings):
    decision = gate(two_stages[1], domain)
    assert (decision.metric, decision.dim, decision.split,
            decision.comparison.n) == ("nDCG@10", 16, "test", len(domain.splits["test"].queries))


def test_the_whole_layer_in_one_call(domain):
    said = []
    trained = train(domain, say=said.append)
    assert trained.path.endswith("/model") and len(said) == 3
    assert load_encoder(trained.path, domain.spec.model).get_embedding_dimension() == 32
    assert trained.shipped.manifest["facts"]["shipped"] == ("tuned" if trained.decision.ship else "base")


# --- the rotation

TEXTS = [f"how to {verb} a {noun}" for verb in ("sort", "open", "copy", "print") for noun in ("list", "file", "plot")]


def with_model(domain, **changes):
    spec = domain.spec
    return replace(domain, spec=spec.model_copy(update={"model": spec.model.model_copy(update=changes)}))


def orthogonal(width):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0].astype("float32")


@pytest.mark.parametrize("base", ["tiny_model", "dot_folder", "all-MiniLM-L6-v2"])
def test_a_rotation_leaves_every_score_at_full_size_alone(base, request, settings, tmp_path):
    from sentence_transformers import SentenceTransformer
    base = base if base.startswith("all") else str(request.getfixturevalue(base))
    before = load_encoder(base)
    model = rotated(before, orthogonal(before.get_embedding_dimension()))
    model.save_pretrained(str(tmp_path / "turned"))
    after = SentenceTransformer(str(tmp_path / "turned"))
    assert (after.prompts, after.similarity_fn_name) == (before.prompts, before.similarity_fn_name)
    old, new = before.encode(TEXTS), after.encode(TEXTS)
    size = max(1, np.abs(old @ old.T).max())
    assert np.abs(old @ old.T - new @ new.T).max() < 1e-5 * size and np.abs(old - new).max() > 0.01
    assert encoder_identity(after) != encoder_identity(before)


def test_two_rotations_are_one_layer(tiny_model, settings):
    model, first, second = load_encoder(str(tiny_model)), orthogonal(32), orthogonal(32).T[::-1].copy()
    twice = rotated(rotated(model, first), second)
    assert [name for name, _ in twice.named_children()].count("rotation") == 1
    assert np.allclose(twice.encode(TEXTS), model.encode(TEXTS) @ (second @ first).T, atol=1e-5)


def test_a_model_with_an_unknown_end_is_refused(tiny_model, settings):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm
    model = SentenceTransformer(modules=[*load_encoder(str(tiny_model)), LayerNorm(32)])
    with pytest.raises(ContractError, match="ends in LayerNorm"):
        rotated(model, orthogonal(32))


def test_axes_stand_in_the_order_of_their_weight():
    vectors = np.random.default_rng(2).normal(size=(200, 6)).astype("float32") * [1, 5, 2, 9, 0.1, 3] + 4
    axes = axes_by_weight(vectors.astype("float32"))
    weights = ((vectors @ axes.T) ** 2).sum(axis=0)
    assert axes.dtype == "float32" and np.allclose(axes @ axes.T, np.eye(6), atol=1e-5)
    assert (np.diff(weights) < 0).all() and weights.sum() == pytest.approx((vectors ** 2).sum())


@pytest.mark.parametrize("vectors", [np.ones((5, 6), "float32"), np.full((9, 6), np.nan, "float32")])
def test_too_few_or_broken_vectors_have_no_order(vectors):
    with pytest.raises(ContractError, match="model.rotate"):
        axes_by_weight(vectors)


def test_stage_two_goes_on_from_the_rotated_stage_one(domain, settings):
    domain = with_model(domain, rotate="corpus")
    first = learn_space(domain)
    start, second = order_axes(str(first.path / "model"), domain), compress(first, domain)
    model = load_encoder(str(start.path / "model"), domain.spec.model)
    assert second.manifest["recipe"]["base"] == encoder_identity(model)
    assert second.manifest["recipe"]["stage"]["rotation_learning_rate"] == 1e-4
    with pytest.raises(ContractError, match="model.order"):
        compress(start, domain)
    assert start.manifest["facts"]["documents"] == len(domain.corpus)


def test_a_rotated_model_is_no_model_of_an_unrotated_spec(domain, settings):
    turned = order_axes(resolve_base(domain.spec.model.base), with_model(domain, rotate="corpus")).path / "model"
    with pytest.raises(ContractError, match="model.rotate.*is a rotated model"):
        load_encoder(str(turned), with_model(domain, rotate=False).spec.model)


def test_the_rotation_learns_at_a_rate_of_its_own(domain, settings, tmp_path):
    from semantic_nb.loss.train import Stage, _trainer
    domain = with_model(domain, rotate="corpus")
    turned = order_axes(resolve_base(domain.spec.model.base), domain).path / "model"
    trainer = _trainer(str(turned), domain.pairs, Stage("s", 1, 1e-5, (32, 16), 1e-3), domain, tmp_path)
    groups = trainer.create_optimizer().param_groups
    assert sorted({group["lr"] for group in groups}) == [1e-5, 1e-3]
    assert [tuple(weight.shape) for group in groups if group["lr"] == 1e-3 for weight in group["params"]] == [(32, 32)]


def test_a_corpus_smaller_than_its_axes_is_refused_before_anything_is_trained(domain, settings):
    few = replace(with_model(domain, rotate="corpus"), corpus=domain.corpus.subset(domain.corpus.ids[:31]))
    with pytest.raises(ContractError, match="model.rotate.*31 vectors for 32 axes"):
        train(few, say=pytest.fail)


@pytest.mark.parametrize("ships", [True, False])
def test_a_rotating_spec_serves_a_rotated_model_whatever_the_gate_says(domain, settings, ships):
    domain = with_model(domain, rotate="corpus")
    trained = train(domain, say=str)
    kept = ship(trained.second, replace(trained.decision, ship=ships), domain)
    assert "axes put in order" in (kept.path / "model" / "README.md").read_text(encoding="utf-8")
    assert "rotation" in dict(load_encoder(str(kept.path / "model"), domain.spec.model).named_children())
    same = str(trained.second.path / "model") if ships else untuned(domain)
    assert kept.manifest["facts"]["encoder"] == encoder_identity(load_encoder(same, domain.spec.model))


# --- the gate's rival

@pytest.mark.parametrize("rotate", ["corpus", False])
@pytest.mark.parametrize("stronger", ["base at full size", "base as it would be served"])
def test_dev_names_the_strongest_untuned_rival(domain, settings, monkeypatch, rotate, stronger):
    domain, seen = with_model(domain, rotate=rotate), []
    candidate = learn_space(domain)

    def search(model, corpus, judged, dims):
        name = "rotated base" if "rotation" in dict(model.named_children()) else "base"
        split = next(name for name, one in domain.splits.items() if one is judged)
        seen.append((split, dims[0]))
        full = dims[0] == 32
        return {dims[0]: (split == "dev" and full == (stronger == "base at full size"), name)}

    monkeypatch.setattr("semantic_nb.model.search_sizes", search)
    monkeypatch.setattr("semantic_nb.model.per_query", lambda metric, run, judged: np.full(10, float(run[0])))
    decision = gate(candidate, domain)
    served = "rotated base" if rotate else "base"
    assert (decision.rival, decision.rival_dim) == (("base", 32) if stronger == "base at full size" else (served, 16))
    assert sorted(seen) == sorted([("dev", 32), ("dev", 16), ("test", 16), ("test", decision.rival_dim)])
    assert f"nDCG@10 at 16 against the {decision.rival} at {decision.rival_dim} on test" in str(decision)


def test_a_rotated_models_documents_are_known_without_encoding_them(domain, settings):
    domain = with_model(domain, rotate="corpus")
    turned = load_encoder(str(order_axes(domain.spec.model.base, domain).path / "model"), domain.spec.model)
    stored = sorted(settings.runs_dir.glob("store/vectors-*"))
    known = corpus_vectors(turned, domain.corpus)
    assert len(stored) == 2 and sorted(settings.runs_dir.glob("store/vectors-*")) == stored
    assert np.allclose(known, encode(turned, domain.corpus.passages, "document"), atol=0.01)  # half precision
