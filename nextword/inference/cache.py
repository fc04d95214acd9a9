"""A key–value cache, and the two ways to run a model with it: prefill and decode_step.

A decoder continues its prompts. For an encoder–decoder prompts are sources, and its decoder begins
with the start token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from nextword.errors import UserError
from nextword.models.blocks import CrossAttention
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel

Prompts = Sequence[Sequence[int]]
FIRST_ROOM = 256  # slots beyond the prompt; doubled when they are full, up to `limit`


class SourceCache:
    """The encoded sources of an encoder–decoder: `states` [rows, source time, width], and `mask`,
    bool [rows, 1, 1, source time], True where they are no padding; None without padding.
    `keys_values` are those of each layer, by its number."""

    def __init__(self, states: Tensor, mask: Tensor | None) -> None:
        self.states, self.mask = states, mask
        self.keys_values: dict[int, tuple[Tensor, Tensor]] = {}
        self._source_of_row = list(range(len(states)))

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order. Nothing is copied where beams of one source change
        places."""
        source_of_row = [self._source_of_row[row] for row in rows]
        if source_of_row == self._source_of_row:
            return
        index = torch.tensor(rows, dtype=torch.int64, device=self.states.device)
        self._source_of_row, self.states = source_of_row, self.states[index]
        self.mask = None if self.mask is None else self.mask[index]
        self.keys_values = {n: (k[index], v[index]) for n, (k, v) in self.keys_values.items()}


