"""A run killed at random instants ends with the weights of one that was never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from nextword.files import sha256

FLAGS = [
    "--tokenizer",
    "bytes",
    "--layers",
    "2",
    "--width",
    "32",
    "--heads",
    "2",
    "--context-length",
    "32",
    "--batch-size",
    "8",
    "--micro-batch",
    "4",
    "--steps",
    "60",
    "--save-every",
    "7",
    "--eval-every",
    "20",
    "--sample-every",
    "30",
    "--dropout",
    "0.1",
    "--precision",
    "fp32",
    "--deduplicate",
    "exact",
    "--workers",
    "1",
]


def command(data: Path, run: Path, *more: str) -> list[str]:
    main = [sys.executable, "-m", "nextword.cli.main", "pretrain"]
    return [*main, str(data), "--out", str(run), *FLAGS, *more]


def weights(run: Path) -> dict[str, str]:
    last = max((run / "checkpoints").iterdir())
    return {name: sha256(last / f"{name}.safetensors") for name in ("model", "optimizer")}


def losses(run: Path) -> list[tuple[int, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [(r["step"], r["loss"]) for r in records if r["kind"] in ("train", "validation")]


def corpus(folder: Path) -> Path:
    draw = random.Random(1)
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    folder.mkdir()
    for number in range(40):
        text = " ".join(draw.choice(words) for _ in range(80))
        (folder / f"{number}.txt").write_text(text)
    return folder


def test_kill_and_resume_five_times_is_the_uninterrupted_run(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    started = time.monotonic()
    subprocess.run(command(data, tmp_path / "whole"), check=True, capture_output=True, timeout=300)
    whole_run = time.monotonic() - started
    draw = random.Random(7)
    run = tmp_path / "killed"
    for _ in range(5):
        process = subprocess.Popen(
            command(data, run, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.3, 0.9) * whole_run)
        process.send_signal(signal.SIGKILL)
        process.wait()
    ended = subprocess.run(
        command(data, run, "--resume"), check=True, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in ended.stderr
    assert weights(run) == weights(tmp_path / "whole")
    assert losses(run) == losses(tmp_path / "whole")


def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    run = tmp_path / "run"
    long = [flag if flag != "60" else "100000" for flag in command(data, run)]
    process = subprocess.Popen(long, stderr=subprocess.PIPE, text=True)
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert "--resume" in said and "Traceback" not in said
    assert list((run / "checkpoints").iterdir())


def test_another_horizon_on_resume_needs_a_flag(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    run = tmp_path / "run"
    short = [flag if flag != "60" else "8" for flag in command(data, run)]
    subprocess.run(short, check=True, capture_output=True, timeout=300)
    longer = [flag if flag != "60" else "16" for flag in command(data, run, "--resume")]
    refused = subprocess.run(longer, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2 and "--change-length" in refused.stderr
    subprocess.run([*longer, "--change-length"], check=True, capture_output=True, timeout=300)
    assert max((run / "checkpoints").iterdir()).name == "step-00000016"


def test_the_config_a_run_leaves_repeats_it(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    first, second = tmp_path / "first", tmp_path / "second"
    subprocess.run(command(data, first), check=True, capture_output=True, timeout=300)
    again = [sys.executable, "-m", "nextword.cli.main", "pretrain"]
    again += ["--config", str(first / "config.yaml"), "--out", str(second)]
    subprocess.run(again, check=True, capture_output=True, timeout=300)
    assert weights(first) == weights(second)


def test_a_loss_that_is_not_finite_stops_and_names_the_documents(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    flags = ["--optimizer", "sgd", "--learning-rate", "1e30", "--clip", "0"]
    ended = subprocess.run(
        command(data, tmp_path / "run", *flags), capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "the batch holds documents" in ended.stderr and ".txt" in ended.stderr
    skipped = subprocess.run(
        command(data, tmp_path / "other", *flags, "--on-nonfinite", "skip"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "skipped" in skipped.stderr and skipped.returncode in (0, 2)


def test_a_run_whose_text_was_edited_says_so_when_it_goes_on(tmp_path: Path) -> None:
    data, run = corpus(tmp_path / "data"), tmp_path / "run"
    subprocess.run(command(data, run), check=True, capture_output=True, timeout=300)
    text = (data / "7.txt").read_text()
    (data / "7.txt").write_text(text + " eleven")
    again = subprocess.run(
        command(data, run, "--resume"), capture_output=True, text=True, timeout=300
    )
    assert again.returncode == 2 and "Traceback" not in again.stderr
    assert "the text has changed since this store was prepared; put the old" in again.stderr
    (data / "7.txt").write_text(text)
    subprocess.run(command(data, run, "--resume"), check=True, capture_output=True, timeout=300)
