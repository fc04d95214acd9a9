"""How long training takes on a cluster of GPUs, predicted before one is rented.

    t = n·F / (peak·e) + max(0, V/B − ⅔·0.9·t_compute) + α·C·N + t_optimizer + t_host

for a step of `n` tokens a GPU, with `F` operations a token, of N GPUs. `V` bytes of weights and
gradients pass each GPU at `B` bytes a second, two thirds of it hidden behind computing; `C`
collectives begin `α` seconds later for each GPU more. From the speed at the smallest scale that was
published of a configuration this finds that of the larger ones within 5% (tests/training/
test_cluster_plan.py has the points). The share `e` of the peak is that of published runs and is
good to about 20%: a measurement of one's own replaces it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nextword.errors import UserError, nearest
from nextword.models.config import TransformerConfig, parameter_count
from nextword.training.workload import expected_loss


@dataclass(frozen=True)
class Gpu:
    """A card as its maker describes it: operations a second in bf16 without sparsity, bytes of
    memory, bytes a second from memory, and bytes a second between the cards of a node (what NCCL
    reaches of NVLink)."""

    peak: float
    memory: float
    bandwidth: float
    between: float


GPUS = {
    "A100": Gpu(312e12, 80e9, 2.0e12, 230e9),
    "H100": Gpu(989e12, 80e9, 3.35e12, 360e9),
    "H200": Gpu(989e12, 141e9, 4.8e12, 360e9),
}
ACROSS = 45e9  # bytes a second of a GPU's own network card, of 400 Gbit/s
OVERLAP = 0.9 * 2 / 3  # of computing, behind which weights and gradients can pass
LATENCY = 3.2e-6  # seconds a collective and GPU
HOST = 2e-3  # seconds a step in which the GPU waits for the CPU
STATE = 16  # bytes a parameter: weight, gradient, two moments
UPDATE = 28  # bytes a parameter that an update reads and writes
ROOM = 0.9  # of the memory that may be planned for
KEPT = 34  # bytes a token, layer and unit of width that are kept for the backward pass (Korthikanti
# et al. 2022, without the scores, which no kernel keeps)
LOGITS = (1 << 29) * 2  # bytes of a chunk of the loss
# Shares of the peak that were published, by width: modded-nanogpt and llm.c (768), modded-nanogpt
# (1024), nanochat (1536), MPT and Llama (2048 and more).
EFFICIENCY = ((768, 0.40), (1024, 0.46), (1536, 0.50), (2048, 0.42))


@dataclass(frozen=True)
class Cluster:
    """`count` GPUs, `node` of them in a machine."""

    name: str
    count: int
    node: int = 8

    @property
    def gpu(self) -> Gpu:
        return GPUS[self.name]

    def bandwidth(self, ranks: int) -> float:
        """Return bytes a second at which `ranks` GPUs, whole nodes or one, exchange what all of
        them get: a node's cards share what comes from outside."""
        if ranks <= self.node:
            return self.gpu.between
        return min(self.gpu.between, ACROSS * self.node)


def parse_cluster(text: str) -> Cluster:
    """Return the cluster that `8xH100` or `H100` names. Raises UserError for another card."""
    found = re.fullmatch(r"(?:(\d+)\s*[x×*]\s*)?([A-Za-z]\w*)", text.strip())
    count, name = (int(found[1] or 1), found[2].upper()) if found else (0, text)
    if name not in GPUS or count < 1:
        raise UserError(
            f"{text!r} is not known", where="--gpus", mend=nearest(name, [*GPUS, "8xH100"])
        )
    return Cluster(name, count, min(count, 8))


@dataclass(frozen=True)
class Work:
    """What a GPU does in a step: `tokens` of a model with `parameters`, `layers` and `flops` a
    token, whose weights are cut over `shards` GPUs. `keeps_weights` says that they are gathered
    once a step rather than again for the backward pass."""

    parameters: float
    layers: int
    flops: float
    tokens: float
    shards: int
    keeps_weights: bool = False


def full_flops(parameters: float, layers: int, width: int, context: int) -> float:
    """Return operations to train on a token, counting attention to the whole context, as published
    shares of the peak do."""
    return 6.0 * parameters + 12.0 * layers * width * context


def step_seconds(work: Work, cluster: Cluster, efficiency: float) -> float:
    """Return how long a step takes at a share of the peak."""
    compute = work.tokens * work.flops / (cluster.gpu.peak * efficiency)
    exposed = max(0.0, exchange_seconds(work, cluster) - OVERLAP * compute)
    collectives = (2 if work.keeps_weights else 3) * work.layers if work.shards > 1 else 0
    update = UPDATE * work.parameters / work.shards / cluster.gpu.bandwidth
    return compute + exposed + LATENCY * collectives * cluster.count + update + HOST


