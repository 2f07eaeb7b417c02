"""Who may ask, what an unforeseen error looks like, and what a change-over leaves: the application in this process."""
import asyncio
import json
import logging
import os
import shutil
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from semantic_nb.core import ContractError
from semantic_nb.deploy.bundle import open_bundle
from semantic_nb.deploy.changes import change_bundle
from semantic_nb.deploy.live import Batcher, Limits, Live, change_over, encode_waiting
from semantic_nb.deploy.service import follow_link, go_live, make_app
from semantic_nb.deploy.watch import Metrics
from semantic_nb.store import Artifact

HERE = "http://localhost"


@pytest.fixture(scope="module")
def live(bundle_folder):
    return go_live(bundle_folder, Limits(queue=8))


@pytest.fixture
def client(live, bundle_folder):
    live.changing = asyncio.Lock()
    live.batcher.waiting = asyncio.Queue(8)  # of the loop that this test runs in
    with TestClient(make_app(live, bundle_folder), HERE) as client:
        yield client


def test_a_foreign_name_is_refused_where_no_token_protects(client, monkeypatch):
    asked = {"query": "sort"}
    assert client.post("/search", json=asked).status_code == 200
    foreign = client.post("/search", json=asked, headers={"Host": "evil.example:8000"})
    assert foreign.status_code == 421 and foreign.headers["x-frame-options"] == "DENY"
    assert client.post("/search", json=asked, headers={"Host": "[::1]:8000"}).status_code == 200
    monkeypatch.setenv("SEARCH_TOKEN", "secret")
    for header, status in (("bearer secret", 200), ("Bearer wrong", 401), ("secret", 401)):
        answer = client.post("/search", json=asked, headers={"Host": "search.example", "Authorization": header})
        assert answer.status_code == status
    assert answer.headers["www-authenticate"] == "Bearer"
    assert client.head("/livez", headers={"Host": "search.example"}).status_code == 200


def test_only_this_machine_and_no_proxy_on_it_changes_over(live, bundle_folder):
    body = {"path": str(bundle_folder)}
    with TestClient(make_app(live, bundle_folder), HERE, client=("127.0.0.1", 1)) as client:
        assert client.post("/swap", json=body, headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 403
        assert client.post("/swap", json=body).json()["bundle"] == live.bundle.id
        assert client.post("/swap", json={"path": "/"}).status_code == 409
    with TestClient(make_app(live, bundle_folder), HERE, client=("10.0.0.1", 1)) as client:
        assert client.post("/swap", json=body).status_code == 403


def test_an_error_that_nobody_foresaw_is_a_counted_500_without_a_trace(client, monkeypatch, caplog):
    monkeypatch.setattr("semantic_nb.deploy.service.answer", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR):
        failed = client.post("/search", json={"query": "sort"})
    assert failed.status_code == 500 and "division" not in failed.text and failed.headers["x-frame-options"] == "DENY"
    assert "division" in caplog.text
    assert 'requests_total{path="/search",status="500"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("path, body, status", [
    ("/search", {"query": "  "}, 422), ("/embed", {"texts": ["sort"] * 9}, 422), ("/embed", {"texts": [" "]}, 422)])
def test_what_can_never_be_answered_is_said(client, path, body, status):
    assert client.post(path, json=body).status_code == status


def test_what_no_json_has_is_null_and_a_base_that_is_missing_404(live, client, monkeypatch):
    corpus = replace(live.bundle.corpus, metadata=({"year": float("nan"), "url": None},) * len(live.bundle.corpus))
    monkeypatch.setattr(live, "bundle", replace(live.bundle, corpus=corpus, beside=None))
    found = client.post("/search", json={"query": "sort", "k": 1}).json()["answers"][0]
    assert found["metadata"] == {"year": None, "url": None} and found["url"] == ""
    assert client.post("/compare", json={"query": "sort"}).status_code == 404


def test_a_log_that_cannot_be_written_is_no_reason_not_to_answer(live, bundle_folder, caplog):
    class Full:
        def write(self, *_):
            raise OSError(28, "No space left on device")
    live.changing, live.batcher.waiting = asyncio.Lock(), asyncio.Queue(8)
    with TestClient(make_app(live, bundle_folder, Full()), HERE) as client:
        assert client.post("/search", json={"query": "sort"}).status_code == 200
    assert "No space left" in caplog.text


