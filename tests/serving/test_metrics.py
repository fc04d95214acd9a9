from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def read(address: str) -> dict[tuple[str, str], float]:
    answer = httpx.get(f"{address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = sample.labels.get("route", "") + sample.labels.get("status", "")
            found[sample.name, labels] = sample.value
    return found


def test_prometheus_reads_tokens_requests_and_times(address: str) -> None:
    before = read(address)
    body = {"prompt": "The", "max_tokens": 5, "ignore_eos": True}
    httpx.post(f"{address}/v1/completions", json=body)
    httpx.post(f"{address}/v1/completions", json={"prompt": "The", "foo": 1})
    httpx.get(f"{address}/some/where")
    after = read(address)

    def gained(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0)

    assert gained("nextword_generated_tokens_total") == 5
    assert gained("nextword_requests_total", "/v1/completions200") == 1
    assert gained("nextword_requests_total", "/v1/completions400") == 1
    assert gained("nextword_requests_total", "none404") == 1
    assert gained("nextword_request_seconds_count", "/v1/completions") == 2
    assert after["nextword_engine_alive", ""] == 1 and after["nextword_running", ""] == 0
