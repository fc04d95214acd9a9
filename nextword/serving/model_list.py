"""GET /v1/models: which models there are, and what each can do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from nextword.serving.answers import Model, ModelList
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.errors import ApiError
from nextword.serving.models import Models

router = APIRouter()
REFUSED: dict[int | str, dict[str, Any]] = {
    status: REFUSALS[status] for status in (400, 401, 403, 404)
}


@router.get("/v1/models", response_model=ModelList, responses=REFUSED)
async def models(request: Request) -> Response:
    """List the models."""
    known = serving(request).models
    data = [_describe(known, name) for name in known.places]
    return JSONResponse(ModelList(object="list", data=data).sent())


@router.get("/v1/models/{name:path}", response_model=Model, responses=REFUSED)
async def model(name: str, request: Request) -> Response:
    """Describe a model."""
    known = serving(request).models
    if name not in known.places:
        what = f"no model is called {name[:100]!r}"
        raise ApiError(404, what, param="model", code="model_not_found")
    return JSONResponse(_describe(known, name).sent())


def _describe(known: Models, name: str) -> Model:
    served = known.open.get(name)
    told = Model(
        id=name,
        object="model",
        created=served.created if served else 0,
        owned_by="nextword",
        is_open=served is not None,
    )
    if served is not None:
        told.task, told.abilities = served.task, list(served.abilities)
        told.max_model_len = served.context
    return told
