"""Settings of preparing text and of pretraining."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from nextword.settings.base import (
    Fraction,
    LogTo,
    OnNonfinite,
    Patience,
    Precision,
    Settings,
    Shard,
    Threads,
)


class PrepareSettings(Settings):
    """Settings for preparing raw text into a token store."""

    text_column: str | None = Field(None, description="field of JSON, CSV or Parquet holding text")
    skip_bad: bool = Field(
        False, description="skip what cannot be read, and list it in quarantine.jsonl"
    )
    clean: bool = Field(
        True, description="normalise Unicode; drop control characters and boilerplate"
    )
    quality_filter: bool = Field(False, description="drop documents that are not prose")
    languages: list[str] | None = Field(None, description="keep only these languages, e.g. en zh")
    deduplicate: Literal["near", "exact", "none"] = Field(
        "near",
        description="drop repeated documents: near and exact copies (near), exact copies only "
        "(exact), or none",
    )
    deduplicate_paragraphs: bool = Field(False, description="also drop paragraphs seen before")
    similarity: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity from which documents count as near copies"
    )
    val_fraction: float = Field(0.1, ge=0, lt=1, description="share of the text held out")
    split: Literal["document", "position"] = Field(
        "document",
        description="hold out whole documents (or passages, if there is only one), or the end of "
        "the text",
    )
    tokenizer: str = Field(
        "bpe",
        description="bpe (trained on this text), bytes or chars; or the name, directory or file "
        "of an existing one",
    )
    vocab_size: int | None = Field(
        None, ge=257, le=2**20, description="tokens in the vocabulary of a new tokenizer"
    )
    tokenizer_sample: int = Field(
        8_000_000, ge=1000, description="most characters of text to train the tokenizer on"
    )
    objective: Literal["causal", "masked", "denoise"] = Field(
        "causal",
        description="predict the next token (causal), masked tokens, or masked spans (denoise)",
    )
    fim_rate: float = Field(
        0.0, ge=0, le=1, description="causal: share of texts trained to fill in the middle"
    )

    @field_validator("fim_rate")
    @classmethod
    def _a_decoder_fills_in_the_middle(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("objective", "causal") != "causal":
            raise ValueError(f"expected 0 for --objective {info.data['objective']}")
        return value

    workers: int | None = Field(
        None, ge=1, le=65536, description="number of processes; by default one per core"
    )
    cluster: str | None = Field(
        None, description="prepare on a Ray cluster: its address, or auto for this machine's"
    )


class HidingSettings(Settings):
    """Which tokens are masked, to be predicted."""

    mask_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of tokens masked; by default 0.3 for masked, 0.15 for denoise",
    )
    whole_words: bool = Field(
        False, description="masked: mask whole words instead of single tokens"
    )
    span_length: float = Field(
        3.0, ge=1, description="denoise: mean length of a masked span, in tokens"
    )


class MaskSettings(HidingSettings):
    """How masked language modelling masks tokens."""

    mask_keep: float = Field(
        0.1, ge=0, le=1, description="masked: share of masked tokens that keep their text"
    )
    mask_random: float = Field(
        0.1, ge=0, le=1, description="masked: share of masked tokens replaced by random ones"
    )

    @field_validator("mask_random")
    @classmethod
    def _shares_of_one_whole(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("mask_keep", 0.0) > 1:
            raise ValueError("expected no more than mask_keep leaves of 1")
        return value


class ModelSettings(Settings):
    """The shape of a new model."""

    family: Literal["qwen3", "llama", "gpt2", "modernbert", "bert", "t5"] | None = Field(
        None,
        description="architecture; by default qwen3, modernbert for --objective masked, t5 for "
        "denoise",
    )
    size: str | None = Field(None, description="a named size, e.g. 10m; see `nextword info sizes`")
    layers: int | None = Field(None, ge=1, le=1024, description="Transformer blocks")
    width: int | None = Field(None, ge=8, description="width of the hidden states")
    heads: int | None = Field(None, ge=1, description="attention heads")
    kv_heads: int | None = Field(None, ge=1, description="key/value heads (grouped queries)")
    mlp_width: int | None = Field(
        None, ge=8, description="hidden width of the feed-forward network"
    )
    context_length: int | None = Field(
        None, ge=8, description="longest sequence the model sees, in tokens"
    )
    tied: bool | None = Field(None, description="tie the output head to the embedding")
    dropout: Fraction = Field(0.0, description="dropout while training")


_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    """`90s`, `10m`, `1h30m` in seconds; of numbers only a float is taken for seconds, as a run's
    own files have it, since `5` may have been meant for minutes."""
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", value)
    if parts and "".join(n + u for n, u in parts) == value.replace(" ", ""):
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        raise ValueError(f"has no unit; write {value}s, {value}m or {value}h")
    raise ValueError("expected a time such as 90s, 10m or 1h30m")


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


class PretrainSettings(PrepareSettings, ModelSettings, MaskSettings):
    """Settings for pretraining on raw text or a token store."""

    steps: int | None = Field(None, ge=1, description="optimizer steps")
    epochs: float | None = Field(None, gt=0, description="passes over the training text")
    budget: Seconds | None = Field(
        None, description="time that the run may take, with its unit, e.g. 90s, 10m or 2h"
    )

    @field_validator("epochs", "budget")
    @classmethod
    def _a_length_is_given_once(cls, value: float | None, info: ValidationInfo) -> float | None:
        known = [name for name in ("steps", "epochs") if info.data.get(name) is not None]
        if value is not None and known:
            raise ValueError(f"expected nothing, since {known[0]} gives the run's length already")
        return value

    batch_size: int | None = Field(None, ge=1, description="sequences per step, over all processes")
    micro_batch: int | None = Field(None, ge=1, description="sequences per forward pass")
    optimizer: Literal["muon", "adamw", "sgd"] = Field("muon", description="optimizer")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate")
    weight_decay: float | None = Field(None, ge=0, description="decoupled weight decay")
    momentum: float | None = Field(None, ge=0, lt=1, description="momentum of SGD and Muon")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW: decay of the gradient's mean")
    beta2: float = Field(0.95, ge=0, lt=1, description="AdamW: decay of the gradient's square")
    schedule: Literal["wsd", "cosine", "linear", "constant"] = Field(
        "wsd",
        description="learning rate after the warm-up: stable then decay (wsd), cosine, linear or "
        "constant",
    )
    warmup: float | None = Field(
        None, ge=0, description="length of the warm-up: steps, or a share of the run if under 1"
    )
    decay: float = Field(
        0.4, gt=0, le=1, description="wsd: share of the run in which the learning rate decays"
    )
    final_learning_rate: float = Field(
        0.0, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 for none")
    ema: Fraction = Field(
        0.0, description="decay of the moving average of weights, which is then saved; 0 for none"
    )
    precision: Precision = "auto"
    threads: Threads = None
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="compile the model with torch.compile"
    )
    shard: Shard = "auto"
    on_nonfinite: OnNonfinite = "stop"
    eval_every: int | None = Field(None, ge=1, description="steps between validations")
    eval_tokens: int | None = Field(None, ge=1, description="most held-out tokens per validation")
    patience: Patience = None
    sample_every: int | None = Field(None, ge=0, description="steps between samples; 0 for none")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="number of checkpoints to keep")
    resume: bool = Field(False, description="continue from the last checkpoint, if there is one")
    change_length: bool = Field(
        False, description="allow --resume to change steps, epochs or budget"
    )
    log_to: LogTo = Field([])
