"""What training a model costs on this machine: its time, measured in a third of a second, and its
memory, predicted from the model's shape."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.sizes import block_weights, flops_per_token
from nextword.objectives import language_modeling
from nextword.objectives.cross_entropy import chunk_rows
from nextword.resources import keep_freed, memory, resident
from nextword.settings import PretrainSettings
from nextword.tokens.store import Store
from nextword.training.machine import Precision
from nextword.training.objective import Objective
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group

PATIENCE = 0.25  # seconds that passes over micro-batches are timed for
ASSUMED_SHARE = 0.3  # of the matmul peak that training reaches, until it is measured
LONGEST = 0.15  # seconds that one pass may take, by that: else a part stands for the whole
FEWEST_LAYERS, FEWEST_TOKENS = 2, 64
FILLED = 0.8  # of the memory that is free, at most: fragments and libraries take the rest
IN_PASSING = 2  # blocks' worth of gradients of states, on the way back through one
HELD = 1.1  # times what is in use, by the holes that an allocator leaves
CPU = torch.device("cpu")


@dataclass(frozen=True)
class SpeedTest:
    """Measures how fast models train on this machine: forward and backward passes over the store's
    own text, and the optimizer's step.

    Of a model that takes long, two layers and a short text stand for all of it, and their time is
    scaled by the operations. How fast a run is, its own steps soon say better.
    """

    store: Store
    objective: Objective
    settings: PretrainSettings
    precision: Precision
    group: Group

    def __call__(self, config: TransformerConfig, batch_size: int, micro_batch: int) -> float:
        """Return tokens a second for a model of this shape."""
        keep_freed()  # as while training
        part, rows, time_steps = self._part(config, micro_batch)
        model = build_model(part, seed=self.settings.seed).to(self.group.device)
        model.activation_dtype = self.precision.dtype
        nothing = OptimizerSettings(self.settings.optimizer, 0.0, 0.0, 0.9, (0.9, 0.95))
        tiles = model.tiles(batch_size * config.context_length)
        optimizers = build_optimizers(model, nothing, self.precision.dtype, tiles)
        batch: Any = self.objective.loader(self.store.train, time_steps).batch(0, rows)
        batch = batch.to(self.group.device)
        a_pass = self._seconds_of_a_pass(model, batch)
        since = self._now()
        optimizers.step(1.0)  # it allocates as well
        update = self._now() - since
        if update < PATIENCE / 4:
            language_modeling.loss(model, batch).backward()
            since = self._now()
            optimizers.step(1.0)
            update = self._now() - since
        share = self.objective.target_share
        work = flops_per_token(config, config.context_length, share)
        work /= flops_per_token(part, time_steps, share)
        update *= parameter_count(config) / parameter_count(part)
        tokens = self.group.shard(batch_size)
        own = (tokens.stop - tokens.start) * config.context_length
        seconds = own * work * a_pass / (rows * time_steps) + update
        return self.group.mean(batch_size * config.context_length / seconds)

    def _part(self, config: TransformerConfig, rows: int) -> tuple[TransformerConfig, int, int]:
        """Return the model to measure, and rows and tokens of a pass, that take LONGEST at most."""
        context, speed = config.context_length, ASSUMED_SHARE * self.precision.peak
        affordable = LONGEST * speed / flops_per_token(config, context, self.objective.target_share)
        if affordable < context and config.layers > FEWEST_LAYERS:
            decoder = min(config.decoder_layers, FEWEST_LAYERS)
            local = tuple(n for n in config.windowed_layers if n < FEWEST_LAYERS)
            config = replace(
                config, layers=FEWEST_LAYERS, decoder_layers=decoder, windowed_layers=local
            )
            affordable = (
                LONGEST * speed / flops_per_token(config, context, self.objective.target_share)
            )
        if affordable < context:
            return config, 1, min(context, max(FEWEST_TOKENS, int(affordable)))
        return config, max(1, min(rows, int(affordable) // context)), context

    def _seconds_of_a_pass(self, model: GenerativeModel, batch: Any) -> float:
        """The mean of as many forward and backward passes as PATIENCE allows, after two for which
        memory has still to be found."""
        for _ in range(2):
            language_modeling.loss(model, batch).backward()
        began, passes = self._now(), 0
        while True:
            language_modeling.loss(model, batch).backward()
            passes += 1
            if (taken := self._now() - began) > PATIENCE / 2:
                return taken / passes

    def _now(self) -> float:
        if self.group.device.type == "cuda":
            torch.cuda.synchronize(self.group.device)
        return time.perf_counter()


@dataclass(frozen=True)
class Footprint:
    """Bytes at a step's peak. `before` is what the process holds before there is a model; `states`
    are weights, gradients and the optimizer's; `working` is what a micro-batch leaves for the
    backward pass, and the products of the output head."""

    before: int
    states: int
    working: int

    @property
    def total(self) -> int:
        return self.before + self.states + self.working


def predict_memory(
    config: TransformerConfig,
    micro_batch: int,
    precision: Precision,
    optimizer: str,
    accumulates: bool = False,
    scored: float = 1.0,
    device: torch.device = CPU,
) -> Footprint:
    """Return what a step takes of a micro-batch of so many sequences. `accumulates` is whether
    there is more than one of them, `scored` the share of tokens whose vocabulary is scored.

    On an H100 PyTorch's peak was 0.86 to 1.16 times that for GPT-2 124M and 350M, 8 to 128 rows.
    """
    parameters, size = parameter_count(config), precision.dtype.itemsize
    tokens = micro_batch * config.context_length
    stacks = config.layers + 1.5 * scored * config.decoder_layers + IN_PASSING
    blocks = stacks * kept_by_a_block(config, tokens, precision)
    head, width = config.vocab_size * config.width, config.width
    cast = size if size < 4 else 0
    rows = min(chunk_rows(config.vocab_size, device), int(scored * tokens) + 1)
    output = rows * config.vocab_size * size + head * (cast + size) + tokens * width * 3 * size
    moments = optimizer_bytes(config, optimizer)
    # A step's gradients come while what it kept goes; the output head's come first.
    gradients = 4 * parameters
    working = max(blocks + output + 4 * head, float(gradients)) - gradients
    if accumulates:  # the gradients of the micro-batches before stay
        working = blocks + output + 4 * head
    states = 4 * parameters + gradients + moments
    return Footprint(resident(), round(HELD * states), round(HELD * working))


def kept_by_a_block(config: TransformerConfig, tokens: int, precision: Precision) -> int:
    """Return the bytes that a block keeps of so many tokens for its backward pass.

    These are what autograd, and the gradients written out in models/, save: the inputs of norms and
    products, query, key and value before and after they are rotated, the output of attention, and
    the feed-forward network's inner states.
    """
    size = precision.dtype.itemsize
    queries, keys = config.query_width, config.key_width
    inner = config.mlp_width * (3 if config.gated else 2)
    rotated = queries + keys if config.positions == "rotary" else 0
    normed = queries + keys if config.qk_norm else 0
    numbers = 4 * config.width + 2 * queries + 2 * keys + rotated + normed + inner
    return tokens * size * numbers


def optimizer_bytes(config: TransformerConfig, optimizer: str) -> int:
    """Return the bytes of an optimizer's states: AdamW has two numbers a weight, Muon and SGD one;
    what Muon does not take, AdamW does."""
    parameters = parameter_count(config)
    matrices = (config.layers + config.decoder_layers) * block_weights(config)
    twice = {"adamw": parameters, "muon": parameters - matrices, "sgd": 0}[optimizer]
    return 4 * (parameters + twice)


def free_memory(group: Group) -> int:
    """Return the bytes that this rank may still take; 0 where the system does not say."""
    if group.device.type == "cuda":
        return torch.cuda.mem_get_info(group.device)[0]
    return (memory().free or 0) // group.size


def fitting_micro_batch(
    config: TransformerConfig,
    rows: int,
    precision: Precision,
    optimizer: str,
    free: int,
    device: torch.device = CPU,
) -> int:
    """Return how many of `rows` sequences can be computed at once, at least one, in what is free;
    all of them where that is not known."""
    micro = rows
    while free and micro > 1:
        needed = predict_memory(
            config, micro, precision, optimizer, accumulates=True, device=device
        )
        if needed.states + needed.working <= FILLED * free:
            break
        micro = -(-micro // 2)
    return micro
