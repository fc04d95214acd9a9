"""Gradients of one step over two ranks, in fp64: a helper of test_ranks.py.

rank_gradients.py STORE OUT, alone or under torchrun
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import IGNORE_INDEX, Batch, BlockLoader
from nextword.tokens.store import Store
from nextword.training import optimizers
from nextword.training.loop import train_step
from nextword.training.parallel import processes
from nextword.training.sharding import spread

CONTEXT, ROWS, MICRO = 48, 7, 2


def ragged(batch: Batch) -> Batch:
    """Rows with fewer and fewer targets, the more the later they are in the epoch's order."""
    targets = batch.targets.clone()
    for row, (_, index) in enumerate(batch.samples):
        targets[row, : (index % ROWS) * CONTEXT // ROWS] = IGNORE_INDEX
    return replace(batch, targets=targets)


def main(store: Path, out: Path) -> None:
    opened = Store.open(store)
    loader = BlockLoader(opened.train, CONTEXT, seed=1)
    first = loader.blocks - 3  # with the epoch's partial last window, and into the next epoch
    settings = ModelSettings(layers=2, width=32, heads=4, kv_heads=2, context_length=CONTEXT)
    model = Transformer(config_for(settings, opened.tokenizer.vocab_size), seed=3).double()
    model.activation_dtype = torch.float64
    gradients: dict[str, torch.Tensor] = {}

    class Spy(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            gradients.update({n: p.grad.clone() for n, p in model.named_parameters()})

    with processes() as group:
        mine = group.shard(ROWS)
        batches = [
            ragged(loader.batch(first + row, min(MICRO, mine.stop - row)))
            for row in range(mine.start, mine.stop, MICRO if group.size > 1 else ROWS)
        ]
        if group.size == 1:
            batches = [ragged(loader.batch(first, ROWS))]
        learned = list(model.parameters())
        spy = optimizers.Optimizers({"sgd": Spy(learned, lr=0.0)}, learned)
        train_step(
            spread(model, language_modeling.loss, "none", group),
            spy,
            batches,
            1.0,
            0.0,
            group,
        )
        if group.is_main:
            save_file(gradients, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
