"""The trial of recipes: what its arms change, and what they are compared with."""
import numpy as np
import pytest

from recipe import ALL, ARMS, added, averaged, changed, row_of
from semantic_nb.encoder import load_encoder


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_changes_what_its_name_says_and_nothing_else(spec, name):
    arm = changed(spec, ARMS[name])
    assert arm.validation.eval_every == 16 and arm.model == spec.model and arm.index == spec.index
    assert f"{arm.training.epochs} epoch" in name
    assert (arm.loss.mined_negatives == 2) == ("mined" in name)
    assert (arm.loss.directions == ALL) == ("directions" in name)
    _, _, rate = name.partition("rate ")
    rates = {"learning_rate": spec.training.learning_rate,
             "compress_learning_rate": spec.training.compress_learning_rate}
    if rate:
        rates["compress_learning_rate" if "then" in name else "learning_rate"] = float(rate)
    assert {key: getattr(arm.training, key) for key in rates} == rates


def test_an_average_lies_in_the_middle_of_two_models(spec, settings, tmp_path):
    base = spec.model.base
    other = load_encoder(base, spec.model, fresh=True)
    for weight in other.parameters():
        weight.data += 0.2
    other.save_pretrained(str(tmp_path / "other"))
    middle = averaged(str(tmp_path / "other"), base, spec)
    for (name, weight), old in zip(middle.named_parameters(), load_encoder(base, spec.model).parameters()):
        assert np.allclose(weight.detach(), old.detach() + 0.1, atol=1e-5), name


def test_every_cell_is_compared_with_the_base_at_full_size():
    base = {("written", "full"): np.array([0.2, 0.4, 0.6]), ("written", "served"): np.array([0.0, 0.0, 0.0])}
    row = row_of("arm", {key: values + 0.1 for key, values in base.items()}, base)
    assert row["scores"]["written, full"]["difference"] == pytest.approx(0.1)
    assert row["scores"]["written, served"]["difference"] == pytest.approx(-0.3)


def test_what_further_pairs_add_is_compared_on_the_same_set_and_size():
    first = {("titles", "full"): np.array([0.2, 0.4, 0.6]), ("titles", "served"): np.array([0.0, 0.1, 0.2])}
    found = added({key: values + 0.1 for key, values in first.items()}, first)["scores"]
    assert list(found) == ["titles, full", "titles, served"]
    assert all(one["difference"] == pytest.approx(0.1) and one["n"] == 3 for one in found.values())
