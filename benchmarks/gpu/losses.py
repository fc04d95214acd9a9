"""Cross-entropy of the vocabulary: nextword's own, in chunks of several sizes and compiled, beside
PyTorch's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu.models import PADDED, VOCABULARY
from gpu.section import NO_CUDA, Section, relative_error
from nextword.objectives import cross_entropy

CHUNKS = (26, 28, 29, 30)  # powers of two of logits
ROUNDING = 0.02  # of bf16, in the gradient
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def loss(section: Section) -> None:
    """Time the loss and its gradients for a micro-batch of GPT-2 124M."""
    for vocabulary in (257,) if section.small else (VOCABULARY, PADDED):
        torch.manual_seed(0)
        tokens, width = (64, 32) if section.small else (65_536, 768)
        hidden = torch.randn(tokens, width, device=section.device, dtype=torch.bfloat16)
        weight = torch.randn(vocabulary, width, device=section.device) * 0.02
        targets = torch.randint(vocabulary, (tokens,), device=section.device)
        _kinds(section, vocabulary, (hidden.requires_grad_(), weight.requires_grad_(), targets))


def _kinds(section: Section, vocabulary: int, inputs: Any) -> None:
    ours = cross_entropy.linear_cross_entropy
    exact: tuple[Tensor, ...] | None = None
    for power in CHUNKS:
        with section.part(name := f"{vocabulary}, ours, 2^{power} logits"), _chunks_of(power):
            found = _measure(section, name, ours, inputs)
            exact = found if exact is None else exact
            _agree(section, name, found, exact)
    kinds: dict[str, tuple[Loss, int]] = {f"{vocabulary}, F.cross_entropy": (_plain, CHUNKS[0])}
    if section.on_gpu:
        for power in CHUNKS[1:]:
            kinds[f"{vocabulary}, ours, its losses compiled, 2^{power} logits"] = ours, power
        compiled: Any = torch.compile(_plain, dynamic=False)
        for power in CHUNKS[1:]:
            chunked = _chunked(compiled, 1 << power)
            kinds[f"{vocabulary}, compiled, made anew backward, 2^{power} logits"] = chunked, power
        kinds[f"{vocabulary}, F.cross_entropy compiled"] = compiled, CHUNKS[0]
    else:
        section.note(f"{vocabulary}, compiled", NO_CUDA)
    for name, (call, power) in kinds.items():
        if section.has_time(name, 1 if section.small else 6):
            with section.part(name), _chunks_of(power, compiled="its losses" in name):
                _agree(section, name, _measure(section, name, call, inputs), exact)


@contextlib.contextmanager
def _chunks_of(power: int, compiled: bool = False) -> Iterator[None]:
    """Let nextword's own loss take so many logits at once, and compile all but its products."""
    before = (
        cross_entropy.CHUNK_LOGITS,
        cross_entropy.GPU_CHUNK_LOGITS,
        cross_entropy.can_compile,
    )
    cross_entropy.CHUNK_LOGITS = cross_entropy.GPU_CHUNK_LOGITS = 1 << power
    allowed: Any = lambda device: compiled  # noqa: E731
    cross_entropy.can_compile = allowed
    try:
        yield
    finally:
        (
            cross_entropy.CHUNK_LOGITS,
            cross_entropy.GPU_CHUNK_LOGITS,
            cross_entropy.can_compile,
        ) = before


def _plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits at once."""
    logits = F.linear(hidden, weight.to(hidden.dtype)).float()
    return F.cross_entropy(logits, targets, reduction="sum")


def _chunked(part: Loss, logits: int) -> Loss:
    """A chunk at a time, each computed again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, logits // len(weight))
        nats = hidden.new_zeros((), dtype=torch.float32)
        for some, ids in zip(hidden.split(rows), targets.split(rows), strict=True):
            nats = nats + checkpoint(part, some, weight, ids, use_reentrant=False)
        return nats

    return chunked


def _measure(section: Section, name: str, call: Loss, inputs: Any) -> tuple[Tensor, ...]:
    """Note the time and the memory; return the loss and its gradients."""
    hidden, weight, _ = inputs
    mean = 1 / len(hidden)

    def gradients() -> tuple[Tensor, ...]:
        nats = call(*inputs)
        return nats.detach(), *torch.autograd.grad(nats * mean, (hidden, weight))

    with section.peak_memory(name):
        section.note(f"{name}: ms", section.time(gradients, 3))
    return gradients()


def _agree(section: Section, name: str, found: Any, exact: Any) -> None:
    if exact is None or found is exact:
        return
    errors = [relative_error(a, b) for a, b in zip(found, exact, strict=True)]
    section.check(f"{name} equals ours", max(errors) <= ROUNDING, {"errors": errors})
