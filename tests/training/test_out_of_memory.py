"""A lack of memory is met by smaller micro-batches, and what is learned stays the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nextword as nw
from nextword.training import loop

SHAPE = {"layers": 2, "width": 32, "heads": 2, "context_length": 32, "precision": "fp32"}
RUN: dict[str, Any] = {**SHAPE, "batch_size": 8, "steps": 4, "eval_every": 4, "sample_every": 0}
LACK = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")
LIMITED = """
import resource, sys
import nextword as nw
from nextword.training import loop
step, before, bounds = loop.train_step, resource.getrlimit(resource.RLIMIT_AS), []
def limited(*given):  # in steps alone: what there is at the first, and 700 MB more
    pages = int(open("/proc/self/statm").read().split()[0])
    bounds.append(pages * resource.getpagesize() + 700_000_000)
    resource.setrlimit(resource.RLIMIT_AS, (bounds[0], before[1]))
    try:
        return step(*given)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
loop.train_step = limited
nw.pretrain(sys.argv[1], sys.argv[2], layers=2, width=64, heads=2, context_length=256,
    batch_size=256, micro_batch=256, steps=2, eval_every=2, eval_tokens=1024, sample_every=0,
    precision="fp32", threads=1)
"""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def memory_for(rows: int, monkeypatch: pytest.MonkeyPatch, lack: BaseException = LACK) -> list[int]:
    """Steps of more than so many rows at once fail half-way; returns those that were tried."""
    taken, tried = loop.train_step, []

    def step(module: Any, optimizers: Any, batches: Sequence[Any], *rest: Any) -> Any:
        tried.append(len(batches[0].tokens))
        if tried[-1] > rows:
            module(batches[0]).backward()  # gradients that must not stay
            raise lack
        return taken(module, optimizers, batches, *rest)

    monkeypatch.setattr(loop, "train_step", step)
    return tried


@pytest.mark.parametrize("lack", [LACK, MemoryError(), torch.OutOfMemoryError("CUDA")])
def test_a_step_that_does_not_fit_is_taken_in_smaller_parts(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: BaseException
) -> None:
    nw.pretrain(store, tmp_path / "small", **RUN, micro_batch=2)
    tried = memory_for(2, monkeypatch, lack)
    nw.pretrain(store, tmp_path / "run", **RUN, micro_batch=8)
    assert tried == [8, 4, 2, 2, 2, 2]
    small, found = weights(tmp_path / "small"), weights(tmp_path / "run")
    assert all(torch.equal(small[name], found[name]) for name in small)
    log = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    said = [line["message"] for line in log if "does not fit" in line.get("message", "")]
    assert len(said) == 2 and "2 sequences at a time" in said[-1]


def test_where_one_sequence_does_not_fit_the_run_ends(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = memory_for(0, monkeypatch)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        nw.pretrain(store, tmp_path / "run", **RUN, micro_batch=4)
    assert tried == [4, 2, 1]


def test_a_bug_is_not_taken_for_a_lack_of_memory(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = memory_for(0, monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        nw.pretrain(store, tmp_path / "run", **RUN, micro_batch=4)
    assert tried == [4]


def test_an_update_that_has_begun_is_not_made_twice(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any) -> None:
        raise LACK

    monkeypatch.setattr("nextword.training.optimizers.Muon.step", fail)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        nw.pretrain(store, tmp_path / "run", **RUN, micro_batch=4)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_real_limit_is_met(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", LIMITED, str(store), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "does not fit the memory" in " ".join(done.stderr.split())
    assert json.loads((run / "run.json").read_text())["plan"]["micro_batch"] == 256
