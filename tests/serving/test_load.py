"""Many clients at once, clients that leave, and clients that make mistakes."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.servers import process, served

TEXT = "The cat sat by the old mill 从前有座山 and wrote a letter to the sea"
WORDS = TEXT.split(" ")


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def prompts(count: int) -> list[str]:
    rng = random.Random(3)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 24))) for _ in range(count)]


def body_of(prompt: str, index: int) -> dict[str, Any]:
    return {"prompt": prompt, "temperature": 0, "max_tokens": 5 + index % 40, "ignore_eos": True}


async def text_of(http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, str]:
    async with http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        text = ""
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["text"]
        return answer.status_code, text


async def check_company(address: str, count: int) -> list[float]:
    """Ask alone, then all at once; return the seconds that health took meanwhile."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
        bodies = [body_of(prompt, index) for index, prompt in enumerate(prompts(count))]
        alone = [await text_of(http, body) for body in bodies]
        assert {status for status, _ in alone} == {200} and all(text for _, text in alone)
        seconds: list[float] = []
        company = asyncio.gather(*(text_of(http, body) for body in bodies))
        while not company.done():
            begun = time.perf_counter()
            health = await http.get("/health")
            seconds.append(time.perf_counter() - begun)
            assert health.status_code == 200
            await asyncio.sleep(0.01)
        assert await company == alone
    return seconds


def test_a_text_is_the_same_alone_and_among_sixty_three_others(address: str) -> None:
    asyncio.run(check_company(address, 64))


@pytest.mark.slow(cases=64)
def test_sixty_four_streams_leave_health_fast(writer: Path) -> None:
    with process(writer) as (address, _):
        seconds = sorted(asyncio.run(check_company(address, 64)))
    print(f"health: p99 {seconds[int(len(seconds) * 0.99)]:.4f} s of {len(seconds)}")
    assert seconds[int(len(seconds) * 0.99)] < 0.25


def leave(address: str, count: int) -> None:
    """Have clients leave early in every way, and see that nothing goes on after them."""
    with httpx.Client(base_url=address, timeout=60) as http:
        before = http.get("/health").json()["engines"][0]
        body = {"prompt": "The", "max_tokens": 250, "ignore_eos": True}
        for number in range(count):
            if number % 3 == 0:  # an answer that is not streamed: it never comes
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(
                        f"{address}/v1/completions",
                        json=body | {"n": 8, "logprobs": 1},
                        timeout=httpx.Timeout(60, read=0.005),
                    )
                continue
            asked = body | {"stream": True, "n": 1 + number % 2}
            if number % 3 == 1:  # before anything comes back
                data = json.dumps(asked).encode()
                head = HEAD + f"Content-Length: {len(data)}\r\n\r\n".encode()
                port = int(address.rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port)) as sender:
                    sender.sendall(head + data)
                continue
            with httpx.stream("POST", f"{address}/v1/completions", json=asked) as answer:
                for line, _ in zip(answer.iter_lines(), range(1 + number % 4), strict=False):
                    assert not line or line.startswith("data: ")
        until = time.monotonic() + 30
        while (now := http.get("/health").json()["engines"][0])["running"] + now["queued"]:
            assert time.monotonic() < until
        time.sleep(0.3)
        later = http.get("/health").json()["engines"][0]
        assert later["steps"] == now["steps"], "it computes for nobody"
        whole = count * 250
        assert later["generated_tokens"] - before["generated_tokens"] < whole / 2
        answer = http.post("/v1/completions", json=body | {"max_tokens": 3})
        assert answer.json()["usage"]["completion_tokens"] == 3


def test_what_is_computed_for_clients_that_have_left_stops(address: str) -> None:
    leave(address, 24)


def test_a_client_that_leaves_costs_at_most_two_more_steps(writer: Path) -> None:
    kept: list[Any] = []
    with served(writer, keep=kept) as at:
        engine = kept[0].server.config.app.state.serving.models.open["tiny"].engine
        submit, left = engine.submit, []

        def watched(request: Any) -> Any:
            stream = submit(request)
            cancel = stream.cancel

            def told() -> None:
                left.append(engine.stats.steps)
                cancel()

            stream.cancel = told
            return stream

        engine.submit = watched
        body = {"prompt": "The", "max_tokens": 250, "ignore_eos": True, "stream": True}
        for _ in range(10):
            with httpx.stream("POST", f"{at}/v1/completions", json=body) as answer:
                next(answer.iter_lines())
            while engine.stats.running or engine.stats.queued:
                time.sleep(0.001)
            assert engine.stats.steps - left[-1] <= 2


