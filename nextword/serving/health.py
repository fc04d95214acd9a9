"""GET /health: whether the server answers, and whether its engines get on."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.serving.answers import Answer
from nextword.serving.app_state import serving
from nextword.serving.errors import RETRY_AFTER
from nextword.serving.models import Served

router = APIRouter()
STALLED = 60.0  # seconds without a step, while something is to be written


class EngineHealth(Answer):
    """`setup` tells how the model is computed; `seconds_since_step` how long ago the last token was
    generated, or a part of a prompt was read."""

    model: str
    setup: str
    alive: bool
    error: str | None
    running: int
    queued: int
    slots: int
    prompt_tokens: int
    generated_tokens: int
    steps: int
    seconds_since_step: float


class Health(Answer):
    status: str = Field(description="ok; or what is wrong: stopped, stalled")
    uptime: float = Field(description="seconds")
    engines: list[EngineHealth]


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(request: Request) -> Response:
    """Tell the state of each engine; the status is 503 if one has stopped, or gets nowhere."""
    state = serving(request)
    engines = [told for served in state.models.open.values() if (told := _state_of(served))]
    stopped = any(not told.alive for told in engines)
    is_stuck = any(
        (told.running or told.queued) and told.seconds_since_step > STALLED for told in engines
    )
    status = "stopped" if stopped else "stalled" if is_stuck else "ok"
    uptime = round(time.monotonic() - state.started, 3)
    body = Health(status=status, uptime=uptime, engines=engines).sent()
    if status == "ok":
        return JSONResponse(body)
    return JSONResponse(body, 503, headers={"Retry-After": str(RETRY_AFTER)})


def _state_of(served: Served) -> EngineHealth | None:
    if served.engine is None:
        return None
    stats = served.engine.stats
    return EngineHealth(
        model=served.id,
        setup=str(served.engine.setup),
        alive=stats.alive,
        error=None if stats.error is None else type(stats.error).__name__,
        running=stats.running,
        queued=stats.queued,
        slots=stats.slots,
        prompt_tokens=stats.prompt_tokens,
        generated_tokens=stats.generated_tokens,
        steps=stats.steps,
        seconds_since_step=round(time.monotonic() - stats.last_step_at, 3),
    )
