import pytest

from semantic_nb.core import ContractError
from semantic_nb.encoder import load_encoder
from semantic_nb.measure import Comparison
from semantic_nb.model import Gate, compress, gate, learn_space, ship, train


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
    decision = Gate(outcome == "better", Comparison(0.1, 0.0, 0.2, 0.01, 10, outcome), "nDCG@10", 16, "test")
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
