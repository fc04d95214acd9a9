"""POST /inspect: what looks inside a model; GET /inspect says what can be asked of which model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.errors import UserError
from nextword.hub.config import read_config
from nextword.hub.model_files import find_directory
from nextword.inference.inspection.inspector import (
    MOST_CANDIDATES,
    USUAL,
    WANTED,
    Inspector,
    Question,
    describe,
)
from nextword.inference.inspection.reading import MOST_TOKENS
from nextword.inference.loading import sampling_of
from nextword.reports.examples import is_wrong, read_held_out
from nextword.runs.record import HELD_OUT
from nextword.runs.training_text import find_store, run_of
from nextword.serving.answers import Answer
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.bodies import Body, Int, JsonRoute, Text, TokenId
from nextword.serving.chat_completions import ChatRequest, GivenMessage, encode_talk
from nextword.serving.errors import ApiError, of_user
from nextword.serving.models import Served
from nextword.serving.writing import while_there
from nextword.settings import SAMPLING, GenerateSettings, WritingSettings, with_defaults
from nextword.tasks.opening import read_task_file
from nextword.verbs.explain import explain

router = APIRouter(route_class=JsonRoute)
LONGEST_INSPECTED = 1_000_000  # characters
Ids = list[TokenId]
Look = Literal["tokens", "surprise", "odds", "lens", "attention", "fill", "prediction", "words"]
OF_TASKS = {"prediction", "words"}
GIVEN_COLUMNS = ("text_column", "pair_column", "question_column")  # not what is predicted


class InspectedSampling(Body):
    """How a token would be drawn."""

    unsupported: ClassVar = {}

    temperature: float = Field(1.0, ge=0, le=100)
    top_k: Int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0, le=100)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)


class InspectRequest(Body):
    """One of `text`, `tokens`, `messages` and, of a fine-tuned model, `row`."""

    model: str | None = None
    text: Text | None = Field(None, max_length=LONGEST_INSPECTED)
    tokens: Ids | None = Field(None, max_length=MOST_TOKENS, description="taken as they are")
    messages: list[GivenMessage] | None = Field(None, min_length=1, max_length=4096)
    row: dict[str, Text] | None = Field(None, description="columns of a fine-tuned model's data")
    target: Text | None = Field(None, description="what an encoder–decoder has written")
    target_tokens: Ids | None = Field(None, max_length=MOST_TOKENS)
    start: bool = Field(True, description="a text begins with the start token, as in training")
    position: Int = Field(-1, description="number of a token; negative from the end")
    hide: bool = Field(True, description="an encoder does not see the token at the position")
    want: list[Look] | None = Field(None, max_length=len(WANTED) + len(OF_TASKS))
    top: Int = Field(10, ge=1, le=MOST_CANDIDATES)
    sampling: InspectedSampling = InspectedSampling()
    prompt_tokens: Int | None = Field(None, ge=0, description="the others were generated")
    follow: TokenId | None = Field(None, description="lens: a token shown in every layer")
    positions: list[Int] | None = Field(None, min_length=1, max_length=4096)
    layer: Int = Field(-1, description="attention: of this layer; negative from the end")
    stack: Literal["decoder", "cross", "encoder"] | None = None
    label: str | None = Field(None, max_length=10_000, description="words: explain this answer")
    column: str | None = Field(None, max_length=1000, description="words: of this column")


class ModelFacts(Answer):
    id: str
    is_open: bool
    task: str | None = None
    kind: str | None = None
    family: str | None = None
    layers: int | None = None
    context_length: int | None = None
    columns: list[str] | None = None
    chat: bool = False
    source: bool
    source_reason: str
    held_out: bool
    model: dict[str, Any] | None = None
    sampling: dict[str, float] | None = None
    writing: dict[str, float] | None = Field(None, description="as `nextword generate` draws")


class Inspectable(Answer):
    models: list[ModelFacts]


class HeldOutRows(Answer):
    total: int
    wrong: int
    offset: int
    rows: list[dict[str, Any]]


@router.post("/inspect", response_model=dict[str, Any], responses=REFUSALS)
async def inspect(body: InspectRequest, http: HttpRequest) -> Response:
    """Look inside a model: tokens, surprise, odds, layers, attention, or what made a prediction."""
    served = await serving(http).models.get(body.model)
    if body.row is not None or (body.want and OF_TASKS & set(body.want)):
        steps = _explanation(served, body)
    else:
        question = await asyncio.to_thread(_question, served, body)
        steps = _inspector(http, served).steps(question)
    answer = await while_there(http, _carry_out(served, steps))
    return JSONResponse(answer)


async def _carry_out(served: Served, steps: Iterator[dict[str, Any] | None]) -> dict[str, Any]:
    """Take the steps one by one, between those of texts that are being written."""
    while True:
        try:
            answer = await asyncio.wrap_future(served.run(lambda: next(steps)))
        except UserError as error:
            field = str(error.where) if error.where in InspectRequest.model_fields else None
            refused = of_user(error)
            raise ApiError(400, str(refused.detail), param=field, code=refused.code) from None
        if answer is not None:
            return answer


def _inspector(http: HttpRequest, served: Served) -> Inspector:
    """Return what looks inside a served model, kept as long as the model is open."""
    model = served.language_model or served.masked
    if model is None:
        what = (
            f"{served.id} scores no words of a vocabulary: give a row, and want prediction, words"
        )
        raise ApiError(400, what, param="want")
    kept: dict[str, Inspector] = http.app.state.__dict__.setdefault("inspectors", {})
    if served.id not in kept or kept[served.id].model is not model:
        kept[served.id] = Inspector(model)
    return kept[served.id]


def _question(served: Served, body: InspectRequest) -> Question:
    given = [name for name in ("text", "tokens", "messages") if getattr(body, name) is not None]
    if len(given) != 1:
        raise ApiError(400, "give one of text, tokens and messages", param=(given or ["text"])[-1])
    tokens = body.tokens
    if body.messages is not None:
        is_answer = body.messages[-1].role == "assistant"
        talk = ChatRequest(messages=body.messages, continue_final_message=is_answer)
        tokens = encode_talk(served, talk)
    is_pair = served.body.config.decoder_layers > 0
    for name in ("target", "target_tokens"):
        if getattr(body, name) is not None and not is_pair:
            raise ApiError(400, f"{served.id} writes no text of another", param=name)
    if body.target is not None and body.target_tokens is not None:
        raise ApiError(400, "give either a target or its tokens", param="target")
    return Question(
        text=body.text,
        tokens=tokens,
        target=body.target or "",
        target_tokens=body.target_tokens,
        start=body.start,
        position=body.position,
        hide=body.hide,
        want=USUAL if body.want is None else body.want,
        top=body.top,
        sampling=GenerateSettings(**body.sampling.model_dump()),
        prompt_tokens=body.prompt_tokens,
        follow=body.follow,
        positions=body.positions,
        layer=body.layer,
        stack=body.stack,
    )


def _explanation(served: Served, body: InspectRequest) -> Iterator[dict[str, Any] | None]:
    if served.trained is None:
        what = f"{served.id} was not fine-tuned for a task: it predicts nothing of a row"
        raise ApiError(400, what, param="want")
    if body.row is None:
        raise ApiError(400, "give the row that is predicted", param="row")
    given = body.model_fields_set - {"model", "row", "want", "label", "column"}
    if given:
        what = f"{min(given)} does nothing beside a row"
        raise ApiError(400, what, param=min(given))
    if body.want and (others := set(body.want) - OF_TASKS):
        raise ApiError(400, f"{min(others)} is not had of a row", param="want")
    wants_words = body.want is None or "words" in body.want
    return explain(served.trained, body.row, body.label, body.column, words=wants_words)


@router.get("/inspect", response_model=Inspectable, responses=REFUSALS)
async def inspectable(http: HttpRequest) -> Response:
    """Return what can be looked into, of each model."""
    models = serving(http).models
    facts = [
        await asyncio.to_thread(_facts, id, place, models.open.get(id))
        for id, place in models.places.items()
    ]
    return JSONResponse(Inspectable(models=facts).sent())


def _facts(id: str, place: str | Path, served: Served | None) -> ModelFacts:
    reason = ""
    try:
        find_store(place)
    except UserError as error:
        reason = error.what
    run = run_of(Path(place).expanduser())
    facts = ModelFacts(
        id=id,
        is_open=served is not None,
        source=not reason,
        source_reason=reason,
        held_out=run is not None and (run / HELD_OUT).is_file(),
    )
    if served is not None:
        facts.chat = served.chat is not None
        if (model := served.language_model or served.masked) is not None:
            facts.model = describe(model)
    with suppress(UserError):  # what cannot be read is told where the model is opened
        directory = find_directory(place)
        config = read_config(directory / "config.json")
        facts.sampling = sampling_of(place, directory)
        own = with_defaults(WritingSettings(), facts.sampling)
        facts.writing = own.model_dump(include=set(SAMPLING))
        facts.kind = "decoder" if config.is_generative else "encoder"
        if config.decoder_layers:
            facts.kind = "encoder–decoder"
        facts.family, facts.layers = config.family, config.layers
        facts.context_length = config.context_length
        if (learned := read_task_file(Path(place).expanduser())) is not None:
            facts.task = learned.task
            columns = learned.columns.items()
            facts.columns = [column for name, column in columns if name in GIVEN_COLUMNS]
    return facts


@router.get("/inspect/held_out", response_model=HeldOutRows, responses=REFUSALS)
async def held_out(
    http: HttpRequest,
    model: str | None = None,
    wrong: bool = False,
    offset: int = Query(0, ge=0),
    limit: int = Query(50, ge=1, le=1000),
) -> Response:
    """Return a fine-tuned model's held-out examples beside what it says of them."""
    served = await serving(http).models.get(model)
    run = run_of(Path(served.place).expanduser())
    records = [] if run is None else await asyncio.to_thread(read_held_out, run)
    if not records:
        raise ApiError(404, f"{served.id} has kept no held-out examples", param="model")
    rows = [
        {**record, "number": number, "wrong": is_wrong(record)}
        for number, record in enumerate(records)
    ]
    faults = [row for row in rows if row["wrong"]]
    shown = (faults if wrong else rows)[offset : offset + limit]
    return JSONResponse(
        HeldOutRows(total=len(rows), wrong=len(faults), offset=offset, rows=shown).sent()
    )
