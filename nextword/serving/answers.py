"""The answers of OpenAI's endpoints, as its clients read them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nextword.inference.engine.request import Finished, Token
from nextword.tokens.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]


class Answer(BaseModel):
    """An object of an answer; what is None and not `required` is left out."""

    model_config = ConfigDict(extra="forbid")

    def sent(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class Fault(Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(Answer):
    """Any answer that refuses a request."""

    error: Fault


class CachedTokens(Answer):
    cached_tokens: int


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class CompletionLogprobs(Answer):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Answer):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = Field(
        None, description="the string or token that stopped the text"
    )
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class Completion(Answer):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


class LikelyToken(Answer):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(LikelyToken):
    top_logprobs: list[LikelyToken]


class ChatLogprobs(Answer):
    content: list[TokenLogprob]
    refusal: None = None


class SaidMessage(Answer):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Answer):
    index: int
    message: SaidMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class ChatCompletion(Answer):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: list[int] | None = None


class Delta(Answer):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Answer):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None


class ChatChunk(Answer):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None


class Embedding(Answer):
    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class EmbeddingUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class Embeddings(Answer):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Model(Answer):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "nextword"
    is_open: bool
    task: str | None = None
    abilities: list[str] = []
    max_model_len: int | None = None


class ModelList(Answer):
    object: Literal["list"] = "list"
    data: list[Model]


def new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def now() -> int:
    return int(time.time())


def usage_of(finished: Iterable[Finished], samples: int) -> Usage:
    """Return the tokens of all continuations; each prompt counts once for its `samples`."""
    every = list(finished)
    prompts = sum(one.prompt_tokens for one in every[::samples])
    cached = sum(one.cached_tokens for one in every[::samples])
    written = sum(one.generated_tokens for one in every)
    return Usage(
        prompt_tokens=prompts,
        completion_tokens=written,
        total_tokens=prompts + written,
        prompt_tokens_details=CachedTokens(cached_tokens=cached),
    )


def token_text(tokenizer: Tokenizer, id: int) -> str:
    """Return what a token is called in an answer: its text; its bytes where they are no text."""
    data = tokenizer.token_bytes(id)
    if data is None:
        return tokenizer.id_to_token(id) or ""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def likely(tokenizer: Tokenizer, id: int, logprob: float) -> LikelyToken:
    data = tokenizer.token_bytes(id)
    return LikelyToken(
        token=token_text(tokenizer, id), logprob=finite(logprob), bytes=data and list(data)
    )


def finite(logprob: float) -> float:
    """Return a log-probability as JSON can hold it."""
    return max(logprob, -9999.0)


def chat_logprobs(tokenizer: Tokenizer, tokens: Iterable[Token], count: int) -> ChatLogprobs:
    """Return tokens with their log-probabilities and the `count` likeliest in their places."""
    content = []
    for token in tokens:
        own = likely(tokenizer, token.id, token.logprob or 0.0)
        tops = [likely(tokenizer, *pair) for pair in (token.top or [])[:count]]
        content.append(TokenLogprob(**own.model_dump(), top_logprobs=tops))
    return ChatLogprobs(content=content)
