"""Held-out denoising loss while training: the same spans hidden each time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from nextword.inference.generate import generate
from nextword.inference.loading import eval_mode
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.settings import GenerateSettings
from nextword.tokens.loader import derive_key
from nextword.tokens.packing import Seq2SeqBatch
from nextword.tokens.span_corruption import DenoisingLoader, SpanCorruption
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Validation
from nextword.training.validators import mean_loss, parts, spread

SAMPLE_TOKENS = 40


class DenoisingValidator:
    """Measures a model on held-out rows and shows what it writes in the place of hidden spans."""

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        corruption: SpanCorruption,
        *,
        context_length: int,
        batch_size: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        """`max_tokens` bounds what a validation reads."""
        self._tokenizer, self._corruption = tokenizer, corruption
        self._batch_size, self._seed = batch_size, seed
        self._starts: list[int] = []
        shorter = min(context_length, int(len(split) * (1 - corruption.rate)))
        if shorter < 2:
            return
        self._rows = DenoisingLoader(split, shorter, seed, corruption)
        blocks = len(split) // self._rows.length
        self._starts = spread(blocks, max_tokens // self._rows.length, self._rows.length)

    @property
    def is_empty(self) -> bool:
        return not self._starts

    @property
    def can_sample(self) -> bool:
        return not self.is_empty

    @property
    def count(self) -> int:
        """How many rows are read."""
        return len(self._starts)

    def batches(self, part: slice = slice(None)) -> Iterator[Seq2SeqBatch]:
        """All rows, or a part of them, in order."""
        return (self._batch(some) for some in parts(self._starts[part], self._batch_size))

    def _batch(self, starts: list[int]) -> Seq2SeqBatch:
        places = np.array(starts, np.int64)
        keys = [derive_key(self._seed, start, "held out") for start in starts]
        return self._rows.rows(places, np.zeros_like(places), keys, [])

    def measure(
        self, model: EncoderDecoder, group: Group, interrupt: Interrupt
    ) -> Validation | None:
        """Mean loss in nats a token to be written, sentinels and ends among them."""
        loss = mean_loss(model, self.batches(group.shard(self.count)), group, interrupt)
        if loss is None:
            return None
        return Validation(loss, -loss, {"perplexity": math.exp(min(loss, 700.0))})

    def sample(self, model: EncoderDecoder) -> tuple[str, str]:
        """The beginning of a held-out text with spans hidden, and as the model fills it in."""
        batch = self._batch(self._starts[:1])
        source = batch.source[0][batch.source_documents[0] == 1].tolist()
        settings = GenerateSettings(max_new_tokens=max(1, len(source)), temperature=0)
        # Each length of a text being written would be compiled anew, for one sample.
        with eval_mode(model), torch.compiler.set_stance("force_eager"):
            (written,) = generate(model, [source], settings, {self._tokenizer.end_id})
        shown = source[:SAMPLE_TOKENS]
        filled = fill(shown, written.ids, frozenset(self._corruption.sentinels.tolist()))
        return f"{self._text(shown)} → ", self._text(filled)

    def _text(self, ids: list[int]) -> str:
        kept = [id for id in ids if id != self._corruption.end_id]
        return self._tokenizer.decode(kept, skip_special=False)


def fill(source: list[int], written: list[int], sentinels: frozenset[int]) -> list[int]:
    """A source with the spans put in that were written after each of its sentinels; a sentinel
    for which nothing was written stays."""
    spans: dict[int, list[int]] = {}
    span: list[int] = []
    for id in written:
        if id in sentinels:
            span = spans.setdefault(id, [])
        else:
            span.append(id)
    return [id for place in source for id in (spans.get(place) or [place])]
