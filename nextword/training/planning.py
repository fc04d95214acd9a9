"""What a run should be, for this text and this machine: size, context, batch, rate and steps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.models.config import Family, TransformerConfig, parameter_count
from nextword.models.sizes import DEFAULT_CONTEXT
from nextword.settings import PretrainSettings
from nextword.terminal import duration, quantity
from nextword.tokens.store import Split
from nextword.training.schedule import Plan, Schedule
from nextword.training.workload import Machine, Rate, Workload

DEFAULT_SECONDS = 15 * 60.0  # a run's length when nobody says: one coffee
CLOSING_SHARE = 0.06  # of a budget, for validations, samples and saves
VALIDATIONS = 10  # in a run
VALIDATING_SHARE = 0.06  # of a budget, for all of them together
SAMPLE_SECONDS = 0.5  # to write a sample and to keep the model, about
COMPILING = 10.0  # seconds that compiling the blocks takes on a GPU
COMPILED_SHARE = 0.12  # of the time, saved by it: GPT-2 124M and 350M on an H100
REFERENCE_WIDTH = 256
# Peak learning rates at the reference width, tuned here on novels and plays.
LEARNING_RATES = {"muon": 0.005, "adamw": 0.003, "sgd": 0.3}
WEIGHT_DECAY = {"muon": 0.1, "adamw": 0.1, "sgd": 0.0}
MOMENTUM = {"muon": 0.95, "adamw": 0.0, "sgd": 0.9}
FITTING: dict[str, tuple[Family, ...]] = {
    "causal": ("qwen3", "llama", "gpt2"),
    "masked": ("modernbert", "bert"),
    "denoise": ("t5",),
}
HIDING = {  # what is hidden, and for which objectives
    "mask_rate": ("masked", "denoise"),
    "mask_keep": ("masked",),
    "mask_random": ("masked",),
    "whole_words": ("masked",),
    "span_length": ("denoise",),
}
USUAL_VOCABULARY = 8192  # tokens; no dimension has to fit it


@dataclass
class PretrainPlan(Plan):
    """`model` is the shape of the model, `eval_tokens` what a validation reads at most; `reasons`
    say why all of it was chosen."""

    model: dict[str, Any]
    eval_tokens: int
    compile: bool
    expected_seconds: float
    reasons: list[str]

    @property
    def config(self) -> TransformerConfig:
        values = self.model | {"windowed_layers": tuple(self.model["windowed_layers"])}
        return TransformerConfig(**values)


def check(settings: PretrainSettings) -> None:
    """Raise UserError for a model that no text could make possible, before any is read."""
    fitting = FITTING[settings.objective]
    if settings.family is not None and settings.family not in fitting:
        raise UserError(
            f"--objective {settings.objective} does not train {settings.family}",
            mend=f"--family takes {' or '.join(fitting)} with it",
        )
    for name, objectives in HIDING.items():
        if settings.changes(name) and settings.objective not in objectives:
            raise UserError(
                f"--{name.replace('_', '-')} does nothing for --objective {settings.objective}",
                mend=f"leave it out, or take --objective {' or '.join(objectives)}",
            )
    context = settings.context_length or DEFAULT_CONTEXT
    anything = Workload(settings, tokens=1, vocab_size=USUAL_VOCABULARY, seconds=1.0)
    anything.config(context, Rate(1.0))


def width_to_time(settings: PretrainSettings) -> int:
    """Return the width of the model asked for, or about that of the one that will be chosen."""
    given = Workload(settings, tokens=1, vocab_size=USUAL_VOCABULARY, seconds=1.0)
    context = settings.context_length or DEFAULT_CONTEXT
    return given.config(context, Rate(1.0)).width if given.size_is_given else REFERENCE_WIDTH


def plan(
    settings: PretrainSettings, train: Split, machine: Machine, spent: float = 0.0
) -> PretrainPlan:
    """Decide everything that the settings leave open, and keep what they say.

    `spent` are the seconds of the budget that are gone already.
    """
    task = Workload(settings, len(train.tokens), train.vocab_size, _seconds(settings, spent))
    longest = settings.context_length or _longest_context(settings, train)
    if longest + 1 > task.tokens:
        fitting = 2 ** (task.tokens.bit_length() - 2)
        raise UserError(
            f"a block of {longest} tokens needs at least {longest + 1:,} tokens, the training text "
            f"has {task.tokens:,}",
            where=train.path,
            mend="give more text" + (f", or --context-length {fitting}" if fitting >= 16 else ""),
        )
    config, batch, micro, speed = task.measured(longest, machine)
    context = config.context_length
    steps = task.steps(batch * context, speed)
    expected = steps * batch * context / speed
    rate = settings.learning_rate or _learning_rate(settings.optimizer, config)
    decay, momentum = settings.weight_decay, settings.momentum
    eval_tokens = settings.eval_tokens or _eval_tokens(settings, speed, expected)
    eval_every = settings.eval_every or max(
        1, steps // _validations(settings, eval_tokens / speed / 3, expected)
    )
    a_second = speed / (batch * context)  # steps a second
    return PretrainPlan(
        model=asdict(config),
        batch_size=batch,
        micro_batch=micro,
        learning_rate=rate,
        weight_decay=WEIGHT_DECAY[settings.optimizer] if decay is None else decay,
        momentum=MOMENTUM[settings.optimizer] if momentum is None else momentum,
        schedule=Schedule(
            settings.schedule,
            steps,
            _warmup(settings.warmup, steps),
            max(1, round(steps * settings.decay)),
            settings.final_learning_rate,
        ),
        decay_share=settings.decay,
        eval_every=eval_every,
        eval_tokens=eval_tokens,
        sample_every=eval_every if settings.sample_every is None else settings.sample_every,
        save_every=settings.save_every or max(1, min(steps, round(60 * a_second))),
        log_every=max(1, min(steps // 100, round(a_second))),
        compile=worth_compiling(settings.compile, expected, machine.gpu),
        expected_seconds=expected,
        reasons=[
            f"model {quantity(parameter_count(config), 'parameters')}: {config.layers} layers of "
            f"width {config.width}, "
            + (
                "as asked for"
                if task.size_is_given
                else f"the lowest expected loss for {quantity(task.tokens, 'tokens')} of text in "
                f"{duration(task.seconds)} at {quantity(speed, 'tokens/s')}"
            ),
            f"{steps:,} steps of {batch} × {context} tokens: "
            f"{steps * batch * context / task.tokens:.1f} passes over the text, about "
            f"{duration(expected)}",
            f"{settings.optimizer} at learning rate {rate:.2g}"
            + ("" if settings.learning_rate else f" (width {config.width})")
            + f", {settings.schedule} schedule",
        ],
    )


def with_change_length(
    old: PretrainPlan, settings: PretrainSettings, tokens: int, speed: float
) -> PretrainPlan:
    """The plan with another last step: for --resume with --change-length."""
    a_step = old.batch_size * old.config.context_length
    task = Workload(settings, tokens, old.config.vocab_size, _seconds(settings, 0.0))
    steps = task.steps(a_step, speed)
    decay = max(1, round(steps * settings.decay))
    schedule = replace(old.schedule, steps=steps, decay=decay)
    return replace(old, schedule=schedule, expected_seconds=steps * a_step / speed)


def _seconds(settings: PretrainSettings, spent: float) -> float:
    if settings.budget:
        return max(1.0, settings.budget * (1 - CLOSING_SHARE) - spent)
    return DEFAULT_SECONDS


def _longest_context(settings: PretrainSettings, train: Split) -> int:
    """Long enough for nearly all documents, no longer than a small run can use."""
    lengths = np.diff(train.starts)
    longest = float(np.percentile(lengths, 98)) if len(lengths) else 256.0
    fitting = 2 ** math.ceil(math.log2(max(32.0, min(longest, 2.0**20))))
    usual = 256 if len(train.tokens) < 100_000_000 else 1024
    if settings.size and settings.size.startswith("gpt2"):
        usual = 1024
    return int(min(usual, fitting))


def _learning_rate(optimizer: str, config: TransformerConfig) -> float:
    # T5's scores are not scaled and grow fast; what an encoder finds of a text it finds slowly.
    share = 1 / 3 if config.decoder_layers else 1.0 if config.causal else 1 / 2
    return float(share * LEARNING_RATES[optimizer] * (REFERENCE_WIDTH / config.width) ** 0.5)


def _warmup(asked: float | None, steps: int) -> int:
    if asked is None:
        return min(100, max(1, steps // 50))
    return round(asked * steps) if asked < 1 else int(asked)


def _eval_tokens(settings: PretrainSettings, speed: float, expected: float) -> int:
    """A validation costs about half a percent of the run (a forward pass is a third of a step)."""
    fewest = 4_096 if settings.budget else 16_384
    return int(max(fewest, min(4_194_304, 0.005 * expected * speed * 3)))


def _validations(settings: PretrainSettings, seconds: float, expected: float) -> int:
    """Ten, of so many `seconds` each, or as many as a budget has time for."""
    if not settings.budget:
        return VALIDATIONS
    affordable = VALIDATING_SHARE * expected / (seconds + SAMPLE_SECONDS)
    return max(1, min(VALIDATIONS, round(affordable)))


def worth_compiling(asked: str, expected: float, gpu: bool) -> bool:
    """Return whether a run of so many seconds is compiled: as asked, or where it saves time."""
    if asked != "auto":
        return asked == "yes"
    return gpu and COMPILED_SHARE * expected > COMPILING
