"""Settings of labelled data, of fine-tuning on it and of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationInfo, field_validator

from nextword.registry import TASKS
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

if TYPE_CHECKING:
    Task = str
else:
    Task = Literal[tuple(TASKS)]


class ColumnSettings(Settings):
    """Which columns of labelled data hold what, and how its examples are read."""

    text_column: str | None = Field(None, description="column of the text, document or source")
    pair_column: str | None = Field(None, description="classify: column of a second text")
    label_column: str | None = Field(
        None, description="classify, tag: column of the label, entities or tags"
    )
    labels: Literal["single", "several", "amount"] | None = Field(
        None,
        description="classify: one class, several classes or a number per example; by default "
        "what the data has",
    )
    target_column: str | None = Field(
        None, description="summarize, translate, qa: column of the answer to write"
    )
    question_column: str | None = Field(None, description="qa: column of the question")
    prompt: str | None = Field(
        None, description="qa, summarize, translate: text around columns, e.g. '{text}\\nTL;DR:'"
    )
    max_length: int | None = Field(
        None, ge=8, description="most tokens per example; by default the model's context"
    )
    num_beams: int = Field(
        1, ge=1, le=64, description="written answers: number of beams to search with"
    )


class TaskSettings(ColumnSettings):
    """Settings for reading labelled data for a task."""

    task: Task = Field(description="what to learn from the examples")


class FinetuneSettings(TaskSettings):
    """Settings for fine-tuning a model on labelled data."""

    val: list[str] = Field([], description="data to validate on; by default a part of DATA")
    val_fraction: Fraction = Field(0.1, description="share of the data held out for validation")
    epochs: float | None = Field(None, gt=0, description="passes over the examples")
    steps: int | None = Field(None, ge=1, description="optimizer steps")

    @field_validator("steps")
    @classmethod
    def _a_length_is_given_once(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("epochs") is not None:
            raise ValueError("expected nothing, since epochs gives the run's length already")
        return value

    seeds: int = Field(
        1,
        ge=1,
        le=100,
        description="number of runs with different seeds: keep the best, report mean and standard "
        "deviation",
    )
    search: int = Field(
        0,
        ge=0,
        le=1000,
        description="first try this many combinations of settings and take the best",
    )
    split_seed: int | None = Field(
        None, ge=0, lt=2**63, description="seed that decides what is held out; by default --seed"
    )
    batch_size: int | None = Field(None, ge=1, description="examples per step")
    micro_batch: int | None = Field(None, ge=1, description="examples per forward pass")
    optimizer: Literal["adamw", "muon", "sgd"] = Field("adamw", description="optimizer")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    schedule: Literal["linear", "cosine", "wsd", "constant"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: float = Field(
        0.06, ge=0, description="length of the warm-up: steps, or a share of the run if under 1"
    )
    clip: float = Field(1.0, ge=0, description="largest gradient norm; 0 for none")
    dropout: Fraction = Field(0.0, description="dropout while training")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of each layer, as a share of the layer above's"
    )
    freeze: int = Field(
        0, ge=0, description="number of lowest layers to freeze, with the embedding; 0 for none"
    )
    lora: bool = Field(False, description="train only low-rank updates of the matrices (LoRA)")
    lora_rank: int = Field(8, ge=1, le=1024, description="LoRA: rank of the updates")
    lora_alpha: float = Field(
        16.0, gt=0, description="LoRA: the updates are scaled by alpha / rank"
    )
    lora_dropout: Fraction = Field(0.0, description="LoRA: dropout on the updates' input")

    @property
    def splits_by(self) -> int:
        """The seed of what is held out."""
        return self.seed if self.split_seed is None else self.split_seed

    from_scratch: bool = Field(
        False, description="start from random weights, to see what pretraining is worth"
    )

    @field_validator("from_scratch")
    @classmethod
    def _what_is_random_is_learned(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (info.data.get("lora") or info.data.get("freeze")):
            raise ValueError("expected neither --lora nor --freeze beside it: all weights are new")
        return value

    extract: bool = Field(
        False, description="qa: extract the answer from the text instead of writing one"
    )

    @field_validator("extract")
    @classmethod
    def _answers_are_extracted(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("task") != "qa":
            raise ValueError("expected --task qa beside it: only answers are pointed at")
        return value

    beta: float = Field(
        0.1, gt=0, description="prefer: how strongly the model is kept near the one it started from"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="classify: balanced weighs rare classes as much as frequent ones"
    )
    metric: str | None = Field(
        None, description="metric that chooses the best model; by default the task's own"
    )
    patience: Patience = None
    eval_every: int | None = Field(None, ge=1, description="steps between validations")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(1, ge=1, description="number of checkpoints to keep")
    precision: Precision = "auto"
    threads: Threads = None
    shard: Shard = "auto"
    on_nonfinite: OnNonfinite = "stop"
    resume: bool = Field(False, description="continue from the last checkpoint, if there is one")
    log_to: LogTo = Field([])


class PredictSettings(ColumnSettings):
    """Settings for predictions on new data."""

    task: Task | None = Field(
        None, description="task of the model; by default the one it was fine-tuned for"
    )
    batch_size: int = Field(64, ge=1, description="examples per forward pass")
    precision: Precision = "auto"


class CompareSettings(PredictSettings):
    """Settings for comparing two models on labelled data."""
