"""Tokens a second and peak memory of training GPT-2 124M, one sequence of 1,024 a step.

    python benchmarks/gpt2_step.py [--nanogpt CHECKOUT]

Each contestant runs in its own process, in turn, several times; the best run counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from common import publish, python, ran

STEPS, ROUNDS = 6, 2
SIZE, TOKENS, VOCABULARY = "gpt2", 1024, 50_304


def timed(step: object) -> None:
    """Print the best of several steps' tokens a second."""
    assert callable(step)
    best = float("inf")
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - started)
    print(json.dumps({"tokens_per_second": TOKENS / best}))


def nextword() -> None:
    import torch

    from nextword.models.sizes import config_for
    from nextword.models.transformer import Transformer
    from nextword.objectives import language_modeling
    from nextword.settings import ModelSettings
    from nextword.tokens.loader import Batch
    from nextword.training.loop import train_step
    from nextword.training.optimizers import OptimizerSettings, build_optimizers
    from nextword.training.parallel import Group
    from nextword.training.sharding import LossModule

    model = Transformer(config_for(ModelSettings(size=SIZE), VOCABULARY), seed=0)
    model.activation_dtype = torch.bfloat16
    settings = OptimizerSettings("adamw", 6e-4, weight_decay=0.1, momentum=0.0, betas=(0.9, 0.95))
    parts = build_optimizers(model, settings, torch.bfloat16, {})
    objective = LossModule(model, language_modeling.loss)

    def step() -> None:
        stream = torch.randint(VOCABULARY, (1, TOKENS + 1))
        batch = Batch(stream[:, :-1], stream[:, 1:], None, None, [])
        train_step(objective, parts, [batch], 1.0, 1.0, Group())

    timed(step)


def nanogpt(checkout: str, best: bool) -> None:
    """nanoGPT's own model and optimizer; `best` adds bf16 autocast and fused AdamW."""
    import contextlib

    import torch

    sys.path.insert(0, checkout)
    from model import GPT, GPTConfig

    model = GPT(GPTConfig(block_size=TOKENS, vocab_size=VOCABULARY, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu")
    if best:
        optimizer = torch.optim.AdamW(
            optimizer.param_groups, lr=6e-4, betas=(0.9, 0.95), fused=True
        )
    precision = torch.autocast("cpu", torch.bfloat16) if best else contextlib.nullcontext()

    def step() -> None:
        stream = torch.randint(VOCABULARY, (1, TOKENS + 1))
        with precision:
            _, loss = model(stream[:, :-1], stream[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    timed(step)


def main() -> None:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # for all; nextword's command sets it too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--one", choices=["nextword", "nanogpt", "nanogpt-best"])
    given = parser.parse_args()
    if given.one == "nextword":
        return nextword()
    if given.one:
        return nanogpt(str(given.nanogpt), given.one == "nanogpt-best")
    names = ["nextword", *(["nanogpt", "nanogpt-best"] if given.nanogpt else [])]
    rows: dict[str, dict[str, Any]] = {
        name: {"": name, "tokens/s": 0.0, "peak GiB": 99.0} for name in names
    }
    for _ in range(ROUNDS):
        for name in names:
            more = ["--nanogpt", str(given.nanogpt)] if given.nanogpt else []
            result = ran([python(), __file__, "--one", name, *more])
            speed = json.loads(result.output.splitlines()[-1])["tokens_per_second"]
            row = rows[name]
            row["tokens/s"] = max(float(row["tokens/s"]), speed)
            row["peak GiB"] = min(float(row["peak GiB"]), result.peak_bytes / 2**30)
    shipped = float(rows["nanogpt"]["tokens/s"]) if given.nanogpt else None
    table = [
        row | {"times nanoGPT": float(row["tokens/s"]) / shipped if shipped else None}
        for row in rows.values()
    ]
    publish("gpt2_step", "GPT-2 124M, 1 × 1,024 tokens a step, AdamW", table)


if __name__ == "__main__":
    main()
