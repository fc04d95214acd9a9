"""The application: its routes, and what stands before all of them.

A new part of the API is a file with a `router`, named in ROUTERS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware

import nextword
from nextword.inference.engine.engine import EngineStopped, QueueFull
from nextword.serving import (
    chat_completions,
    completions,
    embeddings,
    errors,
    health,
    inspection,
    metrics,
    model_list,
    page,
    runs,
    sources,
    task_answers,
    tokenizing,
)
from nextword.serving.app_state import Serving
from nextword.serving.errors import ApiError, error_response
from nextword.serving.limits import Limits
from nextword.serving.metrics import Metrics, Timing
from nextword.serving.models import Models
from nextword.serving.security import Guard, access_for
from nextword.serving.shelf import Shelf
from nextword.settings import ServeSettings

ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    model_list.router,
    completions.router,
    chat_completions.router,
    embeddings.router,
    tokenizing.router,
    task_answers.router,
    metrics.router,
    inspection.router,
    sources.router,
    runs.router,
)


def make_app(models: Models, settings: ServeSettings, shelf: Shelf | None = None) -> FastAPI:
    """Return the application that serves these models, and shows the runs of a shelf. It closes
    the models when it is shut down."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        models.close()

    # FastAPI's own pages on the API load scripts from elsewhere.
    app = FastAPI(
        title="nextword", version=nextword.__version__, docs_url=None, redoc_url=None, lifespan=life
    )
    app.state.serving = Serving(models, settings, shelf)
    app.state.metrics = Metrics(models)
    for router in ROUTERS:
        app.include_router(router)
    page.install(app)
    errors.install(app)
    _install_engine_errors(app)
    # The last one added is the first to see a request.
    app.add_middleware(Limits)
    if settings.allow_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    access = access_for(settings.host, settings.key, settings.allow_host, settings.allow_origin)
    app.add_middleware(Guard, access=access)
    app.add_middleware(Timing, metrics=app.state.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _install_engine_errors(app: FastAPI) -> None:
    @app.exception_handler(QueueFull)
    async def busy(request: Request, error: QueueFull) -> JSONResponse:
        return error_response(ApiError(429, f"{error.what}; {error.mend}", code="queue_full"))

    @app.exception_handler(EngineStopped)
    async def stopped(request: Request, error: EngineStopped) -> JSONResponse:
        return error_response(ApiError(503, error.what))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API. What FastAPI would refuse with 422 is refused here with 400."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            described.get("components", {}).get("schemas", {}).pop(name, None)
        app.openapi_schema = described
    return app.openapi_schema
