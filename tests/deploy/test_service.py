"""The service as a process: what it answers, what it refuses, how it is replaced, and how it ends."""
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from running import running
from semantic_nb.deploy.bundle import open_bundle

httpx = pytest.importorskip("httpx")
QUESTIONS = [f"how to {verb} a {thing}" for verb in ("sort", "open", "merge", "draw")
             for thing in ("list", "file", "graph")]


@pytest.fixture(scope="module")
def served(bundle_folder):
    "One service for the tests that leave it as it is."
    with running(bundle_folder) as (process, address):
        yield process, address


def ask(address, query, **more):
    return httpx.post(f"{address}/search", json={"query": query, **more}, timeout=30)


def test_it_answers_as_the_bundle_does_and_says_what_it_is(served, bundle_folder):
    _, address = served
    bundle = open_bundle(bundle_folder)
    for mode in ("dense", "lexical", "hybrid"):
        answer = ask(address, "how to sort tables", mode=mode, k=3).json()
        expected = bundle.search("how to sort tables", 3, mode)
        assert [hit["id"] for hit in answer["answers"]] == [hit["id"] for hit in expected]
        assert (answer["bundle"], answer["mode"], answer["degraded"]) == (bundle.id, mode, False)
    info = httpx.get(f"{address}/info").json()
    assert info["bundle"] == bundle.id and info["documents"] == len(bundle.corpus) and info["base"] is True
    both = httpx.post(f"{address}/compare", json={"query": "sort", "k": 2}).json()
    assert len(both["base"]) == len(both["tuned"]) == 2
    page = httpx.get(f"{address}/")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    text = httpx.get(f"{address}/metrics").text
    assert 'requests_total{path="/search",status="200"} 3.0' in text and bundle.id in text


async def many(address, calls, clients):
    waiting = list(calls)
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        async def one():
            results = []
            while waiting:
                path, body = waiting.pop()
                results.append((body, await client.post(path, json=body)))
            return results
        return [pair for part in await asyncio.gather(*(one() for _ in range(clients))) for pair in part]


def test_sixteen_clients_get_the_vectors_that_one_would_get(served, bundle_folder):
    _, address = served
    bundle = open_bundle(bundle_folder)
    calls = [("/embed", {"texts": QUESTIONS[n % 12:][:3], "role": ("query", "document")[n % 2]}) for n in range(64)]
    for body, answer in asyncio.run(many(address, calls, 16)):
        ours, theirs = np.array(answer.json()["vectors"]), bundle.encoder.encode(body["texts"], body["role"])
        assert (ours * theirs).sum(axis=1).min() >= 0.99999


def test_it_is_alive_while_it_encodes(served):
    _, address = served
    waits, done = [], threading.Event()

    def pulse():
        with httpx.Client(base_url=address) as client:
            while not done.is_set():
                began = time.perf_counter()
                assert client.get("/livez").text == "ok"
                waits.append(time.perf_counter() - began)
                time.sleep(0.01)
    watcher = threading.Thread(target=pulse)
    watcher.start()
    answers = asyncio.run(many(address, [("/search", {"query": f"{q} {n}"}) for n in range(20) for q in QUESTIONS], 16))
    done.set()
    watcher.join()
    assert all(answer.status_code == 200 for _, answer in answers) and np.median(waits) < 0.05


@pytest.mark.parametrize("body, status", [
    (b"{", 422), (b"", 422), (b"[1]", 422), (b'{"query": ""}', 422), (b'{"query": NaN}', 422),
    (b'{"query": "a", "k": NaN}', 422),
    (b'{"query": "a", "k": 0}', 422), (b'{"query": "a", "mode": "magic"}', 422), (b'{"query": "a", "colour": 1}', 422),
    (b'{"query": "a", "filter": {"no such key": "x"}}', 422), (b'{"query": "%s"}' % (b"a" * 2001), 422),
    (b'{"query": "%s"}' % (b"a" * 10_000_000), 413), (b'{"query": "\xff"}', 400),
    (b'{"query": "a", "timeout_ms": 1e99}', 422)])
