"""Matrices dealt to ranks: each has one owner, which gets the whole of it and hands out what it
makes of it. Ranks hold either all of every matrix (DDP) or some of its rows (FSDP2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Shape = tuple[int, int]  # rows, columns


def is_part(tensor: object) -> TypeGuard[DTensor]:
    """Return whether ranks hold parts of a tensor: whether it is a DTensor, whose module takes a
    second to import and is not needed by one process."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor, which shares its memory; all of it where it is whole."""
    return tensor.to_local() if is_part(tensor) else tensor


def like(whole: Tensor, part: Tensor | None) -> Tensor:
    """Return this rank's part of a whole tensor, cut as another one is."""
    if part is None or not is_part(part):
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh = part.device_mesh
    moved = whole.to(part.device)
    return distribute_tensor(moved, mesh, part.placements, src_data_rank=None)


def deal(shapes: Sequence[Shape], ranks: int) -> list[int]:
    """Return the owner of each matrix: the largest are dealt first, each to whoever has least.

    Matrices of one shape go around evenly. The work counted is that of orthogonalising.
    """
    work = [rows * columns * min(rows, columns) for rows, columns in shapes]
    owners, load = [0] * len(shapes), [0] * ranks
    for index in sorted(range(len(shapes)), key=lambda index: (-work[index], index)):
        owners[index] = min(range(ranks), key=lambda rank: (load[rank], rank))
        load[owners[index]] += work[index]
    return owners


def row_counts(rows: int, ranks: int) -> list[int]:
    """Return how many rows of a matrix each rank holds, cut as torch.chunk does."""
    most = -(-rows // ranks)
    return [min(most, max(0, rows - rank * most)) for rank in range(ranks)]


class Owners:
    """Who owns which of some matrices, and the exchange between owners and the others."""

    def __init__(self, matrices: Sequence[Tensor], ranks: int) -> None:
        """`ranks` hold all of every matrix, unless the matrices are DTensors: then their mesh says
        who holds which rows, and each group of ranks that holds a whole model has owners of its
        own."""
        first = matrices[0]
        self.sharded = is_part(first)
        self.shapes: list[Shape] = [(len(m), m.shape[1]) for m in matrices]
        self.ranks, self.rank, self._group = ranks, 0, None
        if is_part(first):
            mesh = first.device_mesh
            at = next(n for n, placed in enumerate(first.placements) if placed.is_shard())
            self._group, self.ranks = mesh.get_group(at), mesh.size(at)
            self.rank = mesh.get_local_rank(at)
        elif ranks > 1:
            self.rank = distributed.get_rank()
        self.owners = deal(self.shapes, self.ranks)
        self.mine = [n for n, owner in enumerate(self.owners) if owner == self.rank]
        self._rows = [row_counts(rows, self.ranks) for rows, _ in self.shapes]

    def rows(self, index: int) -> slice:
        """Return which rows of a matrix this rank holds."""
        if not self.sharded:
            return slice(0, self.shapes[index][0])
        begin = sum(self._rows[index][: self.rank])
        return slice(begin, begin + self._rows[index][self.rank])

    def collect(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return the whole of each matrix that this rank owns, given its part of every one."""
        if not self.sharded:
            return [parts[index] for index in self.mine]
        return self._from_ranks(self._exchange([self._of(rank, parts) for rank in self._all]))

    def hand_out(self, made: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        """Return this rank's part of what the owners made of every matrix, in their order.

        `made` are this rank's own, whole; `like` is a tensor of the type that all of them have.
        """
        if self.sharded:
            cut = [
                [m.split(self._rows[n])[rank] for n, m in zip(self.mine, made, strict=True)]
                for rank in self._all
            ]
            received = self._exchange([_flat(part, like) for part in cut], to_owners=False)
        else:
            received = self._gather(_flat(made, like))
        parts: list[Tensor] = [like] * len(self.shapes)
        for owner, numbers in enumerate(received):
            owned = [n for n, other in enumerate(self.owners) if other == owner]
            rows = [self.rows(n) for n in owned]
            shapes = [
                (r.stop - r.start, self.shapes[n][1]) for n, r in zip(owned, rows, strict=True)
            ]
            for index, part in zip(owned, _cut(numbers, shapes), strict=True):
                parts[index] = part
        return parts

    @property
    def _all(self) -> range:
        return range(self.ranks)

    def _of(self, owner: int, parts: Sequence[Tensor]) -> Tensor:
        """This rank's rows of all that another rank owns, one after another."""
        owned = [part for part, who in zip(parts, self.owners, strict=True) if who == owner]
        return _flat(owned, parts[0])

    def _from_ranks(self, received: list[Tensor]) -> list[Tensor]:
        """The matrices of this rank, of the rows that each rank sent."""
        pieces = [
            _cut(numbers, [(self._rows[n][rank], self.shapes[n][1]) for n in self.mine])
            for rank, numbers in enumerate(received)
        ]
        return [torch.cat(rows) for rows in zip(*pieces, strict=True)]

    def _exchange(self, sent: list[Tensor], to_owners: bool = True) -> list[Tensor]:
        """Send a vector to each rank; return what came from each."""
        if to_owners:
            sizes = [
                sum(self._rows[n][rank] * self.shapes[n][1] for n in self.mine)
                for rank in self._all
            ]
        else:
            sizes = [0] * self.ranks
            for n, owner in enumerate(self.owners):
                sizes[owner] += self._rows[n][self.rank] * self.shapes[n][1]
        received = sent[0].new_empty(sum(sizes))
        lengths = [len(vector) for vector in sent]
        distributed.all_to_all_single(received, torch.cat(sent), sizes, lengths, self._group)
        return list(received.split(sizes))

    def _gather(self, own: Tensor) -> list[Tensor]:
        """Return every rank's vector; they are padded to one length on their way."""
        sizes = [0] * self.ranks
        for (rows, columns), owner in zip(self.shapes, self.owners, strict=True):
            sizes[owner] += rows * columns
        padded = own.new_zeros(max(sizes))
        padded[: len(own)] = own
        gathered = own.new_empty(self.ranks * max(sizes))
        distributed.all_gather_into_tensor(gathered, padded)
        vectors = gathered.split(max(sizes))
        return [vector[:size] for vector, size in zip(vectors, sizes, strict=True)]


def _flat(matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([matrix.reshape(-1) for matrix in matrices]) if matrices else like.new_empty(0)


def _cut(numbers: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    pieces = numbers.split([rows * columns for rows, columns in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
