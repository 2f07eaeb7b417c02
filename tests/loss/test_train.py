import json
from dataclasses import replace

import pytest
import torch

from semantic_nb.core import ContractError
from semantic_nb.data.records import PairSet
from semantic_nb.bases import resolve_base
from semantic_nb.encoder import encode, load_encoder
from semantic_nb.loss.train import (
    Stage, build_loss, check_columns, check_schedule, mine_negatives, train_model)
from semantic_nb.store import Artifact

STAGE = Stage("t", 2, 1e-3)


def with_loss(domain, **change):
    return replace(domain, spec=domain.spec.model_copy(update={"loss": domain.spec.loss.model_copy(update=change)}))


def test_training_learns_keeps_history_and_is_reused(domain, settings):
    made = train_model(domain.spec.model.base, domain.pairs, STAGE, domain)
    history = json.loads((made.path / "history.json").read_text())
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses[-1] < losses[0] and any("eval_dev_cosine_ndcg@10" in row for row in history)
    assert not list(made.path.rglob("checkpoint-*"))
    again = train_model(domain.spec.model.base, domain.pairs, STAGE, domain)
    assert again.path == made.path


@pytest.mark.parametrize(
    "change", [{"stage": replace(STAGE, learning_rate=2e-3)}, {"settings": {"seed": 9}}, {"loss": {"scale": 10.0}}])
def test_every_ancestor_counts(domain, settings, monkeypatch, change):
    seen = []
    monkeypatch.setattr(Artifact, "make", lambda name, recipe, *a, **k: seen.append(recipe))
    train_model(domain.spec.model.base, domain.pairs, STAGE, domain)
    with replace(settings, **change.get("settings", {})).active():
        train_model(domain.spec.model.base, domain.pairs, change.get("stage", STAGE),
                    with_loss(domain, **change.get("loss", {})))
    assert seen[0] != seen[1]


def test_an_interrupted_training_continues_from_its_checkpoint(domain, settings, monkeypatch):
    from transformers import TrainerCallback
    import semantic_nb.loss.train as loss
    started = []

    class Stop(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            started.append(state.global_step)
        def on_step_end(self, args, state, control, **kwargs):
            if len(started) == 1 and state.global_step == 3:
                raise KeyboardInterrupt

    callbacks = loss._callbacks
    monkeypatch.setattr(loss, "_callbacks", lambda name: [*callbacks(name), Stop()])
    stage = Stage("resumed", 4, 1e-3)
    with pytest.raises(KeyboardInterrupt):
        train_model(domain.spec.model.base, domain.pairs, stage, domain)
    assert not list(settings.store.glob("resumed-*"))
    made = train_model(domain.spec.model.base, domain.pairs, stage, domain)
    assert started == [0, 2] and (made.path / "model" / "modules.json").is_file()


def test_columns_that_would_be_misread_are_refused(domain):
    pairs = PairSet("p", "asymmetric", ("a",), ("b",))
    with pytest.raises(ContractError, match="loss.columns"):
        check_columns(pairs, domain.spec.loss.model_copy(update={"name": "TripletLoss"}))
    with pytest.raises(ContractError, match="loss.columns"):
        check_columns(pairs,
                      domain.spec.loss.model_copy(update={"hardness_mode": "hard_negatives", "mined_negatives": 1}))
    check_columns(replace(pairs, negatives=(("c",),)), domain.spec.loss.model_copy(update={"name": "TripletLoss"}))
    scores = domain.spec.loss.model_copy(update={"name": "CoSENTLoss"})
    check_columns(replace(pairs, scores=(4.0,)), scores)
    for wrong in ((pairs, scores), (replace(pairs, scores=(4.0,)), domain.spec.loss)):
        with pytest.raises(ContractError, match="loss.columns"):
            check_columns(*wrong)


def test_one_anchor_makes_no_batch(domain, settings):
    with pytest.raises(ContractError, match="loss.batches"):
        train_model(domain.spec.model.base,
                    [PairSet("p", "asymmetric", ("a", "a"), ("b", "c"))], STAGE, domain)


def numbered(count):
    return PairSet("p", "asymmetric", tuple(f"a{i}" for i in range(count)), tuple(f"b{i}" for i in range(count)))


def with_interval(spec, every):
    return spec.model_copy(update={"validation": spec.validation.model_copy(update={"eval_every": every})})


@pytest.mark.parametrize("counts, epochs, steps", [((32,), 3, 3), ((33,), 1, 2), ((30, 2), 2, 4), ((200,), 0.2, 2)])
def test_dev_is_looked_at_before_the_last_step(spec, counts, epochs, steps):
    pairs, stage = [numbered(count) for count in counts], Stage("s", epochs, 1e-3)
    check_schedule(pairs, stage, with_interval(spec, steps - 1))
    with pytest.raises(ContractError, match=f"{steps} optimizer steps, eval_every is {steps}") as refusal:
        check_schedule(pairs, stage, with_interval(spec, steps))
    assert refusal.value.layer == "loss.eval_every" and f"below {steps}" in refusal.value.fix


def test_a_single_step_has_another_fix(spec):
    with pytest.raises(ContractError) as refusal:
        check_schedule([numbered(8)], Stage("s", 1, 1e-3), with_interval(spec, 1))
    assert "smaller batches" in refusal.value.fix


def test_the_schedule_is_refused_before_anything_is_trained(domain, settings, monkeypatch):
    import semantic_nb.loss.train as loss
    monkeypatch.setattr(loss, "_train_stage", lambda *a, **k: pytest.fail("it trained"))
    with pytest.raises(ContractError, match="loss.eval_every"):
        train_model(domain.spec.model.base, domain.pairs, STAGE, replace(domain, spec=with_interval(domain.spec, 99)))


def test_as_many_steps_as_the_check_counts_are_made(domain, settings):
    made = train_model(domain.spec.model.base, domain.pairs, STAGE, domain)
    steps = made.manifest["facts"]["steps"]
    check_schedule(domain.pairs, STAGE, with_interval(domain.spec, steps - 1))
    with pytest.raises(ContractError, match=f"{steps} optimizer steps"):
        check_schedule(domain.pairs, STAGE, with_interval(domain.spec, steps))


@pytest.mark.parametrize("change",
                         [{"name": "CachedMultipleNegativesRankingLoss"},
                          {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
                          {"hardness_mode": "in_batch_negatives", "hardness_strength": 5.0}])
@pytest.mark.parametrize("dims", [(), (32, 16, 8)])
def test_every_formulation_trains(domain, settings, change, dims):
    made = train_model(domain.spec.model.base, domain.pairs, Stage("f", 2, 1e-3, dims),
                       with_loss(domain, **change))
    assert made.manifest["facts"]["steps"] >= 1


def test_triplets_and_two_symmetries_train(domain, settings):
    texts = [f"text number {i}" for i in range(40)]
    triplets = PairSet("t", "symmetric", tuple(texts[:20]), tuple(texts[20:]), (tuple(reversed(texts[20:])),))
    three = replace(STAGE, epochs=3)
    trained = train_model(domain.spec.model.base, [triplets], three, with_loss(domain, name="TripletLoss"))
    assert trained.manifest["facts"]["pairs"] == {"t": 20}
    paraphrases = PairSet("paraphrases", "symmetric", tuple(texts[:20]), tuple(texts[20:]))
    both = train_model(domain.spec.model.base, [*domain.pairs, paraphrases], STAGE, domain)
    assert set(both.manifest["facts"]["pairs"]) == {"paraphrases", *(p.name for p in domain.pairs)}


def test_triplets_of_a_dot_model_are_compared_by_dot_products(domain):
    model, loss = load_encoder(domain.spec.model.base, fresh=True), domain.spec.loss
    model.similarity_fn_name = "dot"
    built = build_loss(model, loss.model_copy(update={"name": "TripletLoss", "scale": 1.0}))
    a, b = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 1.0], [2.0, 2.0]])
    assert built.distance_metric(a, b).tolist() == [-5.0, -2.0] and built.get_config_dict()["triplet_margin"] == 5


