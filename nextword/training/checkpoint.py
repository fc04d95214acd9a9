"""A checkpoint is one atomic, hashed unit: all of it is on the disk, or none of it is.

    RUN/checkpoints/step-00001000/
        model.safetensors       fp32 master weights
        optimizer.safetensors   moments and momenta
        average.safetensors     the weights' moving average, where there is one
        state.json              step, schedule, best so far, length of metrics.jsonl
        manifest.json           SHA-256 and size of each file above; written last

That is format 1. Where ranks hold parts of the weights it is format 2, of which each rank writes a
file of its own (spread_checkpoint.py); any number of ranks can go on from either.

It is filled aside, synced and renamed. Loading checks every sum; a damaged checkpoint is named and
the one before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nextword.errors import UserError
from nextword.files import PARTIAL, read_json, sha256, whole_directory, write_json
from nextword.terminal import warn
from nextword.training.parallel import Group

ALONE = Group()
NAME = re.compile(r"step-(\d{8,})")
WHOLE, SPREAD = 1, 2  # formats
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}
MANIFEST = "manifest.json"
STATE = "state.json"
REQUIRED = {WHOLE: {STATE, "model.safetensors", "optimizer.safetensors"}, SPREAD: {STATE}}


@dataclass
class Checkpoint:
    """`tensors` by part ("model", "optimizer", ...), `state` is plain JSON. The tensors of format 2
    are still in its `folder` where it is loaded: who knows its own parts reads those alone."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    folder: Path | None = None


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint under `folder` and delete all but the newest `keep`.

    Raises UserError with the bytes needed when the disk is full; older checkpoints stay.
    """
    target = folder / name_of(checkpoint.step)
    needed = sum(t.nbytes for part in checkpoint.tensors.values() for t in part.values())
    with saving(f"the checkpoint of step {checkpoint.step}", needed, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with whole_directory(target) as aside:
            _write(aside, checkpoint)
    prune(folder, keep)
    return target


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for old in existing(folder)[:-keep]:
        remove(old)


def name_of(step: Any) -> str:
    return f"step-{step:08d}" if type(step) is int else ""


def _write(aside: Path, checkpoint: Checkpoint) -> None:
    sums = {}
    for stem, tensors in checkpoint.tensors.items():
        sums[f"{stem}.safetensors"] = _write_tensors(aside / f"{stem}.safetensors", tensors)
    write_json(aside / STATE, checkpoint.state)
    sums[STATE] = sha256(aside / STATE)
    write_manifest(aside, WHOLE, checkpoint.step, sums)


def write_manifest(folder: Path, format: int, step: int, sums: dict[str, str]) -> None:
    """Write a checkpoint's last file; `sums` are the SHA-256 of all others by name."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in sums.items()
    }
    write_json(folder / MANIFEST, {"format": format, "step": step, "files": files})


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """A safetensors file, hashed on one core while it is written by another; its SHA-256."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        place = {"shape": list(tensor.shape), "data_offsets": [begin, end]}
        header[name] = {"dtype": DTYPES[tensor.dtype]} | place
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with open(path, "wb") as file, ThreadPoolExecutor(1) as hashing:
        for part in [len(text).to_bytes(8, "little") + text, *map(_bytes, tensors.values())]:
            hashed = hashing.submit(digest.update, part)
            file.write(part)
            hashed.result()  # a copy from another device is freed before the next is made
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    """The memory of a tensor, as a buffer."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


@contextlib.contextmanager
def saving(what: str, needed: int, folder: Path) -> Iterator[None]:
    """Turn a full or failing disk into a UserError that says how many bytes it takes."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        free = ""
        with contextlib.suppress(OSError):
            here = folder if folder.is_dir() else folder.parent
            free = f"; {shutil.disk_usage(here).free:,} are free"
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{what} was not saved: {reason}; it needs {needed:,} bytes{free}",
            where=folder,
            mend="free some space and run the same command with --resume",
        ) from None


def existing(folder: Path) -> list[Path]:
    """The checkpoints under a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))


