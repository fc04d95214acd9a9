"""How many hidden tokens an encoder finds in text it was not trained on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.inference.masked_model import MaskedLanguageModel
from nextword.objectives import masked
from nextword.settings import EvaluateSettings, MaskSettings
from nextword.tasks.figures import exponential, rounded
from nextword.tasks.held_out import HeldOut
from nextword.tasks.intervals import ratio_interval
from nextword.terminal import Progress
from nextword.tokens.loader import IGNORE
from nextword.tokens.masking import masking_of
from nextword.training.masked_validation import MaskedValidator

LONGEST_DEFAULT = 1024  # tokens seen at once, unless asked for


@dataclass(frozen=True)
class MaskedEvaluation:
    """`masked_accuracy` is the share of `hidden_tokens` that are the model's first candidate, with
    `mask_rate` of the text hidden; `loss` is in nats a hidden token, `perplexity` its exponential.

    Intervals are 95% bootstrap intervals over the rows of text read, None where there is one.
    """

    model: str
    data: str
    masked_accuracy: float
    masked_accuracy_interval: tuple[float, float] | None
    loss: float
    loss_interval: tuple[float, float] | None
    perplexity: float
    perplexity_interval: tuple[float, float] | None
    mask_rate: float
    hidden_tokens: int
    tokens: int
    rows: int
    context_length: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to the digits that do not depend on the batch size."""
        return rounded(vars(self))


def evaluate_masked(
    model: MaskedLanguageModel, held_out: HeldOut, settings: EvaluateSettings
) -> MaskedEvaluation:
    """The same tokens are hidden for every model with the same tokenizer, seed and context.

    Raises UserError where there is no text.
    """
    started = time.monotonic()
    split, own = held_out.split, model.transformer.config.context_length
    context = settings.context_length or min(own, LONGEST_DEFAULT)
    if context > own:
        raise UserError(
            f"the model was made for {own:,} tokens at once, not {context:,}",
            mend=f"--context-length can be at most {own}",
        )
    masking = masking_of(model.tokenizer, MaskSettings(mask_rate=settings.mask_rate))
    rows = MaskedValidator(
        split,
        model.tokenizer,
        masking,
        context_length=context,
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens or 2 * len(split) + 2,
        seed=settings.seed,
    )
    if rows.is_empty:
        raise UserError("there is no held-out text to measure on", where=split.path)
    device = model.transformer.embedding.weight.device
    nats: list[NDArray[np.float64]] = []
    right: list[NDArray[np.float64]] = []
    hidden: list[NDArray[np.int64]] = []
    read = 0
    with Progress("Evaluating", rows.count, "rows") as bar:
        for batch in rows.batches():
            losses, found = masked.token_results(model.transformer, batch.to(device))
            counts = (batch.targets != IGNORE).sum(1).numpy()  # [batch], never 0
            firsts = np.append(0, np.cumsum(counts)[:-1])
            nats.append(np.add.reduceat(losses.double().cpu().numpy(), firsts))
            right.append(np.add.reduceat(found.double().cpu().numpy(), firsts))
            hidden.append(counts)
            read += batch.tokens.numel()
            bar.advance(len(counts))
    of_row = np.concatenate(hidden)
    all_nats, all_right = np.concatenate(nats), np.concatenate(right)
    loss = float(all_nats.sum() / of_row.sum())
    if not math.isfinite(loss):
        raise UserError("the model's loss is not a finite number", where=model.name)
    interval = ratio_interval(all_nats, of_row, settings.seed)
    return MaskedEvaluation(
        model=model.name,
        data=held_out.name,
        masked_accuracy=float(all_right.sum() / of_row.sum()),
        masked_accuracy_interval=ratio_interval(all_right, of_row, settings.seed),
        loss=loss,
        loss_interval=interval,
        perplexity=exponential(loss),
        perplexity_interval=interval and (exponential(interval[0]), exponential(interval[1])),
        mask_rate=masking.rate,
        hidden_tokens=int(of_row.sum()),
        tokens=read,
        rows=len(of_row),
        context_length=context,
        seconds=time.monotonic() - started,
    )
