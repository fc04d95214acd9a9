"""Held-out loss while training: the same windows every time, spread evenly over the held-out text."""

from __future__ import annotations

import torch

from nextword.inference.generate import generate
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import GenerateSettings
from nextword.tokens.loader import Windows
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group

SAMPLE_TOKENS = 96


class Validator:
    """Measures a model on held-out windows and lets it write a sample."""

    def __init__(
        self,
        windows: Windows,
        tokenizer: Tokenizer,
        *,
        tokens_per_byte: float,
        batch_size: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        """`max_tokens` bounds what a validation reads; `tokens_per_byte` is the text's own."""
        self.tokens_per_byte = tokens_per_byte
        self._windows, self._tokenizer = windows, tokenizer
        self._batch_size, self._seed = batch_size, seed
        wanted = min(len(windows), max(1, max_tokens // windows.context_length))
        self.numbers = [index * len(windows) // wanted for index in range(wanted)]

    @property
    def is_empty(self) -> bool:
        return not len(self._windows)

    @torch.no_grad()
    def loss(self, model: Transformer, group: Group, interrupt: Interrupt) -> float | None:
        """Mean loss in nats a token; None when a stop was asked for meanwhile."""
        mine = self.numbers[group.share(len(self.numbers))]
        nats, targets = 0.0, 0
        training = model.training
        model.eval()
        try:
            for start in range(0, len(mine), self._batch_size):
                if interrupt.requested and group.size == 1:
                    return None
                batch = self._windows.batch(mine[start : start + self._batch_size])
                batch = batch.to(group.device)
                nats += float(causal.token_losses(model, batch).double().sum())
                targets += causal.target_count(batch)
        finally:
            model.train(training)
        return group.total(nats) / group.total(targets)

    def sample(self, model: Transformer) -> tuple[str, str]:
        """An empty prompt and what the model writes after it, the same draw of chances each time."""
        settings = GenerateSettings(max_new_tokens=SAMPLE_TOKENS, temperature=0.8, seed=self._seed)
        training = model.training
        model.eval()
        try:
            (written,) = generate(model, [[self._tokenizer.end_id]], settings, {self._tokenizer.end_id})
        finally:
            model.train(training)
        return "", self._tokenizer.decode(written.ids)
