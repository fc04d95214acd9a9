"""POST /v1/completions: goes on with texts, or with token ids."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.inference.engine.request import Finished, Request, Token
from nextword.serving.answers import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    finite,
    new_id,
    now,
    token_text,
    usage_of,
)
from nextword.serving.app_state import STREAMED, serving
from nextword.serving.asking import check_room, constraints_for, stopping
from nextword.serving.bodies import Int, JsonRoute, Text, TokenId
from nextword.serving.constraint import Form
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.serving.sampling import Sampling
from nextword.serving.streaming import EventStream
from nextword.serving.writing import (
    Continuation,
    Place,
    Whole,
    cancel,
    finish,
    pieces,
    submit,
    while_there,
)
from nextword.tokens.tokenizer import Tokenizer

router = APIRouter(route_class=JsonRoute)
MOST_CHOICES = 256  # continuations of one request
Ids = Annotated[list[TokenId], Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_CHOICES)]
ManyIds = Annotated[list[Ids], Field(min_length=1, max_length=MOST_CHOICES)]


class CompletionRequest(Sampling):
    unsupported: ClassVar = {"best_of": (1,)}

    prompt: Text | Ids | Texts | ManyIds = Field(
        "", description="one or several, as text or as token ids; the empty one begins a new text"
    )
    max_tokens: Int = Field(16, ge=0, le=1_000_000)
    suffix: Text | None = Field(None, description="text that follows: the model fills the middle")
    echo: bool = Field(False, description="begin with the prompt")
    logprobs: Int | None = Field(None, ge=0, le=100)

    def room(self, served: Served, prompt: Sequence[int]) -> int:
        """Return how many tokens may be written after a prompt."""
        return max(min(self.max_tokens, served.context - len(prompt)), 1)


@dataclass(frozen=True)
class Prompt:
    """A prompt as it was given, None for ids, and in ids."""

    text: str | None
    ids: list[int]


@dataclass(frozen=True)
class Job:
    """A request that is being answered."""

    body: CompletionRequest
    served: Served
    prompts: list[Prompt]
    continuations: list[Continuation]

    def prompt_of(self, index: int) -> Prompt:
        return self.prompts[index // self.body.n]

    def cancel(self) -> None:
        cancel(self.continuations)


@router.post("/v1/completions", response_model=Completion, responses=STREAMED)
async def completions(body: CompletionRequest, http: HttpRequest) -> Response:
    """Go on with each prompt."""
    state = serving(http)
    served = await state.models.get(body.model)
    engine = served.require_engine("cannot go on with a text")
    prompts = await asyncio.to_thread(_encode, served, body)
    if len(prompts) * body.n > MOST_CHOICES:
        what = f"prompts × n is more than {MOST_CHOICES} texts; ask for them in several requests"
        raise ApiError(400, what, param="n")
    requests = []
    for prompt in prompts:
        room = body.room(served, prompt.ids)
        forms = await constraints_for(served, body, room, body.n)
        for sample, form in enumerate(forms):
            requests.append(_request(body, served, prompt, sample, form))
    job = Job(body, served, prompts, submit(engine, served.tokenizer, requests, body.stops))
    if body.stream:
        return EventStream(_chunks(job), on_end=job.cancel)
    try:
        wholes = await while_there(http, finish(job.continuations))
    finally:
        job.cancel()
    return JSONResponse(_answer(job, wholes).sent())


def _encode(served: Served, body: CompletionRequest) -> list[Prompt]:
    assert served.language_model is not None
    is_one = isinstance(body.prompt, str) or isinstance(body.prompt[0], int)
    given: Any = [body.prompt] if is_one else body.prompt
    if body.suffix is not None and not all(isinstance(one, str) for one in given):
        raise ApiError(400, "a suffix needs prompts that are text", param="suffix")
    encode = served.language_model.encode_prompt
    prompts = [
        Prompt(one, encode(one, body.suffix)) if isinstance(one, str) else Prompt(None, list(one))
        for one in given
    ]
    for prompt in prompts:
        is_asked = "max_tokens" in body.model_fields_set
        check_room(served, len(prompt.ids), body.max_tokens if is_asked else None)
    return prompts


def _request(
    body: CompletionRequest, served: Served, prompt: Prompt, sample: int, form: Form | None
) -> Request:
    return Request(
        prompt.ids,
        body.settings(body.room(served, prompt.ids), served.sampling),
        sample,
        **stopping(body, served),
        logprobs=body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
        prompt_only=body.max_tokens == 0,
        constraint=form,
    )


def _answer(job: Job, wholes: Sequence[Whole]) -> Completion:
    choices = []
    for index, whole in enumerate(wholes):
        choice = _begun(job, index, whole.prompt)
        offset = len(choice.text)
        choice.text += whole.text
        _extend(choice.logprobs, job, whole.places, offset)
        _end(choice, whole.last.finish_reason, whole.last.stopped_by)
        if job.body.return_token_ids:
            choice.token_ids = whole.ids
        choices.append(choice)
    finished = [whole.last.finished for whole in wholes if whole.last.finished]
    return Completion(
        id=new_id("cmpl"),
        object="text_completion",
        created=now(),
        model=job.served.id,
        choices=choices,
        usage=usage_of(finished, job.body.n),
    )


async def _chunks(job: Job) -> AsyncGenerator[dict[str, Any]]:
    body, id, created = job.body, new_id("cmpl"), now()
    finished: dict[int, Finished] = {}
    begun: dict[int, int] = {}  # characters of the prompt that are echoed, where that is done

    def chunk(choice: CompletionChoice | None) -> Completion:
        return Completion(
            id=id,
            object="text_completion",
            created=created,
            model=job.served.id,
            choices=[choice] if choice is not None else [],
        )

    async with contextlib.aclosing(pieces(job.continuations)) as coming:
        async for piece in coming:
            is_first = piece.index not in begun
            prompt = piece.prompt if is_first else None
            choice = _begun(job, piece.index, prompt) if is_first else _empty(job, piece.index)
            begun.setdefault(piece.index, len(choice.text))
            choice.text += piece.text
            _extend(choice.logprobs, job, piece.places, begun[piece.index])
            if body.return_token_ids:
                choice.token_ids = [place.token.id for place in piece.places]
            if piece.finished is not None:
                finished[piece.index] = piece.finished
                _end(choice, piece.finish_reason, piece.stopped_by)
            is_told = piece.places and (choice.logprobs or body.return_token_ids)
            if choice.text or is_told or is_first or piece.finished:
                yield chunk(choice).sent()
    if body.includes_usage:
        last = chunk(None)
        last.usage = usage_of([finished[index] for index in sorted(finished)], body.n)
        yield last.sent()


def _empty(job: Job, index: int) -> CompletionChoice:
    logprobs: CompletionLogprobs | None = None
    if job.body.logprobs is not None:
        logprobs = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    return CompletionChoice(index=index, text="", logprobs=logprobs, finish_reason=None)


def _begun(job: Job, index: int, scores: list[Token] | None) -> CompletionChoice:
    """Return a choice that has what stands before the continuation: the prompt, if it is echoed."""
    choice, prompt, tokenizer = _empty(job, index), job.prompt_of(index), job.served.tokenizer
    if job.body.return_token_ids:
        choice.prompt_token_ids = prompt.ids
    if not job.body.echo:
        return choice
    choice.text = tokenizer.decode(prompt.ids) if prompt.text is None else prompt.text
    if choice.logprobs is not None:
        places, start, written = [], 0, tokenizer.stream()
        for token in scores or []:
            places.append(Place(token, min(start, len(choice.text))))
            start += len(written.feed(token.id))
        _extend(choice.logprobs, job, places, 0)
    return choice


def _end(choice: CompletionChoice, reason: Any, stopped_by: str | int | None) -> None:
    choice.finish_reason, choice.stop_reason = reason, stopped_by


def _extend(
    logprobs: CompletionLogprobs | None, job: Job, places: Sequence[Place], offset: int
) -> None:
    if logprobs is None:
        return
    for place in places:
        token, tokenizer = place.token, job.served.tokenizer
        logprobs.tokens.append(token_text(tokenizer, token.id))
        own = None if token.logprob is None else finite(token.logprob)
        logprobs.token_logprobs.append(own)
        logprobs.top_logprobs.append(None if own is None else _tops(tokenizer, token, own))
        logprobs.text_offset.append(offset + place.start)


def _tops(tokenizer: Tokenizer, token: Token, own: float) -> dict[str, float]:
    """Return the likeliest tokens by their texts, and the token itself. Of two tokens with the same
    text the likelier counts."""
    tops: dict[str, float] = {}
    for id, logprob in [*(token.top or []), (token.id, own)]:
        tops.setdefault(token_text(tokenizer, id), finite(logprob))
    return tops
