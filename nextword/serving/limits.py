"""How much of a request is read, and for how long: bodies of any size and senders of any patience
cost next to nothing."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextword.serving.errors import ApiError, error_response

LARGEST_BODY = 8 * 2**20  # bytes
SLOWEST = 12.0  # seconds in which a request must be here, from its first byte
DRAINED = 3.0  # seconds that a refused sender has to see that it is refused


class Limits:
    """Reads a request's body as a whole, before the application sees any of it."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY, slowest: float = SLOWEST) -> None:
        self.app, self.largest, self.slowest = app, largest, slowest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(Headers(scope=scope), receive)
        except ApiError as error:
            await _refuse(error, scope, receive, send)
            return
        if body is None:
            return
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            message, whole = whole, None
            return message if message is not None else await receive()

        await self.app(scope, replay, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """Return the body; None where the client has left. Raises ApiError for one that is too
        long or takes too long."""
        size = headers.get("content-length", "0")
        if size.isdecimal() and (len(size) > 18 or int(size) > self.largest):
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.slowest):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self.largest:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            what = f"the request was not here after {self.slowest:g} seconds"
            raise ApiError(408, what) from None

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the request is larger than {self.largest // 2**20} MiB")


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a client that may still be sending, and go on reading for a moment: were the
    connection closed at once, the answer would be lost."""
    response = error_response(error)
    headers = [*response.raw_headers, (b"connection", b"close")]
    start = {"type": "http.response.start", "status": error.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    until = time.monotonic() + DRAINED
    try:
        async with asyncio.timeout(DRAINED):
            while error.status_code == 413 and time.monotonic() < until:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
