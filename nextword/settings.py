"""Everything a person may set, a class a verb: the flags, the YAML keys and the Python arguments.

The command line, `--config` files, the Python API and the command reference are all made from
these classes, so a setting is named, typed, explained and given its default here and nowhere else.
`None` means "chosen for this corpus and this machine". Nothing heavy is imported here.
"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

from nextword.errors import UserError, nearest
from nextword.registry import TASKS

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    """`90`, `90s`, `10m`, `1h30m` in seconds."""
    if not isinstance(value, str):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", value)
    if parts and "".join(n + u for n, u in parts) == value.replace(" ", ""):
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        return float(value)
    except ValueError:
        raise ValueError("expected a time such as 90s, 10m or 1h30m") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
if TYPE_CHECKING:
    Task = str
else:
    Task = Literal[tuple(TASKS)]
SettingsKind = TypeVar("SettingsKind", bound="Settings")


class Settings(BaseModel):
    """Settings that every verb takes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    seed: int = Field(1337, ge=0, lt=2**63, description="seed of every random choice")

    def changes(self, name: str) -> bool:
        """Whether a setting is another than it is by default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_a_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """`steps: yes` is a mistake, not one step."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("expected a value, not yes or no")
        return value


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
        None, ge=1, le=256, description="number of processes; by default one per core"
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


class PretrainSettings(PrepareSettings, ModelSettings, MaskSettings):
    """Settings for pretraining on raw text or a token store."""

    steps: int | None = Field(None, ge=1, description="optimizer steps")
    epochs: float | None = Field(None, gt=0, description="passes over the training text")
    budget: Seconds | None = Field(None, description="time that the run may take, e.g. 10m or 2h")

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
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="number format of activations"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="compile the model with torch.compile"
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="what to do when the loss is NaN or infinite"
    )
    eval_every: int | None = Field(None, ge=1, description="steps between validations")
    eval_tokens: int | None = Field(None, ge=1, description="most held-out tokens per validation")
    patience: int | None = Field(
        None, ge=1, description="stop after this many validations without improvement"
    )
    sample_every: int | None = Field(None, ge=0, description="steps between samples; 0 for none")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="number of checkpoints to keep")
    resume: bool = Field(False, description="continue from the last checkpoint, if there is one")
    change_length: bool = Field(
        False, description="allow --resume to change steps, epochs or budget"
    )
    log_to: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        [], description="experiment trackers to log to as well"
    )


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
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="number format of activations"
    )


class FillSettings(Settings):
    """Settings for filling the gaps of a text."""

    top_k: int = Field(5, ge=1, description="candidates shown for each gap")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "fp32", description="number format of activations"
    )


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
        0.1, gt=0, description="prefer: how strongly the model is kept near the one it began as"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="classify: balanced weighs rare classes as much as frequent ones"
    )
    metric: str | None = Field(
        None, description="metric that chooses the best model; by default the task's own"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after this many validations without improvement"
    )
    eval_every: int | None = Field(None, ge=1, description="steps between validations")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(1, ge=1, description="number of checkpoints to keep")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="number format of activations"
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop", description="what to do when the loss is NaN or infinite"
    )
    resume: bool = Field(False, description="continue from the last checkpoint, if there is one")
    log_to: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(
        [], description="experiment trackers to log to as well"
    )


class PredictSettings(ColumnSettings):
    """Settings for predictions on new data."""

    task: Task | None = Field(
        None, description="task of the model; by default the one it was fine-tuned for"
    )
    batch_size: int = Field(64, ge=1, description="examples per forward pass")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="number format of activations"
    )


class CompareSettings(PredictSettings):
    """Settings for comparing two models on labelled data."""


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
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "fp32", description="number format of activations"
    )


class InfoSettings(ColumnSettings):
    """Settings for a look at labelled data; a store, run or model needs none of them."""

    task: Task | None = Field(None, description="read PATH as labelled data for this task")
    extract: bool = Field(False, description="qa: for a model that points at answers in the text")
    model: str | None = Field(
        None, description="show the examples as this model will see them, and what is cut of them"
    )


class ReportSettings(Settings):
    """Settings for a run's report."""


def resolve(
    kind: type[SettingsKind], values: dict[str, Any], places: dict[str, str] | None = None
) -> SettingsKind:
    """Check `values` against a settings class.

    `places` says where a value came from ("run.yaml:3", "--steps"). Raises UserError with the
    place, what was found and what was expected.
    """
    places = places or {}
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"unknown setting {_brief(name)}",
                where=places.get(name),
                mend=nearest(name, kind.model_fields),
            ) from None
        place = places.get(name)
        found = _brief(first["input"])
        if place is None or not place.startswith("--"):
            found = f"{name} = {found}"
        raise UserError(f"{found}: {_expected(first)}", where=place) from None


_EXPECTED = {
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_parsing": "expected yes or no",
    "bool_type": "expected yes or no",
    "string_type": "expected text (in quotes, where it looks like something else)",
    "list_type": "expected a list, such as [a, b]",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
}


def _expected(error: ErrorDetails) -> str:
    """What a value should have been, in our words."""
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].removeprefix("Value error, ")


def _brief(value: Any) -> str:
    """A value as Python writes it, cut: a file may hold a list of lists of lists ..."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = shown.maxlong = 60
    shown.maxlevel = 3
    return shown.repr(value)
