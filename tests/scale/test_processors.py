"""What encoding through Ray refuses before Ray is started; the work itself is in test_ray.py."""
import json
import socket
import time

import pytest

from semantic_nb.core import ContractError
from semantic_nb.encoder import load_encoder
from semantic_nb.scale import processors
from semantic_nb.scale.processors import encode_with_ray
from semantic_nb.scale.shards import encode_shards, split_corpus


@pytest.fixture
def parts(tmp_path):
    rows = [{"_id": str(n), "title": "", "text": f"thing {n} and tool {n * n}", "metadata": {}} for n in range(12)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return split_corpus(tmp_path / "corpus.jsonl", tmp_path / "parts", size=4)


@pytest.mark.parametrize("actors, cpus, gpus", [(2, 1, 0), (4, 0.5, 0), (1, 0.5, 1), (0, 1, 0), (1, 0, 0)])
def test_actors_that_do_not_fit_are_refused(actors, cpus, gpus):
    with pytest.raises(ContractError, match=f"{actors} actors") as refusal:
        processors._need_room(actors, cpus, gpus, {"CPU": 2.0})
    assert refusal.value.layer == "scale.cluster"


@pytest.mark.parametrize("actors, cpus, gpus", [(1, 1, 0), (2, 0.5, 0), (2, 0.25, 0.5)])
def test_actors_that_fit_pass(actors, cpus, gpus):
    processors._need_room(actors, cpus, gpus, {"CPU": 2.0, "GPU": 1.0})


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "no.such.host.invalid:{}", "ray://:{}",
                                     "127.0.0.1:port{}"])
def test_an_address_at_which_nobody_answers_is_refused_within_seconds(parts, settings, tiny_model, address):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'semantic_nb[scale]'")
    began = time.monotonic()
    with pytest.raises(ContractError, match="nobody answers") as refusal:
        encode_with_ray(str(tiny_model), parts, 16, address.format(free))
    assert refusal.value.layer == "scale.cluster" and time.monotonic() - began < 20
    assert not list(parts.folder.glob("vectors-*"))


def test_without_ray_a_cluster_is_refused(parts, settings, tiny_model, monkeypatch):
    monkeypatch.setattr(processors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ContractError, match="Ray is not installed") as refusal:
        encode_with_ray(str(tiny_model), parts, 16, "ray://10.0.0.1:10001")
    assert refusal.value.layer == "scale.cluster" and "semantic_nb[scale]" in refusal.value.fix


def test_what_is_encoded_needs_no_ray(parts, settings, tiny_model, monkeypatch):
    made = encode_shards(load_encoder(str(tiny_model)), parts, 16, progress=False)
    monkeypatch.setattr(processors.importlib.util, "find_spec", lambda name: None)
    assert encode_with_ray(str(tiny_model), parts, 16) == made


def test_an_actor_writes_a_part_and_tells_a_refusal_as_a_row(parts, settings, tiny_model):
    model = load_encoder(str(tiny_model))
    mark = processors.vector_mark(model, 16)
    actor = processors._Actor(settings, str(tiny_model), None, parts, mark, 16)
    assert actor({"number": [1]}) == {"documents": [4]}
    assert (parts.folder / f"vectors-{mark}" / "00001.parquet").is_file()
    parts.texts(2).write_text(parts.texts(1).read_text())
    assert actor({"number": [2]})["refusal"][0]["layer"] == "scale.shard"
    other = processors._Actor(settings, str(tiny_model), None, parts, "of another model", 16)
    assert other({"number": [0]})["refusal"][0]["layer"] == "scale.model"
    assert not (parts.folder / "vectors-of another model").exists()


def test_a_cluster_that_does_nothing_is_given_up():
    with pytest.raises(ContractError, match="no part was finished in 0.1 seconds") as refusal:
        next(processors._within((time.sleep(5) for _ in range(1)), 0.1))
    assert refusal.value.layer == "scale.cluster"


def test_an_error_of_the_cluster_arrives():
    def broken():
        yield {"documents": 1}
        raise RuntimeError("a node is lost")
    rows = processors._within(broken(), 5)
    assert next(rows) == {"documents": 1}
    with pytest.raises(ContractError, match="RuntimeError: a node is lost") as refusal:
        next(rows)
    assert refusal.value.layer == "scale.cluster"
