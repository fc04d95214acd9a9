"""GPT-2 124M trained by nextword and, where NANOGPT names a checkout of it, by nanoGPT."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import torch

from gpu.models import PADDED, config_of
from gpu.section import Section
from gpu.steps import H100, Variant, started_run
from nextword.models.sizes import flops_per_token

ROWS = (32, 64)
OURS = (
    Variant("nextword, one document a row", "124M", 64, True, packed=False),
    Variant("nextword, packed documents", "124M", 128, True),
)


def beside(section: Section) -> None:
    """Time whole steps of both, nanoGPT's on batches that lie on the GPU already."""
    config = config_of("124M", section.small)
    flops = flops_per_token(config, config.context_length)

    def note(name: str, step: Callable[[], object], rows: int) -> None:
        for _ in range(3):
            step()
        section.synchronize()
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < (0.2 if section.small else 4):
            step()
            steps += 1
        section.synchronize()
        speed = steps * rows * config.context_length / (time.perf_counter() - started)
        section.note(name, {"tokens/s": speed, "of 989 TFLOP/s": speed * flops / H100})

    for variant in OURS:
        rows = 2 if section.small else variant.rows
        with section.part(variant.name):
            run = started_run(section, variant, rows)
            note(variant.name, run.step, rows)
            del run
    if not os.environ.get("NANOGPT"):
        section.note("nanoGPT", "skipped: NANOGPT does not name a checkout")
        return
    for rows in (2,) if section.small else ROWS:
        with section.part(name := f"nanoGPT, {rows} rows"):
            note(name, nanogpt_step(section, rows), rows)
            torch._dynamo.reset()


def nanogpt_step(section: Section, rows: int) -> Callable[[], object]:
    """A step as its train.py takes it: compiled whole, bf16 autocast, fused AdamW, TF32."""
    sys.path.insert(0, os.environ["NANOGPT"])
    from model import GPT, GPTConfig

    config, device = config_of("124M", section.small), section.device
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    shape = {"n_layer": config.layers, "n_head": config.heads, "n_embd": config.width}
    vocabulary = config.vocab_size if section.small else PADDED
    settings = GPTConfig(
        block_size=config.context_length, vocab_size=vocabulary, dropout=0.0, bias=False, **shape
    )
    model = GPT(settings).to(device)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), device.type)
    forward = model if section.small else torch.compile(model)
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = forward(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
