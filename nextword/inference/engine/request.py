"""What is asked of the engine, and what comes back: requests and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from nextword.errors import UserError
from nextword.inference.cache import check_prompts
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import GenerateSettings

MOST_ALTERNATIVES = 1000  # log-probabilities beside a token's own


class Constraint(Protocol):
    """What a text must look like: a grammar, a schema."""

    @property
    def is_finished(self) -> bool:
        """Whether the text is complete, so that nothing more can follow."""
        ...

    def allowed(self) -> Tensor:
        """Return which tokens may come next, bool [vocabulary]."""
        ...

    def accept(self, token: int) -> None:
        """Go on to the text with this token."""
        ...


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it.

    `sample` numbers the continuations of one prompt: random numbers depend on it and the settings'
    seed alone. `end_ids` end a text ("end"), `stop_token_ids` stop it ("stop"); neither are part of
    it, and before `min_tokens` neither are chosen. `logit_bias` is added to tokens' scores. With
    `logprobs` = k each generated token comes with its log-probability and the k likeliest tokens,
    before penalties, biases and temperature; with `prompt_logprobs` each token of the prompt does.
    `prompt_only` generates nothing. Requests of higher `priority` are served first.
    """

    prompt: Sequence[int]
    settings: GenerateSettings
    sample: int = 0
    end_ids: frozenset[int] = frozenset()
    min_tokens: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    constraint: Constraint | None = None
    priority: int = 0
    stop_token_ids: frozenset[int] = frozenset()
    prompt_only: bool = False


@dataclass(frozen=True)
class Token:
    """A token; with its log-probability and the likeliest tokens and theirs, if asked for."""

    id: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


@dataclass(frozen=True)
class PromptScores:
    """The prompt's tokens, each scored by those before it; the first has no score."""

    tokens: list[Token]


@dataclass(frozen=True)
class Finished:
    """Why a text ended, and its tokens: of the prompt, generated (the end token does not count),
    and of the prompt those that did not have to be computed. `token` is the one that ended it."""

    reason: Literal["end", "stop", "length", "context", "cancelled"]
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int
    token: int | None = None


Event = PromptScores | Token | Finished


def check_request(request: Request, model: GenerativeModel, vocab_size: int) -> None:
    """Raise UserError for a request that the model cannot serve."""
    prompt, limit = request.prompt, model.config.context_limit
    if request.prompt_only and len(prompt) == limit:  # there need be no room for an answer
        check_prompts(model, [prompt[:-1], prompt[-1:]])
    else:
        check_prompts(model, [prompt])
    for name in ("logprobs", "prompt_logprobs"):
        count = getattr(request, name)
        if count is not None and not 0 <= count <= MOST_ALTERNATIVES:
            raise UserError(
                f"{name} = {count}", mend=f"it can be from 0 to {MOST_ALTERNATIVES:,}, or none"
            )
    if request.min_tokens > request.settings.max_new_tokens:
        raise UserError(
            f"min_tokens = {request.min_tokens:,} is more than max_new_tokens = "
            f"{request.settings.max_new_tokens:,}",
            mend="lower it",
        )
    unknown = [token for token in request.logit_bias if not 0 <= token < vocab_size]
    if unknown:
        raise UserError(
            f"logit_bias names token {unknown[0]}",
            mend=f"the vocabulary has 0 … {vocab_size - 1:,}",
        )
    ends = request.end_ids | request.stop_token_ids
    if request.min_tokens and len(ends) >= vocab_size:
        raise UserError("every token ends the text, so it cannot have min_tokens")
