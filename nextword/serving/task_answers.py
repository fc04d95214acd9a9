"""POST /classify, /tag, /fill, /answer, /summarize and /translate: what fine-tuned models and
encoders do, by what the model is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field

from nextword.errors import UserError
from nextword.inference.engine.request import Request
from nextword.serving.answers import Answer
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.bodies import Body, Int, JsonRoute, Text
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.serving.writing import cancel, finish, submit, while_there
from nextword.settings import GenerateSettings
from nextword.tasks.generate.encoding import EncodedPrompts
from nextword.tasks.records import Record
from nextword.verbs.load_task import TaskModel

router = APIRouter(route_class=JsonRoute)
MOST = 256  # texts of one request
Many = Annotated[list[Text], Field(min_length=1, max_length=MOST)]
Pair = Annotated[list[Text], Field(min_length=2, max_length=2)]
Pairs = Annotated[list[Pair], Field(min_length=1, max_length=MOST)]


class TextsRequest(Body):
    model: str | None = None
    input: Text | Many = Field(description="one text or several")


class ClassifyRequest(Body):
    model: str | None = None
    input: Text | Many | Pairs = Field(
        description="one text or several; pairs, each [text, other], where the model learned pairs"
    )


class AnswerRequest(Body):
    model: str | None = None
    context: Text
    question: Text | Many


class FillRequest(TextsRequest):
    top_k: Int = Field(5, ge=1, le=1000, description="candidates for each gap")


class Results(Answer):
    """What the model says of each text, in order; `warnings` name what was not read of them."""

    model: str
    data: list[dict[str, Any]]
    warnings: list[str]


@router.post("/classify", response_model=Results, responses=REFUSALS)
async def classify(body: ClassifyRequest, http: HttpRequest) -> Response:
    """Return the label of each text with all probabilities; `labels` where several may hold,
    `amount` where a number was learned."""
    served = await _chosen(http, body.model, "classify")
    task = TaskModel(served.trained)  # type: ignore[arg-type]
    several = [body.input] if isinstance(body.input, str) else body.input
    rows = [task.columns_of(one if isinstance(one, str) else tuple(one)) for one in several]  # type: ignore[arg-type]
    return await _predicted(http, served, rows)


@router.post("/tag", response_model=Results, responses=REFUSALS)
async def tag(body: TextsRequest, http: HttpRequest) -> Response:
    """Return the entities of each text, with their places in characters."""
    return await _of_texts(http, body, "tag", "text")


@router.post("/summarize", response_model=Results, responses=REFUSALS)
async def summarize(body: TextsRequest, http: HttpRequest) -> Response:
    """Return the summary of each document."""
    return await _of_texts(http, body, "summarize", "document")


@router.post("/translate", response_model=Results, responses=REFUSALS)
async def translate(body: TextsRequest, http: HttpRequest) -> Response:
    """Return the translation of each text."""
    return await _of_texts(http, body, "translate", "source")


@router.post("/answer", response_model=Results, responses=REFUSALS)
async def answer(body: AnswerRequest, http: HttpRequest) -> Response:
    """Return the answer to each question about a text; "" where it has none."""
    served = await _chosen(http, body.model, "answer")
    assert served.trained is not None
    settings = served.trained.settings
    questions = [body.question] if isinstance(body.question, str) else body.question
    rows = [
        {
            settings.text_column or "context": body.context,
            settings.question_column or "question": question,
        }
        for question in questions
    ]
    return await _predicted(http, served, rows)


@router.post("/fill", response_model=Results, responses=REFUSALS)
async def fill(body: FillRequest, http: HttpRequest) -> Response:
    """Return each text with its gaps filled, and the likeliest words for each gap."""
    served = await _chosen(http, body.model, "fill")
    masked = served.masked
    assert masked is not None
    data = []
    for text in [body.input] if isinstance(body.input, str) else body.input:
        job = served.run(lambda text=text: masked.fill(text, body.top_k))  # type: ignore[misc]
        filled = await while_there(http, _result(job))
        data.append(dataclasses.asdict(filled))
    return JSONResponse(Results(model=served.id, data=data, warnings=[]).sent())


async def _chosen(http: HttpRequest, model: str | None, ability: str) -> Served:
    served = await serving(http).models.get(model)
    if ability not in served.abilities:
        does = ", ".join(served.abilities)
        what = f"{served.id} cannot do this; it can be asked for {does}"
        raise ApiError(404, what, param="model", code="unsupported_model")
    return served


async def _of_texts(http: HttpRequest, body: TextsRequest, ability: str, column: str) -> Response:
    """Return what a model says of each text; `column` is where it reads one, unless it learned from
    another."""
    served = await _chosen(http, body.model, ability)
    assert served.trained is not None
    name = served.trained.settings.text_column or column
    texts = [body.input] if isinstance(body.input, str) else body.input
    return await _predicted(http, served, [{name: text} for text in texts])


async def _predicted(
    http: HttpRequest, served: Served, rows: Sequence[Mapping[str, str]]
) -> Response:
    data, warnings = await while_there(http, _predict(served, rows))
    return JSONResponse(Results(model=served.id, data=data, warnings=warnings).sent())


async def _predict(
    served: Served, rows: Sequence[Mapping[str, str]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return predictions, and what should be known of how the texts were read.

    Texts that are written go through the engine, beside others; whatever else a model does is one
    job.
    """
    trained = served.trained
    assert trained is not None
    records = [Record(row, f"input {number}") for number, row in enumerate(rows, start=1)]
    try:
        dataset = trained.read_more(records, labelled=False)
        encoded = await asyncio.to_thread(trained.encode, dataset)
    except UserError as error:
        place = f"{error.where}: " if error.where else ""
        raise ApiError(400, f"{place}{error.what}", param="input") from None
    if served.engine is None or trained.settings.num_beams > 1:
        outputs = await _result(served.run(lambda: trained.predict(encoded, dataset)))
        return outputs.predictions, encoded.notes
    assert isinstance(encoded, EncodedPrompts)
    settings = GenerateSettings(temperature=0, max_new_tokens=max(encoded.format.answer_tokens, 1))
    requests = [Request(item.prompt, settings, end_ids=encoded.end_ids) for item in encoded.items]
    continuations = submit(served.engine, served.tokenizer, requests, [])
    try:
        wholes = await finish(continuations)
    finally:
        cancel(continuations)
    return [{"answer": whole.text.strip()} for whole in wholes], encoded.notes


async def _result(job: Any) -> Any:
    return await asyncio.wrap_future(job)
