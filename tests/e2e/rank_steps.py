"""Six steps in one way of spreading a model over ranks: a helper of test_sharding.py.

rank_steps.py CASES OUT, alone or under torchrun: each case is `model:optimizer:sharding`, and
OUT/CASE.safetensors gets the weights after the last step.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import config_for
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import Batch
from nextword.tokens.packing import Example, Seq2SeqBatch, collate_examples
from nextword.training.loop import train_step
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group, processes
from nextword.training.sharding import spread

STEPS, ROWS, MICRO, VOCABULARY = 6, 8, 2, 61
MODELS: dict[str, dict[str, Any]] = {
    "tied": {"family": "qwen3", "kv_heads": 2, "tied": True},
    "untied": {"family": "llama", "tied": False},
    "biased": {"family": "gpt2"},  # vectors of fewer rows than there are ranks, and of odd sizes
    "encoder-decoder": {"family": "t5"},
}


def ragged_batch(first: int, count: int, start_id: int | None) -> Batch | Seq2SeqBatch:
    """Packed rows; each example has another number of targets."""
    made = []
    for number in range(first, first + count):
        draw = np.random.default_rng(number)
        length = int(draw.integers(5, 24))
        scored = np.arange(length) >= draw.integers(1, length)
        made.append(Example(draw.integers(0, VOCABULARY, length), scored))
    return collate_examples(made, [], 24, start_id)


def steps(case: str, group: Group) -> dict[str, torch.Tensor]:
    """The weights after some steps, whole."""
    name, kind, sharding = case.split(":")
    shape = {"layers": 3, "width": 24, "heads": 4, "context_length": 32}
    config = config_for(ModelSettings(**(shape | MODELS[name])), VOCABULARY)
    start_id = 0 if name == "encoder-decoder" else None
    # In fp64: a gradient that is zero but for rounding, as of biases of keys, moves AdamW as far as
    # any other.
    model = build_model(replace(config, start_id=start_id), seed=3).double()
    model.activation_dtype = torch.float64
    root = spread(model, language_modeling.loss, sharding, group)  # type: ignore[arg-type]
    settings = OptimizerSettings(kind, 0.02, 0.1, 0.9, (0.9, 0.95))  # type: ignore[arg-type]
    tiles = model.tiles()
    learned = build_optimizers(model, settings, torch.float64, tiles, ranks=group.size)
    for step in range(STEPS):
        rows = group.shard(ROWS)
        batches = [
            ragged_batch(step * ROWS + row, min(MICRO, rows.stop - row), start_id)
            for row in range(rows.start, rows.stop, MICRO)
        ]
        train_step(root, learned, batches, 1.0, 1.0, group).read()
    whole = {name: p.detach() for name, p in model.named_parameters()}
    return {
        name: (p.full_tensor() if isinstance(p, DTensor) else p).clone()
        for name, p in whole.items()
    }


def main(cases: list[str], out: Path) -> None:
    with processes() as group:
        if node := os.environ.get("NODE"):  # ranks a node, where all are on one machine
            group = replace(group, node=int(node))
        for case in cases:
            weights = steps(case, group)
            if group.is_main:
                save_file(weights, out / f"{case}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]))
