"""Cross-entropy of a linear head without ever holding [tokens, vocabulary] in fp32.

Logits are computed a chunk of tokens at a time in the activations' type, replaced in place by their
own gradient block by block (blocks fit the processor's cache), and dropped. The idea is that of Cut
Cross-Entropy (Wijmans et al. 2024) and Liger Kernel: the gradient of a loss that is a plain sum is
known in the forward pass, up to one scalar.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.tokens.loader import IGNORE_INDEX

CHUNK_LOGITS = 1 << 26  # logits held at once: 128 MiB in bf16
BLOCK_LOGITS = 1 << 19  # logits in full precision at once: 2 MiB, one core's part of the cache


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None
    ) -> Tensor:
        # hidden [tokens, width], weight [vocabulary, width], targets [tokens], bias [vocabulary]
        needs_gradient = hidden.requires_grad or weight.requires_grad
        head = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden) if needs_gradient else None
        # With no targets at all the gradient is 0, not absent: ranks wait for each other's.
        empty = weight.requires_grad and not len(hidden)
        weight_gradient = torch.zeros_like(weight) if empty else None
        bias_gradient = None if bias is None or not needs_gradient else torch.zeros_like(bias)
        added = None if bias is None else bias.to(hidden.dtype)
        nats = []
        rows = max(1, CHUNK_LOGITS // head.shape[0])
        for chunk in range(0, hidden.shape[0], rows):
            states = hidden[chunk : chunk + rows]
            logits = F.linear(states, head, added)  # [rows, vocabulary]
            nats.append(_losses_(logits, targets[chunk : chunk + rows], needs_gradient))
            if hidden_gradient is not None:  # the logits now hold their own gradient
                torch.mm(logits, head, out=hidden_gradient[chunk : chunk + rows])
                if bias_gradient is not None:
                    bias_gradient += logits.sum(0, dtype=bias_gradient.dtype)
                if not weight.requires_grad:  # a frozen head: a third of its work is saved
                    continue
                contribution = (logits.t() @ states).to(weight.dtype)
                if weight_gradient is None:
                    weight_gradient = contribution
                else:
                    weight_gradient += contribution
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        return torch.cat(nats) if nats else hidden.new_zeros(0, dtype=_accumulator(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient, bias_gradient = ctx.saved_tensors
        if hidden_gradient is None or not len(hidden_gradient):
            return hidden_gradient, weight_gradient, None, bias_gradient
        scale = gradients[0][:1]  # in place: they are large, and nobody else has them
        if not bool((gradients[0] == scale).all()):
            raise NotImplementedError("only a plain sum of these losses can be differentiated")
        for gradient in (hidden_gradient, weight_gradient, bias_gradient):
            if gradient is not None:
                gradient.mul_(scale)
        return hidden_gradient, weight_gradient, None, bias_gradient


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _losses_(logits: Tensor, targets: Tensor, make_gradient: bool) -> Tensor:
    """Return losses in nats, [rows]; with `make_gradient` overwrite logits by softmax − one-hot."""
    losses = torch.empty(len(logits), dtype=_accumulator(logits.dtype), device=logits.device)
    rows = max(1, BLOCK_LOGITS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows]
        ids = targets[start : start + rows, None]
        scores = block.to(losses.dtype)  # a copy, unless the logits are in full precision already
        normaliser = scores.logsumexp(dim=1, keepdim=True)
        losses[start : start + rows] = (normaliser - scores.gather(1, ids)).squeeze(1)
        if make_gradient:
            scores = scores.sub_(normaliser).exp_()
            scores.scatter_add_(1, ids, torch.full_like(normaliser, -1.0))
            block.copy_(scores)
    return losses


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the summed cross-entropy, in nats, of the tokens that have a target.

    hidden [..., width], weight [vocabulary, width], bias [vocabulary], targets [...] with IGNORE
    where there is none. The sum is in fp32 (fp64 for fp64 hidden states) and differentiable in
    hidden, weight and bias.
    """
    return per_token_cross_entropy(hidden, weight, targets, bias).sum()


def per_token_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the cross-entropies in nats of the tokens that have a target, [targets], in order.

    Only their plain sum can be differentiated: the gradient is computed for equal weights.
    """
    hidden, targets = hidden.flatten(0, -2), targets.flatten()
    is_target = targets != IGNORE_INDEX
    if not bool(is_target.all()):
        hidden, targets = hidden[is_target], targets[is_target]
    losses: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, bias)
    return losses
