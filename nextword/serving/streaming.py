"""Server-sent events: an answer in pieces, each a line of JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from nextword.errors import UserError
from nextword.inference.engine.engine import EngineStopped
from nextword.serving.errors import ApiError, error_body, of_user, unforeseen

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Sends chunks as they come; an error on the way is the last. `on_end` is called at the end,
    and also where the client has left before the first."""

    def __init__(
        self, chunks: AsyncGenerator[dict[str, Any]], on_end: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(_lines(chunks), media_type="text/event-stream", headers=HEADERS)
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


async def _lines(chunks: AsyncGenerator[dict[str, Any]]) -> AsyncIterator[str]:
    async with contextlib.aclosing(chunks):
        try:
            async for chunk in chunks:
                yield _line(chunk)
        except Exception as error:
            told = refusal(error)
            yield _line(error_body(told.status_code, str(told.detail)))
            return
    yield "data: [DONE]\n\n"


def refusal(error: Exception) -> HTTPException:
    """Return what a client is told of any error."""
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, EngineStopped):
        return ApiError(503, error.what)
    return of_user(error) if isinstance(error, UserError) else unforeseen(error)


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
