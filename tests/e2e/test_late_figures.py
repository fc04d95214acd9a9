"""As on a GPU, here on the CPU: a step's figures are read when the next one is under way, and
checkpoints are written beside training. A run is the same to the last bit."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.errors import UserError
from nextword.files import sha256
from nextword.training import checkpoint, loop, trainer
from nextword.training.background import Saver
from nextword.verbs import pretrain_run
from nextword.verbs.pretrain import RunSummary, run_pretraining

SETTINGS: dict[str, Any] = {
    **{"layers": 2, "width": 32, "heads": 2, "context_length": 32, "precision": "fp32"},
    **{"batch_size": 8, "micro_batch": 4, "steps": 12, "eval_every": 4, "sample_every": 0},
    **{"save_every": 3, "tokenizer": "bytes", "deduplicate": "none", "workers": 1, "ema": 0.5},
}
LAST = "checkpoints/step-00000012"
TIMES = ("seconds", "validating", "saving", "resting", "began", "metrics_bytes", "unlogged_seconds")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "plays"
    folder.mkdir()
    for number in range(30):
        words = [f"word{(number * place) % 13}" for place in range(60)]
        (folder / f"{number}.txt").write_text(" ".join(words))
    return folder


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def aside(group: Any, *, spread: bool, aside: bool) -> Saver:
        return Saver(group, spread=spread, aside=True)

    monkeypatch.setattr(trainer.Trainer, "lag", 1)
    monkeypatch.setattr(trainer, "Saver", aside)


def train(data: Path, run: Path, **more: Any) -> RunSummary:
    return run_pretraining(data, run, **{**SETTINGS, **more})


def left(run: Path) -> dict[str, Any]:
    """What a run leaves, but for times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "tokens_per_second", "matmul_share")
    records = [
        {name: value for name, value in line.items() if name not in timed}
        for line in lines
        if line["kind"] in ("train", "validation")
    ]
    state = json.loads((run / LAST / "state.json").read_text())
    names = ("model", "optimizer", "average")
    sums = {name: sha256(run / LAST / f"{name}.safetensors") for name in names}
    return sums | {
        "records": records,
        "state": {name: value for name, value in state.items() if name not in TIMES},
    }


def test_a_run_is_the_same(text: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    train(text, tmp_path / "plain")
    request.getfixturevalue("as_on_a_gpu")
    train(text, tmp_path / "late")
    assert left(tmp_path / "late") == left(tmp_path / "plain")


def test_a_run_stopped_at_any_step_goes_on_the_same(
    text: Path, tmp_path: Path, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(text, tmp_path / "whole")
    real, steps = loop.train_step, 0

    def stopped(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps % 5 == 0:
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(loop, "train_step", stopped)
    run, lives = tmp_path / "run", 1
    while not train(text, run, resume=lives > 1).finished:
        lives += 1
    assert lives > 2
    assert left(run) == left(tmp_path / "whole")


def test_a_step_that_is_not_finite_is_named_and_leaves_the_checkpoint_before_it(
    text: Path, tmp_path: Path, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = loop.train_step, 0

    def spoiled(module: Any, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        hook = next(module.parameters()).register_hook(
            lambda gradient: gradient * (float("nan") if steps == 8 else 1.0)
        )
        step = real(module, *arguments)
        hook.remove()
        return step

    monkeypatch.setattr(loop, "train_step", spoiled)
    with pytest.raises(UserError, match=r"step 8: .*holds documents"):
        train(text, tmp_path / "run")
    assert max((tmp_path / "run" / "checkpoints").iterdir()).name == "step-00000006"
    steps = 100
    summary = train(text, tmp_path / "run", resume=True, on_nonfinite="skip")
    assert summary.finished and summary.steps == 12


def test_what_could_not_be_written_beside_training_is_said(
    text: Path, tmp_path: Path, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise UserError("the checkpoint was not saved: no space left")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(UserError, match="no space left"):
        train(text, tmp_path / "run")


@pytest.mark.parametrize(("asked", "steps"), [(None, [0, 12]), (1, list(range(13)))])
def test_slow_saves_are_rare_unless_they_were_asked_for(
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    steps: list[int],
) -> None:
    """A save that takes a fifth of a second has to be followed by twenty seconds of training."""
    real_save, real_decide, saved = checkpoint.save, pretrain_run.decide, list[int]()

    def decide(*arguments: Any) -> Any:
        plan, precision = real_decide(*arguments)
        return replace(plan, save_every=1), precision

    def save(folder: Path, point: checkpoint.Checkpoint, keep: int) -> None:
        time.sleep(0.2)
        saved.append(point.step)
        real_save(folder, point, keep)

    monkeypatch.setattr(pretrain_run, "decide", decide)
    monkeypatch.setattr(checkpoint, "save", save)
    train(text, tmp_path / "run", save_every=asked)
    assert saved == steps


def test_what_is_written_is_what_the_weights_were_when_it_was_asked_for(tmp_path: Path) -> None:
    """Training goes on and changes them meanwhile."""
    from nextword.training.parallel import Group

    weight = torch.zeros(1000, 1000)
    saver = Saver(Group(), spread=False, aside=True)
    tensors = {"model": {"weight": weight}, "optimizer": {}}
    saver.save(tmp_path, checkpoint.Checkpoint(1, tensors, {"step": 1}), keep=1)
    weight.fill_(1.0)
    saver.wait()
    (saved,) = checkpoint.existing(tmp_path)
    assert not checkpoint.load(saved).tensors["model"]["weight"].any()
