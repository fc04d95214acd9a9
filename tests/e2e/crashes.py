"""Kill and stop whole runs, thousands of lives of one process: a helper of test_crashes.py.

crashes.py FOLDER kills COUNT LIVES | saves COUNT | phases EVERY | signals EVERY

PyTorch is loaded once; every life of a run is a process of its own, forked here. It ends by a real
SIGKILL (or SIGTERM, SIGINT), and what it leaves is compared with a run that was never stopped.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nextword.files import sha256
from nextword.hub import writing
from nextword.tokens import prepare as preparing
from nextword.training import checkpoint, costs, loop, validators
from nextword.training.plain_optimizers import AdamW
from nextword.training.sharding import LossModule
from nextword.verbs import pretrain
from nextword.verbs import pretrain_run as pretraining

STEPS = 40
SETTINGS: dict[str, Any] = {
    **{"tokenizer": "bytes", "deduplicate": "none", "workers": 1, "precision": "fp32"},
    **{"layers": 2, "width": 32, "heads": 2, "context_length": 32, "dropout": 0.1, "ema": 0.9},
    **{"batch_size": 8, "micro_batch": 4, "steps": STEPS, "save_every": 3},
    **{"eval_every": 10, "eval_tokens": 4096, "sample_every": 20},
}
Hook = Callable[[], None]


def corpus(folder: Path) -> Path:
    """So little text that a run passes over it several times."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    for number in range(20):
        words = [draw.choice(["one", "two", "three", "four", "five"]) for _ in range(40)]
        (folder / f"{number}.txt").write_text(" ".join(words))
    return folder


def live(data: Path, run: Path, hook: Hook | None = None, kill_after: float = 0.0) -> int:
    """One life of a run, from its start or resumed; how it ended, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            log = os.open(run.with_name(run.name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 2)
            record_samples(run.with_name(run.name + ".samples"))
            if hook:
                hook()
            summary = pretrain.run_pretraining(data, run, resume=True, **SETTINGS)
            code = 128 + summary.signal if summary.signal else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def record_samples(path: Path) -> None:
    """Write down what every step consumes, before it is taken."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    real = loop.Prefetcher.take

    def recorded(made: Any, step: int) -> Any:
        batches = real(made, step)
        samples = [sample for batch in batches for sample in batch.samples]
        os.write(log, (json.dumps([step, samples]) + "\n").encode())
        return batches

    loop.Prefetcher.take = recorded  # type: ignore[method-assign]


def outcome(run: Path) -> dict[str, Any]:
    """What must be the same, however often a run was killed."""
    last = max((run / "checkpoints").glob("step-*"))
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    samples = run.with_name(run.name + ".samples").read_text().splitlines()
    return {
        "step": last.name,
        **{file.name: sha256(file) for file in sorted(last.glob("*.safetensors"))},
        "kept model": sha256(run / "model" / "model.safetensors"),
        "losses": [[r["step"], r["loss"]] for r in records if "loss" in r],
        "samples": sorted({line for line in samples if line.endswith("]]]")}, key=json.loads),
    }


def check(run: Path, whole: dict[str, Any]) -> None:
    found = outcome(run)
    for name, value in whole.items():
        assert found[name] == value, f"{run.name}: another {name}"
    assert len(found["samples"]) == STEPS, "a step consumed other samples when it was taken again"
    assert "Traceback" not in run.with_name(run.name + ".log").read_text()
    for file in (run.parent).glob(run.name + ".*"):
        file.unlink()
    shutil.rmtree(run)


def kills(folder: Path, data: Path, whole: dict[str, Any], count: int, lives: int) -> int:
    """Chains of resumes, each life killed at a random instant, until so many were killed: some end
    before it, more where the machine has become faster."""
    draw = random.Random(5)
    killed, chains = 0, itertools.count()
    while killed < count:
        run = folder / f"chain{next(chains)}"
        for _ in range(lives):
            killed += (
                live(data, run, kill_after=draw.uniform(0.02, 2.2 * whole["seconds"] / lives)) < 0
            )
        assert live(data, run) == 0, run.with_name(run.name + ".log").read_text()[-2000:]
        check(run, {k: v for k, v in whole.items() if k != "seconds"})
    return killed


def in_save(number: int, delay: float) -> Hook:
    """Killed so long after the beginning of a process's n-th save."""

    def hook() -> None:
        real, count = checkpoint.save, iter(range(1, 1000))

        def save(*arguments: Any) -> Any:
            if next(count) == number:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
                real(*arguments)
                time.sleep(0.05)  # killed at the latest before the next step
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        checkpoint.save = save

    return hook


