"""Whole runs whose weights are spread over ranks: validated, saved, and gone on with by others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nextword.settings import PrepareSettings
from nextword.tokens.prepare import prepare
from nextword.training import checkpoint

FLAGS = (
    "--layers 2 --width 32 --heads 2 --context-length 32 --batch-size 8 --micro-batch 2 --steps 6 "
    "--precision fp32 --eval-every 3 --eval-tokens 100 --save-every 3 --seed 5 --ema 0.5"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for number in range(30):
        text = " ".join(words[(number * place) % 10] for place in range(5, 40 + number))
        (folder / f"{number}.txt").write_text(text)
    settings = PrepareSettings(tokenizer="bytes", workers=1, deduplicate="exact")
    prepare([folder], folder / "store", settings)
    return folder / "store"


def train(count: int, run: Path, store: Path, *flags: str, check: bool = True) -> Any:
    command = ["-m", "nextword.cli.main", "pretrain", str(store), *FLAGS.split(), *flags]
    command += ["--out", str(run)]
    if count > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command = [*launcher, *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, timeout=300, env=environment, text=True
    )
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


def validations(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["kind"] == "validation"]


def test_a_spread_run_is_the_run_of_one_process_and_others_go_on_with_it(
    store: Path, tmp_path: Path
) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    train(1, alone, store)
    train(2, spread, store, "--shard", "all")
    for mine, theirs in zip(validations(spread), validations(alone), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    model = load_file(spread / "model" / "model.safetensors")
    for name, weight in load_file(alone / "model" / "model.safetensors").items():
        assert torch.allclose(model[name], weight, atol=1e-4), name
    saved = spread / "checkpoints" / "step-00000006"
    shards = sorted(file.name for file in saved.glob("*.safetensors"))
    assert [name[:11] for name in shards] == ["shard-00001", "shard-00002"]
    assert not [file for file in saved.iterdir() if file.suffix not in (".safetensors", ".json")]
    whole = {name: load_file(saved / name) for name in shards}
    # What one process saved goes on in parts,
    other = tmp_path / "from one"
    shutil.copytree(alone, other)
    shutil.rmtree(other / "checkpoints" / "step-00000006")
    train(2, other, store, "--resume", "--shard", "all")
    kept = load_file(other / "model" / "model.safetensors")
    assert all(torch.allclose(kept[name], model[name], atol=1e-4) for name in model)
    # and what two saved: by two to the same bits, by one and by four to the same weights.
    shutil.rmtree(saved)
    for count in (1, 4):
        other = tmp_path / str(count)
        shutil.copytree(spread, other)
        sharding = "none" if count == 1 else "all"
        train(count, other, store, "--resume", "--shard", sharding)
        kept = load_file(other / "model" / "model.safetensors")
        assert all(torch.allclose(kept[name], model[name], atol=1e-4) for name in model)
    train(2, spread, store, "--resume", "--shard", "all")
    for name in shards:
        again = load_file(saved / name)
        assert again.keys() == whole[name].keys()
        assert all(torch.equal(again[key], tensor) for key, tensor in whole[name].items())


def test_a_damaged_part_is_found_and_the_checkpoint_before_it_used(
    store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(2, run, store, "--shard", "all")
    part = sorted((run / "checkpoints" / "step-00000006").glob("shard-00002*"))[0]
    content = bytearray(part.read_bytes())
    content[-3] ^= 1
    part.write_bytes(content)
    done = train(2, run, store, "--resume", "--shard", "all")
    said = " ".join(done.stderr.split())
    assert part.name in said and "does not match the SHA-256" in said
    assert "Going on from step 3" in said
    checkpoint.verify(run / "checkpoints" / "step-00000006")  # written anew in its place


SAVING = [*FLAGS.split(), "--shard", "all", "--resume", "--steps", "12", "--save-every", "2"]


@pytest.mark.slow(cases=50)
def test_fifty_ranks_killed_inside_saves_lose_nothing(store: Path, tmp_path: Path) -> None:
    helper = str(Path(__file__).with_name("spread_kills.py"))
    done = subprocess.run(
        [sys.executable, helper, "kills", "50", str(tmp_path), "pretrain", str(store), *SAVING],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert sum(found["killed"].values()) == 50 and min(found["killed"].values()) >= 5


@pytest.mark.slow
def test_torchrun_starts_ranks_again_and_they_go_on(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--max-restarts=1"]
    launcher += ["--nproc-per-node=2", str(Path(__file__).with_name("spread_kills.py"))]
    command = ["at", "before the manifest", "0", "2", "pretrain", str(store), *SAVING]
    done = subprocess.run(
        [sys.executable, *launcher, *command, "--out", str(run)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert checkpoint.existing(run / "checkpoints")[-1].name == "step-00000012"
