"""Held-out loss while training: the same windows each time, spread evenly over the text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from nextword.inference.generate import generate
from nextword.inference.loading import eval_mode
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import GenerateSettings
from nextword.tokens.loader import Batch, make_batch
from nextword.tokens.packing import Seq2SeqBatch
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Validation

SAMPLE_TOKENS = 96


def spread(blocks: int, most: int, stride: int) -> list[int]:
    """Where rows begin that are read of a held-out text: every `stride`, or at equal distances as
    many as may be, at least one."""
    count = min(blocks, max(1, most))
    return [number * blocks // count * stride for number in range(count)]


def parts(starts: list[int], size: int) -> Iterator[list[int]]:
    return (starts[first : first + size] for first in range(0, len(starts), size))


def mean_loss(
    model: GenerativeModel,
    batches: Iterable[Batch | Seq2SeqBatch],
    group: Group,
    interrupt: Interrupt,
) -> float | None:
    """Nats a target, over all ranks' batches; None when a stop was asked for meanwhile."""
    nats, targets = 0.0, 0
    with eval_mode(model):
        for batch in batches:
            if interrupt.requested and group.size == 1:
                return None
            nats += float(causal.token_losses(model, batch.to(group.device)).double().sum())
            targets += batch.target_count
    return group.total(nats) / group.total(targets)


class TextValidator:
    """Measures a model on held-out windows and lets it write a sample."""

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        *,
        context_length: int,
        tokens_per_byte: float,
        batch_size: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        """`max_tokens` bounds what a validation reads; `tokens_per_byte` is the text's own."""
        self._tokens_per_byte = tokens_per_byte
        self._split, self._tokenizer = split, tokenizer
        self._batch_size, self._seed = batch_size, seed
        self._length = min(context_length, len(split))
        blocks = len(split) // self._length if self._length else 0
        self._starts = spread(blocks, max_tokens // max(1, self._length), self._length)

    @property
    def is_empty(self) -> bool:
        return not self._starts

    @property
    def can_sample(self) -> bool:
        return True

    def _batch(self, starts: list[int]) -> Batch:
        places = np.array(starts, np.int64)
        return make_batch(self._split, places, np.zeros_like(places), self._length, [])

    def measure(self, model: Transformer, group: Group, interrupt: Interrupt) -> Validation | None:
        """Mean loss in nats a token, and what follows from it."""
        mine = self._starts[group.shard(len(self._starts))]
        batches = (self._batch(some) for some in parts(mine, self._batch_size))
        loss = mean_loss(model, batches, group, interrupt)
        if loss is None:
            return None
        perplexity = math.exp(min(loss, 700.0))
        metrics = {"bits per byte": self.bits_per_byte(loss), "perplexity": perplexity}
        return Validation(loss, -loss, metrics)

    def bits_per_byte(self, loss: float) -> float:
        return loss / math.log(2) * self._tokens_per_byte

    def sample(self, model: Transformer) -> tuple[str, str]:
        """An empty prompt and what the model writes after it; chance is the same each time."""
        settings = GenerateSettings(max_new_tokens=SAMPLE_TOKENS, temperature=0.8, seed=self._seed)
        end = self._tokenizer.end_id
        # Each length of a text being written would be compiled anew, for one sample.
        with eval_mode(model), torch.compiler.set_stance("force_eager"):
            (written,) = generate(model, [[end]], settings, {end})
        return "", self._tokenizer.decode(written.ids)
