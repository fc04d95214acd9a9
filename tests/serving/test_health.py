from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest
from support.servers import client, served

from nextword.serving import health
from nextword.serving.server import Running


def test_health_tells_how_far_the_engine_is(address: str) -> None:
    before = httpx.get(f"{address}/health").json()["engines"][0]
    client(address).completions.create(
        model="tiny", prompt="The cat", max_tokens=7, extra_body={"ignore_eos": True}
    )
    answer = httpx.get(f"{address}/health")
    after = answer.json()["engines"][0]
    assert answer.status_code == 200 and answer.json()["status"] == "ok"
    assert after["generated_tokens"] == before["generated_tokens"] + 7
    assert after["steps"] > before["steps"] and after["running"] == after["queued"] == 0
    assert "do not depend on who else is served" in after["setup"]


def test_an_engine_that_has_stopped_is_not_healthy(writer: Path) -> None:
    holder: list[Running] = []
    with served(writer, keep=holder) as at:
        models = holder[0].server.config.app.state.serving.models  # type: ignore[union-attr]

        def fail(_: object) -> None:
            raise SystemExit("as if memory had run out")

        models.open["tiny"].engine.run(fail)
        answer = httpx.get(f"{at}/health")
        while answer.status_code == 200:
            answer = httpx.get(f"{at}/health")
        assert answer.status_code == 503 and answer.headers["retry-after"]
        told = answer.json()
        assert told["status"] == "stopped" and told["engines"][0]["error"] == "SystemExit"
        refused = httpx.post(f"{at}/v1/completions", json={"prompt": "a"})
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert refused.json()["error"]["type"] == "server_error"


def test_an_engine_that_gets_nowhere_is_not_healthy(
    writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STALLED", 0.3)
    holder: list[Running] = []
    with served(writer, keep=holder) as at:
        models = holder[0].server.config.app.state.serving.models  # type: ignore[union-attr]
        engine, release = models.open["tiny"].engine, threading.Event()
        engine.run(lambda _: release.wait(60))
        asked = threading.Thread(
            target=httpx.post,
            args=[f"{at}/v1/completions"],
            kwargs={"json": {"prompt": "a", "max_tokens": 2}, "timeout": 90},
        )
        asked.start()
        until = time.monotonic() + 30
        while httpx.get(f"{at}/health").status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        stalled = httpx.get(f"{at}/health")
        release.set()
        asked.join()
        assert httpx.get(f"{at}/health").status_code == 200
        assert stalled.status_code == 503 and stalled.json()["status"] == "stalled"
