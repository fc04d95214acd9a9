"""A checkpoint is one atomic, hashed unit: all of it is on the disk, or none of it is.

    RUN/checkpoints/step-00001000/
        model.safetensors       fp32 master weights
        optimizer.safetensors   moments and momenta
        average.safetensors     the weights' moving average, where there is one
        state.json              step, schedule, best so far, length of metrics.jsonl
        manifest.json           SHA-256 and size of each file above; written last

It is filled aside, synced and renamed. Loading checks every sum; a damaged checkpoint is named and
the one before it is used.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from nextword.errors import UserError
from nextword.files import PARTIAL, read_json, sha256, whole_directory, write_json
from nextword.terminal import warn

NAME = re.compile(r"step-(\d{8,})")
FORMAT = 1


@dataclass
class Checkpoint:
    """`tensors` by file stem ("model", "optimizer", ...), `state` is plain JSON."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint under `folder` and delete all but the newest `keep`.

    Raises UserError with the bytes needed when the disk is full; older checkpoints stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    try:
        with whole_directory(target) as aside:
            for stem, tensors in checkpoint.tensors.items():
                whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
                save_file(whole, aside / f"{stem}.safetensors")
            write_json(aside / "state.json", checkpoint.state)
            files = sorted(path for path in aside.iterdir())
            write_json(
                aside / "manifest.json",
                {
                    "format": FORMAT,
                    "step": checkpoint.step,
                    "files": {
                        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
                        for path in files
                    },
                },
            )
    except Exception as error:
        if not _is_disk_trouble(error):
            raise
        needed = sum(t.nbytes for part in checkpoint.tensors.values() for t in part.values())
        free = shutil.disk_usage(folder).free
        raise UserError(
            f"the checkpoint of step {checkpoint.step} was not saved: it needs {needed:,} bytes, "
            f"{free:,} are free ({error})",
            where=folder,
            mend="free some space and run the same command with --resume",
        ) from None
    for old in existing(folder)[:-keep]:
        remove(old)
    return target


def _is_disk_trouble(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


def existing(folder: Path) -> list[Path]:
    """The checkpoints under a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))


def remove(path: Path) -> None:
    """Delete a checkpoint: renamed first, so that half of one never looks like a whole one."""
    doomed = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose every sum is right; None where there is none at all.

    Damaged ones are named in a warning; raises UserError when no sound one is left.
    """
    for leftover in folder.glob(f".step-*{PARTIAL}"):
        shutil.rmtree(leftover, ignore_errors=True)
    candidates = existing(folder)
    for path in reversed(candidates):
        try:
            return load(path)
        except UserError as error:
            warn(f"{error}; using the checkpoint before it")
    if candidates:
        raise UserError(
            "no checkpoint in it is sound",
            where=folder,
            mend="start anew with another --out, or delete the folder to start from the first step",
        )
    return None


def load(path: Path) -> Checkpoint:
    """Read one checkpoint after checking each file's size and SHA-256 against its manifest."""
    manifest = read_json(path / "manifest.json")
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not {"state.json", "model.safetensors"} <= files.keys():
        raise UserError("does not list the checkpoint's files", where=path / "manifest.json")
    for name, entry in files.items():
        file = path / name
        if file.name != name or not file.is_file() or file.is_symlink():
            raise UserError("is missing", where=file)
        if file.stat().st_size != entry.get("bytes"):
            raise UserError(
                f"has {file.stat().st_size:,} bytes, its manifest says {entry.get('bytes'):,}",
                where=file,
            )
        if sha256(file) != entry.get("sha256"):
            raise UserError("does not match the SHA-256 in its manifest", where=file)
    state = read_json(path / "state.json")
    if NAME.fullmatch(path.name) and state.get("step") != int(path.name.removeprefix("step-")):
        raise UserError(f"holds step {state.get('step')}, not this one", where=path)
    tensors = {
        Path(name).stem: load_file(path / name) for name in files if name.endswith(".safetensors")
    }
    return Checkpoint(int(state["step"]), tensors, state)
