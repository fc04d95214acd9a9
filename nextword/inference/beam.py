"""Beam search: several continuations of a prompt at once, of which the likeliest is returned.

Lowerre (1976), Sutskever et al. (2014); the length penalty is that of Wu et al. (2016), simplified:
the log-probability of a continuation is divided by a power of its length. Scores, ties and stopping
are those of transformers' `generate(num_beams=...)`, for the same continuations.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.inference.cache import Prompts, check_prompts, decode_step, decoder_prompts, prefill
from nextword.inference.generate import Generation
from nextword.models.encoder_decoder import GenerativeModel

PROMPTS_AT_ONCE = 32
EXCLUDED = -1e9  # the score of what must not be chosen


@dataclass(frozen=True)
class BeamSettings:
    """How to search. A `length_penalty` above 0 favours long continuations, below 0 short ones. A
    prompt is done when no open beam is likely to beat the finished ones."""

    num_beams: int
    max_new_tokens: int
    length_penalty: float = 1.0


@torch.inference_mode()
def beam_search(
    model: GenerativeModel,
    prompts: Prompts,
    settings: BeamSettings,
    end_ids: Collection[int] = (),
    *,
    vocab_size: int | None = None,
) -> list[Generation]:
    """Return the best continuation found of each prompt.

    Ids from `vocab_size` on are never generated. Raises UserError as `generate` does.
    """
    check_prompts(model, prompts)
    results: dict[int, Generation] = {}
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))  # little padding
    for first in range(0, len(order), PROMPTS_AT_ONCE):
        rows = order[first : first + PROMPTS_AT_ONCE]
        search = _Search(model, [prompts[row] for row in rows], settings, end_ids, vocab_size)
        while search.active:
            search.step()
        results.update(zip(rows, search.results, strict=True))
    return [results[row] for row in range(len(prompts))]


class _Search:
    """A batch of prompts being searched; rows of tensors are prompts, columns beams, best first."""

    def __init__(
        self,
        model: GenerativeModel,
        prompts: Prompts,
        settings: BeamSettings,
        end_ids: Collection[int],
        vocab_size: int | None,
    ) -> None:
        self.model, self.settings = model, settings
        beams, longest = settings.num_beams, settings.max_new_tokens
        self.vocab_size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)
        self.results = [Generation() for _ in prompts]
        self.active = list(range(len(prompts)))  # the prompt of each row
        self.ends = frozenset(end_ids)
        device = model.embedding.weight.device
        room = [model.config.context_limit - len(text) for text in decoder_prompts(model, prompts)]
        limits = [min(longest, space) for space in room]
        self._is_cut = [space < longest for space in room]  # by the context
        self._end_ids = torch.tensor(sorted(self.ends), dtype=torch.int64, device=device)
        self.length = 0
        shape = (len(prompts), beams)
        self.limits = torch.tensor(limits, device=device)[:, None]  # [rows, 1]
        self.tokens = torch.full((*shape, max(limits)), -1, dtype=torch.int64, device=device)
        self.scores = torch.full(shape, EXCLUDED, device=device)  # sums of log-probabilities
        self.scores[:, 0] = 0.0  # all beams are one until they differ
        self.done_tokens = self.tokens.clone()
        self.done_scores = torch.full(shape, EXCLUDED, device=device)
        self.is_finished = torch.zeros(shape, dtype=torch.bool, device=device)
        self.can_improve = torch.ones(len(prompts), 1, dtype=torch.bool, device=device)
        self._cache, hidden = prefill(model, prompts, longest)
        self._cache.keep([row for row in self.active for _ in range(beams)])
        self._hidden = hidden.repeat_interleave(beams, 0)  # [rows · beams, width]

    def step(self) -> None:
        """Add one token to every open beam."""
        beams = self.settings.num_beams
        logits = self.model.logits(self._hidden)[:, : self.vocab_size].float()
        log_probs = logits.log_softmax(-1).view(len(self.active), beams, -1)
        totals = (self.scores[:, :, None] + log_probs).flatten(1)  # [rows, beams · vocabulary]
        # Each beam may end with every end token: enough candidates remain that do not.
        candidates = min(max(2, 1 + len(self.ends)) * beams, totals.shape[1])
        scores, indices = totals.topk(candidates)
        parents, tokens = indices // self.vocab_size, indices % self.vocab_size
        texts = _pick(self.tokens, parents)
        texts[:, :, self.length] = tokens
        self.length += 1
        ended = torch.isin(tokens, self._end_ids) | (self.length >= self.limits)

        self._finish(texts, scores, ended)
        self.scores, order = (scores + ended * EXCLUDED).topk(beams)
        self.tokens, parents = _pick(texts, order), parents.gather(1, order)
        self._look_ahead()
        self._advance(self._close(), parents)

    def _finish(self, texts: Tensor, scores: Tensor, ended: Tensor) -> None:
        """Keep the best texts that have ended, of the first `num_beams` candidates."""
        beams = self.settings.num_beams
        ended = ended & (torch.arange(scores.shape[1], device=scores.device) < beams)
        final = scores / self.length**self.settings.length_penalty
        final = final + ~self.can_improve * EXCLUDED + ~ended * EXCLUDED
        self.done_scores, order = torch.cat([self.done_scores, final], 1).topk(beams)
        self.done_tokens = _pick(torch.cat([self.done_tokens, texts], 1), order)
        self.is_finished = torch.cat([self.is_finished, ended], 1).gather(1, order)

    def _look_ahead(self) -> None:
        """Find whether the best open beam may still beat the worst finished one."""
        attainable = self.scores[:, :1] / self.length**self.settings.length_penalty
        worst = self.done_scores.min(1, keepdim=True).values
        worst = torch.where(self.is_finished, worst, EXCLUDED)
        self.can_improve = self.can_improve & (attainable > worst).any(1, keepdim=True)

    def _close(self) -> list[int]:
        """Set the results of prompts that are done; return the rows that go on."""
        closed = ~self.can_improve[:, 0] | (self.length >= self.limits[:, 0])
        for row in closed.nonzero()[:, 0].tolist():
            result = self.results[self.active[row]]
            for token in self.done_tokens[row, 0, : self.length].tolist():
                if token in self.ends:
                    result.finish = "end"
                    break
                result.ids.append(token)
            else:
                result.finish = "context" if self._is_cut[self.active[row]] else "length"
        return (~closed).nonzero()[:, 0].tolist()

    def _advance(self, rows: list[int], parents: Tensor) -> None:
        """Run the model on the newest tokens of these rows, each beam with its parent's cache."""
        self.active = [self.active[row] for row in rows]
        if not rows:
            return
        index = torch.tensor(rows, device=parents.device)
        beams = (index[:, None] * self.settings.num_beams + parents[index]).flatten()
        self.limits, self.can_improve = self.limits[index], self.can_improve[index]
        self.tokens, self.scores = self.tokens[index], self.scores[index]
        self.done_tokens, self.done_scores = self.done_tokens[index], self.done_scores[index]
        self.is_finished = self.is_finished[index]
        self._cache.keep(beams.tolist())
        newest = self.tokens[:, :, self.length - 1].flatten()
        self._hidden = decode_step(self.model, self._cache, newest)


def _pick(texts: Tensor, columns: Tensor) -> Tensor:
    """Return the texts, of [rows, beams, time], in these columns, [rows, picked]."""
    return texts.gather(1, columns[:, :, None].expand(-1, -1, texts.shape[2]))
