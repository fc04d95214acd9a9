"""One request while it is being served: how far it is, and what its next token is chosen by."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import torch
from torch import Tensor

from nextword.inference.engine.lookup import Lookup
from nextword.inference.engine.request import Finished, PromptScores, Request, Token
from nextword.inference.engine.slots import on_device
from nextword.inference.engine.stream import Stream
from nextword.inference.sampling import TokenHistory


class Row:
    """A request, its stream, and its state. Times are in tokens."""

    def __init__(
        self,
        request: Request,
        stream: Stream,
        order: tuple[int, int],
        lookup: Lookup,
        vocab_size: int,
        device: torch.device,
    ) -> None:
        """Begin with nothing computed; rows of a smaller `order` are served first."""
        self.request, self.stream, self.order = request, stream, order
        self.prompt = list(request.prompt)
        self.source: list[int] = []  # in an encoder–decoder, whose keys and values are by layer
        self.source_keys_values: list[tuple[Tensor, Tensor]] = []
        self.lookup, self.vocab_size = lookup, vocab_size
        self.seen = self.cached = 0  # tokens of the prompt in the cache; found in the prefix store
        self.generated = 0
        self.last = 0  # the newest token
        self.prompt_scores: list[Token] = [Token(self.prompt[0])]
        self.chunk_keys: Iterator[bytes] = iter(())
        self.ends = request.end_ids | request.stop_token_ids
        self._random = random.Random(f"{request.settings.seed}/{request.sample}")
        self._history: TokenHistory | None = None
        if TokenHistory.is_needed(request.settings):
            self._history = TokenHistory([self.prompt], vocab_size, device)
        bias = request.logit_bias
        self._device = device
        values = torch.tensor([float(value) for value in bias.values()], device=device)
        self._bias = (torch.tensor(list(bias), device=device), values)
        ends = [token for token in self.ends if token < vocab_size]
        self._end_ids = torch.tensor(ends, dtype=torch.int64, device=device)

    def adjust(self, logits: Tensor) -> Tensor:
        """Return scores [1, vocabulary] with the request's bias, penalties and exclusions."""
        request = self.request
        if request.logit_bias:
            logits = logits.clone()
            logits[0, self._bias[0]] += self._bias[1]
        if self._history is not None:
            logits = self._history.penalize(logits, request.settings)
        if self.generated < request.min_tokens and self.ends:
            logits = logits.index_fill(1, self._end_ids, -math.inf)
        if request.constraint is not None:
            allowed = request.constraint.allowed()[: self.vocab_size].to(self._device)
            logits = logits.masked_fill(~allowed, -math.inf)
        return logits

    @property
    def is_adjusted(self) -> bool:
        """Whether `adjust` may change anything."""
        request = self.request
        adds = bool(request.logit_bias) or self._history is not None
        return adds or request.constraint is not None or request.min_tokens > self.generated

    def uniform(self) -> float:
        """Return the next of the request's random numbers, in [0, 1)."""
        return self._random.random()

    def accept(self, token: Token, context_limit: int) -> Finished | None:
        """Add a chosen token and send it on; return how the text ends, if it does."""
        request = self.request
        if token.id in self.ends:
            return self.finish("end" if token.id in request.end_ids else "stop", token.id)
        self.last = token.id
        self.lookup.add(token.id)
        self.generated += 1
        if self._history is not None:
            self._history.add(on_device([token.id], torch.int64, self._device))
        if request.constraint is not None:
            request.constraint.accept(token.id)
        self.stream.put(token)
        if request.constraint is not None and request.constraint.is_finished:
            return self.finish("end")
        if self.generated == request.settings.max_new_tokens:
            return self.finish("length")
        if len(self.prompt) + self.generated == context_limit:
            return self.finish("context")
        return None

    def send_prompt_scores(self) -> None:
        """Send the prompt's scores, once they are complete."""
        if self.request.prompt_logprobs is not None:
            self.stream.put(PromptScores(self.prompt_scores))

    def finish(self, reason: str, token: int | None = None) -> Finished:
        """Return the last event of this request."""
        tokens = len(self.prompt), self.generated, self.cached
        return Finished(reason, *tokens, token)  # type: ignore[arg-type]
