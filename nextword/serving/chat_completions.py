"""POST /v1/chat/completions: answers in conversations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator

from nextword.inference.engine.request import Finished, Request
from nextword.serving.answers import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChunkChoice,
    Delta,
    SaidMessage,
    chat_logprobs,
    new_id,
    now,
    usage_of,
)
from nextword.serving.app_state import STREAMED, serving
from nextword.serving.asking import check_room, constraints_for, stopping
from nextword.serving.bodies import Body, Int, JsonRoute, Text
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.serving.sampling import Sampling
from nextword.serving.streaming import EventStream
from nextword.serving.writing import (
    Continuation,
    Place,
    cancel,
    finish,
    pieces,
    submit,
    while_there,
)
from nextword.tasks.generate.messages import Message

router = APIRouter(route_class=JsonRoute)


class TextPart(Body):
    type: Literal["text"]
    text: Text


class GivenMessage(Body):
    unsupported: ClassVar = {
        "name": (), "tool_calls": ([],), "tool_call_id": (), "function_call": (), "audio": (),
        "refusal": ("",), "annotations": ([],),
    }  # fmt: skip

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart] = Field(description="text, or parts that are text")

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return Message(role, text)


class ChatRequest(Sampling):
    unsupported: ClassVar = {
        "tools": ([],), "tool_choice": ("none",), "functions": ([],), "function_call": ("none",),
        "parallel_tool_calls": (), "store": (False,), "metadata": ({},), "modalities": (["text"],),
        "audio": (), "prediction": (), "reasoning_effort": ("none",), "service_tier":
        ("auto", "default"), "verbosity": (), "web_search_options": (), "prompt_cache_key": (),
        "safety_identifier": (),
    }  # fmt: skip

    messages: list[GivenMessage] = Field(min_length=1, max_length=4096)
    max_tokens: Int | None = Field(
        None, ge=1, le=1_000_000, description="by default as many as the context has room for"
    )
    max_completion_tokens: Int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool = False
    top_logprobs: Int | None = Field(None, ge=0, le=100)
    continue_final_message: bool = Field(
        False, description="go on with the last message, which is the assistant's"
    )

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, value: int | None, info: Any) -> int | None:
        other = info.data.get("max_tokens")
        if value is not None and other is not None and value != other:
            raise ValueError("expected no other max_tokens beside it")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _tops_of_logprobs(cls, value: int | None, info: Any) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise ValueError("expected only beside logprobs = true")
        return value

    @property
    def limit(self) -> int | None:
        return self.max_tokens or self.max_completion_tokens


@dataclass(frozen=True)
class Job:
    """A request that is being answered."""

    body: ChatRequest
    served: Served
    prompt: list[int]
    continuations: list[Continuation]

    def cancel(self) -> None:
        cancel(self.continuations)

    def logprobs(self, places: Sequence[Place]) -> ChatLogprobs | None:
        if not self.body.logprobs:
            return None
        tokens = [place.token for place in places]
        return chat_logprobs(self.served.tokenizer, tokens, self.body.top_logprobs or 0)


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=STREAMED)
async def chat_completions(body: ChatRequest, http: HttpRequest) -> Response:
    """Answer a conversation's last message."""
    served = await serving(http).models.get(body.model)
    engine = served.require_engine("cannot answer in conversations")
    prompt = await asyncio.to_thread(encode_talk, served, body)
    check_room(served, len(prompt), body.limit)
    room = max(served.context - len(prompt), 1)
    constraints = await constraints_for(served, body, min(body.limit or room, room), body.n)
    requests = [
        Request(
            prompt,
            body.settings(min(body.limit or room, room), served.sampling),
            sample,
            **stopping(body, served),
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            constraint=constraint,
        )
        for sample, constraint in enumerate(constraints)
    ]
    job = Job(body, served, prompt, submit(engine, served.tokenizer, requests, body.stops))
    if body.stream:
        return EventStream(_chunks(job), on_end=job.cancel)
    try:
        return JSONResponse((await while_there(http, _answer(job))).sent())
    finally:
        job.cancel()


