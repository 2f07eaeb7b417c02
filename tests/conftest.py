"""A domain of sixty documents and a model of one layer: everything real, nothing large."""
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from checkout import make_checkout
from foreign import make_model

@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    "A random BERT of one layer and width 32, saved as a Sentence Transformer."
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def dot_folder(tmp_path_factory):
    """multi-qa-mpnet-base-dot-v1's architecture with random weights: MPNet of one
    layer, width 768, CLS pooling, dot score."""
    import torch
    from semantic_nb.bases import resolve_base
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, MPNetConfig, MPNetModel
    folder = tmp_path_factory.mktemp("mpnet")
    torch.manual_seed(0)
    AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2")).save_pretrained(folder / "raw")
    MPNetModel(MPNetConfig(vocab_size=30527, num_hidden_layers=1, hidden_size=768,
                           num_attention_heads=12)).save_pretrained(folder / "raw")
    SentenceTransformer(modules=[Transformer(str(folder / "raw")), Pooling(768, pooling_mode="cls")],
                        similarity_fn_name="dot").save_pretrained(str(folder / "dot"))
    return folder / "dot"


@pytest.fixture
def domain_folder(tmp_path, tiny_model) -> Path:
    return make_checkout(tmp_path, tiny_model)


@pytest.fixture
def settings(domain_folder):
    """The settings of the small checkout, in force during the test."""
    from semantic_nb.core import Settings
    with Settings.load(domain_folder).active() as found:
        yield found


@pytest.fixture
def spec(settings):
    from semantic_nb.spec import load_spec
    return load_spec()


@pytest.fixture
def domain(spec):
    from semantic_nb.data.domain import load_domain
    return load_domain(spec)


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_model):
    "A checkout whose spec has been run: its settings, in force for nobody."
    from semantic_nb import pipeline
    from semantic_nb.core import Settings
    from semantic_nb.spec import load_spec
    settings = Settings.load(make_checkout(tmp_path_factory.mktemp("deploy"), tiny_model))
    with settings.active():
        pipeline.run(load_spec(), lambda line: None)
    return settings


@pytest.fixture(scope="session")
def bundle_folder(built):
    "A bundle of that run, with the untuned base beside, made once."
    from semantic_nb.deploy.bundle import make_bundle
    from semantic_nb.spec import load_spec
    with built.active():
        return make_bundle(built.root / "bundle", load_spec(), "CC0", base=True)
