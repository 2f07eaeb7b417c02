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