class Encoder:
    def encode(self, texts, role="query"):
        return [0.0] * len(texts)


class Plain:
    "A bundle with a name and an encoder that answers at once."
    def __init__(self, name: str) -> None:
        self.id, self.path, self.encoder = name, Path(name), Encoder()
        self.facts = dict.fromkeys(("name", "model", "type", "corpus", "dim"), name)


def live_of(opening) -> Live:
    return Live(Plain("first"), Batcher(Limits(), Metrics()), opening)


def test_the_last_bundle_that_was_asked_for_is_the_one_that_stays():
    async def both() -> str:
        def opening(path):
            time.sleep(0.2 if path.name == "slow" else 0)
            return Plain(path.name)
        live = live_of(opening)
        first = asyncio.create_task(change_over(live, Path("slow")))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, change_over(live, Path("fast")))
        return live.bundle.id
    assert asyncio.run(both()) == "fast"


def test_a_bundle_that_was_replaced_is_let_go():
    async def change() -> bool:
        live = live_of(lambda path: Plain(path.name))
        working = asyncio.create_task(encode_waiting(live.batcher))
        await live.batcher.vector(live.bundle, "a question")
        old = weakref.ref(live.bundle)
        await change_over(live, Path("second"))
        await asyncio.sleep(0.1)
        working.cancel()
        return old() is None
    assert asyncio.run(change())


def test_a_link_in_a_circle_is_looked_at_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("semantic_nb.deploy.service._EVERY", 0.02)
    link, second = tmp_path / "current", tmp_path / "second"
    second.mkdir()
    link.symlink_to(link)

    async def follow() -> str:
        live = live_of(lambda path: Plain(path.name))
        task = asyncio.create_task(follow_link(live, link))
        await asyncio.sleep(0.1)
        link.unlink()
        link.symlink_to(second)
        await asyncio.sleep(0.3)
        assert not task.done()
        task.cancel()
        return live.bundle.id
    assert asyncio.run(follow()) == "second" and "could not be followed" in caplog.text


@pytest.mark.parametrize("put, delete, inside, says", [
    ({"_id": "sort_tables", "title": "t", "text": "x"}, ["sort_tables"], False, "to be put and to be deleted"),
    ({"_id": "sort_tables", "title": "", "text": " "}, ["sort_arrays"], False, "data."),
    (None, [], False, "nothing to change"), (None, ["sort_tables"], True, "lies in the bundle")])
def test_a_change_that_contradicts_itself_is_refused(bundle_folder, tmp_path, put, delete, inside, says):
    file = None
    if put:
        (file := tmp_path / "put.jsonl").write_text(json.dumps(put))
    with pytest.raises(ContractError) as refusal:
        change_bundle(bundle_folder, (bundle_folder if inside else tmp_path) / "out", file, delete)
    assert says in f"{refusal.value.layer}. {refusal.value.symptom}"
    open_bundle(bundle_folder)


def test_documents_that_hide_the_right_ones_are_refused(bundle_folder, tmp_path):
    canaries = json.loads((bundle_folder / "canary.json").read_text())
    copies = [{"_id": f"copy{n}_{k}", "title": "", "text": row["query"]} for n, row in enumerate(canaries)
              for k in range(10)]
    (tmp_path / "put.jsonl").write_text("\n".join(map(json.dumps, copies)))
    with pytest.raises(ContractError) as refusal:
        change_bundle(bundle_folder, tmp_path / "out", tmp_path / "put.jsonl")
    assert refusal.value.layer == "deploy.canary" and not (tmp_path / "out").exists()


def test_other_documents_under_the_same_index_do_not_open(bundle_folder, tmp_path):
    old = open_bundle(bundle_folder)

    def write(folder: Path) -> dict:
        for path in bundle_folder.iterdir():
            if path.name not in ("manifest.json", "base"):
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
        text = (folder / "corpus.jsonl").read_text()
        (folder / "corpus.jsonl").write_text(text.replace("order the items", "colour the items", 1))
        return dict(old.facts)
    path = Artifact.write(tmp_path / "mixed", {"bundle": 2}, write).path
    with pytest.raises(ContractError) as refusal:
        open_bundle(path)
    assert refusal.value.layer == "index.corpus" and os.listdir(path)
