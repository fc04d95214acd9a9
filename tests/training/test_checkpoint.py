"""A damaged checkpoint is named and the one before it is used; a save is all or nothing."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
import torch

from nextword.errors import UserError
from nextword.training import checkpoint
from nextword.training.checkpoint import Checkpoint


def saved(folder: Path, step: int) -> Path:
    tensors = {
        "model": {"weight": torch.full((64, 64), float(step))},
        "optimizer": {"muon.0.momentum": torch.randn(64, 64)},
    }
    return checkpoint.save(folder, Checkpoint(step, tensors, {"step": step}), keep=3)


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    saved(tmp_path, 2)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and found.step == 2
    assert torch.equal(found.tensors["model"]["weight"], torch.full((64, 64), 2.0))


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        saved(tmp_path, step)
    assert [path.name for path in checkpoint.existing(tmp_path)] == [
        f"step-{step:08d}" for step in (3, 4, 5)
    ]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "zero", "empty", "remove", "swap"])
def test_damage_is_found_and_the_one_before_used(
    tmp_path: Path, name: str, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, 1)
    file = saved(tmp_path, 2) / name
    content = bytearray(file.read_bytes())
    draw = random.Random(f"{name}{harm}")
    if harm == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    elif harm == "truncate":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif harm == "zero":
        begin = max(0, len(content) - 4096)
        content[begin:] = bytes(len(content) - begin)
        file.write_bytes(content)
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "remove":
        file.unlink()
    else:
        file.write_bytes((tmp_path / "step-00000001" / name).read_bytes())
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and found.step == 1
    assert name in capsys.readouterr().err


def test_none_sound_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    (saved(tmp_path, 1) / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="no checkpoint in it is sound"):
        checkpoint.load_newest(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename", "replace"])
def test_a_full_disk_leaves_the_one_before_and_says_what_is_needed(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        try:
            saved(tmp_path, 2)
        except UserError as error:
            assert "bytes" in str(error) and "--resume" in str(error)
    found = checkpoint.load_newest(tmp_path)
    assert found is not None and found.step in (1, 2)
