"""The memory that training takes, as predicted from what autograd saves, and as it is."""

from __future__ import annotations

from typing import Any

import torch

from gpu.models import config_of, new_learner, new_model, random_batch
from gpu.section import NO_CUDA, Section, peak_bytes
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.packed_attention import can_compile
from nextword.objectives import cross_entropy, language_modeling

STATE = 16  # bytes a parameter: weight, gradient and AdamW's two moments, in fp32
ROWS = {"124M": (8, 32), "350M": (8, 32), "1.3B": (2, 8)}
GIB = 2**30


def memory(section: Section) -> None:
    """Compare a prediction from one row with the peak of whole steps."""
    for size, many in ROWS.items():
        if not section.has_time(size, 2 if section.small else 5):
            continue
        config = config_of(size, section.small)
        with section.part(size):
            row = saved_bytes(config, section.device)
            figures: dict[str, Any] = {"saved by a row, MiB": row / 2**20}
            figures["parameters"] = parameter_count(config)
            section.note(size, figures)
            if section.on_gpu:
                _measured(section, size, config, row, many)
            else:
                section.note(f"{size}: measured", NO_CUDA)
        if section.small:
            return


def saved_bytes(config: TransformerConfig, device: torch.device) -> int:
    """Return the bytes that autograd keeps of one row until the backward pass, weights left out."""
    model = new_model(config, device, torch.bfloat16)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    held = []  # so that no place is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    batch = random_batch(config, rows=1).to(device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nats = language_modeling.loss(model, batch)
    # The loss saves gradients of its inputs, that of the weight among them: no part of a row.
    of_weight = model.output_weight.untyped_storage().nbytes()
    del nats
    return sum(size for size in kept.values() if size != of_weight)


def _measured(
    section: Section, size: str, config: TransformerConfig, row: int, many: tuple[int, ...]
) -> None:
    device = section.device
    casts = 2 * parameter_count(config)  # of weights in bf16, which autograd keeps
    # A chunk in bf16, and in fp32 where no kernel is made of the losses.
    tokens = max(many) * config.context_length
    chunk = min(cross_entropy.GPU_CHUNK_LOGITS, tokens * config.vocab_size)
    logits = chunk * (2 + (0 if can_compile(device) else 4))
    for rows in many:
        with section.part(f"{size}, {rows} rows"):
            learner = new_learner(config, device, torch.bfloat16)
            batch = random_batch(config, rows).to(device)
            learner.step(batch)
            torch.cuda.reset_peak_memory_stats(device)
            learner.step(batch)
            peak = peak_bytes(device)
            activations = max(0, row - casts) * rows + casts
            predicted = STATE * parameter_count(config) + activations + logits
            found = {
                "peak GiB": peak / GIB,
                "predicted GiB": predicted / GIB,
                "predicted / peak": predicted / peak,
            }
            section.note(f"{size}, {rows} rows", found)
            del learner, batch