MISTAKES: list[bytes] = [
    *[b"", b"{", b"[]", b"null", b'"a"', b"1", b"NaN", b"\xff\xfe", b'{"prompt": NaN}'],
    *[b'{"prompt": Infinity}', b"[" * 100_000, b'{"a":' * 100_000, b'{"prompt":"\xff"}'],
    *[b'{"prompt":"a","prompt":"b"}', b'{"prompt":[]}', b'{"prompt":[[]]}', b'{"prompt":[null]}'],
    *[b'{"prompt":"a","n":1000000000}', b'{"prompt":"a","n":1e999}', b'{"prompt":"\\ud800"}'],
    *[b'{"prompt":"a","max_tokens":-1}', b'{"prompt":"a","max_tokens":' + b"9" * 5000 + b"}"],
    *[b'{"prompt":"a","temperature":1e400}', b'{"prompt":"a","temperature":-1e-9}'],
    b'{"prompt":"a","stop":[' + b'"x",' * 10**6 + b'"x"]}',
    b'{"prompt":"a","stop":"' + b"x" * 10**6 + b'"}',
    *[b'{"prompt":"a","seed":1.5}', b'{"prompt":"a","top_k":-2}', b'{"prompt":"a","\\u0000":1}'],
    *[b'{"prompt":"a","logit_bias":[1]}', b'{"prompt":"a","logit_bias":{"-1":1}}'],
    b'{"prompt":"a","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":3}}}',
    *[b'{"prompt":"a","stream":"yes"}', b'{"prompt":{"$gt":""}}', b'{"model":["a"],"prompt":"a"}'],
]
ROUTES = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize", "/classify")


def make_mistakes(address: str, count: int) -> None:
    rng = random.Random(5)
    told: Counter[int] = Counter()
    with httpx.Client(base_url=address, timeout=60) as http:
        for number in range(count):
            data = MISTAKES[number % len(MISTAKES)]
            if number >= len(MISTAKES) * len(ROUTES):  # any damage to a request that is right
                data = bytearray(
                    b'{"prompt": "The cat", "max_tokens": 2, "stop": ["x", "y"], "n": 1}'
                )
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            route = ROUTES[number // len(MISTAKES) % len(ROUTES)]
            answer = http.post(
                route, content=bytes(data), headers={"Content-Type": "application/json"}
            )
            told[answer.status_code] += 1
            assert answer.status_code < 500, (data[:200], answer.text)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
                assert len(answer.text) < 2000
            if number % 20 == 0:
                assert http.get("/health").json()["status"] == "ok"
        fine = http.post("/v1/completions", json={"prompt": "The", "max_tokens": 2})
        assert fine.status_code == 200
    assert told[400] > count / 3


def test_mistakes_are_answered_as_openai_answers_them(address: str) -> None:
    make_mistakes(address, len(MISTAKES) * len(ROUTES) + 100)


@pytest.mark.slow(cases=5_000)
def test_five_thousand_mistakes(writer: Path) -> None:
    with process(writer) as (address, running):
        make_mistakes(address, 5000)
        assert running.poll() is None


@pytest.mark.slow(cases=500)
def test_five_hundred_clients_leave(writer: Path) -> None:
    with process(writer) as (address, _):
        leave(address, 500)


def test_what_has_no_place_in_the_queue_is_told_to_come_again(writer: Path) -> None:
    with served(writer, slots=1, max_queue=2) as at:
        body = {"prompt": "The", "max_tokens": 250, "ignore_eos": True}
        told: Counter[int] = Counter()
        after: set[str | None] = set()

        def ask() -> None:
            answer = httpx.post(f"{at}/v1/completions", json=body, timeout=120)
            told[answer.status_code] += 1
            if answer.status_code == 429:
                after.add(answer.headers.get("retry-after"))

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(told) == {200, 429} and told[200] >= 3 and None not in after
        several = httpx.post(f"{at}/v1/completions", json=body | {"n": 5})
        assert several.status_code == 429, "none of them, or all"
        assert httpx.get(f"{at}/health").json()["engines"][0]["queued"] == 0


@pytest.mark.slow(cases=10_000)
@pytest.mark.timeout(3600)
def test_memory_stays_through_ten_thousand_requests(writer: Path) -> None:
    def used(pid: int) -> int:
        with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1])

    with process(writer) as (address, running):
        rng, sizes = random.Random(1), []

        async def go_on(count: int) -> None:
            async with httpx.AsyncClient(base_url=address, timeout=120) as http:
                gate = asyncio.Semaphore(32)

                async def one(number: int) -> None:
                    prompt = " ".join(rng.choices(WORDS, k=rng.randint(1, 30)))
                    body = body_of(f"{prompt} {number}", number % 12)
                    async with gate:
                        if number % 5:
                            await text_of(http, body)
                        else:
                            await http.post("/v1/embeddings", json={"input": prompt})

                await asyncio.gather(*(one(number) for number in range(count)))

        asyncio.run(go_on(2000))
        for _ in range(8):
            asyncio.run(go_on(1000))
            sizes.append(used(running.pid))
    assert max(sizes[-3:]) < sizes[0] * 1.05, sizes
