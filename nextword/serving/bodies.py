"""What all bodies of requests share: nothing in them is ignored, and each fault names its field."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from nextword.errors import nearest
from nextword.serving.errors import ApiError

T = TypeVar("T")
LONGEST_TEXT = 4_000_000  # characters of one text
MOST_INPUTS = 2048  # texts of one request


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
TokenId = Annotated[Int, Field(ge=0, lt=2**31)]


class Body(BaseModel):
    """A body in which every field is known. Those of OpenAI's API in `unsupported` are refused,
    unless they ask for what is done anyway; null is the same as nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Say of each field that may be left out that it may be null."""
        described = handler.resolve_ref_schema(handler(schema))
        properties = described.get("properties", {})
        for name in set(properties) - set(described.get("required", [])):
            field = properties[name]
            kinds = field.get("anyOf", [])
            if {"type": "null"} not in kinds:
                told = {key: field.pop(key) for key in ("default", "description") if key in field}
                properties[name] = {"anyOf": [field, {"type": "null"}], **told}
        return _with_bounds(described)

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_done(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kept = {}
        known = {field.alias or own: field for own, field in cls.model_fields.items()}
        for name, value in values.items():
            if name in known:
                if value is not None or known[name].is_required():
                    kept[name] = value
            elif name in cls.unsupported:
                if value is not None and value not in cls.unsupported[name]:
                    raise PydanticCustomError(
                        "unsupported", "{name} is not supported", {"name": name}
                    )
            else:
                hint = nearest(name, known)
                raise PydanticCustomError(
                    "unsupported",
                    "unknown field '{name}'; {hint}",
                    {"name": name[:60], "hint": hint},
                )
        return kept


_BOUNDS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
}


def _with_bounds(schema: Any) -> Any:
    """Return a schema with JSON Schema's names for bounds that pydantic leaves under its own, as it
    does where a number may be null."""
    if isinstance(schema, list):
        return [_with_bounds(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_number = schema.get("type") in ("integer", "number")
    return {
        _BOUNDS.get(key, key) if is_number else key: _with_bounds(value)
        for key, value in schema.items()
    }


def parse_json(data: bytes) -> Any:
    """Return what a body holds. Raises ApiError for what is no JSON, is nested deeply, holds a
    number that is none, or says something twice."""
    try:
        pydantic_core.from_json(data, allow_inf_nan=False)  # bounds the depth, unlike json
        return json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not sound JSON ({str(error)[:200]})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError(400, f"the body says {twice[:60]!r} twice", param=twice[:60])
    return values


class JsonRequest(Request):
    """A request whose body is read by `parse_json`."""

    async def json(self) -> Any:
        return parse_json(await self.body())


class JsonRoute(APIRoute):
    """A route that takes JSON alone, and reads it strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method == "POST" and kind != "application/json":
                what = f"the body is {kind or 'of no type'}: send JSON, as application/json"
                raise ApiError(415, what)
            return await handle(JsonRequest(request.scope, request.receive))

        return strict
