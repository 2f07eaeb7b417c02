"""Encoding through a real Ray: the same vectors, continued where it stopped, on a cluster of its own or of another.

    WITH_RAY=1 python -m pytest tests/scale/test_ray.py        a few minutes, 3 GB, a machine that is not busy
"""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from semantic_nb.core import ContractError
from semantic_nb.encoder import load_encoder
from semantic_nb.scale import processors
from semantic_nb.scale.processors import encode_with_ray
from semantic_nb.scale.shards import encode_shards, split_corpus

pytestmark = pytest.mark.skipif(os.environ.get("WITH_RAY") != "1",
                                reason="Ray needs 3 GB and a quiet machine: WITH_RAY=1, or make test-scale")
CLUSTER = """
import ray, sys
ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
print("address", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


def cut(folder, name):
    rows = [{"_id": str(n), "title": "", "text": f"thing {n} and tool {n * n}", "metadata": {}} for n in range(60)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return split_corpus(folder / "corpus.jsonl", folder / name, size=20)


@pytest.fixture
def here(tmp_path, settings, tiny_model):
    "The vectors that one process makes."
    return encode_shards(load_encoder(str(tiny_model)), cut(tmp_path, "here"), 16, progress=False)


def same(made, here) -> bool:
    pairs = [(made.read(number), here.read(number)) for number in range(len(here))]
    return all(a[0] == b[0] and np.allclose(a[1], b[1], atol=1e-6) for a, b in pairs) and made.mark == here.mark


def listening_elsewhere(process) -> list[str]:
    "Where children of a process listen besides loopback."
    import psutil
    found = [f"{child.name()} at {connection.laddr.ip}" for child in process.children(recursive=True)
             for connection in child.net_connections(kind="tcp") if connection.status == psutil.CONN_LISTEN]
    return [place for place in found if not place.endswith(("127.0.0.1", " ::1"))]


def test_two_actors_make_the_same_vectors_and_go_on_where_they_stopped(tmp_path, here, tiny_model, monkeypatch):
    import psutil
    places, room = [], processors._need_room
    monkeypatch.setattr(processors, "_need_room", lambda *given: (
        room(*given), places.append(listening_elsewhere(psutil.Process()))))
    parts = cut(tmp_path, "ray")
    made = encode_with_ray(str(tiny_model), parts, 16, actors=2, num_cpus=0.5, patience=300, progress=False)
    assert same(made, here) and places == [[]]
    times = [(made.folder / f"{number:05}.parquet").stat().st_mtime_ns for number in range(3)]
    (made.folder / "00001.parquet").unlink()
    again = encode_with_ray(str(tiny_model), parts, 16, patience=300, progress=False)
    assert same(again, here)
    now = [(made.folder / f"{number:05}.parquet").stat().st_mtime_ns for number in range(3)]
    assert [a == b for a, b in zip(times, now)] == [True, False, True]
    assert not [child for child in psutil.Process().children(recursive=True) if "ray" in child.name()]


def test_a_part_that_was_changed_is_refused_and_the_others_stay(tmp_path, settings, tiny_model):
    parts = cut(tmp_path, "ray")
    parts.texts(2).write_text(parts.texts(1).read_text())
    with pytest.raises(ContractError, match="00002") as refusal:
        encode_with_ray(str(tiny_model), parts, 16, patience=300, progress=False)
    assert refusal.value.layer == "scale.shard" and not list(parts.folder.glob("vectors-*/00002.parquet"))


def test_a_cluster_at_an_address_does_the_same_and_goes_on_living(tmp_path, here, tiny_model):
    environment = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=environment, text=True)
    try:
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("address"))
        parts = cut(tmp_path, "ray")
        with pytest.raises(ContractError, match="2 actors of 1 CPUs"):
            encode_with_ray(str(tiny_model), parts, 16, address, actors=2, num_cpus=1)
        made = encode_with_ray(str(tiny_model), parts, 16, address, patience=300, progress=False)
        assert same(made, here) and cluster.poll() is None
    finally:
        cluster.communicate("", timeout=60)
