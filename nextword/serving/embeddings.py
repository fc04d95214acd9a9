"""POST /v1/embeddings: texts as vectors, the means of their tokens' final hidden states."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse
from pydantic import Field
from torch import Tensor

from nextword.models.encoder_decoder import EncoderDecoder
from nextword.serving.answers import Embedding, Embeddings, EmbeddingUsage
from nextword.serving.app_state import REFUSALS, serving
from nextword.serving.bodies import MOST_INPUTS, Body, Int, JsonRoute, Text, TokenId
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.serving.writing import while_there

router = APIRouter(route_class=JsonRoute)
AT_ONCE = 4096  # tokens computed in one job, padding included; a longer text is one of its own
Ids = Annotated[list[TokenId], Field(min_length=1)]


class EmbeddingRequest(Body):
    unsupported: ClassVar = {"user": ()}

    model: str | None = Field(None, description="by default the only one there is")
    input: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=MOST_INPUTS)]
    ) = Field(description="one or several, as text or as token ids")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Int | None = Field(None, ge=1, description="only as many as the vectors have")
    user: str | None = Field(None, max_length=1000, description="a name; it changes nothing")


@router.post("/v1/embeddings", response_model=Embeddings, responses=REFUSALS)
async def embeddings(body: EmbeddingRequest, http: HttpRequest) -> Response:
    """Return a vector of length 1 for each text."""
    served = await serving(http).models.get(body.model)
    width = served.body.config.width
    if body.dimensions not in (None, width):
        what = f"dimensions: the vectors of this model have {width:,}, and are not cut"
        raise ApiError(400, what, param="dimensions")
    inputs = await asyncio.to_thread(_encode, served, body.input)
    vectors = await while_there(http, _embed(served, inputs))
    data = [
        Embedding(index=index, object="embedding", embedding=_written(vector, body.encoding_format))
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(map(len, inputs))
    usage = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    answer = Embeddings(object="list", data=data, model=served.id, usage=usage)
    return JSONResponse(answer.sent())


def _encode(served: Served, given: Any) -> list[list[int]]:
    several = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    inputs = []
    for number, one in enumerate(several):
        ids = served.tokenizer.encode(one, template=True) if isinstance(one, str) else one
        name = "the input" if len(several) == 1 else f"input {number + 1}"
        if not ids:
            raise ApiError(400, f"{name} is empty", param="input")
        if len(ids) > served.context:
            raise ApiError(
                400,
                f"{name} has {len(ids):,} tokens, and the model sees {served.context:,} at once",
                param="input",
                code="context_length_exceeded",
            )
        if max(ids) >= served.body.config.vocab_size:
            raise ApiError(400, f"{name} has token ids that the model has not", param="input")
        inputs.append(ids)
    return inputs


async def _embed(served: Served, inputs: Sequence[list[int]]) -> list[Tensor]:
    """Return the vectors, [width] each, of inputs in ids: a job for a few at a time, those of
    similar length together."""
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
    vectors: dict[int, Tensor] = {}
    while order:
        count = max(AT_ONCE // len(inputs[order[0]]), 1)
        while count > 1 and count * len(inputs[order[:count][-1]]) > AT_ONCE:
            count -= 1
        chosen, order = order[:count], order[count:]
        batch = [inputs[index] for index in chosen]
        job = served.run(lambda batch=batch: list(mean_states(served, batch)))  # type: ignore[misc]
        found: list[Tensor] = await asyncio.wrap_future(job)
        vectors |= dict(zip(chosen, found, strict=True))
    return [vectors[index] for index in range(len(inputs))]


@torch.inference_mode()
def mean_states(served: Served, batch: Sequence[list[int]]) -> Tensor:
    """Return the means over time of the final hidden states, at length 1, [batch, width] in fp32.

    Of an encoder–decoder they are the encoder's.
    """
    body = served.body.encoder if isinstance(served.body, EncoderDecoder) else served.body
    device, longest = body.embedding.weight.device, max(map(len, batch))
    lengths = torch.tensor([len(ids) for ids in batch], device=device)
    tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids in batch], device=device)
    is_token = torch.arange(longest, device=device) < lengths[:, None]  # [batch, time]
    # Padding is on the right: a decoder's tokens do not see it, and an encoder is told.
    needs_mask = not body.config.causal and bool((lengths < longest).any())
    states = body(tokens, mask=is_token[:, None, None] if needs_mask else None).float()
    means = (states * is_token[:, :, None]).sum(1) / lengths[:, None]
    return torch.nn.functional.normalize(means, dim=-1)


def _written(vector: Tensor, format: str) -> list[float] | str:
    if format == "base64":
        return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
    values: list[float] = vector.tolist()
    return values
