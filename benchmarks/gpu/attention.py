"""Kinds of attention over packed documents: how fast each is, and whether they agree."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.section import NO_CUDA, Section, relative_error
from nextword.models.attention import distances, score_bias, visible
from nextword.models.packed_attention import PackedDocuments

ROUNDING = 0.02  # of bf16, by which two kinds may differ


@dataclass(frozen=True)
class Shape:
    batch: int
    heads: int
    kv_heads: int
    time: int
    head: int


SHAPES = {
    "124M": Shape(16, 12, 12, 1024, 64),
    "qwen3, shared keys": Shape(16, 16, 4, 1024, 64),
    "1.3B": Shape(8, 16, 16, 1024, 128),
    "long": Shape(2, 16, 16, 8192, 64),
}
TOY = {"124M": Shape(2, 2, 2, 128, 16), "qwen3, shared keys": Shape(2, 4, 2, 128, 16)}


def attention(section: Section) -> None:
    """Time each kind, forward, and forward and backward."""
    for name, shape in (TOY if section.small else SHAPES).items():
        if section.has_time(name, 1 if section.small else 15):
            _shape(section, name, shape)


def _shape(section: Section, name: str, shape: Shape) -> None:
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(
            shape.batch, heads, shape.time, shape.head, device=section.device, dtype=torch.bfloat16
        ).requires_grad_()
        for heads in (shape.heads, shape.kv_heads, shape.kv_heads)
    )
    # Documents of two fifths of a row on average, as in a store of short texts.
    begins = torch.rand(shape.batch, shape.time, device=section.device) < 2.5 / shape.time
    begins[:, 0] = True
    documents = begins.cumsum(1, dtype=torch.int32)
    shared = shape.heads != shape.kv_heads
    attend = F.scaled_dot_product_attention
    with section.part(f"{name}, SDPA is_causal"):
        causal = lambda: attend(query, key, value, is_causal=True, enable_gqa=shared)  # noqa: E731
        _measure(section, f"{name}, SDPA is_causal", causal, query, key, value)
    exact: Tensor | None = None
    bias = _bias(documents)
    with section.part(f"{name}, SDPA with the mask as now"):
        section.note(f"{name}, making the mask: ms", section.time(lambda: _bias(documents)))
        masked = lambda: attend(query, key, value, attn_mask=bias, enable_gqa=shared)  # noqa: E731
        exact = _measure(section, f"{name}, SDPA with the mask as now", masked, query, key, value)
    if shared:
        with section.part(f"{name}, SDPA with the mask, keys repeated"):
            groups = shape.heads // shape.kv_heads

            def repeated() -> Tensor:
                keys, values = (x.repeat_interleave(groups, 1) for x in (key, value))
                return attend(query, keys, values, attn_mask=bias)

            _measure(section, f"{name}, SDPA, keys repeated", repeated, query, key, value)
    with section.part(f"{name}, FlexAttention"):
        _flex(section, name, (query, key, value), documents, exact)
    with section.part(f"{name}, varlen"):
        _varlen(section, name, (query, key, value), begins, exact)


def _bias(documents: Tensor) -> Tensor:
    """The mask of a decoder on packed rows, as the Transformer makes it for all of its layers."""
    time = documents.shape[1]
    near = visible(distances(time, time, documents.device), causal=True)
    return score_bias(PackedDocuments(documents).dense() & near, torch.bfloat16)


def _measure(
    section: Section, name: str, call: Callable[[], Tensor], *inputs: Tensor, backward: bool = True
) -> Tensor:
    """Note the times of a kind; return what it computes."""
    section.note(f"{name}: forward ms", section.time(call))
    output = call()
    if backward:
        pull = torch.randn_like(output)
        with section.peak_memory(name):
            both = section.time(lambda: torch.autograd.grad(call(), inputs, pull))
        section.note(f"{name}: forward and backward ms", both)
    return output.detach()


def _agree(section: Section, name: str, found: Tensor, exact: Tensor | None) -> None:
    if exact is not None:
        error = relative_error(found, exact)
        section.check(f"{name} equals the mask as now", error <= ROUNDING, {"error": error})


def _flex(
    section: Section, name: str, inputs: tuple[Tensor, ...], documents: Tensor, exact: Tensor | None
) -> None:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    query, key, value = inputs if section.on_gpu else [x.detach() for x in inputs]
    batch, time, shared = *documents.shape, query.shape[1] != key.shape[1]

    def sees(row: Tensor, head: Tensor, at: Tensor, other: Tensor) -> Tensor:
        return (at >= other) & (documents[row, at] == documents[row, other])

    flex: Any = flex_attention
    make: Any = create_block_mask
    if section.on_gpu:
        flex = torch.compile(flex_attention, dynamic=False)
        make = torch.compile(create_block_mask, dynamic=False)
    else:
        section.note(f"{name}, FlexAttention compiled", NO_CUDA)

    def mask() -> Any:
        return make(sees, batch, None, time, time, device=str(section.device))

    blocks = mask()
    section.note(f"{name}, making the BlockMask: ms", section.time(mask))
    section.note(f"{name}, blocks left out", f"{blocks.sparsity():.0f}%")

    def call() -> Tensor:
        output: Tensor = flex(query, key, value, block_mask=blocks, enable_gqa=shared)
        return output

    label = f"{name}, FlexAttention"
    _agree(section, label, _measure(section, label, call, *inputs, backward=section.on_gpu), exact)


def _varlen(
    section: Section, name: str, inputs: tuple[Tensor, ...], begins: Tensor, exact: Tensor | None
) -> None:
    if not section.on_gpu:
        section.note(f"{name}, varlen", NO_CUDA)
        return
    try:
        from torch.nn.attention import varlen
    except ImportError:
        section.note(f"{name}, varlen", "skipped: this torch has none")
        return
    # [batch, heads, time, head] -> [batch · time, heads, head]
    query, key, value = (x.detach().transpose(1, 2).flatten(0, 1).contiguous() for x in inputs)
    rows = query.requires_grad_(), key.requires_grad_(), value.requires_grad_()
    starts = begins.flatten().nonzero().flatten()
    ends = starts.new_tensor([begins.numel()])
    bounds = torch.cat((starts, ends)).to(torch.int32)
    longest = int(bounds.diff().max())
    attend: Any = varlen.varlen_attn
    known = inspect.signature(attend).parameters  # which differ between versions of PyTorch
    options: dict[str, Any] = {"window_size": (-1, 0)}
    if "is_causal" in known:
        options = {"is_causal": True}
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" not in known:
            section.note(f"{name}, varlen", "skipped: this torch's takes no shared keys")
            return
        options["enable_gqa"] = True

    def call() -> Tensor:
        output: Tensor = attend(*rows, bounds, bounds, longest, longest, **options)
        return output

    found = _measure(section, f"{name}, varlen", call, *rows)
    batch, heads, time, head = inputs[0].shape
    _agree(section, f"{name}, varlen", found.view(batch, time, heads, head).transpose(1, 2), exact)
