"""The queue in front of the encoder: how many wait, what goes together, and what happens to those who give up."""
import asyncio
import time
from types import SimpleNamespace

import numpy as np
import pytest

from semantic_nb.deploy.live import Batcher, Busy, Late, Limits, Live, answer, encode_waiting
from semantic_nb.deploy.watch import Metrics


class Encoder:
    "Takes a while for each batch, and remembers them."

    def __init__(self, seconds=0.05, fails=False):
        self.seconds, self.fails, self.batches = seconds, fails, []

    def encode(self, texts, role="query"):
        time.sleep(self.seconds)
        self.batches.append(list(texts))
        if self.fails:
            raise ValueError("broken")
        return np.array([[len(text)] for text in texts], "float32")


def bundle(encoder, id="one", hits=({"id": "a"},)):
    return SimpleNamespace(id=id, encoder=encoder, search=lambda query, k, mode, keep, vector: list(hits))


def run(task, limits=Limits()):
    async def inside():
        batcher = Batcher(limits, Metrics())
        worker = asyncio.create_task(encode_waiting(batcher))
        try:
            return await task(batcher)
        finally:
            worker.cancel()
    return asyncio.run(inside())


def test_what_gathers_while_one_is_encoded_goes_together():
    encoder = Encoder()
    async def ask(batcher):
        return await asyncio.gather(*(batcher.vector(bundle(encoder), "a" * n) for n in range(1, 10)))
    vectors = run(ask, Limits(batch=4))
    assert [int(vector[0]) for vector in vectors] == list(range(1, 10))
    assert max(map(len, encoder.batches)) == 4 and sum(map(len, encoder.batches)) == 9


def test_a_full_queue_refuses_at_once_and_holds_no_more_than_it_says():
    encoder = Encoder(0.2)
    async def ask(batcher):
        asked = [asyncio.create_task(batcher.vector(bundle(encoder), "q")) for _ in range(200)]
        await asyncio.sleep(0.05)
        refused = sum(task.done() and isinstance(task.exception(), Busy) for task in asked)
        results = await asyncio.gather(*asked, return_exceptions=True)
        return refused, sum(isinstance(result, Busy) for result in results)
    early, all_refused = run(ask, Limits(queue=8, batch=4))
    assert early == all_refused >= 200 - 8 - 4


def test_two_bundles_are_never_encoded_together():
    one, two = Encoder(), Encoder()
    async def ask(batcher):
        asked = ((bundle((one, two)[n % 2], str(n % 2)), str(n % 2)) for n in range(12))
        return await asyncio.gather(*(batcher.vector(*ask) for ask in asked))
    run(ask)
    assert [{text for batch in encoder.batches for text in batch} for encoder in (one, two)] == [{"0"}, {"1"}]


def test_who_gives_up_is_not_encoded_and_an_error_reaches_who_asked():
    encoder = Encoder(0.1)
    async def ask(batcher):
        first = asyncio.create_task(batcher.vector(bundle(encoder), "first"))
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.vector(bundle(encoder), "gone"), 0.01)
        await first
        with pytest.raises(ValueError, match="broken"):
            await batcher.vector(bundle(Encoder(fails=True)), "x")
    run(ask)
    assert encoder.batches == [["first"]]


@pytest.mark.parametrize("hits, ends", [(({"id": "a"},), True), ((), False)])
def test_a_passed_deadline_ends_in_words_or_in_a_refusal(hits, ends):
    async def ask(batcher):
        live = Live(bundle(Encoder(0.3), hits=hits), batcher, open=None)
        if not ends:
            with pytest.raises(Late):
                await answer(live, "q", timeout=0.01)
            return None
        return await answer(live, "q", timeout=0.01)
    found = run(ask)
    assert not ends or (found["degraded"], found["mode"], found["answers"]) == (True, "lexical", [{"id": "a"}])
