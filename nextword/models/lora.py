"""Low-rank updates of a model's matrices (LoRA, Hu et al. 2021): y = x Wᵀ + alpha / rank · x Aᵀ Bᵀ.

W is frozen; A and B are learned. B is initially zero, so that training begins at the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.heads import HEAD_PARAMETERS
from nextword.models.layers import Linear

Targets = Literal["attention", "mlp", "all"]
Model = TypeVar("Model", bound=nn.Module)


class LowRankLinear(Linear):
    """A Linear with an update: `lora_a` [rank, inputs] and `lora_b` [outputs, rank] beside weight
    and bias, which keep their names. Dropout applies to the update's input."""

    def __init__(self, linear: Linear, rank: int, scale: float, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)
        outputs, inputs = linear.weight.shape
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(self.weight.new_zeros(rank, inputs))
        self.lora_b = nn.Parameter(self.weight.new_zeros(outputs, rank))
        self.scale, self.dropout = scale, dropout

    def forward(self, x: Tensor, rows: slice | None = None) -> Tensor:
        dropped = F.dropout(x, self.dropout, self.training) if self.dropout else x
        low = F.linear(dropped, self.lora_a.to(x.dtype)) * self.scale  # [..., rank]
        high = self.lora_b if rows is None else self.lora_b[rows]
        return super().forward(x, rows) + F.linear(low, high.to(x.dtype))

    def update(self) -> Tensor:
        """Return what is added to the weight, [outputs, inputs]."""
        return self.lora_b.detach() @ self.lora_a.detach() * self.scale


def add_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: Targets = "all",
    seed: int = 0,
) -> None:
    """Add updates to the blocks' matrices, in place, and freeze all else but a new head.

    `targets` are the matrices of attention, of the feed-forward networks, or both. A is uniform
    within ±1 / √inputs, as in peft, from the seed alone. Raises UserError where the model has
    updates already.
    """
    if any(isinstance(module, LowRankLinear) for module in model.modules()):
        raise UserError("the model has low-rank updates already", mend="merge them first")
    generator = torch.Generator().manual_seed(seed)
    for name, linear in list(block_matrices(model, targets)):
        adapted = LowRankLinear(linear, rank, alpha / rank, dropout)
        bound = linear.weight.shape[1] ** -0.5
        drawn = torch.empty(adapted.lora_a.shape).uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            adapted.lora_a.copy_(drawn)
        model.set_submodule(name, adapted)
    freeze_all_but_updates(model)


def freeze_all_but_updates(model: nn.Module) -> None:
    """Train only the updates and a new head."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(HEAD_PARAMETERS))


def block_matrices(model: nn.Module, targets: Targets = "all") -> Iterator[tuple[str, Linear]]:
    """Yield the blocks' matrices by name."""
    for name, module in model.named_modules():
        if isinstance(module, Linear) and "blocks." in name:
            part = name.split(".")[-2]  # attention, cross (attention to a source) or mlp
            if targets in ("all", "attention" if part == "cross" else part):
                yield name, module


def low_rank_modules(model: nn.Module) -> dict[str, LowRankLinear]:
    """Return the matrices that have an update, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}


@torch.no_grad()
def merge_lora(model: Model) -> Model:
    """Return the model with its updates added to its matrices.

    It is a new model that shares all other parameters with `model`, which is unchanged; `model`
    itself where it has no updates.
    """
    adapted = low_rank_modules(model)
    if not adapted:
        return model
    merged = _with_same_parameters(model, {})
    for name, module in adapted.items():
        linear = Linear(1, 1, bias=False)
        linear.weight, linear.bias = nn.Parameter(module.weight + module.update()), module.bias
        merged.set_submodule(name, linear)
    return merged


def _with_same_parameters(module: Model, made: dict[int, Any]) -> Model:
    """Return a copy of a module, and of those in it, that has the same parameters.

    Not by copy.deepcopy, which a model that is spread over ranks refuses.
    """
    if id(module) not in made:
        other: Any = object.__new__(type(module))
        own = vars(module).items()
        other.__dict__ = {n: value.copy() if isinstance(value, dict) else value for n, value in own}
        made[id(module)] = other
        for name, part in module._modules.items():
            other._modules[name] = None if part is None else _with_same_parameters(part, made)
    return cast(Model, made[id(module)])


def count_trainable(model: nn.Module) -> tuple[int, int]:
    """Return the number of trainable parameters, and of all."""
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return trainable, sum(p.numel() for p in parameters)
