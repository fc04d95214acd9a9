"""How well a decoder predicts text that it was not trained on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.bootstrap import ratio_interval, units
from nextword.evaluation.held_out import HeldOut, seen_in_training
from nextword.evaluation.metrics import perplexity, perplexity_interval, round_for_json
from nextword.evaluation.parts import bytes_of_tokens, part_of
from nextword.inference.language_model import LanguageModel
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import EvaluateSettings
from nextword.terminal import Progress, say, warn
from nextword.tokens.loader import IGNORE_INDEX, evaluation_windows, window_bounds
from nextword.tokens.store import Split, Store

LONGEST_DEFAULT = 4096  # tokens seen at once by models that could see more, unless asked for
SCORES_AT_ONCE = 1 << 26  # attention scores a head in one batch: bounds memory, changes no result

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Evaluation:
    """`loss` is in nats a token, end-of-document tokens included; `perplexity` its exponential;
    `bits_per_byte` the same information a byte of text, which compares across tokenizers.

    Intervals are 95% bootstrap intervals over `interval_units` ("documents" or "blocks" of text),
    None where there is a single one. `documents` counts those of which a token was scored,
    `documents_seen` those of them also found in the training text, None where that is not known;
    `documents_over_context` those that are scored in pieces. `unknown_share` is that of the text's
    tokens which the tokenizer does not know.
    """

    model: str
    data: str
    loss: float
    loss_interval: Interval
    perplexity: float
    perplexity_interval: Interval
    bits_per_byte: float | None
    bits_per_byte_interval: Interval
    tokens: int
    bytes: int
    documents: int
    documents_seen: int | None
    documents_over_context: int
    unknown_share: float
    interval_units: str
    context_length: int
    stride: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to the digits that do not depend on the batch size."""
        return round_for_json(vars(self))


def evaluate_language_model(
    model: LanguageModel, held_out: HeldOut, store: Store | None, settings: EvaluateSettings
) -> Evaluation:
    """Score a decoder on every token of held-out text; `store` is the one that its own run learned
    from, where that is known. Raises UserError where text or settings do not fit the model."""
    started = time.monotonic()
    assert isinstance(model.transformer, Transformer)
    context, whole, seed = _context(model.transformer, settings), held_out.split, settings.seed
    stride = settings.stride or context
    windows = Windows(context, stride, settings.batch_size, settings.max_tokens)
    nats = token_losses(model.transformer, whole, windows, model.start_id)
    part = part_of(whole, *windows.bounds(whole))
    drawn = units(part.split.starts)
    nats_of = np.add.reduceat(nats, drawn.starts[:-1], dtype=np.float64)
    token_bytes = bytes_of_tokens(whole, part, model.tokenizer)
    bytes_of = np.add.reduceat(token_bytes, drawn.starts[:-1])
    loss, size = float(nats_of.sum()) / len(nats), int(bytes_of.sum())
    if not math.isfinite(loss):
        raise UserError(
            "the model's loss is not a finite number",
            where=model.name,
            mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
        )
    loss_interval = ratio_interval(nats_of, np.diff(drawn.starts), seed)
    bits_of = nats_of / math.log(2)
    return Evaluation(
        model=model.name,
        data=held_out.name,
        loss=loss,
        loss_interval=loss_interval,
        perplexity=perplexity(loss),
        perplexity_interval=perplexity_interval(loss_interval),
        bits_per_byte=float(bits_of.sum()) / size if size else None,
        bits_per_byte_interval=ratio_interval(bits_of, bytes_of, seed),
        tokens=len(nats),
        bytes=size,
        documents=len(part.documents),
        documents_seen=seen_in_training(store.train, whole, part.documents) if store else None,
        documents_over_context=int((np.diff(whole.starts)[part.documents] > context).sum()),
        unknown_share=held_out.losses.share,
        interval_units=drawn.kind,
        context_length=context,
        stride=stride,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class Windows:
    """How text is read: `context` tokens at once, of which the last `stride` are scored, so many
    windows in a batch, up to `max_tokens` scored tokens in all."""

    context: int
    stride: int
    batch_size: int
    max_tokens: int | None = None

    def bounds(self, split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the scored stretches of a split start and stop, each [stretches]."""
        return window_bounds(len(split), self.context, self.stride, self.max_tokens)


@torch.inference_mode()
def token_losses(
    model: Transformer, split: Split, windows: Windows, start_id: int | None = None
) -> NDArray[np.float32]:
    """Return the loss in nats of every token of a split, in its order, [tokens].

    With `max_tokens`, of those that `scored_by_windows` names. `start_id` is what the model knows
    as the start of a text, where that is not the end token.
    """
    model.eval()
    rows = max(1, min(windows.batch_size, SCORES_AT_ONCE // windows.context**2))
    starts, stops = windows.bounds(split)
    nats = np.empty(int((stops - starts).sum()), np.float32)
    chosen = windows.context, windows.stride, rows, windows.max_tokens
    done = 0
    with Progress("Evaluating", len(nats), "tokens") as bar:
        for batch in evaluation_windows(split, *chosen):
            if start_id is not None:  # an input that is the end token begins a document
                batch.tokens[batch.tokens == split.end_id] = start_id
            losses = language_modeling.token_losses(model, batch.to(model.embedding.weight.device))
            # Windows come in order and score a token once: what is scored is the text itself.
            scored = losses[batch.targets != IGNORE_INDEX].numpy()
            nats[done : done + len(scored)] = scored
            done += len(scored)
            bar.advance(len(scored))
    if done != len(nats):
        raise AssertionError(f"{done} of {len(nats)} tokens were scored")
    return nats


def _context(model: Transformer, settings: EvaluateSettings) -> int:
    """Choose how many tokens are seen at once."""
    own = model.config.context_length
    context = settings.context_length or min(own, LONGEST_DEFAULT)
    if context > own:
        message = f"the model was made for {own:,} tokens at once, not {context:,}"
        if model.config.positions == "learned":
            raise UserError(message, mend=f"--context-length can be at most {own}")
        warn(f"{message}: what it says beyond them is not to be trusted")
    elif context < own and settings.context_length is None:
        say(f"scored {context:,} tokens at once; the model can see {own:,} (--context-length)")
    if settings.stride is not None and settings.stride > context:
        raise UserError(
            f"stride = {settings.stride} is more than the {context:,} tokens seen at once",
            where="--stride",
            mend=f"let it be at most {context}",
        )
    return context
