from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from nextword.errors import UserError
from nextword.inference.engine.engine import Engine
from nextword.resources import resident
from tests.inference.engine.conftest import Pair, answer, prompts, request

Serve = Callable[..., Engine]


def grown_by(engine: Engine, requests: int) -> int:
    """Bytes by which the process grows over this many short requests, after a tenth of them."""
    rows = prompts(*(1 + n % 12 for n in range(50)))
    before = 0
    for start in range(0, requests, 50):
        streams = [
            engine.submit(request(row, 2, seed=start, temperature=1.0, repetition_penalty=1.1))
            for row in rows
        ]
        for number, stream in enumerate(streams):
            if number % 10 == 9:
                stream.cancel()
            answer(stream)
        if start + 50 == max(requests // 10, 50):
            gc.collect()
            before = resident()
    gc.collect()
    return resident() - before


def test_memory_does_not_grow_with_requests(pairs: dict[str, Pair], serve: Serve) -> None:
    engine = serve(pairs["gpt2"].ours, slots=8, prefix_bytes=0)
    assert grown_by(engine, 500) < 16 * 2**20
    assert engine.stats.running == engine.stats.queued == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_ten_thousand_requests(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["gpt2"].ours, slots=8, chunk=4, prefix_bytes=2**20)
    assert grown_by(engine, 10_000) < 16 * 2**20


def test_five_hundred_cancelled_requests_give_their_slots_back(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    engine = serve(pairs["llama"].ours, slots=8, max_queue=500)
    streams = [engine.submit(request(prompts(5)[0], 200)) for _ in range(500)]
    for stream in streams:
        stream.cancel()
    reasons = [answer(stream).finished.reason for stream in streams]
    assert set(reasons) == {"cancelled"} and engine.stats.cancelled == 500
    together = [engine.submit(request(row, 5)) for row in prompts(*[4] * 8)]
    assert {answer(stream).finished.reason for stream in together} == {"length"}


def test_a_cache_larger_than_it_may_be_is_refused_before_it_grows(
    pairs: dict[str, Pair], serve: Serve
) -> None:
    token = 2 * 3 * 8 * 24 * 4  # keys and values, layers, slots, 2 heads of 12, bytes
    engine = serve(pairs["llama"].ours, slots=8, cache_bytes=128 * token)
    with pytest.raises(UserError, match=r"may have 140 tokens.* has room for 128 in each"):
        engine.submit(request(prompts(40)[0], 100))
    assert len(answer(engine.submit(request(prompts(40)[0], 88))).ids) == 88
    with pytest.raises(UserError, match="serve fewer at once"):
        serve(pairs["llama"].ours, slots=8, cache_bytes=63 * token)
