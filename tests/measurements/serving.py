"""What serving costs: the figures of a service on the bundle of the demo, each a ratio of two things in one run.

    python tests/measurements/serving.py [--profile full] [--requests 20000]        ten minutes

Client and server share the machine, so the ratios are what to read. *Bare* is the bundle's encoder and the raw FAISS
call in a loop. *Plain* is the service that one writes first: FastAPI, sentence-transformers and FAISS, each question
encoded when it comes. Both use one thread. Writes `serving.json` beside the spec.
"""
import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import faiss
import httpx
import numpy as np
import psutil

from measured_on import measured_on
from semantic_nb.core import Settings
from semantic_nb.data.domain import load_domain
from semantic_nb.deploy.bundle import Bundle, make_bundle, open_bundle
from semantic_nb.output import Table
from semantic_nb.pipeline import run_folder
from semantic_nb.spec import load_spec
from semantic_nb.store import read_object, write_json

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
PLAIN = """
import faiss, torch
from fastapi import FastAPI
from sentence_transformers import SentenceTransformer
app = FastAPI()
torch.set_num_threads(1)
model = SentenceTransformer({model!r}, truncate_dim={dim})
index = faiss.read_index({index!r})
@app.post("/search")
async def search(body: dict):
    vector = model.encode([body["query"]], normalize_embeddings=True, show_progress_bar=False)
    scores, rows = index.search(vector, 10)
    return {{"bundle": "plain", "answers": [[int(row), float(s)] for row, s in zip(rows[0], scores[0])]}}
@app.get("/readyz")
async def ready():
    return "ready"
"""


