"""Cross-entropy of a linear head without ever holding [tokens, vocabulary] in fp32.

Logits are computed a chunk of tokens at a time in the activations' type, replaced in place by their
own gradient block by block (blocks fit the processor's cache), and dropped. The idea is that of Cut
Cross-Entropy (Wijmans et al. 2024) and Liger Kernel: the gradient of a loss that is a plain sum is
known in the forward pass, up to one scalar.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.models.packed_attention import can_compile

CHUNK_LOGITS = 1 << 26  # logits held at once: 128 MiB in bf16
GPU_CHUNK_LOGITS = 1 << 29  # a GPU wants large products
ALIGNED = {"cuda": 64}  # what a GPU's products want their sides to be multiples of
BLOCK_LOGITS = 1 << 19  # logits in full precision at once: 2 MiB, one core's part of the cache


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the sum of the cross-entropies, in nats: hidden [targets, width], weight [vocabulary,
    width], bias [vocabulary], targets [targets].

    It is in fp32 (fp64 for fp64 states), and differentiable in hidden, weight and bias.
    """
    nats: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, bias)
    return nats


@torch.no_grad()
def per_token_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the cross-entropies in nats, [targets], of the arguments of linear_cross_entropy."""
    head, added = _cast(weight, bias, hidden)
    rows = chunk_rows(len(head), head.device)
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([_losses_(F.linear(states, head, added), ids) for states, ids in chunks])


def chunk_rows(entries: int, device: torch.device) -> int:
    """Return of how many tokens the logits of so many entries are held at once."""
    return max(1, (GPU_CHUNK_LOGITS if device.type == "cuda" else CHUNK_LOGITS) // entries)


def _cast(weight: Tensor, bias: Tensor | None, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return a head in the type of the states, with rows added up to a multiple that the device
    multiplies fast; their bias is -infinity, so that they are no tokens."""
    entries, multiple = len(weight), ALIGNED.get(hidden.device.type, 1)
    more = -entries % multiple
    if not more:
        return weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
    head, added = (
        hidden.new_zeros(entries + more, weight.shape[1]),
        hidden.new_zeros(entries + more),
    )
    head[:entries] = weight
    if bias is not None:
        added[:entries] = bias
    added[entries:] = -torch.inf
    return head, added


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None
    ) -> Tensor:
        head, added = _cast(weight, bias, hidden)
        hidden_gradient = torch.empty_like(hidden)
        bias_gradient = None if bias is None else torch.zeros_like(bias)
        # With no targets at all the gradient is 0, not absent: ranks wait for each other's.
        weight_gradient = None if len(hidden) else torch.zeros_like(weight)
        nats = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        rows, entries = chunk_rows(len(head), head.device), len(weight)
        for chunk in range(0, len(hidden), rows):
            states = hidden[chunk : chunk + rows]
            logits = F.linear(states, head, added)  # [rows, vocabulary]
            nats += _losses_(logits, targets[chunk : chunk + rows], make_gradient=True).sum()
            # The logits now hold their own gradient.
            torch.mm(logits, head, out=hidden_gradient[chunk : chunk + rows])
            if bias_gradient is not None:
                bias_gradient += logits[:, :entries].sum(0, dtype=bias_gradient.dtype)
            if weight.requires_grad:  # without, a third of the work is saved
                part = (logits.t() @ states)[:entries]
                del logits  # the largest of all, before the gradient in full precision is made
                if weight_gradient is None:
                    weight_gradient = part.to(weight.dtype)
                else:
                    weight_gradient.add_(part)
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        return nats

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient, bias_gradient = ctx.saved_tensors
        for gradient in (hidden_gradient, weight_gradient, bias_gradient):
            if gradient is not None:
                gradient.mul_(gradients[0])  # in place: they are large, and nobody else has them
        return hidden_gradient, weight_gradient, None, bias_gradient


def _losses_(logits: Tensor, targets: Tensor, make_gradient: bool = False) -> Tensor:
    """Return losses in nats, [rows]; with `make_gradient` overwrite logits by softmax − one-hot."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    losses = torch.empty(len(logits), dtype=exact, device=logits.device)
    if logits.is_cuda:
        make = _kernel() if can_compile(logits.device) else losses_of_block_
        make(logits, targets[:, None], losses, make_gradient)
        return losses
    rows = max(1, BLOCK_LOGITS // logits.shape[1])
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        losses_of_block_(logits[part], targets[part, None], losses[part], make_gradient)
    return losses


def losses_of_block_(block: Tensor, ids: Tensor, losses: Tensor, make_gradient: bool) -> None:
    """Write the losses, [rows], of logits [rows, vocabulary] and targets [rows, 1]; with
    `make_gradient` also the gradient in the place of the logits."""
    scores = block.to(losses.dtype)
    odds = scores.softmax(dim=1)  # exponentials are dear: those of the gradient are the losses' too
    highest = scores.amax(dim=1, keepdim=True)
    normaliser = highest - odds.amax(dim=1, keepdim=True).log()
    losses.copy_((normaliser - scores.gather(1, ids)).squeeze(1))
    if make_gradient:
        block.copy_(odds.scatter_add_(1, ids, torch.full_like(highest, -1.0)))


def losses_in_one_pass_(block: Tensor, ids: Tensor, losses: Tensor, make_gradient: bool) -> None:
    """Do the same in a form to be compiled for a GPU: there each reading of a logit costs more than
    its exponential, and what scatters would have all of its operand in memory first."""
    scores = block.to(losses.dtype)
    normaliser = scores.logsumexp(dim=1, keepdim=True)
    losses.copy_((normaliser - scores.gather(1, ids)).squeeze(1))
    if make_gradient:
        is_target = torch.arange(block.shape[1], device=block.device) == ids
        block.copy_((scores - normaliser).exp() - is_target.to(losses.dtype))


@cache
def _kernel() -> Any:
    """Return `losses_in_one_pass_` as a kernel. The number of targets may differ from step to
    step."""
    return torch.compile(losses_in_one_pass_, dynamic=True)
