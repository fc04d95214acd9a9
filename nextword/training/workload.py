"""What can be learned of a text in the time there is: the size of the model, batches and steps.

The size is the one with the lowest expected loss, by the scaling law of Hoffmann et al. 2022, with
repeated text counted as Muennighoff et al. 2023 measured it: the first few passes are nearly as
good as new text, later ones less and less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from nextword.errors import UserError
from nextword.models.config import Family, TransformerConfig, parameter_count
from nextword.models.sizes import SIZES, config_for, flops_per_token
from nextword.settings import PretrainSettings
from nextword.terminal import quantity

ASSUMED_SHARE = 0.25  # of the matmul peak that training reaches, until it is measured
LARGE, BETTER_USE = 5e6, 0.22  # measured: 129, 148 and 171 GFLOP/s with 0.6, 1.2 and 1.9 M
MOST_CHANGES = 3  # of a choice, by speeds that are measured
SMALL = 1.5e5  # parameters, without embeddings
REPEATS_WORTH = 15.4  # Muennighoff et al. 2023: passes after which repeating is worth 1 - 1/e
# When nobody says how long; a text with other words hidden is another exercise.
MOST_EPOCHS = {"causal": 16.0, "masked": 64.0, "denoise": 64.0}
FAMILY: dict[str, Family] = {"masked": "modernbert", "denoise": "t5"}  # if no other is asked for
PREDICTED = {"causal": 1.0, "masked": 0.3, "denoise": 0.2}  # of the tokens read, about
TOKENS_AT_ONCE = 8192  # in a micro-batch on a CPU: fits the caches, fills the cores
SMALLEST_STEP, LARGEST_STEP = 256, 524_288  # tokens
STEPS = 1500  # of a run that is not short
SHORT = 4.0  # a short run's steps have so many times the root of its tokens
FEWEST = 150  # steps of the shortest, about
MEASURED = 4096  # tokens: the largest step that was compared with smaller ones
ROWS = 32  # a step has at least so many sequences, or they are shorter
MANY = 4e6  # tokens of a run, from which on half as many do
SHORTEST_CONTEXT = 64

Speed = Callable[[TransformerConfig, int, int], float]  # config, batch, micro-batch -> tokens/s


@dataclass(frozen=True)
class Machine:
    """What a run is planned for: `peak` is the matmul rate of all ranks in FLOP/s, `measure` says
    how fast a model trains, `fitting` how many of so many sequences fit its memory at once."""

    peak: float
    measure: Speed
    gpu: bool = False
    ranks: int = 1
    fitting: Callable[[TransformerConfig, int], int] = lambda config, rows: rows


def expected_loss(parameters: float, tokens: float, unique: float) -> float:
    """Nats a token by Hoffmann et al. 2022, after Muennighoff et al. 2023 for repeated text.

    The law was fitted to models of 44 M parameters and more, and punishes small ones too much for
    being small: SMALL, fitted here, levels it off (docs/recipe.md).
    """
    return 1.69 + 406.4 / (parameters + SMALL) ** 0.34 + 410.7 / worth(tokens, unique) ** 0.28


def worth(tokens: float, unique: float) -> float:
    """Return how many new tokens so many are worth, of which only so many are `unique`."""
    repeats = max(0.0, tokens / unique - 1)
    return min(tokens, unique) * (
        1 + REPEATS_WORTH * (1 - math.exp(-repeats / REPEATS_WORTH)) if repeats else 1
    )


@dataclass(frozen=True)
class Rate:
    """FLOP/s that training reaches with a model of so many parameters. Larger ones use a machine
    better, up to LARGE."""

    flops: float
    parameters: float = LARGE

    def of(self, config: TransformerConfig) -> float:
        """Return the FLOP/s that another model will reach, about."""
        ratio = min(parameter_count(config), LARGE) / min(self.parameters, LARGE)
        return self.flops * float(ratio) ** BETTER_USE


@dataclass(frozen=True)
class Workload:
    """What a run has to do: learn from so many `tokens` of text, in the `seconds` there are."""

    settings: PretrainSettings
    tokens: int
    vocab_size: int
    seconds: float

    @property
    def size_is_given(self) -> bool:
        return bool(self.settings.size or self.settings.layers or self.settings.width)

    def measured(self, longest: int, machine: Machine) -> tuple[TransformerConfig, int, int, float]:
        """Return the model, sequences a step and at once, and tokens a second: chosen for the speed
        that is assumed, then for the one that is measured, where the other model's own speed, which
        is measured too, says the same. `longest` is the context that the text is worth."""
        chosen = self.shape(longest, Rate(machine.peak * ASSUMED_SHARE), machine)
        speed = machine.measure(*chosen)
        for _ in range(MOST_CHANGES):
            found = Rate(speed * self.work(chosen[0]), parameter_count(chosen[0]))
            again = self.shape(longest, found, machine)
            if again == chosen:
                break
            other = machine.measure(*again)
            is_another = parameter_count(again[0]) != parameter_count(chosen[0])
            if is_another and self.loss(again[0], other) >= self.loss(chosen[0], speed):
                break
            chosen, speed = again, other
        return *chosen, speed

    def shape(
        self, longest: int, rate: Rate, machine: Machine
    ) -> tuple[TransformerConfig, int, int]:
        """Return the model, sequences a step and sequences at once, for a rate of computing."""
        config = self.config(longest, rate)
        flops = rate.of(config)
        if not (self.settings.context_length or (self.settings.size or "").startswith("gpt2")):
            a_step = self.step_tokens(config, flops)
            seen = self.total_tokens(flops / self.work(config))
            a_row = a_step // (ROWS if seen < MANY else ROWS // 2)
            context = min(longest, max(SHORTEST_CONTEXT, a_row))
            config = replace(config, context_length=context)
        return config, *self.batch(config, flops, machine)

    def step_tokens(self, config: TransformerConfig, flops: float) -> int:
        """Return how many tokens a step is to have: the run's over STEPS. A short run has fewer
        and smaller steps, but not as small as gradients would suffer: each pays for an update."""
        seen = self.total_tokens(flops / self.work(config))
        short = min(SHORT * seen**0.5, seen / FEWEST, MEASURED)
        wanted = max(SMALLEST_STEP, short, seen / STEPS)
        return int(2 ** round(math.log2(min(wanted, LARGEST_STEP))))

    def config(self, context: int, rate: Rate) -> TransformerConfig:
        """Return the model asked for, or the one of lowest expected loss at a rate of computing."""
        settings = self.settings
        family = settings.family or FAMILY.get(settings.objective)
        settings = settings.model_copy(update={"context_length": context, "family": family})
        if self.size_is_given:
            return config_for(settings, self.vocab_size)
        names = [name for name in SIZES if not name.startswith("gpt2")]  # in any family's style
        candidates = [
            config_for(settings.model_copy(update={"size": name}), self.vocab_size)
            for name in names
        ]
        return min(candidates, key=lambda c: self.loss(c, rate.of(c) / self.work(c)))

    def loss(self, config: TransformerConfig, speed: float) -> float:
        """Return what the scaling law expects of a model that reads so many tokens a second."""
        seen = self.total_tokens(speed)
        embeddings = self.vocab_size * config.width * (1 if config.tied else 2)
        return expected_loss(parameter_count(config) - embeddings, max(1.0, seen), self.tokens)

    def work(self, config: TransformerConfig) -> float:
        """Return multiplications and additions to train on a token that is read."""
        share = PREDICTED[self.settings.objective]
        return flops_per_token(config, config.context_length, share)

    def total_tokens(self, speed: float) -> float:
        """Return the tokens a run will see at a speed, with repeats."""
        if self.settings.epochs:
            return self.settings.epochs * self.tokens
        most = MOST_EPOCHS[self.settings.objective] * self.tokens
        return min(speed * self.seconds, math.inf if self.settings.budget else most)

    def steps(self, a_step: int, speed: float) -> int:
        """Return the number of steps, of `a_step` tokens each."""
        return self.settings.steps or max(1, round(self.total_tokens(speed) / a_step))

    def batch(self, config: TransformerConfig, flops: float, machine: Machine) -> tuple[int, int]:
        """Return sequences a step, and at once."""
        settings, context, ranks = self.settings, config.context_length, machine.ranks
        batch = settings.batch_size or max(ranks, self.step_tokens(config, flops) // context)
        if batch < ranks:
            raise UserError(
                f"a batch of {quantity(batch, 'sequences')} leaves some of {ranks} processes idle",
                mend=f"--batch-size {ranks} or more, or fewer processes",
            )
        at_once = TOKENS_AT_ONCE * (8 if machine.gpu else 1)
        rows = -(-batch // ranks)
        if settings.micro_batch:
            return batch, min(settings.micro_batch, rows)
        return batch, machine.fitting(config, max(1, min(rows, at_once // context)))
