"""From the fields of a request to what the engine is asked."""

from __future__ import annotations

import asyncio
from typing import Any

from nextword.errors import UserError
from nextword.serving.constraint import Form
from nextword.serving.errors import ApiError
from nextword.serving.models import Served
from nextword.serving.sampling import (
    GrammarFormat,
    JsonFormat,
    PatternFormat,
    Sampling,
    SchemaFormat,
)

COMPILING = 10.0  # seconds for the form of an answer


def check_room(served: Served, prompt: int, wanted: int | None) -> None:
    """Raise ApiError where a prompt, or with it as many tokens as are asked for, are more than the
    model sees at once: nothing is cut unsaid."""
    limit = served.context
    if wanted is not None and prompt < limit < prompt + wanted:
        raise ApiError(
            400,
            f"the prompt has {prompt:,} tokens, and with {wanted:,} more they are over the "
            f"{limit:,} that the model sees at once; ask for at most {limit - prompt:,}",
            param="max_tokens",
            code="context_length_exceeded",
        )


def stopping(body: Sampling, served: Served) -> dict[str, Any]:
    """Return what ends a text, and what its tokens are weighed by, as a request of the engine."""
    return {
        "end_ids": frozenset() if body.ignore_eos else served.end_ids,
        "stop_token_ids": frozenset(body.stop_token_ids),
        "min_tokens": body.min_tokens,
        "logit_bias": {int(id): bias for id, bias in body.logit_bias.items()},
    }


async def constraints_for(
    served: Served, body: Sampling, room: int, count: int
) -> list[Form] | list[None]:
    """Return the form of each of `count` answers of at most `room` tokens; None for free ones.

    Raises ApiError for a form that is wrong, takes too long, or has no room.
    """
    format = body.response_format
    if format is None or format.type == "text":
        return [None] * count

    def compile() -> list[Form] | list[None]:
        grammars = served.grammars
        if isinstance(format, SchemaFormat):
            matcher = grammars.schema(format.json_schema.schema_)
        elif isinstance(format, JsonFormat):
            matcher = grammars.schema({"type": "object"})
        elif isinstance(format, PatternFormat):
            matcher = grammars.regex(format.pattern)
        else:
            assert isinstance(format, GrammarFormat)
            matcher = grammars.lark(format.grammar)
        return [Form(grammars, matcher.deep_copy(), room) for _ in range(count)]

    try:
        async with asyncio.timeout(COMPILING):
            return await asyncio.to_thread(compile)
    except TimeoutError:
        what = f"the form of the answer takes more than {COMPILING:g} seconds to prepare"
        raise ApiError(400, what, param="response_format") from None
    except UserError as error:
        raise ApiError(400, error.what, param="response_format") from None
