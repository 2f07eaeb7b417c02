"""The trial of recipes: what its arms change, and the pairs that documents hold of one another."""
import numpy as np
import pytest

from recipe import ALL, ARMS, averaged, changed, row_of, see_also
from semantic_nb.data.records import Corpus
from semantic_nb.encoder import load_encoder

SECTION = "\n\nSee Also\n--------\n"


def corpus_of(texts):
    return Corpus(tuple(texts), tuple(texts), tuple(texts.values()), ({},) * len(texts))


def test_see_also_pairs_what_is_said_of_another_object_with_its_document():
    corpus = corpus_of({
        "lib.frame.join": "Join two frames." + SECTION + "merge : Merge on columns of\n    another frame as well.\n"
                          "frame.join : Join as before with itself.\nlib.sort : Short.\n\n"
                          "Notes\n-----\nmerge : not a part",
        "lib.frame.merge": "Merge two frames." + SECTION + ":func:`~lib.sort` : Put the rows in an order.\n"
                           "absent : An object that is nowhere.",
        "lib.sort": "Sort the rows."})
    pairs = see_also(corpus)
    assert list(zip(pairs.anchors, pairs.documents)) == [
        ("Merge on columns of another frame as well.", "lib.frame.merge"), ("Put the rows in an order.", "lib.sort")]
    assert pairs.positives == (corpus.passages[1], corpus.passages[2]) and pairs.symmetry == "asymmetric"


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
