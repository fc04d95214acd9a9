"""How well hidden tokens are found in text that a model was not trained on: one by one by an
encoder, spans of them by an encoder–decoder."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.evaluation.bootstrap import ratio_interval
from nextword.evaluation.held_out import HeldOut
from nextword.evaluation.metrics import perplexity, perplexity_interval, round_for_json
from nextword.inference.language_model import LanguageModel
from nextword.inference.masked_model import MaskedLanguageModel
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import EvaluateSettings, HidingSettings, MaskSettings
from nextword.terminal import Progress
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.masking import masking_for
from nextword.tokens.packing import Seq2SeqBatch
from nextword.tokens.span_corruption import span_corruption_for
from nextword.training.masked_validator import NOTHING_TO_HIDE, MaskedValidator
from nextword.training.validators import DenoisingValidator

LONGEST_DEFAULT = 1024  # tokens seen at once, unless asked for
SHORTEST = 3  # [CLS], a token, [SEP]
Floats = NDArray[np.float64]
Model = MaskedLanguageModel | LanguageModel


@dataclass(frozen=True)
class HiddenEvaluation:
    """With `mask_rate` of the text hidden, `masked_accuracy` is the share of `hidden_tokens` that
    are an encoder's first candidate. `loss` is in nats a hidden token, `perplexity` its
    exponential. An encoder–decoder has no such candidates: it writes the hidden spans, sentinels
    and ends among them, each token after those before it. `unknown_share` is that of the text's
    tokens which the tokenizer does not know.

    Intervals are 95% bootstrap intervals over the rows of text read, None where there is one.
    """

    model: str
    data: str
    masked_accuracy: float | None
    masked_accuracy_interval: tuple[float, float] | None
    loss: float
    loss_interval: tuple[float, float] | None
    perplexity: float
    perplexity_interval: tuple[float, float] | None
    mask_rate: float
    hidden_tokens: int
    tokens: int
    rows: int
    unknown_share: float
    context_length: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to the digits that do not depend on the batch size."""
        return round_for_json(vars(self))


def evaluate_hidden(
    model: Model, held_out: HeldOut, settings: EvaluateSettings
) -> HiddenEvaluation:
    """The same tokens are hidden for every model with the same tokenizer, seed and context.

    Raises UserError where there is no text.
    """
    started = time.monotonic()
    own = model.transformer.config.context_length
    context = settings.context_length or min(own, LONGEST_DEFAULT)
    if context > model.transformer.config.context_limit:
        raise UserError(
            f"the model was made for {own:,} tokens at once, not {context:,}",
            mend=f"--context-length can be at most {own}",
        )
    if context < SHORTEST and isinstance(model, MaskedLanguageModel):
        raise UserError(
            f"{context} tokens at once leave no room for a text, which stands between two others",
            mend=f"let --context-length be at least {SHORTEST}",
        )
    rows, mask_rate = _rows(model, held_out, context, settings)
    if rows.is_empty:
        raise UserError("there is no held-out text to measure on", where=held_out.split.path)
    device = model.transformer.embedding.weight.device
    scores, read = [], 0
    with Progress("Evaluating", rows.count, "rows") as bar:
        for batch in rows.batches():
            scores.append(_scores(model, batch.to(device)))
            read += (batch.source if isinstance(batch, Seq2SeqBatch) else batch.tokens).numel()
            bar.advance(len(scores[-1][0]))
    nats, right, hidden = (np.concatenate(arrays) for arrays in zip(*scores, strict=True))
    total = int(hidden.sum())
    if not total:
        raise UserError(NOTHING_TO_HIDE, where=held_out.split.path)
    loss = float(nats.sum() / total)
    if not math.isfinite(loss):
        raise UserError("the model's loss is not a finite number", where=model.name)
    interval = ratio_interval(nats, hidden, settings.seed)
    has_candidates = isinstance(model, MaskedLanguageModel)
    return HiddenEvaluation(
        model=model.name,
        data=held_out.name,
        masked_accuracy=float(right.sum() / total) if has_candidates else None,
        masked_accuracy_interval=ratio_interval(right, hidden, settings.seed)
        if has_candidates
        else None,
        loss=loss,
        loss_interval=interval,
        perplexity=perplexity(loss),
        perplexity_interval=perplexity_interval(interval),
        mask_rate=mask_rate,
        hidden_tokens=total,
        tokens=read,
        rows=len(hidden),
        unknown_share=held_out.losses.share,
        context_length=context,
        seconds=time.monotonic() - started,
    )


def _rows(
    model: Model, held_out: HeldOut, context: int, settings: EvaluateSettings
) -> tuple[MaskedValidator | DenoisingValidator, float]:
    """What is read, with the same places hidden each time, and the share that is hidden."""
    hiding = MaskSettings(**{name: getattr(settings, name) for name in HidingSettings.model_fields})
    limits: dict[str, int] = {
        "context_length": context,
        "batch_size": settings.batch_size,
        "max_tokens": settings.max_tokens or sys.maxsize,
        "seed": settings.seed,
    }
    if isinstance(model, MaskedLanguageModel):
        masking = masking_for(model.tokenizer, hiding)
        return MaskedValidator(held_out.split, model.tokenizer, masking, **limits), masking.rate
    corruption = span_corruption_for(model.tokenizer, hiding)
    return DenoisingValidator(
        held_out.split, model.tokenizer, corruption, **limits
    ), corruption.rate


def _scores(model: Model, batch: Batch | Seq2SeqBatch) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Of each row: nats, how many hidden tokens were found (0 where there are no candidates) and
    how many there are, which is 0 where none can be hidden."""
    counts = (batch.targets != IGNORE_INDEX).sum(1).cpu().numpy()
    if isinstance(batch, Seq2SeqBatch) or isinstance(model, LanguageModel):
        losses = language_modeling.token_losses(model.transformer, batch)
        return losses.double().sum(1).numpy(), np.zeros(len(counts)), counts
    assert isinstance(model.transformer, Transformer)
    losses, found = language_modeling.score_hidden_tokens(model.transformer, batch)
    row = np.repeat(np.arange(len(counts)), counts)  # of each hidden token
    nats, right = (
        np.bincount(row, of_token.double().cpu().numpy(), len(counts)).astype(np.float64)
        for of_token in (losses, found)
    )
    return nats, right, counts