def exchanged_bytes(work: Work, cluster: Cluster) -> tuple[float, float]:
    """Return bytes of weights and gradients that pass each GPU in a step: among those that share a
    model, and between copies of it.

    Weights are gathered in bf16, gradients reduced in fp32.
    """
    passes = 6 if work.keeps_weights else 8
    shared = passes * work.parameters * (work.shards - 1) / work.shards
    copies = cluster.count // work.shards
    return shared, 8 * work.parameters / work.shards * (copies - 1) / copies


def exchange_seconds(work: Work, cluster: Cluster) -> float:
    """Return how long the exchange of a step takes."""
    shared, copied = exchanged_bytes(work, cluster)
    if work.shards == 1:  # copies alone, over all
        return copied / cluster.bandwidth(cluster.count)
    return shared / cluster.bandwidth(work.shards) + copied / ACROSS


def efficiency_of(width: int) -> float:
    """Return the share of the peak that models of about this width were published with."""
    below = [share for known, share in EFFICIENCY if known <= width]
    return below[-1] if below else EFFICIENCY[0][1] * width / EFFICIENCY[0][0]


@dataclass(frozen=True)
class Prediction:
    """`memory` are bytes a GPU, `tokens_per_second` those of all; `shards` GPUs hold one model, and
    `rows` are a GPU's micro-batch."""

    step_seconds: float
    tokens_per_second: float
    memory: float
    shards: int
    rows: int
    efficiency: float


def state_bytes(config: TransformerConfig, shards: int) -> float:
    """Return bytes of weights, gradients and moments on each GPU."""
    return STATE * parameter_count(config) / shards


def predict(
    config: TransformerConfig,
    cluster: Cluster,
    batch_tokens: float,
    efficiency: float | None = None,
) -> Prediction:
    """Return how fast a model trains with `batch_tokens` a step, spread no further than it has to
    be. Raises UserError for one that fits in no way."""
    count, context = parameter_count(config), config.context_length
    share = efficiency or efficiency_of(config.width)
    row = KEPT * config.layers * config.width * context  # bytes
    for shards in sorted({1, cluster.node, cluster.count}):
        left = ROOM * cluster.gpu.memory - state_bytes(config, shards) - LOGITS
        if shards > 1:  # a layer's weights, gathered, and the next one's
            left -= 2 * 2 * count / config.layers
        if left < row:
            continue
        tokens = batch_tokens / cluster.count
        rows = max(1, min(int(left // row), math.ceil(tokens / context)))
        tokens = max(tokens, context)
        flops = full_flops(count, config.layers, config.width, context)
        seconds = step_seconds(Work(count, config.layers, flops, tokens, shards), cluster, share)
        memory = ROOM * cluster.gpu.memory - left + rows * row
        speed = cluster.count * tokens / seconds
        return Prediction(seconds, speed, memory, shards, rows, share)
    raise UserError(
        f"a model of {count / 1e9:.1f} billion parameters with {context} tokens a row does not fit "
        f"{cluster.count} × {cluster.name}",
        where="--gpus",
        mend="take more of them, a smaller model or a shorter context",
    )


@dataclass(frozen=True)
class Outcome:
    """What a run comes to: `loss` in nats a token by the scaling law, `cost` where an hour of a GPU
    has a price."""

    config: TransformerConfig
    prediction: Prediction
    tokens: float
    seconds: float
    loss: float
    cost: float | None

    def bits_per_byte(self, tokens_per_byte: float) -> float:
        return self.loss / math.log(2) * tokens_per_byte


@dataclass(frozen=True)
class Run:
    """What is to be learned from: `unique` tokens of text, on a cluster whose GPUs cost `price` an
    hour, `batch` tokens a step."""

    cluster: Cluster
    unique: float
    price: float | None = None
    batch: float | None = None

    def best(
        self, configs: list[TransformerConfig], seconds: float = 0.0, tokens: float = 0.0
    ) -> Outcome:
        """Return the run of lowest expected loss in so many seconds, or over so many tokens.

        Raises UserError where no model fits.
        """
        outcomes, trouble = [], UserError("no model was given")
        for config in configs:
            try:
                found = predict(
                    config, self.cluster, self.batch or batch_tokens(config, self.cluster)
                )
            except UserError as error:
                trouble = error
                continue
            seen = tokens or found.tokens_per_second * seconds
            took = seen / found.tokens_per_second
            body = parameter_count(config) - config.vocab_size * config.width * (2 - config.tied)
            loss = expected_loss(body, seen, self.unique)
            hours = self.cluster.count * took / 3600
            cost = None if self.price is None else self.price * hours
            outcomes.append(Outcome(config, found, seen, took, loss, cost))
        if not outcomes:
            raise trouble
        return min(outcomes, key=lambda outcome: outcome.loss)


def batch_tokens(config: TransformerConfig, cluster: Cluster) -> float:
    """Return half a million tokens a step, or a row for each GPU where that is more."""
    return max(524_288.0, cluster.count * config.context_length)