def remove(path: Path) -> None:
    """Delete a checkpoint: renamed first, so that half of one never looks like a whole one.

    What cannot be deleted now is left for the next time: a run does not end for it.
    """
    doomed = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    try:
        path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        warn(f"{path}: an old checkpoint could not be deleted ({error.strerror})")


def load_newest(folder: Path, group: Group = ALONE) -> Checkpoint | None:
    """The newest checkpoint whose every sum is right; None where there is none at all.

    Of several ranks each hashes a part of the files, and all take the same checkpoint. Damaged ones
    are named in a warning; raises UserError when no sound one is left.
    """
    candidates = existing(folder)
    for path in reversed(candidates):
        found, damaged = None, 0
        try:
            verify(path, slice(group.rank, None, group.size))
            found = _read(path)
        except UserError as error:
            warn(f"{error}; using the checkpoint before it")
            damaged = 1
        if not group.total(damaged):
            return found
    if candidates:
        raise UserError(
            "no checkpoint in it is sound",
            where=folder,
            mend="start anew with another --out, or delete the folder to start from the first step",
        )
    return None


def load(path: Path) -> Checkpoint:
    """Read one checkpoint after checking each file's size and SHA-256 against its manifest."""
    verify(path)
    return _read(path)


def verify(path: Path, hashed: slice = slice(None)) -> None:
    """Raise UserError unless all files of a checkpoint are there, as long as its manifest says, and
    the `hashed` ones have its sums."""
    _, files = _manifest(path)
    for number, (name, (size, digest)) in enumerate(files.items()):
        file = path / name
        if not file.is_file() or file.is_symlink():
            raise UserError("is missing", where=file)
        if file.stat().st_size != size:
            raise UserError(
                f"has {file.stat().st_size:,} bytes, its manifest says {size:,}", where=file
            )
        if number in range(len(files))[hashed] and sha256(file) != digest:
            raise UserError("does not match the SHA-256 in its manifest", where=file)


def _read(path: Path) -> Checkpoint:
    format, files = _manifest(path)
    state = read_json(path / STATE)
    step = state.get("step") if isinstance(state, dict) else None
    if path.name != name_of(step):
        raise UserError(f"holds step {step}, which is not this one's", where=path / STATE)
    if format == SPREAD:
        return Checkpoint(state["step"], {}, state, path)
    try:
        tensors = {
            Path(name).stem: load_file(path / name)
            for name in files
            if name.endswith(".safetensors")
        }
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot be read ({error})", where=path) from None
    return Checkpoint(state["step"], tensors, state)


def _manifest(path: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    """A checkpoint's format, size and SHA-256 of each file. Raises UserError unless all is as
    written."""
    manifest = read_json(path / MANIFEST)
    known = isinstance(manifest, dict) and manifest.keys() == {"format", "step", "files"}
    format = manifest["format"] if known else None
    files = manifest["files"] if known else None
    required = REQUIRED.get(format, set()) if type(format) is int else set()
    if not isinstance(files, dict) or not files.keys() >= required:
        raise UserError("does not list the checkpoint's files", where=path / MANIFEST)
    if type(format) is not int or format not in REQUIRED or path.name != name_of(manifest["step"]):
        raise UserError(
            f"is of step {manifest['step']} in format {format}, "
            f"not of {path.name} in format {WHOLE} or {SPREAD}",
            where=path / MANIFEST,
        )
    found = {}
    for name, entry in files.items():
        whole = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}
        size, digest = (entry["bytes"], entry["sha256"]) if whole else (None, None)
        if Path(name).name != name or type(size) is not int or not isinstance(digest, str):
            raise UserError(f"has no size and SHA-256 for the file {name!r}", where=path / MANIFEST)
        found[name] = size, digest
    return format, found
