"""Two processes train the model that one does: the loss is divided by all targets of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from nextword.settings import PrepareSettings
from nextword.tokens.prepare import prepare

FLAGS = (
    "--layers 2 --width 32 --heads 2 --context-length 32 --batch-size 7 --micro-batch 2 "
    "--steps 12 --optimizer sgd --learning-rate 0.1 --precision fp32 --eval-every 6 "
    "--sample-every 0 --save-every 12"
)


def test_two_ranks_give_the_weights_of_one(tmp_path: Path) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for number in range(30):
        text = " ".join(words[(number * place) % 10] for place in range(5, 40 + number))
        (tmp_path / f"{number}.txt").write_text(text)
    settings = PrepareSettings(tokenizer="bytes", workers=1, deduplicate="exact")
    prepare([tmp_path], tmp_path / "store", settings)
    weights = []
    for ranks in (1, 2):
        run = tmp_path / f"run{ranks}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={ranks}", "-m", "nextword.cli.main", "pretrain"]
        command += [str(tmp_path / "store"), "--out", str(run), *FLAGS.split(" ")]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
        weights.append(load_file(run / "checkpoints" / "step-00000012" / "model.safetensors"))
    for name, one in weights[0].items():
        assert torch.allclose(one, weights[1][name], rtol=1e-5, atol=1e-6), name
