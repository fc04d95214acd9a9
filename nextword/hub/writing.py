"""Weights written to safetensors files, under the names Hugging Face gives them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from nextword.hub.names import Piece, bias_names, pieces, span_name, weight_name
from nextword.hub.tensors import INDEX, SINGLE
from nextword.models.encoder_decoder import Writer
from nextword.models.heads import Headed, SpanFinder

SHARD_BYTES = 5_000_000_000


def write_weights(
    directory: Path,
    model: Writer | Headed,
    dtype: torch.dtype,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model's parameters, in several files with an index if they exceed `shard_bytes`."""
    config = model.config if isinstance(model, Writer) else model.transformer.config
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    members = list(pieces(config, shapes))
    if isinstance(model, SpanFinder):
        members = [replace(p, theirs=span_name(p.theirs, config.family)) for p in members]
    bias, *others = bias_names(config) or ("",)
    if not config.tied:  # each name is a parameter of theirs, though one alone counts
        members += [replace(p, theirs=o) for p in members if p.theirs == bias for o in others]
    if config.family == "t5" and config.tied and config.vocabulary_scale == 1:
        # Older versions of transformers tie what is scaled, and nothing else.
        embedding, head = (weight_name("t5", module) for module in ("embedding", "head"))
        members += [replace(p, theirs=head) for p in members if p.theirs == embedding]
        others.append(head)
    shards = list(_shards(members, dtype.itemsize, shard_bytes))
    weight_map, total = {}, 0
    for number, members in enumerate(shards, start=1):
        name = (
            SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        tensors = {
            piece.theirs: _stored(parameters[piece.parameter], piece, dtype) for piece in members
        }
        tensors |= {name: tensors[name].clone() for name in others if name in tensors}
        save_file(tensors, directory / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _stored(parameter: Tensor, piece: Piece, dtype: torch.dtype) -> Tensor:
    rows = parameter.detach()[piece.rows].to("cpu", dtype)
    return (rows.t() if piece.transposed else rows).contiguous()


def _shards(members: Iterable[Piece], itemsize: int, limit: int) -> Iterator[list[Piece]]:
    shard: list[Piece] = []
    size = 0
    for piece in members:
        bytes_ = itemsize * int(torch.Size(piece.shape).numel())
        if shard and size + bytes_ > limit:
            yield shard
            shard, size = [], 0
        shard.append(piece)
        size += bytes_
    yield shard
