"""Held-out masked loss and accuracy while training: the same places hidden each time."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.loading import eval_mode
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.masking import MaskedRows, Masking
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.parallel import Group, Interrupt
from nextword.training.state import Validation
from nextword.training.validators import HeldOutRows, spread

SAMPLE_TOKENS = 32
NOTHING_TO_HIDE = "no held-out token can be hidden: all of them are unknown to the tokenizer"


class MaskedValidator(HeldOutRows):
    """Measures a model on held-out rows, in which every hidden token is a mask, and shows what it
    puts in the place of some."""

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        masking: Masking,
        *,
        context_length: int,
        batch_size: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        """`max_tokens` bounds what a validation reads."""
        super().__init__(tokenizer, batch_size, seed)
        size = len(split) + len(split.starts) - 1
        length = min(context_length, size + 2)
        self._rows = MaskedRows(split, length, replace(masking, keep=0.0, random=0.0))
        blocks = size // self._rows.stretch if len(split) else 0
        self._starts = spread(blocks, max_tokens // length, self._rows.stretch)

    def _rows_at(self, places: NDArray[np.int64], keys: list[int]) -> Batch:
        return self._rows.batch(places, np.zeros_like(places), keys, [])

    def measure(self, model: Transformer, group: Group, interrupt: Interrupt) -> Validation | None:
        """Mean loss in nats a hidden token, and the share of them that the model finds."""
        nats, right, targets = 0.0, 0, 0
        with eval_mode(model):
            for batch, counts in self.shares(group):
                if interrupt.requested and group.size == 1:
                    return None
                losses, found = language_modeling.score_hidden_tokens(model, batch.to(group.device))
                if counts:
                    nats += float(losses.double().sum())
                    right += int(found.sum())
                    targets += len(found)
        targets_of_all = group.total(targets)
        if not targets_of_all:
            raise UserError(NOTHING_TO_HIDE, where=self._rows.split.path)
        loss = group.total(nats) / targets_of_all
        figures = {
            "masked accuracy": group.total(right) / targets_of_all,
            "perplexity": math.exp(min(loss, 700.0)),
        }
        return Validation(loss, -loss, figures)

    @torch.no_grad()
    def sample(self, model: Transformer) -> tuple[str, str]:
        """The beginning of a held-out row with its masks, and as the model fills it in."""
        batch = self._batch(self._starts[:1] or [0]).to(model.embedding.weight.device)
        # A row of another length would be compiled anew, for one sample.
        with eval_mode(model), torch.compiler.set_stance("force_eager"):
            found = model.logits(language_modeling.hidden_states(model, batch)).argmax(-1)
        hidden = batch.targets[0] != IGNORE_INDEX
        filled = torch.where(hidden, found[0], batch.tokens[0])[:SAMPLE_TOKENS]
        whole = torch.where(hidden, batch.targets[0], batch.tokens[0])[:SAMPLE_TOKENS]
        return f"{self._gapped(whole, hidden)} → ", self._tokenizer.decode(filled.tolist())

    def _gapped(self, tokens: Tensor, hidden: Tensor) -> str:
        """Text of tokens [time], each hidden one as a mask after the space it begins with."""
        mask = self._tokenizer.id_to_token(self._rows.masking.mask_id)
        pieces = []
        for is_hidden, group in itertools.groupby(
            zip(hidden.tolist(), tokens.tolist(), strict=False), lambda pair: pair[0]
        ):
            ids = [id for _, id in group]
            if not is_hidden:
                pieces.append(self._tokenizer.decode(ids))
                continue
            texts = [self._tokenizer.decode([id]) for id in ids]
            pieces += [f"{' ' if text.startswith(' ') else ''}{mask}" for text in texts]
        return "".join(pieces)