def test_what_is_no_question_is_refused_and_shows_nothing(served, body, status):
    _, address = served
    answer = httpx.post(f"{address}/search", content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == status and set(answer.json()["error"]) == {"layer", "symptom", "fix"}
    assert "Traceback" not in answer.text and "site-packages" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_odd_texts_are_questions(served):
    _, address = served
    for query in ("😀", "\u0000", "a" * 2000, "排序", "\u202e right to left", "'; drop table", "<script>"):
        assert ask(address, query).status_code == 200, query
    assert httpx.get(f"{address}/wp-admin").status_code == 404 and httpx.put(f"{address}/search").status_code == 405
    assert "wp-admin" not in httpx.get(f"{address}/metrics").text


def test_a_token_is_wanted_where_there_is_one(bundle_folder):
    with running(bundle_folder, token="secret") as (_, address):
        assert ask(address, "sort").status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert httpx.post(f"{address}/search", json={"query": "sort"}, headers=good).status_code == 200
        assert httpx.post(f"{address}/swap", json={"path": str(bundle_folder)}).status_code == 401
        seen = [httpx.get(f"{address}{path}").status_code for path in ("/livez", "/readyz", "/", "/info")]
        assert seen == [200, 200, 200, 401]
    done = subprocess.run([sys.executable, "-m", "semantic_nb", "serve", str(bundle_folder), "--host", "0.0.0.0"],
                          capture_output=True, text=True)
    assert done.returncode == 2 and "deploy.token" in done.stderr


def other_bundle(bundle_folder, tmp_path):
    other = tmp_path / "other"
    row = {"_id": "new", "title": "tidy(x)", "text": "Put a table in order and drop its empty rows.", "metadata": {}}
    (tmp_path / "new.jsonl").write_text(json.dumps(row))
    done = subprocess.run([sys.executable, "-m", "semantic_nb", "change", str(bundle_folder), str(other), "--put",
                           str(tmp_path / "new.jsonl")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return other


def test_five_changes_under_load_lose_and_mix_nothing(bundle_folder, tmp_path):
    with running(bundle_folder) as (_, address):
        change_five_times(address, bundle_folder, tmp_path)


def change_five_times(address, bundle_folder, tmp_path):
    other = other_bundle(bundle_folder, tmp_path)
    ids = {open_bundle(path).id: set(open_bundle(path).corpus.ids) for path in (bundle_folder, other)}

    def change():
        for number in range(5):
            path = (other, bundle_folder)[number % 2]
            done = subprocess.run([sys.executable, "-m", "semantic_nb", "swap", address, str(path)],
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    changing = threading.Thread(target=change)
    changing.start()
    calls = [("/search", {"query": f"{QUESTIONS[n % 12]} {n}", "k": 10}) for n in range(1000)]
    answers = asyncio.run(many(address, calls, 8))
    changing.join()
    assert len(answers) == 1000 and all(answer.status_code == 200 for _, answer in answers)
    for _, answer in answers:
        content = answer.json()
        assert {hit["id"] for hit in content["answers"]} <= ids[content["bundle"]]
    assert httpx.get(f"{address}/info").json()["bundle"] == open_bundle(other).id


def test_a_damaged_bundle_is_refused_and_the_old_one_goes_on(served, bundle_folder, tmp_path):
    _, address = served
    broken = tmp_path / "broken"
    shutil.copytree(bundle_folder, broken)
    (broken / "corpus.jsonl").write_text("{}")
    answer = httpx.post(f"{address}/swap", json={"path": str(broken)}, timeout=60)
    assert answer.status_code == 409 and answer.json()["error"]["layer"] == "deploy.store"
    assert ask(address, "sort").json()["bundle"] == open_bundle(bundle_folder).id


def test_a_link_is_followed(bundle_folder, tmp_path):
    other, link = other_bundle(bundle_folder, tmp_path), tmp_path / "current"
    link.symlink_to(bundle_folder)
    with running(link) as (_, address):
        fresh = tmp_path / "next"
        fresh.symlink_to(other)
        fresh.replace(link)
        wanted = open_bundle(other).id
        for _ in range(300):
            if httpx.get(f"{address}/info").json()["bundle"] == wanted:
                break
            time.sleep(0.1)
        assert ask(address, "tidy a table").json()["bundle"] == wanted


def test_it_finishes_what_it_has_begun_and_ends(bundle_folder):
    with running(bundle_folder) as (process, address):
        end_while_it_answers(process, address)


def end_while_it_answers(process, address):
    results = []
    asking = threading.Thread(target=lambda: results.extend(
        asyncio.run(many(address, [("/embed", {"texts": QUESTIONS * 2})] * 4, 4))))
    asking.start()
    time.sleep(0.05)
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) in (0, -signal.SIGTERM) and time.perf_counter() - began < 10
    asking.join()
    assert [answer.status_code for _, answer in results] == [200] * 4


def test_the_log_keeps_a_hash_of_who_asked(bundle_folder, tmp_path):
    with running(bundle_folder, "--log", str(tmp_path / "log")) as (_, address):
        ask(address, "how to sort a list")
    line, = [json.loads(line) for path in (tmp_path / "log").iterdir() for line in path.read_text().splitlines()]
    assert line["query"] == "how to sort a list" and "127.0.0.1" not in json.dumps(line) and len(line["session"]) == 12


def test_a_service_killed_while_it_changes_over_starts_again_from_either(bundle_folder, tmp_path):
    other = other_bundle(bundle_folder, tmp_path)
    for wait in (0.02, 0.2):
        with running(bundle_folder) as (process, address):
            swapping = threading.Thread(target=lambda: subprocess.run(
                [sys.executable, "-m", "semantic_nb", "swap", address, str(other)], capture_output=True))
            swapping.start()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            swapping.join()
        for path in (bundle_folder, other):
            assert open_bundle(path).search("how to sort tables", 1)
    with running(other) as (_, address):
        assert ask(address, "how to sort tables").json()["bundle"] == open_bundle(other).id
