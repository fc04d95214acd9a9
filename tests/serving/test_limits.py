from __future__ import annotations

import json
import resource
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from support.servers import process, served

from nextword.serving import limits, server

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def peak() -> int:
    """The most memory this process, which is the server too, has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", ["announced", "in chunks"])
def test_a_body_that_is_too_large_is_refused_and_not_held(address: str, kind: str) -> None:
    httpx.post(f"{address}/v1/completions", json={"prompt": "a"})
    before = peak()
    length = b"Content-Length: 1073741824\r\n\r\n"
    length = length if kind == "announced" else b"Transfer-Encoding: chunked\r\n\r\n"
    with connect(address) as sender:
        sender.sendall(
            HEAD + (length if kind == "announced" else b"Transfer-Encoding: chunked\r\n\r\n")
        )
        piece = bytes(2**20)
        if kind == "in chunks":
            piece = b"100000\r\n" + piece + b"\r\n"
        sent = 0
        try:
            while sent < 2**30:
                sender.sendall(piece)
                sent += 2**20
                if sent == 2**26:
                    break
        except OSError:
            pass  # it was closed
        answer = sender.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert peak() - before < 50 * 2**20
    assert httpx.get(f"{address}/health").status_code == 200


def test_slow_senders_are_closed_and_others_do_not_wait(
    writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SLOWEST", 2.0)
    monkeypatch.setattr(server, "SLOWEST", 2.0)
    monkeypatch.setattr(limits.Limits.__init__, "__defaults__", (limits.LARGEST_BODY, 2.0))
    begun = [
        b"",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
        b"POST /v1/comp",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ]
    with served(writer) as at:
        senders = [connect(at) for _ in range(60)]
        for number, sender in enumerate(senders):
            sender.sendall(begun[number % len(begun)])
        started = time.monotonic()
        stop = threading.Event()

        def dribble() -> None:
            while not stop.wait(0.3):
                for sender in senders:
                    try:
                        sender.sendall(b"x")
                    except OSError:
                        continue

        dribbling = threading.Thread(target=dribble)
        dribbling.start()
        try:
            for _ in range(5):
                assert httpx.get(f"{at}/health", timeout=20).status_code == 200
            for number, sender in enumerate(senders):
                sender.settimeout(60)
                told = b""
                try:
                    while part := sender.recv(4096):
                        told += part
                except OSError:
                    pass
                if number % len(begun) >= 4:
                    assert told.startswith(b"HTTP/1.1 408") or not told
        finally:
            stop.set()
            dribbling.join()
            for sender in senders:
                sender.close()
        assert time.monotonic() - started < 30


def test_patience_is_within_what_is_promised() -> None:
    assert limits.SLOWEST < 15
    assert server.SLOWEST == limits.SLOWEST


@pytest.mark.slow(cases=200)
def test_two_hundred_slow_senders_are_closed_in_time_and_slow_nobody_down(writer: Path) -> None:
    def ninety_five(address: str, count: int = 200) -> float:
        seconds = []
        with httpx.Client(base_url=address, timeout=60) as http:
            for _ in range(count):
                begun = time.perf_counter()
                http.post("/v1/completions", json={"prompt": "The", "max_tokens": 8})
                seconds.append(time.perf_counter() - begun)
        return sorted(seconds)[int(count * 0.95)]

    with process(writer) as (address, _):
        ninety_five(address)
        alone = ninety_five(address)
        senders = [connect(address) for _ in range(200)]
        begun = time.monotonic()
        for number, sender in enumerate(senders):
            sender.setblocking(False)
            sender.sendall(HEAD + b"Content-Length: 100\r\n\r\n{" if number % 2 else b"POST /v1/")
        stop, closed = threading.Event(), dict[int, float]()

        def dribble() -> None:
            while not stop.wait(0.5) and len(closed) < 200:
                for number, sender in enumerate(senders):
                    if number not in closed:
                        try:
                            sender.send(b"x")
                        except OSError:
                            closed[number] = time.monotonic() - begun

        dribbling = threading.Thread(target=dribble)
        dribbling.start()
        beside = ninety_five(address)
        dribbling.join(25)
        stop.set()
        for sender in senders:
            sender.close()
    print(
        f"p95 {alone:.4f} s alone, {beside:.4f} s beside; closed after {max(closed.values()):.1f} s"
    )
    assert len(closed) == 200 and max(closed.values()) < 15
    assert beside < 2 * alone
