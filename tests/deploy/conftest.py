"""The spec of the bundle that tests/conftest.py makes."""
import pytest

from semantic_nb.spec import load_spec


@pytest.fixture
def spec(built):
    "The spec that was run, with its settings in force."
    with built.active():
        yield load_spec()
