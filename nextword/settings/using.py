"""Settings of using a model: generating, filling gaps, evaluating, reporting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nextword.settings.base import Precision, Settings
from nextword.settings.labelled import ColumnSettings, Task
from nextword.settings.pretraining import HidingSettings

SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


class WritingSettings(Settings):
    """How a text is written: how long it may be, and how its tokens are chosen."""

    max_new_tokens: int = Field(256, ge=1, le=1_000_000, description="most tokens to generate")
    temperature: float = Field(
        0.8,
        ge=0,
        le=100,
        description="randomness of the choice; 0 always takes the likeliest token",
    )
    top_k: int = Field(0, ge=0, description="sample from the k likeliest tokens; 0 for all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="... the fewest tokens whose probabilities add up to this"
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="... tokens at least this likely relative to the likeliest"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="divide the odds of tokens already in the text by this"
    )
    presence_penalty: float = Field(
        0.0, description="subtract this from the logits of tokens already generated"
    )
    frequency_penalty: float = Field(0.0, description="... once for each time they occurred")
    stop: list[str] = Field([], description="stop before any of these strings")
    precision: Precision = "auto"


class GenerateSettings(WritingSettings):
    """Settings for continuing a prompt."""

    suffix: str | None = Field(
        None, description="text that follows: the model fills in the middle (see --fim-rate)"
    )
    num_samples: int = Field(1, ge=1, le=4096, description="number of continuations")


class EngineSettings(Settings):
    """How the engine computes on a CPU."""

    quantize: Literal["none", "int8", "auto"] = Field(
        "none", description="weights in 8 bits; auto where that is faster and changes little"
    )
    threads: int | None = Field(
        None, ge=1, description="threads to compute with; by default measured at the start"
    )


class ChatSettings(WritingSettings, EngineSettings):
    """Settings for a conversation."""

    seed: int | None = Field(  # type: ignore[assignment]
        None, ge=0, lt=2**63, description="seed of every random choice; by default one drawn anew"
    )
    system: str | None = Field(None, description="what the model is told before the conversation")
    plain: bool = Field(
        False, description="go on with what is typed as one text, without the model's chat template"
    )


class FillSettings(Settings):
    """Settings for filling the gaps of a text."""

    top_k: int = Field(5, ge=1, description="candidates shown for each gap")
    precision: Precision = "fp32"


class TraceSettings(Settings):
    """Settings for finding a text in the training text."""

    min_tokens: int = Field(
        8,
        ge=1,
        description="tokens of the shortest passage that counts, unless it is most of TEXT",
    )
    top: int = Field(20, ge=1, le=1000, description="most passages to show, the longest first")
    places: int = Field(3, ge=1, le=100, description="... of each, places in the training text")
    context: int = Field(
        80, ge=0, le=2000, description="... with this many characters before and after it"
    )


class ServeSettings(EngineSettings):
    """Settings of a server."""

    host: str = Field(
        "127.0.0.1", description="address to listen on; any but this machine's own needs --key"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any that is free")
    key: str | None = Field(
        None, min_length=8, description="key that requests must carry (at least 8 characters)"
    )
    key_file: str | None = Field(None, description="file that holds the key")
    name: str | None = Field(
        None, description="what the model is called in requests; by default its folder's name"
    )
    allow_host: list[str] = Field(
        [], description="other names under which the server is reached, such as a proxy's"
    )
    allow_origin: list[str] = Field(
        [], description="web pages that may send requests, such as https://example.org"
    )
    slots: int = Field(16, ge=1, le=1024, description="texts written at once")
    max_queue: int = Field(
        256, ge=1, le=100_000, description="texts that may wait; more are told to try again"
    )
    fast: bool = Field(
        False, description="let a text depend, in its last bits, on what else is being written"
    )
    precision: Precision = "auto"


class EvaluateSettings(HidingSettings, ColumnSettings):
    """Settings for evaluating a model on held-out text or labelled data."""

    task: Task | None = Field(
        None, description="evaluate this task; by default the one the model was fine-tuned for"
    )

    context_length: int | None = Field(
        None,
        ge=2,
        description="longest sequence to evaluate, in tokens; by default the model's context",
    )
    stride: int | None = Field(
        None, ge=1, description="sliding window: tokens scored per window; by default the context"
    )
    batch_size: int = Field(
        16, ge=1, description="windows per forward pass; does not change the result"
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="most tokens to score: spread over a store, or the first ones of files",
    )
    benchmark: str | None = Field(
        None, description="benchmarks of lm-eval, by name or task file, separated by commas"
    )
    shots: int | None = Field(
        None, ge=0, description="benchmark: worked examples before each question"
    )
    max_examples: int | None = Field(None, ge=1, description="benchmark: most questions of a task")
    precision: Precision = "fp32"


class InfoSettings(ColumnSettings):
    """Settings for a look at labelled data; a store, run or model needs none of them."""

    task: Task | None = Field(None, description="read PATH as labelled data for this task")
    extract: bool = Field(False, description="qa: for a model that points at answers in the text")
    model: str | None = Field(
        None, description="show the examples as this model will see them, and what is cut from them"
    )


class ExportSettings(Settings):
    """Settings for writing a model in another program's format."""

    format: Literal["gguf"] = Field("gguf", description="gguf: for llama.cpp, Ollama, LM Studio")
    quantize: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] = Field(
        "f16", description="type of the weights; q8_0 takes 8 bits for each, q4_0 about 4"
    )


class ReportSettings(Settings):
    """Settings for a run's report."""


class DoctorSettings(Settings):
    """Settings for a look at this machine."""

    measure: bool = Field(True, description="measure the rates of matrix products too")
