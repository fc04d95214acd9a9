"""Settings of using a model: generating, filling gaps, evaluating, reporting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nextword.settings.base import Precision, Settings
from nextword.settings.labelled import ColumnSettings, Task
from nextword.settings.pretraining import HidingSettings


class GenerateSettings(Settings):
    """Settings for continuing a prompt."""

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
    suffix: str | None = Field(
        None, description="text that follows: the model fills in the middle (see --fim-rate)"
    )
    num_samples: int = Field(1, ge=1, le=4096, description="number of continuations")
    precision: Precision = "auto"


class FillSettings(Settings):
    """Settings for filling the gaps of a text."""

    top_k: int = Field(5, ge=1, description="candidates shown for each gap")
    precision: Precision = "fp32"


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
    precision: Precision = "fp32"


class InfoSettings(ColumnSettings):
    """Settings for a look at labelled data; a store, run or model needs none of them."""

    task: Task | None = Field(None, description="read PATH as labelled data for this task")
    extract: bool = Field(False, description="qa: for a model that points at answers in the text")
    model: str | None = Field(
        None, description="show the examples as this model will see them, and what is cut of them"
    )


class ExportSettings(Settings):
    """Settings for writing a model in another program's format."""

    format: Literal["gguf"] = Field("gguf", description="gguf: for llama.cpp, Ollama, LM Studio")
    quantize: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] = Field(
        "f16", description="type of the weights; q8_0 takes 8 bits for each, q4_0 about 4"
    )


class ReportSettings(Settings):
    """Settings for a run's report."""
