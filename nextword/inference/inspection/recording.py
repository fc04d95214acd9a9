"""What passes through a model while it reads, kept by hooks that the model knows nothing of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nextword.models.attention import distances, visible
from nextword.models.blocks import Attention, Block, CrossAttention
from nextword.models.transformer import Transformer


@contextlib.contextmanager
def residual_stream(model: Transformer, places: Tensor) -> Iterator[list[Tensor]]:
    """Keep the states between the blocks of whatever the model reads within: a list of layers + 1
    tensors [places, width], of the embedding first. `places` [places] are tokens of the one row."""
    states: list[Tensor] = []

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        states.append(inputs[0][0, places])

    def after(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        states.append(output[0, places])

    hooks = [block.register_forward_pre_hook(before) for block in model.blocks]
    hooks.append(model.blocks[-1].register_forward_hook(after))
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class AttentionRecord:
    """The attention weights of one query, float32 [heads, seen], once a model has read."""

    query: int
    weights: Tensor = field(default_factory=lambda: torch.empty(0))


@contextlib.contextmanager
def attention_weights(
    model: Transformer, layer: int, query: int, *, cross: bool = False
) -> Iterator[AttentionRecord]:
    """Keep what a token of the one row attends to in a layer, of whatever the model reads within.

    They are computed from the layer's own projections, as its attention does, but for one query and
    in fp32. With `cross` it is the attention to the source.
    """
    block, record = model.blocks[layer], AttentionRecord(query)
    assert isinstance(block, Block)

    def of_itself(attention: Any, inputs: tuple[Any, ...]) -> None:
        x, rotation, bias, *_ = inputs
        record.weights = _self_weights(attention, x, rotation, bias, query)

    def of_source(attention: Any, inputs: tuple[Any, ...]) -> None:
        x, source, bias, *_ = inputs
        key, _value = attention.key_value(source)
        row = _row_of(bias, query)
        record.weights = _weights(
            attention.query(x[:, query : query + 1]), key, row, attention.scale
        )

    module = block.cross if cross else block.attention
    assert isinstance(module, CrossAttention if cross else Attention)
    hook = module.register_forward_pre_hook(of_source if cross else of_itself)
    try:
        yield record
    finally:
        hook.remove()


def _self_weights(
    attention: Attention,
    x: Tensor,
    rotation: tuple[Tensor, Tensor] | None,
    bias: Tensor | None,
    query: int,
) -> Tensor:
    queries, key, _ = attention.project(x, rotation)
    row = _row_of(bias, query)
    if row is None:  # what the fused product masks by itself
        seen = visible(
            distances(x.shape[1], x.shape[1], x.device)[query], attention.causal, attention.window
        )
        row = torch.zeros(seen.shape, device=x.device).masked_fill(~seen, -torch.inf)
    return _weights(queries[:, :, query : query + 1], key, row, attention.scale)


def _row_of(bias: Tensor | None, query: int) -> Tensor | None:
    """Return a query's row, [heads or 1, 1, seen], of a bias [1, heads or 1, time or 1, seen]."""
    if bias is None:
        return None
    at = query if bias.shape[2] > 1 else 0
    return bias[0, :, at : at + 1].float()


def _weights(query: Tensor, key: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """Return softmax(q kᵀ · scale + bias), float32 [heads, seen] (Vaswani et al. 2017).

    query [1, heads, 1, head]; key [1, kv_heads, seen, head], shared by heads side by side.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query[0].float() @ key[0].float().mT * scale  # [heads, 1, seen]
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1)[:, 0]
