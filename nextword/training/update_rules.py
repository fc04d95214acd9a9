"""Update rules that PyTorch lacks: Muon, and SGD for weights that are spread over ranks.

Both leave weights and state as they are where `found_inf` [scalar tensor], which PyTorch's own
fused optimizers know too, is 1: nobody has to wait until a device knows whether a step is finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from nextword.training.owners import Owners, Shape, local
from nextword.training.plain_optimizers import PlainOptimizer

# Quintic Newton–Schulz coefficients, one triple an iteration, from "The Polar Express"
# (Amsel et al. 2025): each is the best quintic for the spectrum the one before it leaves.
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
AT_ONCE = 1 << 22  # numbers that are orthogonalised together: their copies take memory
WIDE = 1.7  # columns a row, from which the Gram matrix is cheaper to iterate than the matrix
ADAMW_SHARE_OF_RMS = 0.2  # Muon's update is scaled to AdamW's usual root mean square

Member = tuple[Tensor, dict[str, Any]]  # a parameter and its group


@torch.no_grad()
def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the nearest semi-orthogonal matrices, about: singular values go to 1.

    `matrices` are [n, rows, columns]; the products are computed, and returned, in `dtype`.
    """
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-6)
    if x.shape[-1] >= WIDE * x.shape[-2] and dtype.itemsize >= 4:
        x = _through_gram(x)
    else:
        for a, b, c in POLAR_EXPRESS:
            gram = x @ x.mT
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def _through_gram(x: Tensor) -> Tensor:
    """Compute the same of wide matrices: all factors are polynomials of x xᵀ, so that they are
    multiplied up among themselves, [rows, rows], and x is multiplied once. In bf16 the Gram
    matrix's small eigenvalues would be noise that grows."""
    gram = x @ x.mT
    polynomial = product = _polynomial(gram, *POLAR_EXPRESS[0])
    for coefficients in POLAR_EXPRESS[1:]:
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram, *coefficients)
        product = polynomial @ product
    return product @ x


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """Return a + b·gram + c·gram², [n, rows, rows]."""
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
    return polynomial


class Muon(PlainOptimizer):
    """Momentum whose direction is orthogonalised, for weight matrices (Jordan et al. 2024).

    The update has the root mean square of an AdamW update ("Muon is Scalable for LLM Training",
    Liu et al. 2025), so that both take the same learning rate. A group's `tile` says into parts of
    how many rows and columns its matrices are cut first; each is orthogonalised by itself. Of
    several ranks each orthogonalises the matrices that it owns. `dtype` is the type to
    orthogonalise in: what the machine multiplies fastest.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
        ranks: int = 1,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.found_inf: Tensor | None = None
        self._dtype, self._ranks = dtype, ranks

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        members = [
            (parameter, group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if self._ranks > 1 and members:  # who owns what is decided over all of them
            self._update(members)
            return
        for some in _within_size(members, AT_ONCE):
            self._update(some)

    def _update(self, members: list[Member]) -> None:
        directions = [self._direction(parameter, group) for parameter, group in members]
        tiles = [_tile(parameter, group) for parameter, group in members]
        if self._ranks == 1:
            updates = orthogonalize_tiles(directions, tiles, self._dtype)
        else:
            owners = Owners([parameter for parameter, _ in members], self._ranks)
            owned = [tiles[number] for number in owners.mine]
            made = orthogonalize_tiles(owners.collect(directions), owned, self._dtype)
            updates = owners.hand_out(made, directions[0].new_empty(0, dtype=self._dtype))
        for (parameter, group), (rows, columns), update in zip(
            members, tiles, updates, strict=True
        ):
            weight = local(parameter)
            shrinking = group["lr"] * group["weight_decay"]
            weight.mul_(_unless(self.found_inf, 1 - shrinking, 1.0))
            if self.found_inf is not None:
                update.masked_fill_(self.found_inf > 0, 0.0)
            scale = ADAMW_SHARE_OF_RMS * max(rows, columns) ** 0.5
            weight.add_(update.to(weight.dtype), alpha=-group["lr"] * scale)

    def _direction(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Add a gradient to the momentum; return this rank's part of the direction to go."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum, gradient = local(state["momentum"]), local(gradient)
        if self.found_inf is not None:  # its own mean in place of the gradient: nothing moves
            gradient = torch.where(self.found_inf > 0, momentum, gradient)
        momentum.lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(momentum, group["momentum"])  # Nesterov


def _tile(parameter: Tensor, group: dict[str, Any]) -> Shape:
    """Return the rows and columns of a parameter's tiles: all of it, where its group says none."""
    rows, columns = group.get("tile") or parameter.shape
    return int(rows), int(columns)


def orthogonalize_tiles(
    matrices: list[Tensor], tiles: list[Shape], dtype: torch.dtype
) -> list[Tensor]:
    """Orthogonalise each tile of each matrix, those of one shape together."""
    made = list(matrices)
    by_shape: dict[Shape, list[int]] = {}
    for number, tile in enumerate(tiles):
        by_shape.setdefault(tile, []).append(number)
    for (rows, columns), numbers in by_shape.items():
        cut = [  # each [rows of tiles, tiles in a row, rows, columns]
            made[number].unflatten(0, (-1, rows)).unflatten(2, (-1, columns)).transpose(1, 2)
            for number in numbers
        ]
        together = orthogonalize(torch.cat([part.flatten(0, 1) for part in cut]), dtype)
        counts = [part.shape[0] * part.shape[1] for part in cut]
        for number, part, own in zip(numbers, cut, together.split(counts), strict=True):
            whole = own.unflatten(0, part.shape[:2]).transpose(1, 2)
            made[number] = whole.reshape(matrices[number].shape)
    return made


class SGD(PlainOptimizer):
    """Gradient descent with momentum, as torch.optim.SGD."""

    def __init__(
        self, groups: Iterable[Any], lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                weight, gradient = local(parameter), local(parameter.grad)
                if self.found_inf is not None:
                    gradient = torch.where(self.found_inf > 0, 0.0, gradient)
                gradient = gradient.add(weight, alpha=group["weight_decay"])
                rate = _unless(self.found_inf, group["lr"], 0.0)
                if group["momentum"]:
                    state = self.state[parameter]
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(parameter)
                    velocity = local(state["momentum_buffer"])
                    moved = velocity * group["momentum"] + gradient
                    if self.found_inf is not None:
                        moved = torch.where(self.found_inf > 0, velocity, moved)
                    gradient = velocity.copy_(moved)
                weight.sub_(gradient * rate)


def _within_size(members: list[Member], most: int) -> Iterator[list[Member]]:
    """Cut the members, those of one shape beside each other, into parts of `most` numbers or of one
    member."""
    part: list[Member] = []
    for member in sorted(members, key=lambda member: tuple(member[0].shape)):
        if part and sum(parameter.numel() for parameter, _ in part) + member[0].numel() > most:
            yield part
            part = []
        part.append(member)
    if part:
        yield part


def _unless(found_inf: Tensor | None, value: float, otherwise: float) -> Tensor | float:
    """Return the value, but for a step that is left out the other one."""
    return value if found_inf is None else torch.where(found_inf > 0, otherwise, value)
