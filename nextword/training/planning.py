"""What a run should be, for this text and this machine: size, context, batch, rate and steps.

The size is the one with the lowest expected loss in the time there is, by the scaling law of
Hoffmann et al. 2022, with repeated text counted as Muennighoff et al. 2023 measured it: the first
few passes are nearly as good as new text, later ones less and less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.models.config import Family, TransformerConfig, parameter_count
from nextword.models.sizes import DEFAULT_CONTEXT, SIZES, config_for, flops_per_token
from nextword.settings import PretrainSettings
from nextword.terminal import duration, quantity
from nextword.tokens.store import Split
from nextword.training.schedule import Plan, Schedule

DEFAULT_SECONDS = 15 * 60.0  # a run's length when nobody says: one coffee
ASSUMED_SHARE = 0.25  # of the matmul peak that training reaches, until it is measured
CLOSING_SHARE = 0.06  # of a budget, for validations, samples and saves
REPEATS_WORTH = 15.4  # Muennighoff et al. 2023: passes after which repeating is worth 1 - 1/e
# When nobody says how long; a text with other words hidden is another exercise.
MOST_EPOCHS = {"causal": 16.0, "masked": 64.0, "denoise": 64.0}
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
FAMILY: dict[str, Family] = {"masked": "modernbert", "denoise": "t5"}  # if no other is asked for
PREDICTED = {"causal": 1.0, "masked": 0.3, "denoise": 0.2}  # of the tokens read, about
HIDING = {  # what is hidden, and for which objectives
    "mask_rate": ("masked", "denoise"),
    "mask_keep": ("masked",),
    "mask_random": ("masked",),
    "whole_words": ("masked",),
    "span_length": ("denoise",),
}
USUAL_VOCABULARY = 8192  # tokens; no dimension has to fit it
TOKENS_AT_ONCE = 8192  # in a micro-batch on a CPU: fits the caches, fills the cores


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


Speed = Callable[[TransformerConfig, int, int], float]  # config, batch, micro-batch -> tokens/s


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
    _choose_config(settings, USUAL_VOCABULARY, context, tokens=1, seconds=1.0, flops=1.0)


@dataclass(frozen=True)
class Machine:
    """What a run is planned for: `peak` is the matmul rate of all ranks in FLOP/s, `measure` says
    how fast a model trains."""

    peak: float
    measure: Speed
    gpu: bool = False
    ranks: int = 1


def plan(
    settings: PretrainSettings, train: Split, machine: Machine, spent: float = 0.0
) -> PretrainPlan:
    """Decide everything that the settings leave open, and keep what they say.

    `spent` are the seconds of the budget that are gone already.
    """
    tokens, vocab_size, measure = len(train.tokens), train.vocab_size, machine.measure
    peak, gpu, ranks = machine.peak, machine.gpu, machine.ranks
    reasons: list[str] = []
    seconds = _seconds(settings, spent)
    context = settings.context_length or _context(settings, train)
    if context + 1 > tokens:
        raise UserError(
            f"a block of {context} tokens needs at least {context + 1:,} tokens, the training text "
            f"has {tokens:,}",
            mend="give more text"
            + (f", or --context-length {2 ** (tokens.bit_length() - 2)}" if tokens > 32 else ""),
        )
    share = ASSUMED_SHARE
    config = _choose_config(settings, vocab_size, context, tokens, seconds, peak * share)
    batch, micro = _batch(settings, config, tokens, seconds, peak * share, gpu, ranks)
    speed = measure(config, batch, micro)
    if settings.size is None and settings.layers is None and settings.width is None:
        share = speed * _work(settings, config) / peak
        again = _choose_config(settings, vocab_size, context, tokens, seconds, peak * share)
        if again != config:
            config = again
            batch, micro = _batch(settings, config, tokens, seconds, peak * share, gpu, ranks)
            speed = measure(config, batch, micro)
        reasons.append(
            f"model {quantity(parameter_count(config), 'parameters')}: {config.layers} layers of "
            f"width {config.width}, the lowest expected loss for {quantity(tokens, 'tokens')} of "
            f"text in {duration(seconds)} at {quantity(speed, 'tokens/s')}"
        )
    else:
        reasons.append(
            f"model {quantity(parameter_count(config), 'parameters')}: {config.layers} layers of "
            f"width {config.width}, as asked for"
        )
    a_step = batch * context
    steps = _steps(settings, tokens, a_step, speed, seconds)
    epochs = steps * a_step / tokens
    expected = steps * a_step / speed
    reasons.append(
        f"{steps:,} steps of {batch} × {context} tokens: {epochs:.1f} passes over the text, about "
        f"{duration(expected)}"
    )
    rate = settings.learning_rate or _learning_rate(settings.optimizer, config)
    reasons.append(
        f"{settings.optimizer} at learning rate {rate:.2g}"
        + ("" if settings.learning_rate else f" (width {config.width})")
        + f", {settings.schedule} schedule"
    )
    decay = settings.weight_decay
    momentum = settings.momentum
    eval_every = settings.eval_every or max(1, steps // 10)
    a_second = speed / a_step  # steps a second
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
        eval_tokens=settings.eval_tokens or _eval_tokens(speed, expected),
        sample_every=eval_every if settings.sample_every is None else settings.sample_every,
        save_every=settings.save_every or max(1, min(steps, round(60 * a_second))),
        log_every=max(1, min(steps // 100, round(a_second))),
        compile=_compile(settings.compile, expected, gpu),
        expected_seconds=expected,
        reasons=reasons,
    )


def with_change_length(
    old: PretrainPlan, settings: PretrainSettings, tokens: int, speed: float
) -> PretrainPlan:
    """The plan with another last step: for --resume with --change-length."""
    a_step = old.batch_size * old.config.context_length
    seconds = _seconds(settings, 0.0)
    steps = _steps(settings, tokens, a_step, speed, seconds)
    schedule = Schedule(
        old.schedule.shape,
        steps,
        old.schedule.warmup,
        max(1, round(steps * settings.decay)),
        old.schedule.final,
    )
    return PretrainPlan(
        **{**vars(old), "schedule": schedule, "expected_seconds": steps * a_step / speed}
    )


def expected_loss(parameters: float, tokens: float, unique: float) -> float:
    """Nats a token by Hoffmann et al. 2022, after Muennighoff et al. 2023 for repeated text."""
    repeats = max(0.0, tokens / unique - 1)
    worth = min(tokens, unique) * (
        1 + REPEATS_WORTH * (1 - math.exp(-repeats / REPEATS_WORTH)) if repeats else 1
    )
    return 1.69 + 406.4 / parameters**0.34 + 410.7 / worth**0.28


def _choose_config(
    settings: PretrainSettings,
    vocab_size: int,
    context: int,
    tokens: int,
    seconds: float,
    flops: float,
) -> TransformerConfig:
    family = settings.family or FAMILY.get(settings.objective)
    with_context = settings.model_copy(update={"context_length": context, "family": family})
    if settings.size or settings.layers or settings.width:
        return config_for(with_context, vocab_size)
    names = [name for name in SIZES if not name.startswith("gpt2")]  # each in any family's style
    best: tuple[float, TransformerConfig] | None = None
    for name in names:
        config = config_for(with_context.model_copy(update={"size": name}), vocab_size)
        seen = _total_tokens(settings, tokens, flops / _work(settings, config), seconds)
        hidden = parameter_count(config) - vocab_size * config.width * (1 if config.tied else 2)
        loss = expected_loss(hidden, max(1.0, seen), tokens)
        if best is None or loss < best[0]:
            best = loss, config
    assert best is not None
    return best[1]


def _work(settings: PretrainSettings, config: TransformerConfig) -> float:
    """Multiplications and additions to train on a token that is read."""
    return flops_per_token(config, config.context_length, PREDICTED[settings.objective])


def _seconds(settings: PretrainSettings, spent: float) -> float:
    if settings.budget:
        return max(1.0, settings.budget * (1 - CLOSING_SHARE) - spent)
    return DEFAULT_SECONDS


def _total_tokens(settings: PretrainSettings, tokens: int, speed: float, seconds: float) -> float:
    """Tokens a run will see at a speed, with repeats."""
    if settings.epochs:
        return settings.epochs * tokens
    most = math.inf if settings.budget else MOST_EPOCHS[settings.objective] * tokens
    return min(speed * seconds, most)


def _steps(
    settings: PretrainSettings, tokens: int, a_step: int, speed: float, seconds: float
) -> int:
    if settings.steps:
        return settings.steps
    return max(1, round(_total_tokens(settings, tokens, speed, seconds) / a_step))


def _context(settings: PretrainSettings, train: Split) -> int:
    """Long enough for nearly all documents, no longer than a small run can use."""
    lengths = np.diff(train.starts)
    longest = float(np.percentile(lengths, 98)) if len(lengths) else 256.0
    fitting = 2 ** math.ceil(math.log2(max(32.0, min(longest, 2.0**20))))
    usual = 256 if len(train.tokens) < 100_000_000 else 1024
    if settings.size and settings.size.startswith("gpt2"):
        usual = 1024
    return int(min(usual, fitting))


def _batch(
    settings: PretrainSettings,
    config: TransformerConfig,
    tokens: int,
    seconds: float,
    flops: float,
    gpu: bool,
    ranks: int,
) -> tuple[int, int]:
    """Sequences a step, and at once. A step is about the run's tokens over 1,500 steps."""
    context = config.context_length
    seen = _total_tokens(settings, tokens, flops / _work(settings, config), seconds)
    wanted = 2 ** round(math.log2(max(2048.0, min(seen / 1500, 524_288))))
    batch = settings.batch_size or max(ranks, wanted // context)
    if batch < ranks:
        raise UserError(
            f"a batch of {quantity(batch, 'sequences')} leaves some of {ranks} processes idle",
            mend=f"--batch-size {ranks} or more, or fewer processes",
        )
    at_once = TOKENS_AT_ONCE * (8 if gpu else 1)
    rows = -(-batch // ranks)
    micro = settings.micro_batch or max(1, min(rows, at_once // context))
    return batch, min(micro, rows)


def _learning_rate(optimizer: str, config: TransformerConfig) -> float:
    # T5's scores are not scaled and grow fast; what an encoder finds of a text it finds slowly.
    share = 1 / 3 if config.decoder_layers else 1.0 if config.causal else 1 / 2
    return float(share * LEARNING_RATES[optimizer] * (REFERENCE_WIDTH / config.width) ** 0.5)


def _warmup(asked: float | None, steps: int) -> int:
    if asked is None:
        return min(100, max(1, steps // 50))
    return round(asked * steps) if asked < 1 else int(asked)


def _eval_tokens(speed: float, expected: float) -> int:
    """A validation costs about half a percent of the run (a forward pass is a third of a step)."""
    return int(max(16_384, min(4_194_304, 0.005 * expected * speed * 3)))


def _compile(asked: str, expected: float, gpu: bool) -> bool:
    if asked != "auto":
        return asked == "yes"
    return gpu and expected > 600
