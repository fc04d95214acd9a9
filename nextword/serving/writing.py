"""From requests to text: the engine's events, in the server's loop, become pieces of text."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi import Request as HttpRequest

from nextword.inference.engine.engine import Engine
from nextword.inference.engine.request import Event, Finished, PromptScores, Request, Token
from nextword.inference.engine.stream import Stream
from nextword.inference.text_stream import TextStream
from nextword.serving.answers import FinishReason
from nextword.serving.errors import GONE, ApiError
from nextword.tokens.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A token of a text, and the character of the text that its own begins at."""

    token: Token
    start: int


@dataclass
class Piece:
    """What one continuation, by its number, has gained: text, and the tokens whose text is out.

    The first piece has the scores of the prompt, if they were asked for. The last has `finished`,
    and `stopped_by`: the stop string or token that ended it.
    """

    index: int
    text: str = ""
    places: list[Place] = field(default_factory=list)
    prompt: list[Token] | None = None
    finished: Finished | None = None
    stopped_by: str | int | None = None

    @property
    def finish_reason(self) -> FinishReason | None:
        if self.finished is None:
            return None
        is_cut = self.finished.reason in ("length", "context") and self.stopped_by is None
        return "length" if is_cut else "stop"


class Continuation:
    """The text of one request as it comes, with the tokens it is made of."""

    def __init__(
        self, index: int, stream: Stream, tokenizer: Tokenizer, request: Request, stops: list[str]
    ) -> None:
        self.index, self.stream, self.request = index, stream, request
        self._used = 0  # tokens up to the stop string, if there is one
        self._text = TextStream(tokenizer, request.prompt, stops)
        self._waiting: list[tuple[Place, int]] = []  # tokens whose text is held back; its end

    def feed(self, event: Event) -> Piece:
        """Return what an event adds; asks for no more after a stop string."""
        piece = Piece(self.index)
        if isinstance(event, PromptScores):
            piece.prompt = event.tokens
        elif isinstance(event, Token):
            if self._text.stops.stopped:  # it was too late to ask for no more
                return piece
            start = self._text.decoded
            piece.text = self._text.feed(event.id)
            self._used += 1
            self._waiting.append((Place(event, start), self._text.decoded))
            if self._text.stops.stopped:
                self.stream.cancel()
        else:
            piece.finished, piece.stopped_by = (
                event,
                event.token if event.reason == "stop" else None,
            )
            piece.text = self._text.flush()
            if self._text.stops.stopped:
                piece.stopped_by = self._text.stops.met
                piece.finished = replace(event, reason="stop", generated_tokens=self._used)
            elif getattr(self.request.constraint, "hurried", False):
                piece.stopped_by = "max_tokens"
            elif event.reason == "cancelled":
                raise ApiError(503, "the server is closing")
        shown, ends = self._text.shown, piece.finished is not None
        while self._waiting and (self._waiting[0][1] <= shown):
            piece.places.append(self._waiting.pop(0)[0])
        if ends and not self._text.stops.stopped:  # of a character that was left incomplete
            piece.places += [place for place, _ in self._waiting]
        return piece


def submit(
    engine: Engine, tokenizer: Tokenizer, requests: Sequence[Request], stops: list[str]
) -> list[Continuation]:
    """Queue several requests, or none of them.

    Raises QueueFull, EngineStopped, and UserError for one that does not fit.
    """
    continuations: list[Continuation] = []
    try:
        for index, request in enumerate(requests):
            stream = engine.submit(request)
            continuations.append(Continuation(index, stream, tokenizer, request, stops))
    except Exception:
        cancel(continuations)
        raise
    return continuations


def cancel(continuations: Sequence[Continuation]) -> None:
    for continuation in continuations:
        continuation.stream.cancel()


async def pieces(continuations: Sequence[Continuation]) -> AsyncGenerator[Piece]:
    """Yield the pieces of continuations as they come, whichever comes first.

    Leaving early, for whatever reason, stops the computation.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[tuple[int, Event | Exception]] = asyncio.Queue()
    try:
        for number, continuation in enumerate(continuations):

            def tell(event: Event | Exception, number: int = number) -> None:
                loop.call_soon_threadsafe(events.put_nowait, (number, event))

            continuation.stream.on_event(tell)
        unfinished = len(continuations)
        while unfinished:
            number, event = await events.get()
            if isinstance(event, Exception):
                raise event
            piece = continuations[number].feed(event)
            unfinished -= piece.finished is not None
            yield piece
    finally:
        cancel(continuations)


@dataclass
class Whole:
    """A finished continuation."""

    text: str = ""
    places: list[Place] = field(default_factory=list)
    prompt: list[Token] | None = None
    last: Piece = field(default_factory=lambda: Piece(0))

    @property
    def ids(self) -> list[int]:
        return [place.token.id for place in self.places]


async def finish(continuations: Sequence[Continuation]) -> list[Whole]:
    """Return all continuations, once they are finished, in order."""
    wholes = [Whole() for _ in continuations]
    async with contextlib.aclosing(pieces(continuations)) as coming:
        async for piece in coming:
            whole = wholes[piece.index]
            whole.text += piece.text
            whole.places += piece.places
            whole.prompt = piece.prompt or whole.prompt
            whole.last = piece
    return wholes


async def while_there(http: HttpRequest, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of some work; stop it when the client leaves."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(http))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(GONE, "the client has left")
        return task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _left(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