class KVCache:
    """Rows of different lengths: slot p of a row holds its token at position p.

    Prompts are padded on the right, so a row's padding lies after its end, is never seen, and is
    overwritten. What a row sees depends on `lengths` alone, never on token ids. `limit` is the most
    tokens that a row will ever hold; memory is allocated as the rows grow. `sources` are those of
    an encoder–decoder.
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch: int,
        limit: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.limit = limit
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        shape = (config.layers, batch, config.kv_heads, 0, config.head_width)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self._longest = 0
        self._equal = True  # all rows are of the same length
        self._prefilling = False
        self.sources: SourceCache | None = None

    def begin(self, lengths: Sequence[int], padded: int) -> None:
        """Prepare for prompts of these lengths, padded on the right to `padded` tokens."""
        self._prefilling = True
        self._reserve(padded)
        self._set_lengths(list(lengths))

    def advance(self) -> tuple[Tensor, Tensor | None]:
        """Prepare for one more token in every row.

        Returns their positions, [batch, 1], and the mask, bool [batch, 1, 1, seen]; None where
        every row sees all `seen` slots.
        """
        self._prefilling = False
        positions = self.lengths[:, None]
        self._reserve(self._longest + 1)
        self.lengths = self.lengths + 1
        self._longest += 1
        if self._equal:
            return positions, None
        slots = torch.arange(self._longest, device=self.lengths.device)
        return positions, (slots <= positions)[:, None, None]

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values, [batch, kv_heads, time, head]; return all so far."""
        if self._prefilling:
            self.keys[layer, :, :, : key.shape[2]] = key
            self.values[layer, :, :, : value.shape[2]] = value
            return key, value
        keys, values = self.keys[layer], self.values[layer]
        for cached, new in ((keys, key), (values, value)):
            if self._equal:
                cached[:, :, self._longest - 1] = new[:, :, 0]
            else:
                rows = torch.arange(len(self.lengths), device=keys.device)
                cached[rows, :, self.lengths - 1] = new[:, :, 0]
        return keys[:, :, : self._longest], values[:, :, : self._longest]

    def source(self, attention: CrossAttention, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values of the sources, computed once."""
        assert self.sources is not None
        keys_values = self.sources.keys_values
        if attention.layer not in keys_values:
            keys_values[attention.layer] = attention.key_value(source)
        return keys_values[attention.layer]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        if self.sources is not None:
            self.sources.keep(rows)
        index = torch.tensor(rows, dtype=torch.int64, device=self.lengths.device)
        self.keys = self.keys.index_select(1, index)
        self.values = self.values.index_select(1, index)
        self._set_lengths(self.lengths[index].tolist())

    def _set_lengths(self, lengths: list[int]) -> None:
        self.lengths = torch.tensor(lengths, dtype=torch.int64, device=self.lengths.device)
        self._longest = max(lengths, default=0)
        self._equal = len(set(lengths)) <= 1

    def _reserve(self, slots: int) -> None:
        room = self.values.shape[3]
        if slots > room:
            grown = min(max(slots + FIRST_ROOM if not room else 2 * room, slots), self.limit)
            self._grow(grown - room)

    def _grow(self, slots: int) -> None:
        # Zeros, not uninitialised memory: masked slots still enter the product, and 0 x NaN is NaN.
        padding = (0, 0, 0, slots)
        self.keys, self.values = F.pad(self.keys, padding), F.pad(self.values, padding)


def decoder_prompts(model: GenerativeModel, prompts: Prompts) -> list[list[int]]:
    """Return what the decoder begins with: the prompts, or with sources the start token alone."""
    if (start := model.config.start_id) is not None:
        return [[start] for _ in prompts]
    return [list(prompt) for prompt in prompts]


def encode_sources(model: EncoderDecoder, sources: Prompts) -> SourceCache:
    """Encode sources together, padded on the right; no layer's keys and values are computed yet."""
    device = model.embedding.weight.device
    tokens = pad_sequence([torch.tensor(source) for source in sources], batch_first=True)
    lengths = torch.tensor(list(map(len, sources)))
    is_token = torch.arange(tokens.shape[1]) < lengths[:, None]
    mask = None if bool(is_token.all()) else is_token[:, None, None].to(device)
    return SourceCache(model.encode(tokens.to(device), mask=mask), mask)


def prefill(
    model: GenerativeModel, prompts: Prompts, max_new_tokens: int
) -> tuple[KVCache, Tensor]:
    """Return a cache that holds the prompts, with room for `max_new_tokens` or as many as the
    context has, and the hidden states of the last tokens, [rows, width]."""
    device, dtype = model.embedding.weight.device, model.activation_dtype
    texts = decoder_prompts(model, prompts)
    limit = min(model.config.context_limit, max(map(len, texts)) + max_new_tokens)
    config = model.decoder.config if isinstance(model, EncoderDecoder) else model.config
    cache = KVCache(config, len(prompts), limit, dtype, device)
    if isinstance(model, EncoderDecoder):
        cache.sources = encode_sources(model, prompts)
    lengths = list(map(len, texts))
    tokens = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    cache.begin(lengths, tokens.shape[1])
    hidden = _run(model, cache, tokens.to(device))
    return cache, hidden[torch.arange(len(lengths), device=device), cache.lengths - 1]


def decode_step(model: GenerativeModel, cache: KVCache, tokens: Tensor) -> Tensor:
    """Return the hidden states, [rows, width], of one more token in each row; tokens [rows]."""
    positions, mask = cache.advance()
    return _run(model, cache, tokens[:, None], positions=positions, mask=mask)[:, 0]


def _run(
    model: GenerativeModel, cache: KVCache, tokens: Tensor, **arguments: Tensor | None
) -> Tensor:
    """Return the hidden states, [rows, time, width], of tokens [rows, time]."""
    if isinstance(model, EncoderDecoder):
        assert cache.sources is not None
        states, mask = cache.sources.states, cache.sources.mask
        return model.decode(tokens, states, source_mask=mask, cache=cache, **arguments)
    hidden: Tensor = model(tokens, cache=cache, **arguments)
    return hidden


def check_prompts(model: GenerativeModel, prompts: Prompts) -> None:
    """Raise UserError for a prompt that is empty, too long, or of another tokenizer."""
    limit, vocab_size = model.config.context_limit, model.config.vocab_size
    for number, prompt in enumerate(prompts, 1):
        name = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        if not len(prompt):
            raise UserError(f"{name} is empty", mend="begin it with the start-of-text token")
        if len(prompt) >= limit:
            raise UserError(
                f"{name} is {len(prompt):,} tokens long and the model sees {limit:,} at once, "
                "which leaves no room for an answer",
                mend=f"shorten it to at most {limit - 1:,} tokens",
            )
        if not 0 <= min(prompt) <= max(prompt) < vocab_size:
            raise UserError(
                f"{name} has token ids outside 0 … {vocab_size - 1:,}",
                mend="use the tokenizer that belongs to the model",
            )
