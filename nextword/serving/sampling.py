"""How a text is to be written: the fields that completions and chats share."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from nextword.serving.bodies import Body, Int, TokenId
from nextword.settings import SAMPLING, GenerateSettings

MOST_STOPS, LONGEST_STOP = 64, 256
Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(Body):
    unsupported: ClassVar = {"include_obfuscation": (False,)}

    include_usage: bool = Field(False, description="a last chunk tells the tokens that were used")


class TextFormat(Body):
    type: Literal["text"]


class JsonFormat(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    unsupported: ClassVar = {}

    name: str = Field(max_length=256)
    schema_: dict[str, Any] = Field({}, alias="schema", description="JSON Schema")
    description: str | None = Field(None, max_length=10_000)
    strict: bool = Field(True, description="an answer always keeps to its schema")


class SchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class PatternFormat(Body):
    type: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=10_000)


class GrammarFormat(Body):
    type: Literal["grammar"]
    grammar: str = Field(min_length=1, max_length=100_000, description="in Lark's notation")


Format = Annotated[
    TextFormat | JsonFormat | SchemaFormat | PatternFormat | GrammarFormat,
    Field(discriminator="type"),
]


class Sampling(Body):
    """Fields of every request that has a model write."""

    model: str | None = Field(None, description="by default the only one there is")
    temperature: float = Field(1.0, ge=0, le=100, description="0 takes the likeliest token")
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: Int = Field(0, ge=-1, description="0 and -1 for all")
    min_p: float = Field(0.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, gt=0, le=100)
    seed: Int | None = Field(
        None, ge=-(2**63), lt=2**63, description="the same seed gives the same text"
    )
    n: Int = Field(1, ge=1, le=128, description="continuations of each prompt")
    stop: Stop | list[Stop] = Field([], description="the text ends before any of these")
    stop_token_ids: list[TokenId] = Field([], max_length=1000)
    ignore_eos: bool = Field(False, description="go on after the end of the text")
    min_tokens: Int = Field(0, ge=0, le=1_000_000)
    logit_bias: dict[str, Bias] = Field({}, description="by token id", max_length=10_000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: Format | None = Field(None, description="what the text must look like")
    return_token_ids: bool = Field(False, description="tell the ids of prompt and text")
    user: str | None = Field(None, max_length=1000, description="a name; it changes nothing")

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str]) -> str | list[str]:
        if isinstance(stop, list) and len(stop) > MOST_STOPS:
            raise ValueError(f"at most {MOST_STOPS} strings can stop a text")
        return stop

    @field_validator("logit_bias")
    @classmethod
    def _biases_are_of_tokens(cls, bias: dict[str, float]) -> dict[str, float]:
        wrong = next((key for key in bias if not (key.isdecimal() and len(key) < 10)), None)
        if wrong is not None:
            raise ValueError(f"{wrong[:60]!r} is no token id")
        return bias

    @field_validator("stream_options")
    @classmethod
    def _options_of_streams(cls, options: StreamOptions | None, info: Any) -> StreamOptions | None:
        if options is not None and not info.data.get("stream"):
            raise ValueError("expected only beside stream = true")
        return options

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def settings(self, max_new_tokens: int, own: Mapping[str, Any]) -> GenerateSettings:
        """Return the engine's settings; without a seed, one of their own. What is not asked for is
        as the model's `own` sampling says, as in vLLM."""
        seed = random.getrandbits(62) if self.seed is None else self.seed % 2**63
        chosen = {
            name: own[name] if name in own and name not in self.model_fields_set else value
            for name, value in self.model_dump(include=set(SAMPLING)).items()
        }
        return GenerateSettings(
            max_new_tokens=max(max_new_tokens, 1),
            temperature=chosen["temperature"],
            top_k=max(chosen["top_k"], 0),
            top_p=max(chosen["top_p"], 1e-9),
            min_p=chosen["min_p"],
            repetition_penalty=chosen["repetition_penalty"],
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=seed,
        )
