"""Each thing that a builder reads has another key when it changes."""
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from semantic_nb.data.domain import _stored_groups, load_corpus
from semantic_nb.data.records import Corpus
from semantic_nb.encoder import corpus_vectors, load_encoder
from semantic_nb.index import make_index
from semantic_nb.loss.train import Stage, train_model
from semantic_nb.model import Gate, ship
from semantic_nb.store import Artifact, fingerprint

CORPUS = Corpus(("a", "b", "c"), ("A", "B", "C"), ("one text", "another text", "more of it"),
                ({"group": "x"}, {}, {"group": "y"}))


class Caught(Exception):
    "Before anything is built."


@pytest.fixture
def key(settings, monkeypatch):
    "The key under which a call would keep its artifact."
    def caught(name, recipe, *args, packages=(), **kwargs):
        raise Caught(fingerprint([name, recipe]))
    def of(call, *args):
        with monkeypatch.context() as patch, pytest.raises(Caught) as error:
            patch.setattr(Artifact, "make", caught)
            call(*args)
        return str(error.value)
    return of


def changed(spec, section, **change):
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update=change)})


def test_groups_depend_on_texts_and_on_the_groups_that_the_documents_name(key, settings):
    before = key(_stored_groups, CORPUS)
    assert key(_stored_groups, replace(CORPUS, metadata=({"group": "x"}, {}, {"group": "y", "kind": "z"}))) == before
    others = [replace(CORPUS, texts=("one text", "another text", "else")),
              replace(CORPUS, metadata=({"group": "x"}, {}, {"group": "x"})),
              replace(CORPUS, metadata=({}, {}, {})), CORPUS.subset({"a", "b"}),
              # the passages are the same
              replace(CORPUS, titles=("", "B", "C"), texts=("A\none text", *CORPUS.texts[1:]))]
    assert len({before, *(key(_stored_groups, other) for other in others)}) == len(others) + 1


def test_edited_groups_are_used_at_once(settings):
    assert len(set(_stored_groups(CORPUS).tolist())) == 3
    together = replace(CORPUS, metadata=({"group": "x"}, {}, {"group": "x"}))
    assert len(set(_stored_groups(together).tolist())) == 2


def test_vectors_depend_on_passages_model_and_number_format(key, settings, tiny_model, monkeypatch):
    model = load_encoder(str(tiny_model))
    before = key(corpus_vectors, model, CORPUS)
    found = [key(corpus_vectors, model, replace(CORPUS, texts=("x", *CORPUS.texts[1:]))),
             key(corpus_vectors, model, replace(CORPUS, titles=("x", *CORPUS.titles[1:])))]
    other = load_encoder(str(tiny_model), fresh=True)
    other.max_seq_length = 7
    found.append(key(corpus_vectors, other, CORPUS))
    autocast(monkeypatch, "semantic_nb.encoder")
    found.append(key(corpus_vectors, model, CORPUS))
    assert len({before, *found}) == len(found) + 1


def autocast(monkeypatch, module):
    "The other number format than the one that this machine would choose."
    import torch
    from contextlib import nullcontext
    from semantic_nb.encoder import bf16_context
    plain = isinstance(bf16_context("cpu"), nullcontext)
    monkeypatch.setattr(f"{module}.bf16_context",
                        lambda device: torch.autocast("cpu", torch.bfloat16) if plain else nullcontext())


STAGE = Stage("s", 4, 1e-3, (32, 16))


@pytest.mark.parametrize("section, change", [
    ("loss", {"scale": 7.0}), ("loss", {"directions": ("query_to_doc", "doc_to_query")}),
    ("training", {"batch_size": 16}), ("training", {"warmup": 0.3}), ("index", {"dim": 8}),
    ("validation", {"eval_every": 1}), ("validation", {"k": 5}), ("model", {"max_tokens": 16}),
    ("model", {"prompts": {"query": "ask: "}})])
def test_a_stage_depends_on_the_spec(key, domain, section, change):
    train = lambda spec: key(train_model, spec.model.base, domain.pairs, STAGE, replace(domain, spec=spec))
    assert train(domain.spec) != train(changed(domain.spec, section, **change))


