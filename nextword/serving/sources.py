"""POST /source: where in its training text a model may have a text from."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.errors import UserError
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.bodies import Body, Int, JsonRoute, Text, TokenId
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.settings import TraceSettings
from nextword.tokens.source_index import SourceIndex
from nextword.verbs.trace import find, open_sources

router = APIRouter(route_class=JsonRoute)
LONGEST_TRACED = 200_000  # characters
MOST_TRACED = 32_768  # tokens


class SourceRequest(Body):
    """One of `text` and `tokens`."""

    model: str | None = None
    text: Text | None = Field(None, max_length=LONGEST_TRACED)
    tokens: list[TokenId] | None = Field(None, max_length=MOST_TRACED)
    min_tokens: Int = Field(8, ge=1, le=100_000, description="of the shortest passage that counts")
    top: Int = Field(20, ge=1, le=1000, description="passages")
    places: Int = Field(3, ge=1, le=100, description="of each passage")
    context: Int = Field(160, ge=0, le=2000, description="characters around each place")


@router.post("/source", response_model=dict[str, Any], responses=REFUSALS)
async def source(body: SourceRequest, http: HttpRequest) -> Response:
    """Return the passages of a text that stand word for word in the training text, with places."""
    served = await serving(http).models.get(body.model)
    if (body.text is None) == (body.tokens is None):
        raise ApiError(400, "give either a text or tokens", param="text")
    text = body.text
    if text is None:
        tokens = body.tokens or []
        unknown = next((id for id in tokens if id >= served.tokenizer.vocab_size), None)
        if unknown is not None:
            raise ApiError(400, f"tokens: there is no token {unknown}", param="tokens")
        text = await asyncio.to_thread(served.tokenizer.decode, tokens)
    try:
        index, seconds = await _index(http, served)
    except UserError as error:
        return JSONResponse({"available": False, "reason": error.what})
    chosen = body.model_dump(include={"min_tokens", "top", "places", "context"})
    found = await asyncio.to_thread(find, index, text, TraceSettings(**chosen))
    return JSONResponse({"available": True, "reason": "", **found, "built_seconds": seconds})


async def _index(http: HttpRequest, served: Served) -> tuple[SourceIndex, float | None]:
    """Return the index of a model's training text, and how long it took where it had to be built:
    by one request, while others wait."""
    state = http.app.state.__dict__
    kept: dict[str, SourceIndex] = state.setdefault("source_indexes", {})
    lock: asyncio.Lock = state.setdefault("source_lock", asyncio.Lock())
    async with lock:
        if served.place in kept:
            return kept[served.place], None
        kept[served.place], seconds = await asyncio.to_thread(open_sources, served.place)
        return kept[served.place], seconds
