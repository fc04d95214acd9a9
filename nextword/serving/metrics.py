"""GET /metrics: what Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextword.serving.models import Models

router = APIRouter()
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
GAUGES = {
    "running": "Texts that are being written",
    "queued": "Texts that wait",
    "slots": "Texts that can be written at once",
}
COUNTERS = {
    "prompt_tokens": "Tokens of prompts",
    "cached_tokens": "Tokens of prompts that did not have to be computed",
    "generated_tokens": "Tokens that were written",
    "steps": "Steps of the engine",
    "cancelled": "Texts that were given up, mostly because the client left",
}


class Engines(Collector):
    """The figures of each open model's engine, read when they are asked for."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def collect(self) -> Iterator[Metric]:
        stats = {
            name: served.engine.stats
            for name, served in list(self.models.open.items())
            if served.engine is not None
        }
        alive = GaugeMetricFamily("nextword_engine_alive", "1, or 0 if dead", labels=["model"])
        for name, one in stats.items():
            alive.add_metric([name], float(one.alive))
        yield alive
        for field, about in (GAUGES | COUNTERS).items():
            kind = GaugeMetricFamily if field in GAUGES else CounterMetricFamily
            family = kind(f"nextword_{field}", about, labels=["model"])
            for name, one in stats.items():
                family.add_metric([name], float(getattr(one, field)))
            yield family


class Metrics:
    """Counts the requests of an application, and times them up to the first and the last byte of
    their answers."""

    def __init__(self, models: Models) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Engines(models))
        self.requests = Counter(
            "nextword_requests", "Answers", ["route", "status"], registry=self.registry
        )
        self.first, self.last = (
            Histogram(
                f"nextword_{name}_seconds", about, ["route"], buckets=SECONDS,
                registry=self.registry,
            )
            for name, about in (
                ("first_byte", "From a request to the first part of its answer"),
                ("request", "From a request to the end of its answer"),
            )
        )  # fmt: skip


class Timing:
    """Tells Metrics of each request, under its route: paths that nobody serves are one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, first = time.perf_counter(), 0, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, first
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not first:
                first = time.perf_counter() - begun
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status or 499)).inc()
            self.metrics.first.labels(route).observe(first)
            self.metrics.last.labels(route).observe(time.perf_counter() - begun)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Return the server's figures in Prometheus's format."""
    known: Metrics = request.app.state.metrics
    return Response(generate_latest(known.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
