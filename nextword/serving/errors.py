"""Errors as OpenAI's API shapes them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from nextword.errors import UserError

RETRY_AFTER = 2  # seconds that a client is asked to wait
GONE = 499  # the client has left: nobody reads this
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
log = logging.getLogger("nextword.serving")


class ApiError(HTTPException):
    """An answer that refuses a request. `param` names the field that is wrong, `code` is one of
    OpenAI's, which programs know."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        headers = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) else None
        super().__init__(status, message, headers)
        self.param, self.code = param, code


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(error: HTTPException) -> JSONResponse:
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    body = error_body(error.status_code, str(error.detail), param, code)
    return JSONResponse(body, error.status_code, headers=error.headers)


def install(app: FastAPI) -> None:
    """Give every error of an application this shape."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        here = app.openapi()["paths"].get(request.url.path) if error.status_code == 405 else None
        if here:  # of several routes at one path, the first one told its own method alone
            error.headers = {"Allow": ", ".join(sorted(map(str.upper, here)))}
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(as_api_error(error.errors()))

    @app.exception_handler(UserError)
    async def cannot_be_done(request: Request, error: UserError) -> JSONResponse:
        return error_response(of_user(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return error_response(a_bug())  # the server logs it


def a_bug() -> ApiError:
    return ApiError(500, "this is a bug in nextword; the server's log has the details")


def unforeseen(error: Exception) -> ApiError:
    """Return what a client is told of a bug; the log has the details."""
    log.error("%s", type(error).__name__, exc_info=error)
    return a_bug()


def of_user(error: UserError) -> ApiError:
    """Return an error that a person can mend, without the server's paths."""
    remedy = f"; {error.mend}" if error.mend else ""
    code = "context_length_exceeded" if "at once" in error.what else None
    return ApiError(400, f"{error.what}{remedy}", code=code)


def as_api_error(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """Return the first of pydantic's errors, with the field's name.

    Where a field may be several things, each of them has an error: the one that is furthest inside
    tells most.
    """
    field = _path(errors[0])[:1]
    first = max((one for one in errors if _path(one)[:1] == field), key=lambda one: len(one["loc"]))
    param = first.get("ctx", {}).get("name") or ".".join(map(str, _path(first))) or None
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        return ApiError(400, f"{param or 'the body'} is missing", param=param)
    if first["type"] == "unsupported":
        return ApiError(400, message, param=param, code="unsupported_parameter")
    return ApiError(400, f"{param}: {message}" if param else message, param=param)


def _path(error: Mapping[str, Any]) -> list[str | int]:
    """Return the names of the fields that lead to an error, without those of alternatives
    ("str", "list[int]", "constrained-int")."""
    path = [part for part in error["loc"] if part not in ("body", "query", "path")]
    if path[:1] == ["response_format"]:
        del path[1:2]  # its type
    return path[:1] + [part for part in path[1:] if _is_name(part)]


def _is_name(part: Any) -> bool:
    is_kind = part in ("str", "int", "float", "bool")
    return isinstance(part, int) or (str(part).isidentifier() and not is_kind)
