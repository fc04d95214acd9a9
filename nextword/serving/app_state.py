"""What all routes share, and how they reach it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from nextword.serving.answers import Refusal
from nextword.serving.models import Models
from nextword.serving.shelf import Shelf
from nextword.settings import ServeSettings

# What any endpoint may answer instead, for its description.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The request cannot be answered as it is"},
    401: {"model": Refusal, "description": "The key is missing"},
    403: {"model": Refusal, "description": "Asked under another name, or from another page"},
    404: {"model": Refusal, "description": "No such model, or it cannot do this"},
    408: {"model": Refusal, "description": "The request did not arrive in time"},
    413: {"model": Refusal, "description": "The request is too large"},
    415: {"model": Refusal, "description": "The body is not JSON"},
    429: {"model": Refusal, "description": "Too many are waiting; try again"},
    503: {"model": Refusal, "description": "The engine has stopped, or is closing"},
}

# The same where an answer may come in pieces: of a stream, OpenAPI 3.1 describes each event.
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAMED: dict[int | str, dict[str, Any]] = REFUSALS | {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}}
}


@dataclass
class Serving:
    """The open models and settings of an application, and the runs that the page shows."""

    models: Models
    settings: ServeSettings
    shelf: Shelf | None = None
    started: float = field(default_factory=time.monotonic)


def serving(request: Request) -> Serving:
    """Return what the application of a request shares."""
    state: Serving = request.app.state.serving
    return state
