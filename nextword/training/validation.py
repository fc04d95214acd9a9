"""Held-out loss while training: the same windows each time, spread evenly over the text."""

from __future__ import annotations

import numpy as np
import torch

from nextword.inference.generate import generate
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import GenerateSettings
from nextword.tokens.loader import make_batch
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group

SAMPLE_TOKENS = 96


class Validator:
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
        self.tokens_per_byte = tokens_per_byte
        self._split, self._tokenizer = split, tokenizer
        self._batch_size, self._seed = batch_size, seed
        self._length = min(context_length, len(split))
        blocks = len(split) // self._length if self._length else 0
        wanted = min(blocks, max(1, max_tokens // max(1, self._length)))
        self._starts = [index * blocks // wanted * self._length for index in range(wanted)]

    @property
    def is_empty(self) -> bool:
        return not self._starts

    @torch.no_grad()
    def loss(self, model: Transformer, group: Group, interrupt: Interrupt) -> float | None:
        """Mean loss in nats a token; None when a stop was asked for meanwhile."""
        mine = self._starts[group.share(len(self._starts))]
        nats, targets = 0.0, 0
        training = model.training
        model.eval()
        try:
            for start in range(0, len(mine), self._batch_size):
                if interrupt.requested and group.size == 1:
                    return None
                starts = np.asarray(mine[start : start + self._batch_size], np.int64)
                batch = make_batch(self._split, starts, np.zeros_like(starts), self._length, []).to(
                    group.device
                )
                nats += float(causal.token_losses(model, batch).double().sum())
                targets += causal.target_count(batch)
        finally:
            model.train(training)
        return group.total(nats) / group.total(targets)

    def sample(self, model: Transformer) -> tuple[str, str]:
        """An empty prompt and what the model writes after it; chance is the same each time."""
        settings = GenerateSettings(max_new_tokens=SAMPLE_TOKENS, temperature=0.8, seed=self._seed)
        training = model.training
        model.eval()
        try:
            # Each length of a text being written would be compiled anew, for one sample.
            with torch.compiler.set_stance("force_eager"):
                (written,) = generate(
                    model, [[self._tokenizer.end_id]], settings, {self._tokenizer.end_id}
                )
        finally:
            model.train(training)
        return "", self._tokenizer.decode(written.ids)
