"""Models of the usual sizes, text of random ids for them, and what trains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.sizes import config_for
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings
from nextword.tokens.loader import IGNORE_INDEX, Batch, to_batch
from nextword.tokens.packing import Seq2SeqBatch, collate_pairs
from nextword.tokens.store import Split
from nextword.training.loop import TakenStep, train_step
from nextword.training.optimizers import Optimizers, OptimizerSettings, build_optimizers
from nextword.training.parallel import Group
from nextword.training.sharding import Root, Sharding, spread
from nextword.training.state import StepResult

VOCABULARY, PADDED = 50_257, 50_304
DOCUMENT = 400  # tokens of a document of random text, on average
SIZES = {
    "124M": ModelSettings(size="gpt2"),
    "350M": ModelSettings(size="gpt2-medium"),
    "1.3B": ModelSettings(family="gpt2", layers=24, width=2048, heads=16, context_length=1024),
}
TOY = ModelSettings(family="gpt2", layers=2, width=64, heads=2, context_length=64)
Optimizer = Literal["adamw", "muon"]


def config_of(size: str, small: bool, vocabulary: int = VOCABULARY) -> TransformerConfig:
    """Return the config of a named size; of a toy in a rehearsal."""
    return config_for(TOY, 258) if small else config_for(SIZES[size], vocabulary)


def random_split(config: TransformerConfig, tokens: int, packed: bool = True) -> Split:
    """Return a text of random ids: documents of random lengths, or a single one."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, config.vocab_size, tokens, np.int64).astype(np.uint16)
    mean = min(DOCUMENT, config.context_length // 2)
    inner = np.flatnonzero(rng.random(tokens - 1) < 1 / mean) + 1 if packed else np.empty(0)
    starts = np.concatenate(([0], inner, [tokens])).astype(np.int64)
    ids[starts[1:] - 1] = 0
    return Split("train", ids, starts, 0, config.vocab_size)


def random_batch(
    config: TransformerConfig, rows: int, seed: int = 0, packed: bool = True
) -> Batch | Seq2SeqBatch:
    """Return a batch as this model's objective has it: each row of full length, of two documents
    or more if `packed`."""
    rng = np.random.default_rng(seed)
    time = config.context_length
    if config.decoder_layers:
        lengths = [time // 2, time - time // 2] if packed else [time]
        read, written = (
            [[rng.integers(3, config.vocab_size, n) for n in lengths] for _ in range(rows)]
            for _ in range(2)
        )
        pairs = [list(zip(*row, strict=True)) for row in zip(read, written, strict=True)]
        return collate_pairs(pairs, config.start_id or 0, [])
    ids = rng.integers(3, config.vocab_size, (rows, time + 1))
    begins = np.zeros((rows, time), np.bool_)
    begins[:, 0] = True
    if packed:
        begins[np.arange(rows), rng.integers(time // 4, 3 * time // 4, rows)] = True
    if config.causal:
        return to_batch(ids[:, :-1], ids[:, 1:], begins, [])
    targets = np.where(rng.random((rows, time)) < 0.3, ids[:, :-1], IGNORE_INDEX)
    return to_batch(np.where(targets == IGNORE_INDEX, ids[:, :-1], 1), targets, begins, [])


@dataclass
class Learner:
    """A model with all that one step takes."""

    model: GenerativeModel
    loss: Root
    optimizers: Optimizers
    device: torch.device

    def launch(self, *batches: Batch | Seq2SeqBatch) -> TakenStep:
        """Begin nextword's own step over batches that are on the device."""
        group = Group(device=self.device)
        step = train_step(self.loss, self.optimizers, batches, 1.0, 1.0, group)
        step.send()
        return step

    def step(self, *batches: Batch | Seq2SeqBatch) -> StepResult:
        """Take such a step, and wait for it."""
        return self.launch(*batches).read()


def new_model(
    config: TransformerConfig, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> GenerativeModel:
    """Return a model that computes in `dtype`; its weights are fp32, for fp64 those are too."""
    model = build_model(config, seed)
    model = model.double() if dtype == torch.float64 else model
    model.activation_dtype = dtype
    return model.to(device)


def new_learner(
    config: TransformerConfig,
    device: torch.device,
    dtype: torch.dtype,
    kind: Optimizer = "adamw",
    sharding: Sharding = "none",
    group: Group | None = None,
) -> Learner:
    """Return a model of random weights and what trains it, on a device or spread over a group."""
    model = new_model(config, device, dtype)
    loss = spread(model, language_modeling.loss, sharding, group or Group(device=device))
    momentum = 0.95 if kind == "muon" else 0.0
    settings = OptimizerSettings(kind, 6e-4, 0.1, momentum, (0.9, 0.95))
    optimizers = build_optimizers(model, settings, dtype, model.tiles())
    return Learner(model, loss, optimizers, device)
