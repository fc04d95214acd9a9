"""Whatever happens to a checkpoint's bytes is found, the culprit named, and never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.altered import altered

from nextword.errors import UserError
from nextword.files import sha256, write_json
from nextword.training import checkpoint
from nextword.training.checkpoint import Checkpoint
from nextword.training.schedule import Schedule
from nextword.training.state import State

FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two checkpoints; returns the newer one."""
    for step in (1, 2):
        tensors = {
            "model": {"weight": torch.full((64, 64), float(step))},
            "optimizer": {"muon.0.momentum": torch.full((64, 64), -float(step))},
        }
        state = {**vars(State(Schedule("wsd", 9, 1, 3), step=step)), "metrics_bytes": 0}
        state["schedule"] = vars(state["schedule"])
        newest = checkpoint.save(tmp_path, Checkpoint(step, tensors, state), keep=3)
    return newest


def flip(content: bytearray, draw: random.Random) -> bytes:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def truncate(content: bytearray, draw: random.Random) -> bytes:
    return bytes(content[: draw.randrange(len(content))])


def zero_a_page(content: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(-(-len(content) // 4096)) * 4096
    end = min(len(content), begin + 4096)
    return bytes(content[:begin]) + bytes(end - begin) + bytes(content[end:])


@pytest.mark.parametrize(("harm", "times"), [(flip, 1000), (truncate, 200), (zero_a_page, 50)])
def test_damage_anywhere_is_found_and_its_file_named(
    two: Path, harm: Callable[[bytearray, random.Random], bytes], times: int
) -> None:
    draw = random.Random(harm.__name__)
    whole = {name: (two / name).read_bytes() for name in FILES}
    for number in range(times):
        name = FILES[number % len(FILES)]
        (two / name).write_bytes(harm(bytearray(whole[name]), draw))
        with pytest.raises(UserError) as found:
            checkpoint.load(two)
        assert name in str(found.value) or name == "manifest.json", found.value
        (two / name).write_bytes(whole[name])
    assert checkpoint.load(two).step == 2


@pytest.mark.parametrize("harm", ["missing", "empty", "linked", "swapped with the one before"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_the_saved_one_makes_the_one_before_be_used(
    two: Path, name: str, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = two / name, two.with_name("step-00000001") / name
    content, theirs = file.read_bytes(), other.read_bytes()
    if harm == "empty":
        file.write_bytes(b"")
    elif harm == "linked":
        file.unlink()
        elsewhere = two.parent / "elsewhere"
        elsewhere.write_bytes(content)
        file.symlink_to(elsewhere)
    elif harm == "missing":
        file.unlink()
    else:
        file.write_bytes(theirs)
    if (harm, name) == ("linked", "manifest.json"):
        return
    found = checkpoint.load_newest(two.parent)
    assert found is not None and found.step == 1
    assert "step-00000002" in capsys.readouterr().err


def test_a_checkpoint_under_the_name_of_another_is_refused(two: Path) -> None:
    shutil.copytree(two, two.with_name("step-00000003"))
    with pytest.raises(UserError, match="step 2"):
        checkpoint.load(two.with_name("step-00000003"))


def test_a_manifest_must_list_the_optimizer(two: Path) -> None:
    manifest = json.loads((two / "manifest.json").read_text())
    del manifest["files"]["optimizer.safetensors"]
    write_json(two / "manifest.json", manifest)
    with pytest.raises(UserError, match="does not list the checkpoint's files"):
        checkpoint.load(two)


def test_a_manifest_of_any_shape_is_a_sentence(two: Path) -> None:
    manifest = json.loads((two / "manifest.json").read_text())
    for changed in altered(manifest):
        (two / "manifest.json").write_text(json.dumps(changed))
        if changed != manifest:
            with pytest.raises(UserError):
                checkpoint.load(two)


def test_a_state_of_any_shape_is_a_sentence(two: Path) -> None:
    """Even where its sum is right: it may come from another version."""
    state = json.loads((two / "state.json").read_text())
    manifest = json.loads((two / "manifest.json").read_text())
    refused = 0
    for changed in altered(state):
        (two / "state.json").write_text(json.dumps(changed))
        size = (two / "state.json").stat().st_size
        entry = {"bytes": size, "sha256": sha256(two / "state.json")}
        files = manifest["files"] | {"state.json": entry}
        (two / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
        try:
            loaded = checkpoint.load(two)
            own = {name: value for name, value in loaded.state.items() if name != "metrics_bytes"}
            assert isinstance(State.from_json(own, two), State)
        except UserError:
            refused += 1
    assert refused > 200
