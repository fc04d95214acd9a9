"""Prompts read into a cache, and written on from there: by a decoder, which goes on with them, or
by an encoder–decoder, for which they are sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.cache import KVCache, Sources
from nextword.models.encoder_decoder import EncoderDecoder, Writer
from nextword.models.transformer import Transformer


def begun(model: Writer, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The texts that are written on: prompts, or beside a source the start token alone."""
    if (start := model.config.start_id) is not None:
        return [[start] for _ in prompts]
    return [list(prompt) for prompt in prompts]


def read(
    model: Writer, prompts: Sequence[Sequence[int]], max_new_tokens: int
) -> tuple[KVCache, Tensor]:
    """A cache that holds prompts, with room for as many new tokens as the context has, and the
    hidden states of their last tokens, [rows, width], from which the first new ones follow."""
    device, dtype = model.embedding.weight.device, model.activation_dtype
    texts = begun(model, prompts)
    most = min(model.config.most_tokens, max(map(len, texts)) + max_new_tokens)
    if isinstance(model, Transformer):
        cache = KVCache(model.config, len(prompts), most, dtype, device)
        return cache, prefill(model, cache, prompts)
    cache = KVCache(model.decoder.config, len(prompts), most, dtype, device)
    tokens, lengths = _padded(prompts)
    mask = None
    if min(lengths) < tokens.shape[1]:
        seen = torch.arange(tokens.shape[1]) < torch.tensor(lengths)[:, None]
        mask = seen[:, None, None].to(device)
    cache.sources = Sources(model.encode(tokens.to(device), mask=mask), mask)
    cache.begin([1] * len(texts), 1)
    return cache, _decode(model, cache, torch.tensor(texts, device=device))[:, 0]


def write(model: Writer, cache: KVCache, tokens: Tensor) -> Tensor:
    """The hidden states, [rows, width], of one more token in each row; tokens [rows]."""
    positions, mask = cache.advance()
    if isinstance(model, EncoderDecoder):
        return _decode(model, cache, tokens[:, None], positions, mask)[:, 0]
    hidden: Tensor = model(tokens[:, None], positions=positions, mask=mask, cache=cache)
    return hidden[:, 0]


def prefill(model: Transformer, cache: KVCache, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Read prompts into a cache; returns the hidden states of their last tokens, [rows, width]."""
    tokens, lengths = _padded(prompts)
    cache.begin(lengths, tokens.shape[1])
    device = cache.lengths.device
    hidden = model(tokens.to(device), cache=cache)
    return hidden[torch.arange(len(lengths), device=device), cache.lengths - 1]


def _padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    """Prompts side by side, [rows, time], padded on the right, and their lengths."""
    lengths = [len(prompt) for prompt in prompts]
    tokens = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    return tokens, lengths


def _decode(
    model: EncoderDecoder,
    cache: KVCache,
    tokens: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    assert cache.sources is not None
    return model.decode(
        tokens,
        cache.sources.states,
        positions=positions,
        mask=mask,
        source_mask=cache.sources.mask,
        cache=cache,
    )


def check_prompts(model: Writer, prompts: Sequence[Sequence[int]]) -> None:
    """Raises UserError for a prompt that is empty, too long, or of another tokenizer."""
    most, vocab_size = model.config.most_tokens, model.config.vocab_size
    for number, prompt in enumerate(prompts, 1):
        name = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        if not len(prompt):
            raise UserError(f"{name} is empty", mend="begin it with the start-of-text token")
        if len(prompt) >= most:
            raise UserError(
                f"{name} is {len(prompt):,} tokens long and the model sees {most:,} at once, which "
                "leaves no room for an answer",
                mend=f"shorten it to at most {most - 1:,} tokens",
            )
        if not 0 <= min(prompt) <= max(prompt) < vocab_size:
            raise UserError(
                f"{name} has token ids outside 0 … {vocab_size - 1:,}",
                mend="use the tokenizer that belongs to the model",
            )