def encode_talk(served: Served, body: ChatRequest) -> list[int]:
    """Return the ids of a conversation, up to where the assistant goes on.

    What people say is encoded apart from the template. Raises ApiError for a model that has no
    template, or whose template leaves something out.
    """
    if served.chat is None:
        what = f"{served.id} has no chat template: it goes on with texts; use /v1/completions"
        raise ApiError(404, what, param="model", code="unsupported_model")
    talk = [message.message() for message in body.messages]
    is_answer = talk[-1].role == "assistant"
    if is_answer != body.continue_final_message:
        what = "the last message is the assistant's: set continue_final_message to go on with it"
        other = "continue_final_message needs a last message that is the assistant's"
        raise ApiError(400, what if is_answer else other, param="messages")
    encoded = served.chat.encode(talk, asks=not is_answer)
    missing = next((n for n in range(len(talk)) if n not in encoded.turns), None)
    if missing is not None:
        what = f"the model's chat template leaves out message {missing + 1} ({talk[missing].role})"
        raise ApiError(400, what, param=f"messages.{missing}")
    if not is_answer:
        return encoded.ids
    begin, end = encoded.turns[len(talk) - 1]
    return encoded.ids[: min(end, begin + len(served.tokenizer.encode(talk[-1].content)))]


async def _answer(job: Job) -> ChatCompletion:
    wholes = await finish(job.continuations)
    choices = []
    for index, whole in enumerate(wholes):
        choice = ChatChoice(
            index=index,
            message=SaidMessage(role="assistant", content=whole.text, refusal=None),
            logprobs=job.logprobs(whole.places),
            finish_reason=whole.last.finish_reason or "stop",
            stop_reason=whole.last.stopped_by,
        )
        if job.body.return_token_ids:
            choice.token_ids = whole.ids
        choices.append(choice)
    answer = ChatCompletion(
        id=new_id("chatcmpl"),
        object="chat.completion",
        created=now(),
        model=job.served.id,
        choices=choices,
        usage=usage_of([one.last.finished for one in wholes if one.last.finished], job.body.n),
    )
    if job.body.return_token_ids:
        answer.prompt_token_ids = job.prompt
    return answer


async def _chunks(job: Job) -> AsyncGenerator[dict[str, Any]]:
    body, id, created = job.body, new_id("chatcmpl"), now()
    finished: dict[int, Finished] = {}

    def chunk(choice: ChunkChoice | None) -> ChatChunk:
        return ChatChunk(
            id=id,
            object="chat.completion.chunk",
            created=created,
            model=job.served.id,
            choices=[] if choice is None else [choice],
        )

    def gained(index: int, delta: Delta, places: Sequence[Place]) -> ChunkChoice:
        logprobs = job.logprobs(places) if places else None
        choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=None)
        if body.return_token_ids:
            choice.token_ids = [place.token.id for place in places]
        return choice

    async with contextlib.aclosing(pieces(job.continuations)) as coming:
        for index in range(body.n):
            first = chunk(gained(index, Delta(role="assistant", content=""), []))
            if body.return_token_ids:
                first.prompt_token_ids = job.prompt
            yield first.sent()
        async for piece in coming:
            is_told = piece.places and (body.logprobs or body.return_token_ids)
            if piece.text or is_told:
                yield chunk(gained(piece.index, Delta(content=piece.text), piece.places)).sent()
            if piece.finished is not None:
                finished[piece.index] = piece.finished
                last = gained(piece.index, Delta(), [])
                last.finish_reason, last.stop_reason = piece.finish_reason, piece.stopped_by
                yield chunk(last).sent()
    if body.includes_usage:
        told = chunk(None)
        told.usage = usage_of([finished[index] for index in sorted(finished)], body.n)
        yield told.sent()
