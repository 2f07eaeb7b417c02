"""A bundle of the toy domain, made once."""
import pytest

from checkout import make_checkout
from semantic_nb import pipeline
from semantic_nb.core import Settings
from semantic_nb.deploy.bundle import make_bundle
from semantic_nb.spec import load_spec


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_model):
    "A checkout whose spec has been run: its settings, in force for nobody."
    settings = Settings.load(make_checkout(tmp_path_factory.mktemp("deploy"), tiny_model))
    with settings.active():
        pipeline.run(load_spec(), lambda line: None)
    return settings


@pytest.fixture(scope="session")
def bundle_folder(built):
    with built.active():
        return make_bundle(built.root / "bundle", load_spec(), "CC0", base=True)


@pytest.fixture
def spec(built):
    "The spec that was run, with its settings in force."
    with built.active():
        yield load_spec()
