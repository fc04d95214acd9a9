"""Checkpoints of a model that is spread over ranks: each writes, hashes and reads its own parts.

    RUN/checkpoints/step-00001000/
        shard-00001-*.safetensors   what the first rank holds of weights, moments and averages
        ...                         (torch.distributed.checkpoint; headers say where parts lie)
        state.json, manifest.json   as in format 1; written by the main rank, the manifest last

All ranks have to see one file system. Nothing is pickled into a file.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from nextword.errors import UserError
from nextword.files import PARTIAL, put_in_place, sha256, sync, write_json
from nextword.training import checkpoint
from nextword.training.checkpoint import Checkpoint
from nextword.training.parallel import Group

Parts = dict[str, dict[str, Tensor]]


def save(
    folder: Path,
    point: Checkpoint,
    keep: int,
    group: Group,
    talk: distributed.ProcessGroup | None = None,
) -> None:
    """Write a checkpoint, whose tensors are this rank's parts, by all ranks together.

    They agree by way of `talk`, a gloo group that nobody else uses meanwhile. Raises UserError on
    every rank where one could not write; older checkpoints stay.
    """
    target = folder / checkpoint.name_of(point.step)
    aside = folder / f".{target.name}{PARTIAL}"
    flat = _flat(point.tensors)
    with checkpoint.saving(f"the checkpoint of step {point.step}", _bytes(flat), folder):
        if group.is_main:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        _agree({}, talk)
        try:
            writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
            dcp.save(flat, storage_writer=writer, process_group=talk)
        except CheckpointException as error:
            raise OSError(_first_line(error)) from None
        sums = _agree(hash_own_files(aside, group), talk)
        if group.is_main:
            write_json(aside / checkpoint.STATE, point.state)
            sums[checkpoint.STATE] = sha256(aside / checkpoint.STATE)
            checkpoint.write_manifest(aside, checkpoint.SPREAD, point.step, sums)
            put_in_place(aside, target)
            shutil.rmtree(aside, ignore_errors=True)  # now the old one
            checkpoint.prune(folder, keep)
        _agree({}, talk)


def load(folder: Path, template: Parts, talk: distributed.ProcessGroup | None = None) -> None:
    """Fill the tensors of a template, this rank's parts, from a checkpoint of any number of ranks.

    Raises UserError where it lacks some, or they have other shapes.
    """
    shapes = shapes_in(folder)
    flat = _flat(template)
    lacking = sorted(flat.keys() ^ shapes.keys())
    other = [name for name in flat.keys() & shapes.keys() if flat[name].shape != shapes[name]]
    if lacking or other:
        raise ValueError(f"it differs in {(lacking or sorted(other))[0]}")
    try:
        dcp.load(
            flat,
            storage_reader=HuggingFaceStorageReader(str(folder)),
            process_group=talk,
            no_dist=not distributed.is_initialized(),
        )
    except CheckpointException as error:
        raise UserError(f"cannot be read ({_first_line(error)})", where=folder) from None


def shapes_in(folder: Path) -> dict[str, torch.Size]:
    """Return the shape of each tensor of a checkpoint, by part and name: `model.norm.weight`."""
    found: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: torch.Size(tensor.size) for name, tensor in found.items()}


def _flat(parts: Parts) -> dict[str, Tensor]:
    """All tensors by part and name; single numbers as vectors of one, which can be cut."""
    return {
        f"{part}.{name}": tensor.view(1) if tensor.dim() == 0 else tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def _bytes(flat: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in flat.values())


def hash_own_files(aside: Path, group: Group) -> dict[str, str]:
    """Return the SHA-256 of the files that this rank takes care of, once they are on the disk."""
    files = sorted(aside.glob("*.safetensors"))[group.rank :: group.size]
    sums = {}
    for file in files:
        sync(file)
        sums[file.name] = sha256(file)
    return sums


def _agree(sums: dict[str, str], talk: distributed.ProcessGroup | None) -> dict[str, str]:
    """Return what all ranks have to say, once all have said it."""
    if not distributed.is_initialized():
        return sums
    heard: list[Any] = [None] * distributed.get_world_size(talk)
    distributed.all_gather_object(heard, sums, group=talk)
    return {name: digest for said in heard for name, digest in said.items()}


def _first_line(error: CheckpointException) -> str:
    """The first rank's trouble in a line."""
    return next((str(e[0]).splitlines()[0] for e in error.failures.values()), "unknown")
