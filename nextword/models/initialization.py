"""Initial weights: a function of the config and a seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from nextword.models.attention import relative_bucket, rotary_frequencies
from nextword.models.config import TransformerConfig
from nextword.models.layers import Linear

EMBEDDING_NORM = 0.1
SHARPNESS = 1.0  # of a head that first attends to one neighbour; measured: 0 and 2 are worse


@torch.no_grad()
def initial_weights(
    shapes: Iterable[tuple[str, torch.Size]], config: TransformerConfig, seed: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield a Transformer's parameters one after another, by name, as GPT-2 begins (Radford et al.
    2019): who needs only parts of each never has all of them at once.

    Weights are normal, those added to the residual stream scaled down by the root of the number of
    additions; norms are 1, biases 0. A norm of the embeddings is EMBEDDING_NORM, because what
    layers add would long be lost beside a larger residual stream. Where positions are relative, and
    in an encoder's local layers, heads first attend to near tokens: an average over many teaches
    them little.
    """
    generator = torch.Generator().manual_seed(seed)
    std, additions = config.init_std, (3 if config.cross else 2) * config.layers
    near = config.positions == "rotary" and not config.causal and config.window is not None
    local = {f"blocks.{n}.attention.qkv.bias" for n in config.windowed_layers if near}
    queries, keys = config.query_width, config.key_width
    for name, shape in shapes:
        value = torch.empty(shape, device="cpu")
        if name == "embedding_norm.weight" and not config.post_norm:
            value.fill_(EMBEDDING_NORM)
        elif name.endswith("norm.weight"):
            value.fill_(0.0 if config.unit_offset else 1.0)
        elif name.endswith("bias"):
            value.zero_()
        else:
            scale = additions**-0.5 if name.endswith("output.weight") else 1.0
            value.normal_(0.0, std * scale, generator=generator)
        if name.endswith("qkv.weight") and config.attention_scale is not None:
            value[:queries].mul_(config.head_width**-0.5 / config.attention_scale)
        elif name == "relative.weight":
            value.add_(_nearness(config))
        elif name in local:
            value[: queries + keys] = _neighbours(config)
        yield name, value


@torch.no_grad()
def initialize_weights(
    model: nn.Module,
    weights: Iterable[tuple[str, Tensor]],
    part: Callable[[Tensor, Tensor], Tensor] = lambda whole, parameter: whole,
) -> None:
    """Give a model's parameters their initial weights; `part` cuts out what a parameter holds of
    its own."""
    parameters = dict(model.named_parameters())
    for name, whole in weights:
        parameters[name].copy_(part(whole, parameters[name]))


@torch.no_grad()
def initialize_linear(head: nn.Module, std: float, seed: int, below: str | None = None) -> None:
    """Initialise a head's linear maps, but for its part `below`: weights normal, biases 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in head.named_modules():
        if isinstance(module, Linear) and (below is None or not name.startswith(below)):
            shape = module.weight.shape
            module.weight.copy_(torch.empty(shape).normal_(0.0, std, generator=generator))
            if module.bias is not None:
                module.bias.zero_()


def _nearness(config: TransformerConfig) -> Tensor:
    """Return biases of relative positions, [buckets, heads]: lower for distant tokens, with a slope
    for each head from steep to flat (Press et al. 2022)."""
    count, furthest = config.relative_buckets, config.relative_distance
    reach = torch.arange(furthest, -furthest, -1)
    buckets = relative_bucket(reach, config.causal, count, furthest)
    nearest = torch.full((count,), furthest)
    nearest.scatter_reduce_(0, buckets, reach.abs(), "amin")
    slopes = 2.0 ** (-8 * torch.arange(1, config.heads + 1) / config.heads)
    return -nearest[:, None] * slopes


def _neighbours(config: TransformerConfig) -> Tensor:
    """Return biases of queries and keys, [2 × heads × head], with which each head of a local layer
    attends to one neighbour: the token before, the one after, the second before and so on.

    With rotary positions, a constant query and a constant key have a score that depends on their
    distance alone; it is highest at the distance by which the query is rotated ahead.
    """
    assert config.window is not None
    frequencies, _ = rotary_frequencies(config, local=True)
    head = torch.arange(config.heads)
    away = head // 2 % max(config.window - 1, 1) + 1
    angles = (away * (head % 2 * 2 - 1))[:, None] * frequencies  # [heads, head / 2]
    query = torch.cat((angles.cos(), angles.sin()), dim=-1)
    key = torch.cat((torch.ones_like(angles), torch.zeros_like(angles)), dim=-1)
    scale = SHARPNESS**0.5 * config.head_width**0.25  # the scores' own is 1 / sqrt(head)
    return scale * torch.cat((query, key)).flatten()
