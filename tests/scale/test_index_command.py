"`semantic-nb index` builds what `semantic-nb search --index` asks; mistakes are refused by name."
import json

import pytest
from typer.testing import CliRunner

from semantic_nb.cli_scale import _through_ray, app
from semantic_nb.core import ContractError
from semantic_nb.scale.ondisk import answers_in, index_corpus
from semantic_nb.spec import IndexSpec


def call(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(done.exception, ContractError):
        raise done.exception
    return done


def test_a_corpus_becomes_an_index_that_answers(corpus_file, tiny_model, tmp_path, settings):
    folder, options = tmp_path / "big", ("--model", tiny_model)
    arguments = ("index", corpus_file, folder, *options, "--dim", 16, "--size", 150, "--type", "ivf", "--recall", 0.9)
    said = json.loads(call(*arguments, "--json").stdout)
    assert said["documents"] == 400 and said["type"] == "ivf" and said["recall"] >= 0.9 and "nprobe" in said["effort"]
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert json.loads(call(*arguments, "--json").stdout) == said
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    asked = ("search", "sort a list quickly", "--index", folder, *options, "-k", 3, "--json")
    answers = json.loads(call(*asked).stdout)["answers"]
    assert answers[0]["text"] == "sort a list quickly" and len(answers) == 3 and answers[0]["id"] == "d0"


def test_a_folder_without_an_index_and_another_model_are_refused(corpus_file, encoder, tiny_model, tmp_path):
    from semantic_nb.encoder import load_encoder
    from semantic_nb.scale.shards import split_corpus
    split_corpus(corpus_file, tmp_path / "parts", 100)
    with pytest.raises(ContractError, match="index.file"):
        answers_in(tmp_path / "parts", encoder)
    with pytest.raises(ContractError, match="scale.shard"):
        answers_in(tmp_path / "nothing", encoder)
    section = IndexSpec(type="flat", dim=16, similarity="cosine", documents=400)
    index_corpus(encoder, corpus_file, tmp_path / "parts", section, size=100)
    shorter = load_encoder(str(tiny_model), fresh=True)
    shorter.max_seq_length = 8
    with pytest.raises(ContractError, match="index.model"):
        answers_in(tmp_path / "parts", shorter)


def test_a_wrong_type_is_refused_before_anything_is_encoded(corpus_file, tiny_model, tmp_path, settings):
    done = call("index", corpus_file, tmp_path / "big", "--model", tiny_model, "--type", "tree")
    assert done.exit_code == 2 and not (tmp_path / "big").exists()


def test_ray_needs_a_model_by_name():
    with pytest.raises(ContractError, match="scale.cluster"):
        _through_ray("", "local", 1)
