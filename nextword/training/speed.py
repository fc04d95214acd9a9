"""How fast a model of some shape trains on this machine: measured, not guessed."""

from __future__ import annotations

import time

import torch

from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import writer
from nextword.settings import PretrainSettings
from nextword.tokens.store import Store
from nextword.training import optimizers
from nextword.training.learning import Learning
from nextword.training.parallel import Group
from nextword.training.precision import Precision


def tokens_per_second(
    store: Store,
    learned: Learning,
    config: TransformerConfig,
    settings: PretrainSettings,
    batch: int,
    micro: int,
    measured: Precision,
    group: Group,
) -> float:
    """How fast a model of this shape trains here: the best of a few whole steps."""
    model = writer(config, seed=settings.seed).to(group.device)
    model.activation_dtype = measured.dtype
    parts = optimizers.build(
        model,
        settings.optimizer,
        learning_rate=0.0,
        weight_decay=0.0,
        momentum=0.9,
        betas=(0.9, 0.95),
        row_blocks=model.row_blocks(),
        dtype=measured.dtype,
    )
    loader = learned.loader(store.train, config.context_length)
    rows = group.share(batch)
    best, began = 0.0, time.perf_counter()
    for trial in range(4):
        since = time.perf_counter()
        for row in range(0, rows.stop - rows.start, micro):
            count = min(micro, rows.stop - rows.start - row)
            learned.loss(model, loader.batch(row, count).to(group.device)).backward()
        parts.step(1.0)
        if group.device.type == "cuda":
            torch.cuda.synchronize(group.device)
        now = time.perf_counter()
        if trial:  # the first one also allocates
            best = max(best, batch * config.context_length / (now - since))
        if now - began > 8 and best:
            break
    return group.mean(best)
