"""Beam search: the likeliest of several continuations kept at once, for translation and summaries.

Lowerre (1976), Sutskever et al. (2014); the length penalty is that of Wu et al. (2016), simplified:
the log-probability of a continuation is divided by a power of its length. Scores, ties and stopping
are those of transformers' `generate(num_beams=...)`, so that its answers are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from nextword.inference.generate import Generation, batches
from nextword.inference.reading import begun, check_prompts, read, write
from nextword.models.encoder_decoder import Writer

EarlyStopping = bool | Literal["never"]
NEVER = -1e9  # the score of what must not be chosen


@torch.inference_mode()
def beam_search(
    model: Writer,
    prompts: Sequence[Sequence[int]],
    beams: int,
    max_new_tokens: int,
    end_ids: Collection[int] = (),
    *,
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    vocab_size: int | None = None,
) -> list[Generation]:
    """The best continuation of each prompt that `beams` at once find.

    A `length_penalty` above 0 favours long answers, below 0 short ones. A prompt is answered when
    no open beam is likely to beat the finished ones; with `early_stopping` as soon as there are
    `beams` of these, and with "never" only when none could beat them, however long it grew.
    Ids from `vocab_size` on are never written. Raises UserError as `generate` does.
    """
    check_prompts(model, prompts)
    results = [Generation() for _ in prompts]
    for rows in batches(prompts):
        chosen = [prompts[row] for row in rows]
        search = _Search(model, chosen, beams, max_new_tokens, end_ids, vocab_size)
        while not search.is_done:
            search.step(length_penalty, early_stopping)
        for row, result in zip(rows, search.results, strict=True):
            results[row] = result
    return results


class _Search:
    """Prompts under way together; rows of tensors are prompts, columns beams, best first."""

    def __init__(
        self,
        model: Writer,
        prompts: Sequence[Sequence[int]],
        beams: int,
        max_new_tokens: int,
        end_ids: Collection[int],
        vocab_size: int | None,
    ) -> None:
        self.model, self.beams = model, beams
        self.vocab_size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)
        self.results = [Generation() for _ in prompts]
        self.active = list(range(len(prompts)))  # the prompt of each row
        self.ends = frozenset(end_ids)
        device = model.embedding.weight.device
        room = [model.config.most_tokens - len(text) for text in begun(model, prompts)]
        limits = [min(max_new_tokens, space) for space in room]
        self._full: list[Literal["length", "context"]] = [
            "length" if max_new_tokens <= space else "context" for space in room
        ]
        self._end_ids = torch.tensor(sorted(self.ends), dtype=torch.int64, device=device)
        self.written = 0
        shape = (len(prompts), beams)
        self.limits = torch.tensor(limits, device=device)[:, None]  # [rows, 1]
        self.tokens = torch.full((*shape, max(limits)), -1, dtype=torch.int64, device=device)
        self.scores = torch.full(shape, NEVER, device=device)  # sums of log-probabilities
        self.scores[:, 0] = 0.0  # all beams are one until they differ
        self.done_tokens = self.tokens.clone()
        self.done_scores = torch.full(shape, NEVER, device=device)
        self.is_finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self.hopeful = torch.ones(len(prompts), 1, dtype=torch.bool, device=device)
        self._cache, hidden = read(model, prompts, max_new_tokens)
        self._cache.keep([row for row in self.active for _ in range(beams)])
        self._hidden = hidden.repeat_interleave(beams, 0)  # [rows · beams, width]

    @property
    def is_done(self) -> bool:
        return not self.active

    def step(self, length_penalty: float, early_stopping: EarlyStopping) -> None:
        """One more token in every open beam."""
        logits = self.model.logits(self._hidden)[:, : self.vocab_size].float()
        likely = logits.log_softmax(-1).view(len(self.active), self.beams, -1)
        totals = (self.scores[:, :, None] + likely).flatten(1)  # [rows, beams · vocabulary]
        # As many beams may end at once as there are end tokens for each: enough others stay.
        kept = min(max(2, 1 + len(self.ends)) * self.beams, totals.shape[1])
        scores, places = totals.topk(kept)
        parents, tokens = places // self.vocab_size, places % self.vocab_size
        texts = _pick(self.tokens, parents)
        texts[:, :, self.written] = tokens
        self.written += 1
        ended = torch.isin(tokens, self._end_ids) | (self.written >= self.limits)

        self._finish(texts, scores, ended, length_penalty, early_stopping)
        self.scores, order = (scores + ended * NEVER).topk(self.beams)
        self.tokens, parents = _pick(texts, order), parents.gather(1, order)
        self._look_ahead(length_penalty, early_stopping)
        self._read(self._close(early_stopping), parents)

    def _finish(
        self,
        texts: Tensor,
        scores: Tensor,
        ended: Tensor,
        length_penalty: float,
        early_stopping: EarlyStopping,
    ) -> None:
        """Keep the best texts that have ended; only the first `beams` of the candidates may."""
        among_best = torch.arange(scores.shape[1], device=scores.device) < self.beams
        ended = ended & among_best
        full = self.is_finished.all(1, keepdim=True) & (early_stopping is True)
        worth = scores / self.written**length_penalty
        worth = worth + (full | ~self.hopeful) * NEVER + ~ended * NEVER
        self.done_scores, order = torch.cat([self.done_scores, worth], 1).topk(self.beams)
        self.done_tokens = _pick(torch.cat([self.done_tokens, texts], 1), order)
        self.is_finished = torch.cat([self.is_finished, ended], 1).gather(1, order)

    def _look_ahead(self, length_penalty: float, early_stopping: EarlyStopping) -> None:
        """Whether the best open beam may still beat the worst finished one."""
        length: Tensor | int = self.written
        if early_stopping == "never" and length_penalty > 0:
            length = self.limits
        hoped = self.scores[:, :1] / length**length_penalty
        worst = self.done_scores.min(1, keepdim=True).values
        worst = torch.where(self.is_finished, worst, NEVER)
        self.hopeful = self.hopeful & (hoped > worst).any(1, keepdim=True)

    def _close(self, early_stopping: EarlyStopping) -> list[int]:
        """Write the results of prompts that are answered; returns the rows that go on."""
        full = self.is_finished.all(1) & (early_stopping is True)
        closed = full | ~self.hopeful[:, 0] | (self.written >= self.limits[:, 0])
        for row in closed.nonzero()[:, 0].tolist():
            result = self.results[self.active[row]]
            for token in self.done_tokens[row, 0, : self.written].tolist():
                if token in self.ends:
                    result.finish = "end"
                    break
                result.ids.append(token)
            else:
                result.finish = self._full[self.active[row]]
        return (~closed).nonzero()[:, 0].tolist()

    def _read(self, rows: list[int], parents: Tensor) -> None:
        """Give the newest tokens of these rows to the model, each beam on its parent's cache."""
        self.active = [self.active[row] for row in rows]
        if not rows:
            return
        chosen = torch.tensor(rows, device=parents.device)
        beams = (chosen[:, None] * self.beams + parents[chosen]).flatten()
        for name in (
            "limits",
            "tokens",
            "scores",
            "done_tokens",
            "done_scores",
            "is_finished",
            "hopeful",
        ):
            setattr(self, name, getattr(self, name)[chosen])
        self._cache.keep(beams.tolist())
        newest = self.tokens[:, :, self.written - 1].flatten()
        self._hidden = write(self.model, self._cache, newest)


def _pick(texts: Tensor, places: Tensor) -> Tensor:
    """The texts, [rows, beams, time], at these places, [rows, chosen]."""
    return texts.gather(1, places[:, :, None].expand(-1, -1, texts.shape[2]))
