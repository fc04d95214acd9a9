"""Held-out loss while training: the same windows each time, spread evenly over the text."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.inference.generate import generate
from nextword.inference.loading import eval_mode
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import GenerateSettings
from nextword.tokens.loader import Batch, derive_key, make_batch
from nextword.tokens.packing import Seq2SeqBatch
from nextword.tokens.span_corruption import DenoisingLoader, SpanCorruption
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.parallel import Group, Interrupt
from nextword.training.state import Validation

WRITTEN_TOKENS = 96  # of a sample
SHOWN_TOKENS = 40  # of a text whose spans are filled in
LONG_TEXT = 4096  # tokens: a model hardly ever sees how texts of this length begin
OPENING_TOKENS = 12  # of a held-out text, that a sample goes on with


def spread(blocks: int, most: int, stride: int) -> list[int]:
    """Where rows begin that are read of a held-out text: every `stride`, or at equal distances as
    many as may be, at least one."""
    count = min(blocks, max(1, most))
    return [number * blocks // count * stride for number in range(count)]


def mean_loss(
    model: GenerativeModel,
    batches: Iterable[tuple[Batch | Seq2SeqBatch, bool]],
    group: Group,
    interrupt: Interrupt,
) -> float | None:
    """Nats a target, over all ranks' batches that count; None when a stop was asked for
    meanwhile."""
    nats, targets = 0.0, 0
    with eval_mode(model):
        for batch, counts in batches:
            if interrupt.requested and group.size == 1:
                return None
            losses = language_modeling.token_losses(model, batch.to(group.device))
            nats += float(losses.double().sum()) if counts else 0.0
            targets += batch.target_count if counts else 0
    return group.total(nats) / group.total(targets)


class HeldOutRows(ABC):
    """What the validators share that read rows of a held-out text, from the places `_starts` on."""

    def __init__(self, tokenizer: Tokenizer, batch_size: int, seed: int) -> None:
        self._tokenizer, self._batch_size, self._seed = tokenizer, batch_size, seed
        self._starts: list[int] = []

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

    def batches(self, part: slice = slice(None)) -> Iterator[Any]:
        """Return all rows, or a part of them, in order."""
        starts, size = self._starts[part], self._batch_size
        return (self._batch(starts[first : first + size]) for first in range(0, len(starts), size))

    def shares(self, group: Group) -> Iterator[tuple[Any, bool]]:
        """Return a rank's batches, and whether each counts: all ranks have as many, since they run
        one model together. Where a rank has one less, it reads the first row again."""
        own, size = self._starts[group.shard(self.count)], self._batch_size
        for first in range(0, -(-self.count // group.size), size):
            starts = own[first : first + size]
            yield self._batch(starts or self._starts[:1]), bool(starts)

    def _batch(self, starts: list[int]) -> Any:
        places = np.array(starts, np.int64)
        keys = [derive_key(self._seed, start, "held out") for start in starts]
        return self._rows_at(places, keys)

    @abstractmethod
    def _rows_at(self, places: NDArray[np.int64], keys: list[int]) -> Any:
        """The batch of the rows that begin there, with chance from their keys."""


class TextValidator(HeldOutRows):
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
        super().__init__(tokenizer, batch_size, seed)
        self._tokens_per_byte, self._split = tokens_per_byte, split
        self._length = min(context_length, len(split))
        blocks = len(split) // self._length if self._length else 0
        self._starts = spread(blocks, max_tokens // max(1, self._length), self._length)

    @property
    def can_sample(self) -> bool:
        return True

    def _rows_at(self, places: NDArray[np.int64], keys: list[int]) -> Batch:
        return make_batch(self._split, places, np.zeros_like(places), self._length, [])

    def measure(self, model: Transformer, group: Group, interrupt: Interrupt) -> Validation | None:
        """Return the mean loss in nats a token, and what follows from it."""
        loss = mean_loss(model, self.shares(group), group, interrupt)
        if loss is None:
            return None
        perplexity = math.exp(min(loss, 700.0))
        metrics = {"bits per byte": self.bits_per_byte(loss), "perplexity": perplexity}
        return Validation(loss, -loss, metrics)

    def bits_per_byte(self, loss: float) -> float:
        return loss / math.log(2) * self._tokens_per_byte

    def sample(self, model: Transformer) -> tuple[str, str]:
        """A prompt and what the model writes after it; chance is the same each time."""
        settings = GenerateSettings(max_new_tokens=WRITTEN_TOKENS, temperature=0.8, seed=self._seed)
        end, opening = self._tokenizer.end_id, self._opening()
        # Each length of a text being written would be compiled anew, for one sample.
        with eval_mode(model), torch.compiler.set_stance("force_eager"):
            (written,) = generate(model, [[end, *opening]], settings, {end})
        return self._tokenizer.decode(opening), self._tokenizer.decode(written.ids)

    def _opening(self) -> list[int]:
        """Some held-out words where texts are long; nothing where the model knows beginnings."""
        if len(self._split) < LONG_TEXT * (len(self._split.starts) - 1):
            return []
        first = self._starts[len(self._starts) // 2]
        length = min(OPENING_TOKENS, self._length // 2)
        return [int(token) for token in self._split.tokens[first : first + length]]


class DenoisingValidator(HeldOutRows):
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
        super().__init__(tokenizer, batch_size, seed)
        self._corruption = corruption
        shorter = min(context_length, int(len(split) * (1 - corruption.rate)))
        if shorter < 2:
            return
        self._rows = DenoisingLoader(split, shorter, seed, corruption)
        blocks = len(split) // self._rows.length
        self._starts = spread(blocks, max_tokens // self._rows.length, self._rows.length)

    def _rows_at(self, places: NDArray[np.int64], keys: list[int]) -> Seq2SeqBatch:
        return self._rows.rows(places, np.zeros_like(places), keys, [])

    def measure(
        self, model: EncoderDecoder, group: Group, interrupt: Interrupt
    ) -> Validation | None:
        """Mean loss in nats a token to be written, sentinels and ends among them."""
        loss = mean_loss(model, self.shares(group), group, interrupt)
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
        shown = source[:SHOWN_TOKENS]
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
