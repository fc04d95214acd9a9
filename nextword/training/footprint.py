"""How much memory training takes, predicted from the model's shape, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.sizes import block_weights
from nextword.objectives.cross_entropy import chunk_rows
from nextword.resources import resident
from nextword.training.machine import Precision
from nextword.training.parallel import Group

FILLED = 0.8  # of the memory that is free, at most: fragments and libraries take the rest
IN_PASSING = 2  # blocks' worth of gradients of states, on the way back through one
HELD = 1.1  # times what is in use, by the holes that an allocator leaves
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # a container's own limit
CPU = torch.device("cpu")


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


def predict(
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
    products, query, key and value before and after they are rotated, the output of attention, the
    feed-forward network's inner states, and the weights in the activations' type.
    """
    size = precision.dtype.itemsize
    queries, keys = config.query_width, config.key_width
    inner = config.mlp_width * (4 if config.gated else 2)
    rotated = queries + keys if config.positions == "rotary" else 0
    normed = queries + keys if config.qk_norm else 0
    numbers = 4 * config.width + 2 * queries + 2 * keys + rotated + normed + inner
    weights = size * block_weights(config) if size < 4 else 0
    return tokens * size * numbers + weights


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
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return 0
    try:  # "max" where there is no limit
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, free // group.size)


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
        needed = predict(config, micro, precision, optimizer, accumulates=True, device=device)
        if needed.states + needed.working <= FILLED * free:
            break
        micro = -(-micro // 2)
    return micro
