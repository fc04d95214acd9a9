"""What a run leaves, and what it refuses to go on with."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nextword import resources
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.files import sha256
from nextword.runs import configuration
from nextword.runs.configuration import PretrainConfiguration
from nextword.tokens.prepare import prepare
from nextword.training import checkpoint, loop, periodic, trainer
from nextword.training.loop import CONCLUDING, MEASURING
from nextword.training.state import Validation
from nextword.training.validators import TextValidator
from nextword.verbs import pretrain_run
from nextword.verbs.pretrain import RunSummary, run_pretraining

SETTINGS: dict[str, Any] = {
    **{"layers": 2, "width": 32, "heads": 2, "context_length": 32, "precision": "fp32"},
    **{"batch_size": 8, "micro_batch": 4, "steps": 12, "eval_every": 6, "sample_every": 0},
    **{"save_every": 3, "tokenizer": "bytes", "deduplicate": "none", "workers": 1},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "plays"
    folder.mkdir()
    for number in range(30):
        words = [f"word{(number * place) % 13}" for place in range(60)]
        (folder / f"{number}.txt").write_text(" ".join(words))
    return folder


def train(data: Path, run: Path, **more: Any) -> RunSummary:
    return run_pretraining(data, run, **{**SETTINGS, **more})


def command(data: Path, run: Path) -> list[str]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    return ["pretrain", str(data), "--out", str(run), *flags]


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record for record in lines if record["kind"] == kind]


def test_the_model_card_says_what_it_learned_from_how_long_and_how_well(
    text: Path, tmp_path: Path
) -> None:
    summary = train(text, tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "on plays (" in card and "12 steps of 8 × 32 tokens" in card
    best = min(records(tmp_path / "run", "validation"), key=lambda record: record["loss"])
    assert f"At step {best['step']} " in card and f"{best['loss']:.4f} nats" in card
    assert f"{best['bits_per_byte']:.4f} bits a byte" in card
    assert summary.loss == best["loss"] and summary.bits_per_byte == best["bits_per_byte"]


def test_averaged_weights_are_those_of_the_formula(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    real = trainer.update_average

    def watched(job: Any, skipped: torch.Tensor) -> None:
        seen.append({n: p.detach().double().clone() for n, p in job.model.named_parameters()})
        real(job, skipped)

    monkeypatch.setattr(loop, "update_average", watched)
    train(text, tmp_path / "run", ema=0.75, learning_rate=1e-3, warmup=2)
    kept = load_file(tmp_path / "run" / "checkpoints" / "step-00000012" / "average.safetensors")
    name = "blocks.0.mlp.output.weight"
    begun = 0.75 ** len(seen)
    mean = sum(0.25 * 0.75 ** (len(seen) - 1 - i) * w[name] for i, w in enumerate(seen))
    start = (kept[name].double() - mean) / begun  # what is left is the weights it began with
    from nextword.models.transformer import Transformer

    plan = configuration.read(tmp_path / "run", PretrainConfiguration).plan
    fresh = dict(Transformer(plan.config, seed=1337).named_parameters())[name]
    assert torch.allclose(start, fresh.detach().double(), atol=1e-4)


def test_weights_that_are_not_finite_are_never_saved_or_kept(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.train_step

    def broken(module: Any, *arguments: Any) -> Any:
        result = real(module, *arguments)
        if len(records(tmp_path / "run", "train")) == 5:  # in the sixth step
            next(module.parameters()).data[0, 0] = float("inf")
        return result

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(UserError, match="left weights that are not finite"):
        train(text, tmp_path / "run")
    (newest,) = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1:]
    assert newest.name == "step-00000003"
    weights = load_file(newest / "model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_a_gradient_that_is_not_finite_can_be_skipped_after_a_resume(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = periodic.seed_of, loop.train_step

    def seed_of(job: Any, step: int) -> int:
        """Asked for before each step."""
        poisoned = step == 7
        monkeypatch.setattr(loop, "train_step", spoiled if poisoned else taken)
        return real(job, step)

    def spoiled(module: Any, *arguments: Any) -> Any:
        hook = next(module.parameters()).register_hook(lambda gradient: gradient * float("nan"))
        step = taken(module, *arguments)
        hook.remove()
        return step

    monkeypatch.setattr(periodic, "seed_of", seed_of)
    with pytest.raises(UserError, match=r"step 8: .*holds documents .*txt") as stopped:
        train(text, tmp_path / "run")
    assert "--on-nonfinite skip" in str(stopped.value)
    (event,) = records(tmp_path / "run", "event")
    assert event["event"] == "nonfinite" and len(event["documents"]) > 8
    assert max((tmp_path / "run" / "checkpoints").iterdir()).name == "step-00000006"
    summary = train(text, tmp_path / "run", resume=True, on_nonfinite="skip")
    assert summary.finished and summary.steps == 12
    state = json.loads(
        (max((tmp_path / "run" / "checkpoints").iterdir()) / "state.json").read_text()
    )
    assert state["skipped"] == 1


def test_a_loss_that_is_not_finite_stops_and_names_the_documents(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--optimizer", "sgd", "--learning-rate", "1e30", "--clip", "0"]
    assert main([*command(text, tmp_path / "run"), *flags]) == 2
    said = capsys.readouterr().err
    assert "the batch holds documents" in said and ".txt" in said
    skipping = [*command(text, tmp_path / "other"), *flags, "--on-nonfinite", "skip"]
    assert main(skipping) in (0, 2)
    assert "skipped" in capsys.readouterr().err


def test_the_configuration_a_run_leaves_repeats_it(text: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*command(text, first), "--dropout", "0.1"]) == 0
    assert main(["pretrain", "--config", str(first / "config.yaml"), "--out", str(second)]) == 0
    last = "checkpoints/step-00000012"
    for name in ("model", "optimizer"):
        files = [run / last / f"{name}.safetensors" for run in (first, second)]
        assert sha256(files[0]) == sha256(files[1]), name


def test_a_run_stopped_before_it_began_does_not_go_on_with_other_text(
    text: Path, tmp_path: Path
) -> None:
    train(text, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    other = tmp_path / "other.txt"
    other.write_text("Something else altogether, many times over. " * 200)
    with pytest.raises(UserError, match="made from other data"):
        train(other, tmp_path / "run", resume=True)
    assert train(text, tmp_path / "run", resume=True).finished


def test_a_run_whose_text_was_edited_says_so_when_it_goes_on(text: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", text / "7.txt"
    train(text, run, steps=6)
    before = file.read_text()
    file.write_text(before + " eleven")
    with pytest.raises(UserError, match="the text has changed since this store was prepared; put"):
        train(text, run, steps=6, resume=True)
    file.write_text(before)
    assert train(text, run, steps=6, resume=True).steps == 6


def test_a_change_length_is_kept_without_its_flag(text: Path, tmp_path: Path) -> None:
    train(text, tmp_path / "run", steps=6)
    train(text, tmp_path / "run", steps=9, resume=True, change_length=True)
    assert train(text, tmp_path / "run", steps=9, resume=True).steps == 9
    with pytest.raises(UserError, match="--change-length"):
        train(text, tmp_path / "run", steps=6, resume=True)


def measured(loss: float) -> Validation:
    return Validation(loss, -loss, {"bits per byte": loss, "perplexity": 2**loss})


def test_early_stopping_keeps_the_best_model(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.25, 1.0])
    monkeypatch.setattr(TextValidator, "measure", lambda *arguments: measured(next(losses)))
    summary = train(text, tmp_path / "run", eval_every=1, patience=2, save_every=100)
    assert (summary.steps, summary.loss) == (4, 2.0)
    assert "the best was step 2" in summary.finished
    assert "At step 2 " in (tmp_path / "run" / "model" / "README.md").read_text()
    assert [r["best"] for r in records(tmp_path / "run", "validation")] == [
        True,
        True,
        False,
        False,
    ]


def test_overfitting_is_named_once(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = iter([8.0, *[9.0 + step for step in range(20)]])
    monkeypatch.setattr(TextValidator, "measure", lambda *arguments: measured(next(losses)))
    train(text, tmp_path / "run", eval_every=1)
    (event,) = records(tmp_path / "run", "event")
    assert event["event"] == "overfitting" and event["step"] == 4
    assert (
        capsys.readouterr().err.count("overfitting: validation loss rose from 8.000 (step 1)") == 1
    )


def test_a_disk_full_for_the_model_or_the_log_is_a_sentence(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("nextword.verbs.pretrain_hooks.save_directory", full)
        with pytest.raises(
            UserError, match=r"the model of step 6 was not saved.*needs [\d,]+ bytes"
        ):
            train(text, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("nextword.training.metrics_log.MetricsLog.write", full)
        with pytest.raises(UserError, match=r"No space left on device; free some space"):
            train(text, tmp_path / "run", resume=True)
    assert train(text, tmp_path / "run", resume=True).finished


def test_a_sample_is_shown_in_its_lines_and_no_share_is_above_the_whole(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = "def f():\r\n\n    return 1\n" + "x" * 300
    monkeypatch.setattr(TextValidator, "sample", lambda *_: ("", written))
    measured = pretrain_run.choose_precision

    def slow(*arguments: Any) -> Any:  # the peak, measured on a machine that was busy
        return replace(measured(*arguments), peak=1.0)

    monkeypatch.setattr(pretrain_run, "choose_precision", slow)
    monkeypatch.setattr("nextword.terminal.PLAIN_INTERVAL", -1.0)
    train(text, tmp_path / "run", steps=3, sample_every=3)
    said = capsys.readouterr().err
    assert "\n  “def f():\n       return 1\n   xxxx" in said
    assert "tokens/s" in said and "of matmul peak" not in said
    assert {record["matmul_share"] for record in records(tmp_path / "run", "train")} == {1.0}


def test_a_byte_order_mark_is_not_worth_a_word(tmp_path: Path) -> None:
    marked = tmp_path / "marked.txt"
    marked.write_text("A dark night, and the lamp burned low. " * 50, encoding="utf-8-sig")
    store = prepare(marked, tmp_path / "store", tokenizer="bytes", workers=1)
    assert store.manifest["summary"]["notes"] == {}


def test_a_first_try_that_failed_does_not_stand_in_the_way_of_a_second(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(UserError, match=r"photo\.png"):
        train(photo, tmp_path / "run")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("nextword.tokens.prepare.write_manifest", full)
        with pytest.raises(UserError, match="the same command again: it goes on from here"):
            train(text, tmp_path / "run")
    with monkeypatch.context() as patch:  # the text is prepared, and nothing more
        patch.setattr("nextword.runs.configuration.write_yaml", full)
        with pytest.raises(UserError, match="the same command with --resume"):
            train(text, tmp_path / "run")
    assert train(text, tmp_path / "run").finished
    with pytest.raises(UserError, match="exists already"):
        train(text, tmp_path / "run")


@pytest.mark.slow
def test_a_compiled_model_trains_as_one_that_is_not(text: Path, tmp_path: Path) -> None:
    for compiled in ("no", "yes"):
        own = {"optimizer": "adamw", "learning_rate": 1e-3, "steps": 20, "sample_every": 10}
        train(text, tmp_path / compiled, compile=compiled, **own)
    plain, fast = ([r["loss"] for r in records(tmp_path / c, "train")] for c in ("no", "yes"))
    assert fast == pytest.approx(plain, rel=2e-3) and len(fast) == 20


class Clock:
    """Stands in for the module `time`: it moves when the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def takes(self, seconds: float, work: Any) -> Any:
        """Return the work as something that takes so long."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self.now += seconds
            return work(*arguments, **named)

        return timed


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "linear", "constant"])
def test_a_budget_is_the_time_a_run_takes(
    text: Path, tmp_path: Path, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is half as fast as was measured before the run."""
    clock, step, tokens = Clock(), 0.2, 8 * 32
    for module in (loop, periodic, resources, pretrain_run):
        monkeypatch.setattr(module, "time", clock)
    speed_test = clock.takes(1.0, lambda *shape: 2 * tokens / step)
    monkeypatch.setattr(pretrain_run, "SpeedTest", lambda *given: speed_test)
    monkeypatch.setattr(loop, "train_step", clock.takes(step, loop.train_step))
    monkeypatch.setattr(TextValidator, "measure", clock.takes(0.5, TextValidator.measure))
    monkeypatch.setattr(checkpoint, "save", clock.takes(0.3, checkpoint.save))
    summary = train(text, tmp_path / "run", steps=None, budget="20s", schedule=schedule)
    kept = 20 * MEASURING + CONCLUDING  # for what comes after the last step
    assert clock.now + kept == pytest.approx(20, abs=1.0)
    assert summary.steps > 40