def saves(folder: Path, data: Path, whole: dict[str, Any], count: int) -> int:
    draw = random.Random(6)
    killed = 0
    run = folder / "saves"
    for number in range(count):
        ended = live(data, run, in_save(draw.randrange(1, 5), draw.uniform(0, 0.03)))
        killed += ended == -signal.SIGKILL
        if ended == 0 or number == count - 1:
            assert live(data, run) == 0
            check(run, whole)
    return killed


def at(owner: Any, name: str, number: int, signal_: int, after: float = 0.0) -> Hook:
    """A signal at the n-th call of a function, or so many seconds into it."""

    def hook() -> None:
        real, count = getattr(owner, name), iter(range(1, 100_000))

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if next(count) == number:
                if after:
                    threading.Timer(after, os.kill, (os.getpid(), signal_)).start()
                else:
                    os.kill(os.getpid(), signal_)
            return real(*arguments, **named)

        setattr(owner, name, wrapped)

    return hook


def half_deleted() -> None:
    """Killed when a file of an old checkpoint is gone and others are not."""
    real = shutil.rmtree

    def rmtree(path: Any, *arguments: Any, **named: Any) -> None:
        if Path(path).name.startswith(".step-") and Path(path).is_dir():
            next(iter(sorted(Path(path).iterdir()))).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        real(path, *arguments, **named)

    shutil.rmtree = rmtree  # type: ignore[assignment]


def phases(folder: Path, data: Path, whole: dict[str, Any], every: int) -> int:
    """Killed in each kind of work a run does, or in every second or third kind."""
    kill = signal.SIGKILL
    points: dict[str, Hook] = {
        "preparing": at(preparing, "prepare", 1, kill, 0.05),
        "planning": at(pretraining.planning, "plan", 1, kill),
        "before run.json": at(pretraining.configuration, "write_json", 1, kill),
        "before the first step": at(pretraining.session, "train", 1, kill),
        "evaluating": at(validators, "make_batch", 3, kill),
        "keeping a model": at(writing, "save_file", 2, kill),
        "sampling": at(validators, "generate", 1, kill),
        "between micro-batches": at(LossModule, "forward", 2 * 17 + 2, kill),
        "updating": at(AdamW, "step", 23, kill),
        "at an epoch's end": at(loop, "micro_batches", epoch_end(data), kill),
        "deleting an old checkpoint": half_deleted,
    }
    chosen = list(points.items())[::every]
    for name, hook in chosen:
        run = folder / name.replace(" ", "-")
        assert live(data, run, hook) == -kill, f"was not killed {name}"
        assert live(data, run) == 0, name
        check(run, whole)
    return len(chosen)


def epoch_end(data: Path) -> int:
    """The number of the first step that holds samples of two epochs."""
    tokens = sum(len(file.read_bytes()) + 1 for file in data.iterdir()) * 9 // 10
    return tokens // 32 // 8 + 1


def signals(folder: Path, data: Path, whole: dict[str, Any], every: int) -> int:
    """SIGTERM and Ctrl-C in each phase: a clear last line, an exit code, and nothing lost."""
    count = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        points: dict[str, Hook] = {
            "prepare": at(preparing, "prepare", 1, number, 0.05),
            "plan": at(costs, "build_optimizers", 1, number, 0.005),
            "train": at(loop, "train_step", 7, number),
            "evaluate": at(validators, "make_batch", 3, number),
            "sample": at(validators, "generate", 1, number),
            "save": at(checkpoint, "save", 4, number, 0.004),
        }
        for name, hook in list(points.items())[number % every :: every]:
            run = folder / f"{name}{number}"
            ended = live(data, run, hook)
            last = run.with_name(run.name + ".log").read_text().splitlines()[-1]
            assert ended == 128 + number, (name, number, ended, last)
            assert "--resume" in last, last
            if name in ("train", "evaluate", "sample", "save"):
                assert "saved" in last and list((run / "checkpoints").glob("step-*")), last
            assert live(data, run) == 0, name
            check(run, whole)
            count += 1
    return count


def main(folder: Path, kind: str, *numbers: int) -> None:
    torch.set_num_threads(1)
    data = corpus(folder / "data")
    whole_run = folder / "whole"
    warm = folder / "warm"  # what it imports
    preparing.prepare([data], warm, tokenizer="bytes", deduplicate="none", workers=1)
    began = time.monotonic()
    assert live(data, whole_run) == 0, whole_run.with_name("whole.log").read_text()
    seconds = time.monotonic() - began
    whole = outcome(whole_run)
    began = time.monotonic()
    if kind == "kills":
        done = kills(folder, data, whole | {"seconds": seconds}, *numbers)
    else:
        done = {"saves": saves, "phases": phases, "signals": signals}[kind](  # type: ignore[operator]
            folder, data, whole, *numbers
        )
    print(json.dumps({"cases": done, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
