"""A model as a file: every kind of model that can be one, and those that cannot."""
import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.data.records import Judged
from semantic_nb.deploy.bundle import make_bundle, open_bundle
from semantic_nb.deploy.encoders import OnnxEncoder, encoder_gate, export_encoder
from semantic_nb.encoder import encode, load_encoder
from semantic_nb.model import rotated
from semantic_nb.spec import load_spec

TEXTS = ["sort a list", "", "many words " * 200, "排序 😀"]


def same(model, folder, dim):
    export_encoder(model, folder, dim)
    encoder = OnnxEncoder.open(folder)
    for role in ("query", "document"):
        assert np.allclose(encoder.encode(TEXTS, role), encode(model, TEXTS, role, dim, bf16=False), atol=1e-4)
    return encoder


def test_the_file_gives_the_vectors_of_the_model_at_every_size_and_with_prompts(spec, tmp_path):
    model = load_encoder(spec.model.base, spec.model, fresh=True)
    model.prompts = {"query": "question: ", "document": ""}
    for dim in spec.model.dims:
        encoder = same(model, tmp_path / str(dim), dim)
    assert not np.allclose(encoder.encode(["sort"]), encoder.encode(["sort"], "document"))
    assert encoder.encode([]).shape == (0, dim)
    one = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.allclose(one, encoder.encode(TEXTS, batch=2), atol=1e-5)


def test_a_rotated_model_and_one_for_dot_products_are_written_too(spec, tmp_path, dot_folder):
    model = load_encoder(spec.model.base, spec.model, fresh=True)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0].astype("float32")
    same(rotated(model, turn), tmp_path / "turned", 16)
    dot = load_encoder(str(dot_folder), fresh=True)
    dot.max_seq_length = 64  # its few positions
    vectors = same(dot, tmp_path / "dot", 768).encode(TEXTS)
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.1)


def test_what_has_no_such_file_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    static = SentenceTransformer(modules=[StaticEmbedding(Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")),
                                                          embedding_dim=4)])
    with pytest.raises(ContractError, match="deploy.encoder"):
        export_encoder(static, tmp_path / "static", 4)
    with pytest.raises(ContractError, match="deploy.encoder"):
        OnnxEncoder.open(tmp_path / "nothing")


def judged(n: int) -> Judged:
    return Judged({f"q{i}": f"question {i}" for i in range(n)}, {f"q{i}": {f"d{i}": 1} for i in range(n)})


def answers(n: int, first: int, lost: int = 0) -> dict:
    "Ten answers to each question, the right one first unless it is among the `lost`; `first`: where the others begin."
    return {f"q{i}": {(f"d{i}" if i >= lost else "x"): 2.0} | {f"e{first + j}": 1 - j / 10 for j in range(9)}
            for i in range(n)}


@pytest.mark.parametrize("faster, status", [(answers(40, 0), "ok"), (answers(40, 1), "fail"), (answers(40, 0, 3), "ok"),
                                            (answers(40, 0, 12), "fail")])
def test_a_faster_encoder_passes_if_its_answers_stay(faster, status):
    found = encoder_gate(answers(40, 0), faster, judged(40), "nDCG@10")
    assert found.status == status and "of the first 10 answers are the same" in found.evidence
    assert bool(found.fix) == (status == "fail")


def test_int8_is_written_and_put_through_the_gate(built, tmp_path):
    with built.active():
        path = make_bundle(tmp_path / "bundle", load_spec(), int8=True)
        bundle = open_bundle(path)
        kept = (path / "encoder.int8.onnx").is_file()
        assert bundle.facts["int8"].startswith("kept" if kept else "not kept")
        if kept:
            assert open_bundle(path, kind="int8").search("order the items of a list of arrays", 1)
        else:
            with pytest.raises(ContractError, match="int8"):
                open_bundle(path, kind="int8")
