"""How fast a model trains on this machine, measured in about half a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.sizes import flops_per_token
from nextword.objectives import language_modeling
from nextword.settings import PretrainSettings
from nextword.tokens.store import Store
from nextword.training.machine import Precision
from nextword.training.objective import Objective
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group

PATIENCE = 0.4  # seconds that passes over micro-batches are timed for
ASSUMED_SHARE = 0.3  # of the matmul peak that training reaches, until it is measured
LONGEST = 0.15  # seconds that one pass may take, by that: else a part stands for the whole
FEWEST_LAYERS, FEWEST_TOKENS = 2, 64


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
        part, rows, time_steps = self._part(config, micro_batch)
        model = build_model(part, seed=self.settings.seed).to(self.group.device)
        model.activation_dtype = self.precision.dtype
        nothing = OptimizerSettings(self.settings.optimizer, 0.0, 0.0, 0.9, (0.9, 0.95))
        optimizers = build_optimizers(model, nothing, self.precision.dtype, model.fused_splits())
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
        """The mean of as many forward and backward passes as PATIENCE allows, after one more."""
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