@contextmanager
def server(folder: Path, *command: str) -> Iterator[tuple[psutil.Process, str, float]]:
    "A server process, its address, and the seconds until it was ready."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun, address = time.perf_counter(), f"http://127.0.0.1:{port}"
    started = subprocess.Popen([sys.executable, "-m", *command, "--port", str(port)], cwd=folder,
                               env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - begun < 120:
            with suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            time.sleep(0.02)
        yield psutil.Process(started.pid), address, time.perf_counter() - begun
    finally:
        started.terminate()
        started.wait()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def bare_cost(bundle: Bundle, questions: Sequence[str]) -> float:
    "Processor seconds a question of encoding and the raw FAISS call, one after the other."
    begun = time.process_time()
    for question in questions:
        bundle.index.index.search(bundle.encoder.encode([question]), 10)
    return (time.process_time() - begun) / len(questions)


def served_cost(process: psutil.Process, address: str, questions: Sequence[str]) -> float:
    "Processor seconds of the server a question, one client."
    begun = cpu_seconds(process)
    with httpx.Client(base_url=address) as client:
        for question in questions:
            client.post("/search", json={"query": question}).raise_for_status()
    return (cpu_seconds(process) - begun) / len(questions)


async def ask_many(address: str, questions: Sequence[str], clients: int) -> list[dict | None]:
    "An answer to each question, None where there is none, so many asked at once."
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        places = asyncio.Semaphore(clients)

        async def one(question: str) -> dict | None:
            async with places:
                answer = await client.post("/search", json={"query": question, "timeout_ms": 60_000})
                return answer.json() if answer.status_code == 200 else None
        return await asyncio.gather(*map(one, questions))


def rate(address: str, questions: Sequence[str], clients: int = 16) -> float:
    "Answers a second."
    begun = time.perf_counter()
    answers = asyncio.run(ask_many(address, questions, clients))
    if None in answers:
        raise RuntimeError(f"{answers.count(None)} of {len(answers)} questions were not answered")
    return len(answers) / (time.perf_counter() - begun)


async def changed_over(address: str, bundles: Sequence[Bundle], questions: Sequence[str], times: int = 5) -> dict:
    "Questions under load while the service changes over: how many were lost, and how many are of two bundles."
    texts = [questions[number % len(questions)] for number in range(1000)]
    expected = {bundle.id: {text: {hit["id"] for hit in bundle.search(text)} for text in set(texts)}
                for bundle in bundles}
    asking = asyncio.create_task(ask_many(address, texts, 8))
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        for number in range(times):
            path = str(bundles[(number + 1) % 2].path)
            (await client.post("/swap", json={"path": path})).raise_for_status()
    answers = await asking
    mixed = [text for text, answer in zip(texts, answers) if answer and
             expected[answer["bundle"]][text] != {hit["id"] for hit in answer["answers"]}]
    return {"requests": len(texts), "swaps": times, "lost": answers.count(None), "mixed": len(mixed),
            "answered by": len({answer["bundle"] for answer in answers if answer})}


async def overload(address: str, questions: Sequence[str], times: int = 1280) -> dict[str, int]:
    "How a service of 128 places answers ten times as many questions at once: answers by status."
    limits = httpx.Limits(max_connections=times)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        asked = (client.post("/search", json={"query": questions[n % len(questions)]}) for n in range(times))
        return Counter(f"status {answer.status_code}" for answer in await asyncio.gather(*asked))


def figures(bundle: Bundle, other: Bundle, plain: Path, questions: Sequence[str], requests: int) -> Iterator[dict]:
    "The rows: what, measured, and what it is a ratio of."
    with server(plain, "uvicorn", "plain:app", "--log-level", "error") as (_, slow, _):
        with server(plain, "semantic_nb", "serve", str(bundle.path)) as (process, address, start):
            yield {"figure": "start-up to ready, s", "value": start, "goal": "<= 3"}
            rates = [(rate(address, questions), rate(slow, questions)) for _ in range(3)]
            yield {"figure": "throughput, 16 clients, against plain", "goal": ">= 2",
                   "value": float(np.median([a / b for a, b in rates])),
                   "ours_per_s": rates[1][0], "plain_per_s": rates[1][1]}
    with server(plain, "semantic_nb", "serve", str(bundle.path)) as (process, address, _):
        bare_cost(bundle, questions[:20]), served_cost(process, address, questions[:20])
        costs = [(served_cost(process, address, questions), bare_cost(bundle, questions)) for _ in range(5)]
        yield {"figure": "CPU of a served question, against bare", "value": float(np.median([a / b for a, b in costs])),
               "goal": "<= 1.25", "served_ms": 1000 * costs[2][0], "bare_ms": 1000 * costs[2][1]}
        yield {"figure": "memory, MiB", "value": process.memory_info().rss / 2**20, "goal": "<= 300"}
        changes = asyncio.run(changed_over(address, (bundle, other), questions))
        yield {"figure": "lost or mixed of 1,000 answers, 5 changes", "value": changes["lost"] + changes["mixed"],
               "goal": "0", **changes}
        quiet = process.memory_info().rss
        crowd = asyncio.run(overload(address, questions))
        yield {"figure": f"memory growth, {sum(crowd.values()):,} questions at once, %", "goal": "<= 5",
               "value": 100 * (process.memory_info().rss / quiet - 1), **crowd}
        before = process.memory_info().rss
        for start in range(0, requests, 1000):
            rate(address, [questions[(start + number) % len(questions)] for number in range(min(1000, requests))])
        yield {"figure": f"memory growth over {requests:,} questions, %", "goal": "<= 5",
               "value": 100 * (process.memory_info().rss / before - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="a section of settings.ini (default: full)")
    parser.add_argument("--requests", type=int, default=20_000, help="over which memory may grow")
    chosen = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with Settings.load(profile=chosen.profile).active(), tempfile.TemporaryDirectory() as folder:
        spec, work = load_spec(), Path(folder)
        path = make_bundle(spec=spec)
        bundle, served = open_bundle(path), read_object(run_folder(spec) / "served.json")
        store = Settings.current().store
        (work / "plain.py").write_text(PLAIN.format(model=str(store / served["model"] / "model"), dim=spec.index.dim,
                                                    index=str(store / served["index"] / "index.faiss")))
        from semantic_nb.deploy.changes import change_bundle
        gone = bundle.corpus.ids[0]
        other = open_bundle(change_bundle(path, work / "other", delete=[gone]))
        questions = list(load_domain(spec).splits[spec.validation.test].queries.values())[:200]
        rows = []
        for row in figures(bundle, other, work, questions, chosen.requests):
            rows.append(row)
            print(row, flush=True)
        write_json(spec.folder / "serving.json", {
            "name": spec.name, "profile": chosen.profile, "measured_on": measured_on(), "documents": len(bundle.corpus),
            "rows": rows})
    print(Table([{"figure": row["figure"], "measured": f"{row['value']:.3g}", "goal": row["goal"]} for row in rows]))


if __name__ == "__main__":
    main()
