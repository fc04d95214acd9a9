"""Cross-entropy of the vocabulary: nextword's own, in chunks of several sizes and compiled, beside
PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
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
    tokens = 64 if section.small else 65_536
    width = 32 if section.small else 768
    for vocabulary in (257,) if section.small else (VOCABULARY, PADDED):
        torch.manual_seed(0)
        hidden = torch.randn(tokens, width, device=section.device, dtype=torch.bfloat16)
        weight = torch.randn(vocabulary, width, device=section.device) * 0.02
        targets = torch.randint(vocabulary, (tokens,), device=section.device)
        inputs = hidden.requires_grad_(), weight.requires_grad_(), targets
        own = cross_entropy.CHUNK_LOGITS
        exact = None
        for power in CHUNKS:
            with section.part(name := f"{vocabulary}, ours, 2^{power} logits"):
                cross_entropy.CHUNK_LOGITS = 1 << power
                found = _measure(section, name, cross_entropy.linear_cross_entropy, inputs)
                exact = found if exact is None else exact
                _agree(section, name, found, exact)
        cross_entropy.CHUNK_LOGITS = own
        with section.part(name := f"{vocabulary}, F.cross_entropy"):
            _agree(section, name, _measure(section, name, _plain, inputs), exact)
        if not section.on_gpu:
            section.note(f"{vocabulary}, compiled", NO_CUDA)
            continue
        for power in CHUNKS[1:]:
            if section.has_time(name := f"{vocabulary}, compiled, 2^{power} logits", 8):
                with section.part(name):
                    compiled = torch.compile(_chunked(1 << power), dynamic=False)
                    _agree(section, name, _measure(section, name, compiled, inputs), exact)
        if section.has_time(name := f"{vocabulary}, F.cross_entropy compiled", 8):
            with section.part(name):
                plain = torch.compile(_plain, dynamic=False)
                _agree(section, name, _measure(section, name, plain, inputs), exact)


def _plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits at once."""
    logits = F.linear(hidden, weight.to(hidden.dtype)).float()
    return F.cross_entropy(logits, targets, reduction="sum")


def _chunked(logits: int) -> Loss:
    """PyTorch's, a chunk at a time, each computed again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, logits // len(weight))
        nats = hidden.new_zeros((), dtype=torch.float32)
        for some, ids in zip(hidden.split(rows), targets.split(rows), strict=True):
            nats = nats + checkpoint(_plain, some, weight, ids, use_reentrant=False)
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
