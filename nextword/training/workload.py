"""What can be learned of a text in the time there is: the size of the model, batches and steps.

The size is the one with the lowest expected loss, by the scaling law of Hoffmann et al. 2022, with
repeated text counted as Muennighoff et al. 2023 measured it: the first few passes are nearly as
good as new text, later ones less and less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nextword.errors import UserError
from nextword.models.config import Family, TransformerConfig, parameter_count
from nextword.models.sizes import SIZES, config_for, flops_per_token
from nextword.settings import PretrainSettings
from nextword.terminal import quantity

ASSUMED_SHARE = 0.25  # of the matmul peak that training reaches, until it is measured
REPEATS_WORTH = 15.4  # Muennighoff et al. 2023: passes after which repeating is worth 1 - 1/e
# When nobody says how long; a text with other words hidden is another exercise.
MOST_EPOCHS = {"causal": 16.0, "masked": 64.0, "denoise": 64.0}
FAMILY: dict[str, Family] = {"masked": "modernbert", "denoise": "t5"}  # if no other is asked for
PREDICTED = {"causal": 1.0, "masked": 0.3, "denoise": 0.2}  # of the tokens read, about
TOKENS_AT_ONCE = 8192  # in a micro-batch on a CPU: fits the caches, fills the cores

Speed = Callable[[TransformerConfig, int, int], float]  # config, batch, micro-batch -> tokens/s


@dataclass(frozen=True)
class Machine:
    """What a run is planned for: `peak` is the matmul rate of all ranks in FLOP/s, `measure` says
    how fast a model trains."""

    peak: float
    measure: Speed
    gpu: bool = False
    ranks: int = 1


def expected_loss(parameters: float, tokens: float, unique: float) -> float:
    """Nats a token by Hoffmann et al. 2022, after Muennighoff et al. 2023 for repeated text."""
    repeats = max(0.0, tokens / unique - 1)
    worth = min(tokens, unique) * (
        1 + REPEATS_WORTH * (1 - math.exp(-repeats / REPEATS_WORTH)) if repeats else 1
    )
    return 1.69 + 406.4 / parameters**0.34 + 410.7 / worth**0.28


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

    def measured(self, context: int, machine: Machine) -> tuple[TransformerConfig, int, int, float]:
        """Return the model, sequences a step and at once, and tokens a second: chosen for the speed
        that is assumed, then, if the size is open, for the one that is measured."""
        flops = machine.peak * ASSUMED_SHARE
        config = self.config(context, flops)
        batch, micro = self.batch(config, flops, machine)
        speed = machine.measure(config, batch, micro)
        flops = speed * self.work(config)
        if not self.size_is_given and (again := self.config(context, flops)) != config:
            config = again
            batch, micro = self.batch(config, flops, machine)
            speed = machine.measure(config, batch, micro)
        return config, batch, micro, speed

    def config(self, context: int, flops: float) -> TransformerConfig:
        """Return the model asked for, or the one of lowest expected loss at so many FLOP/s."""
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
        return min(candidates, key=lambda config: self.loss(config, flops))

    def loss(self, config: TransformerConfig, flops: float) -> float:
        seen = self.total_tokens(flops / self.work(config))
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
        """Return sequences a step, and at once. A step is about the run's tokens over 1,500."""
        settings, context, ranks = self.settings, config.context_length, machine.ranks
        seen = self.total_tokens(flops / self.work(config))
        wanted = 2 ** round(math.log2(max(2048.0, min(seen / 1500, 524_288))))
        batch = settings.batch_size or max(ranks, wanted // context)
        if batch < ranks:
            raise UserError(
                f"a batch of {quantity(batch, 'sequences')} leaves some of {ranks} processes idle",
                mend=f"--batch-size {ranks} or more, or fewer processes",
            )
        at_once = TOKENS_AT_ONCE * (8 if machine.gpu else 1)
        rows = -(-batch // ranks)
        micro = settings.micro_batch or max(1, min(rows, at_once // context))
        return batch, min(micro, rows)
