"""However a model is spread over ranks, it takes the steps that one process takes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HELPER = Path(__file__).with_name("rank_steps.py")
ROUNDING = 1e-6  # in fp64


def spread_steps(ranks: int, cases: list[str], out: Path, node: int) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={ranks}", str(HELPER), ",".join(cases), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NODE": str(node)}
    done = subprocess.run(launcher, capture_output=True, timeout=500, env=environment, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def compare(ranks: int, cases: list[str], tmp_path: Path) -> None:
    """Run each case on some ranks, in nodes of half of them, and alone."""
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    alone.mkdir()
    spread.mkdir()
    plain = sorted({case.rsplit(":", 1)[0] + ":none" for case in cases})
    runpy.run_path(str(HELPER))["main"](plain, alone)
    spread_steps(ranks, cases, spread, max(1, ranks // 2))
    for case in cases:
        one = load_file(alone / f"{case.rsplit(':', 1)[0]}:none.safetensors")
        many = load_file(spread / f"{case}.safetensors")
        for name, weight in one.items():
            error = (many[name] - weight).abs().max()
            assert error <= ROUNDING, f"{case}: {name} differs by {error:.1e}"


def test_two_ranks_take_the_steps_of_one_however_weights_are_spread(tmp_path: Path) -> None:
    cases = ["tied:muon:none", "tied:muon:all", "untied:adamw:all", "encoder-decoder:muon:all"]
    compare(2, cases, tmp_path)


def test_four_ranks_in_two_nodes_take_the_steps_of_one(tmp_path: Path) -> None:
    compare(4, ["untied:muon:node", "biased:muon:all"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_every_optimizer_and_model_on_ranks_takes_the_steps_of_one(
    ranks: int, tmp_path: Path
) -> None:
    cases = [
        f"{model}:{optimizer}:{sharding}"
        for model in ("tied", "untied", "biased", "encoder-decoder")
        for optimizer in ("muon", "adamw", "sgd")
        for sharding in ("none", "node", "all")
    ]
    compare(ranks, cases, tmp_path)


def test_muon_is_no_other_where_weights_have_moved() -> None:
    """The steps above change every matrix: nothing is equal because nothing moved."""
    main = runpy.run_path(str(HELPER))
    from nextword.training.parallel import Group

    moved = main["steps"]("tied:muon:none", Group())
    main["steps"].__globals__["STEPS"] = 0
    start = main["steps"]("tied:muon:none", Group())
    for name, weight in moved.items():
        assert not torch.equal(weight, start[name]), name
        if weight.ndim == 2:
            assert (weight - start[name]).abs().max() > 100 * ROUNDING, name
