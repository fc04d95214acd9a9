"""Fine-tuning on several ranks: the results of one process, with low-rank updates and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from nextword.verbs.pretrain import run_pretraining

DATA = Path(__file__).parents[2] / "examples" / "data"
BASE: dict[str, Any] = {
    **{"layers": 2, "width": 32, "heads": 2, "context_length": 64, "precision": "fp32"},
    **{"batch_size": 4, "steps": 2, "sample_every": 0, "tokenizer": "bytes", "workers": 1},
}
# SGD: AdamW would enlarge what is only rounding.
FLAGS = "--task classify --precision fp32 --steps 4 --optimizer sgd --learning-rate 0.05 --json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run_pretraining(DATA / "reader.txt", folder / "run", **BASE)
    return folder / "run"


def tuned(ranks: int, model: Path, out: Path, *flags: str) -> dict[str, Any]:
    command = ["-m", "nextword.cli.main", "finetune", str(model), str(DATA / "classify.csv")]
    command += [*FLAGS.split(), *flags, "--out", str(out)]
    if ranks > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        command = [*launcher, *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, timeout=300, env=environment, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)  # one object: other ranks say nothing
    return found


@pytest.mark.parametrize("flags", [("--shard", "none"), ("--shard", "all", "--lora")])
def test_two_ranks_fine_tune_as_one_process(
    flags: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    alone = tuned(1, model, tmp_path / "one", *flags)
    shared = tuned(2, model, tmp_path / "two", *flags)
    assert shared["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    one, two = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "two"))
    for name, weight in one.items():
        assert (two[name] - weight).abs().max() < 1e-4, name
