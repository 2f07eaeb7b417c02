"""What is compared when a model has been tuned for something else."""
import json

import pytest
import torch

from forgetting import forgotten
from semantic_nb.encoder import load_encoder

PAIRS = [("a cat sleeps", "a cat dozes", 5), ("snow falls", "it is snowing", 5), ("a bird sings", "a car stops", 0.5),
         ("sort a list", "order the items", 4), ("a dog barks", "the moon is full", 1)]


@pytest.fixture
def sets(tmp_path):
    stsb, scifact = tmp_path / "stsb", tmp_path / "scifact"
    (scifact / "qrels").mkdir(parents=True)
    stsb.mkdir()
    (stsb / "pairs_test.jsonl").write_text("".join(
        json.dumps(dict(zip(("anchor", "positive", "score"), pair))) + "\n" for pair in PAIRS))
    for file, at in (("corpus", 1), ("queries", 0)):
        (scifact / f"{file}.jsonl").write_text("".join(
            json.dumps({"_id": f"{file}{n}", "title": "", "text": pair[at]}) + "\n" for n, pair in enumerate(PAIRS)))
    (scifact / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(
        f"queries{row}\tcorpus{row}\t1\n" for row in range(5)))
    return stsb, scifact


def test_a_model_has_forgotten_nothing_against_itself_and_something_when_it_is_broken(spec, settings, sets, tmp_path):
    for row in forgotten(spec, spec.model.base, *sets):
        assert row["difference"] == 0 and row["base"] == row["tuned"] and row["n"] == 5
    broken = load_encoder(spec.model.base, spec.model, fresh=True)
    torch.manual_seed(1)
    for weight in broken.parameters():
        weight.data = torch.randn_like(weight)
    broken.save_pretrained(str(tmp_path / "broken"))
    similarity, retrieval = forgotten(spec, str(tmp_path / "broken"), *sets)
    assert similarity["set"] == "stsb" and retrieval["metric"] == spec.validation.metric
    assert similarity["base"] != similarity["tuned"]
    assert similarity["difference"] == pytest.approx(similarity["tuned"] - similarity["base"])