@pytest.mark.parametrize("dims", [(), (32, 16)])
def test_cosent_learns_the_order_of_scores(domain, settings, dims):
    near = [(f"sort list number {i}", f"list number {i} sorted", 5.0) for i in range(12)]
    far = [(f"sort list number {i}", f"open the file {i}", 0.0) for i in range(12)]
    anchors, positives, scores = zip(*near, *far)
    pairs = PairSet("scored", "symmetric", anchors, positives, scores=scores)
    scored = with_loss(domain, name="CoSENTLoss", scale=20.0)
    made = train_model(domain.spec.model.base, [pairs], replace(STAGE, epochs=8, dims=dims), scored)

    def gap(path):
        model = load_encoder(path, domain.spec.model)
        cosines = (encode(model, anchors) * encode(model, positives)).sum(axis=1)
        return cosines[:12].mean() - cosines[12:].mean()
    assert gap(str(made.path / "model")) > gap(domain.spec.model.base)


def test_building_a_loss_twice_does_not_wrap_twice(domain, settings):
    model = load_encoder(resolve_base(domain.spec.model.base), domain.spec.model)
    cached = domain.spec.loss.model_copy(update={"name": "CachedMultipleNegativesRankingLoss"})
    for _ in range(2):
        assert type(build_loss(model, cached, (32, 16)).loss).__name__ == "CachedMultipleNegativesRankingLoss"


def test_mined_negatives_are_other_documents_and_keep_their_ids(domain, settings):
    model = load_encoder(resolve_base(domain.spec.model.base), domain.spec.model)
    mined = mine_negatives(domain.pairs[0], model, 2, relative_margin=0.0)
    known = dict(zip(domain.pairs[0].positives, domain.pairs[0].documents))
    assert len(mined) and len(mined.columns()) == 4
    for positive, document, *negatives in zip(mined.positives, mined.documents, *mined.negatives):
        assert positive not in negatives and known[positive] == document


def test_a_diverging_loss_is_refused(domain, settings):
    with pytest.raises(ContractError) as refusal:
        train_model(domain.spec.model.base, domain.pairs, Stage("d", 6, 1e6), domain)
    assert refusal.value.layer in ("loss.diverged", "model.vectors")


def test_the_prompts_of_the_spec_stand_before_the_texts_in_training(domain, settings, monkeypatch):
    from sentence_transformers import SentenceTransformer
    prompts = {"query": "wonder ", "document": "answer "}
    asking = replace(domain,
                     spec=domain.spec.model_copy(
                         update={"model": domain.spec.model.model_copy(update={"prompts": prompts})}))
    seen, own = [], SentenceTransformer.preprocess
    monkeypatch.setattr(SentenceTransformer,
                        "preprocess", lambda self, inputs, prompt=None, **k: (
                            seen.append((prompt, tuple(inputs))), own(self, inputs, prompt=prompt, **k))[1])
    train_model(domain.spec.model.base, domain.pairs[:1], Stage("asking", 3, 1e-3), asking)
    anchors, positives = set(domain.pairs[0].anchors), set(domain.pairs[0].positives)
    # smaller ones are the trainer's own statistics
    trained = [(prompt, inputs) for prompt, inputs in seen if len(inputs) > 8]
    assert {prompt for prompt, inputs in trained if set(inputs) <= anchors - positives} == {"wonder "}
    assert {prompt for prompt, inputs in trained if set(inputs) <= positives - anchors} == {"answer "}