def test_a_stage_depends_on_pairs_dev_corpus_schedule_seed_and_number_format(key, domain, settings, monkeypatch):
    def train(domain=domain, pairs=None, stage=STAGE):
        return key(train_model, domain.spec.model.base, domain.pairs if pairs is None else pairs, stage, domain)
    one, dev, corpus = domain.pairs[0], domain.splits["dev"], domain.corpus
    found = [train(), train(pairs=domain.pairs[::-1]), train(pairs=(one,)),
             train(pairs=(replace(one, name="z"),)), train(pairs=(replace(one, symmetry="symmetric"),)),
             train(pairs=(replace(one, positives=("z", *one.positives[1:])),)),
             train(stage=replace(STAGE, dims=())), train(stage=replace(STAGE, epochs=3)),
             train(stage=replace(STAGE, learning_rate=2e-3)), train(stage=replace(STAGE, name="z")),
             train(replace(domain, corpus=replace(corpus, texts=("z", *corpus.texts[1:])))),
             train(replace(domain, corpus=corpus.subset(corpus.ids[:30])))]
    for split in (replace(dev, queries={**dev.queries, next(iter(dev.queries)): "z"}),
                  replace(dev, qrels={**dev.qrels, next(iter(dev.qrels)): {corpus.ids[0]: 1}})):
        found.append(train(replace(domain, splits={**domain.splits, "dev": split})))
    with replace(settings, seed=7).active():
        found.append(train())
    autocast(monkeypatch, "semantic_nb.loss.train")
    found.append(train())
    for name in ("build_loss", "sample_corpus"):
        monkeypatch.setattr(f"semantic_nb.loss.train.{name}", lambda *a, **b: None)
        found.append(train())
    assert len(set(found)) == len(found)


def test_a_shipped_model_depends_on_the_decision_and_on_what_its_card_says(key, domain):
    import numpy as np
    from semantic_nb.measure import compare
    from types import SimpleNamespace
    from pathlib import Path
    metric = "nDCG@10"
    domain = replace(domain, spec=changed(domain.spec, "model", rotate=False))  # a rotated base is made first
    better, other = (compare(np.linspace(0, 1, 40) + shift, np.linspace(0, 1, 40) * 0.5) for shift in (0.2, 0.3))
    base = SimpleNamespace(path=Path(domain.spec.model.base).parent)
    asked = metric, 16, "base", 32, "test"
    gates = [Gate(False, better, *asked), Gate(False, other, *asked), Gate(False, better, "P@10", *asked[1:]),
             Gate(False, better, metric, 8, *asked[2:]), Gate(False, better, metric, 16, "rotated base", 16, "test")]
    found = [key(ship, base, gate, domain) for gate in gates]
    found.append(key(ship, base, gates[0], replace(domain, spec=domain.spec.model_copy(update={"name": "z"}))))
    assert len(set(found)) == len(found)


def test_an_index_depends_on_documents_spec_questions_model_and_number_format(key, domain, settings, monkeypatch):
    model, corpus, dev = load_encoder(domain.spec.model.base, domain.spec.model), domain.corpus, domain.splits["dev"]
    found = [key(make_index, model, domain)]
    for section, change in (("index", {"type": "flat"}), ("index", {"dim": 8}), ("index", {"recall_target": 0.5}),
                            ("validation", {"k": 5})):
        found.append(key(make_index, model, replace(domain, spec=changed(domain.spec, section, **change))))
    found.append(key(make_index, model, replace(domain, corpus=replace(corpus, ids=("z", *corpus.ids[1:])))))
    found.append(key(make_index, model, replace(domain, splits={**domain.splits, "dev": replace(
        dev, queries={**dev.queries, next(iter(dev.queries)): "z"})})))
    with replace(settings, seed=7).active():
        found.append(key(make_index, model, domain))
    autocast(monkeypatch, "semantic_nb.index")
    found.append(key(make_index, model, domain))
    for name in ("encode", "truncate", "tune_effort"):
        monkeypatch.setattr(f"semantic_nb.index.{name}", lambda *a, **b: None)
        found.append(key(make_index, model, domain))
    assert len(set(found)) == len(found)


def test_a_mined_corpus_depends_on_its_miner(key, spec, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    offered = [EntryPoint("theirs", name, "semantic_nb.domains") for name in ("miner_a:mine", "miner_a:other",
                                                                              "miner_b:mine")]
    monkeypatch.setattr("semantic_nb.data.miners.entry_points", lambda group: offered)
    def mine(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return key(load_corpus, changed(spec, "data", corpus=f"{name}:mine"))
    one = mine("miner_a", "def mine(path): pass\ndef other(path): pass\n")
    other = key(load_corpus, changed(spec, "data", corpus="miner_a:other"))
    assert len({one, other, mine("miner_b", "def mine(path): path.touch()\n")}) == 3
