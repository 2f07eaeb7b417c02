"""A bundle: what is in it, that it opens without torch, and that nothing damaged or mixed opens."""
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from semantic_nb import pipeline
from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import ask_canary, filtered_search, make_bundle, open_bundle, open_checked
from semantic_nb.encoder import encode
from semantic_nb.index import SearchIndex, build_index, set_effort


def test_a_bundle_answers_as_the_run_that_it_was_made_from(bundle_folder, spec):
    bundle, served = open_bundle(bundle_folder), pipeline.open_run(spec)
    question = "how to sort tables"
    assert [hit["id"] for hit in bundle.search(question, 5)] == [hit["id"] for hit in served.answer(question, 5)]
    assert ([hit["id"] for hit in bundle.search(question, 5, "hybrid")]
            == [hit["id"] for hit in served.answer(question, 5, hybrid=True)])
    theirs = encode(served.model, [question], "query", spec.index.dim, bf16=False)
    ours = bundle.encoder.encode([question])
    assert np.allclose(ours, theirs, atol=1e-5)
    assert bundle.facts["licence"] == "CC0" and ask_canary(bundle) == bundle.facts["canary"]
    assert not [path for path in bundle_folder.rglob("*") if path.suffix in (".pkl", ".pt", ".bin")]


def test_it_opens_where_there_is_no_torch(bundle_folder):
    code = ("import sys\nsys.modules['torch'] = None\nfrom semantic_nb.deploy.bundle import open_bundle\n"
            f"print(len(open_bundle({str(bundle_folder)!r}).search('sort', 3, 'hybrid')))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr


def test_what_is_made_by_default_is_made_once(bundle_folder, spec):
    first = make_bundle(spec=spec)
    stamp = (first / "manifest.json").stat().st_mtime_ns
    assert make_bundle(spec=spec) == first and (first / "manifest.json").stat().st_mtime_ns == stamp
    with pytest.raises(ContractError, match="deploy.bundle"):
        make_bundle(bundle_folder, spec)


def test_one_bit_of_any_file_is_refused(bundle_folder, tmp_path):
    for path in sorted(path for path in bundle_folder.rglob("*") if path.is_file() and path.stat().st_size):
        broken = tmp_path / "broken"
        shutil.copytree(bundle_folder, broken)
        file = broken / path.relative_to(bundle_folder)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(ContractError):
            open_bundle(broken)
        shutil.rmtree(broken)


def test_a_filter_keeps_what_it_names_and_refuses_what_nobody_has(bundle_folder):
    bundle = open_bundle(bundle_folder)
    key = next(iter(bundle.corpus.metadata[0]))
    value = str(bundle.corpus.metadata[0][key])
    for mode in ("dense", "lexical", "hybrid"):
        hits = bundle.search("sort a list", 5, mode, {key: value})
        assert all(str(hit["metadata"][key]) == value for hit in hits)
    assert bundle.search("sort", 5, "dense", {key: "no such value"}) == []
    with pytest.raises(ContractError, match="deploy.filter"):
        bundle.search("sort", keep={"colour": "red"})


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "ivfpq"])
@pytest.mark.parametrize("share", [0.6, 0.02])
def test_a_filter_loses_no_more_than_the_index_loses_without_one(spec, kind, share):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(40, 16))
    vectors = (centres[rng.integers(0, 40, 4000)] + 0.5 * rng.normal(size=(4000, 16))).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, queries = np.flatnonzero(rng.random(4000) < share), vectors[:50]
    section = spec.index.model_copy(update={"type": kind, "dim": 16, "nlist": 50 if "ivf" in kind else None})
    raw = build_index(vectors, section)
    efforts = {"flat": "", "ivf": "nprobe=8", "hnsw": "efSearch=64", "ivfpq": "nprobe=8,k_factor_rf=16"}
    set_effort(raw, efforts[kind])
    index = SearchIndex(raw, tuple(map(str, range(4000))), {})

    def recall(kept):
        _, found = filtered_search(index, queries, 10, kept)
        among = np.arange(4000) if kept is None else kept
        exact = among[np.argsort(-(queries @ vectors[among].T), axis=1)[:, :10]]
        assert kept is None or set(found.ravel().tolist()) <= {*kept.tolist(), -1}
        return np.mean([len(set(a.tolist()) & set(b.tolist())) / 10 for a, b in zip(found, exact)])
    assert recall(rows) >= recall(None) - 0.01
    assert share > 0.1 or recall(rows) >= (0.99 if kind == "ivfpq" else 1)  # codes of 8 bits are no exact vectors


def test_a_bundle_that_lost_its_canaries_is_refused(bundle_folder, monkeypatch):
    assert open_checked(bundle_folder).facts["canary"] > 0.1
    monkeypatch.setattr("semantic_nb.deploy.bundle.ask_canary", lambda bundle: 0.0)
    with pytest.raises(ContractError) as refusal:
        open_checked(bundle_folder)
    assert refusal.value.layer == "deploy.canary" and "0% of the labelled questions" in refusal.value.symptom
