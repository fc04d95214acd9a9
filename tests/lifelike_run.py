"""A run directory as `pretrain` leaves it, made up but lifelike."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

Record = dict[str, Any]
MakeRun = Callable[..., Path]
TOKENS_PER_BYTE = 0.28
STEPS = 1200


def lifelike_metrics(steps: int = STEPS, overfit: bool = False) -> list[Record]:
    """What a run of `steps` steps writes: a noisy fall, a validation every hundred, samples."""
    chance = random.Random(7)
    records: list[Record] = []
    lowest = math.inf
    for step in range(10, steps + 1, 10):
        loss = 3.1 + 5.2 * math.exp(-step / 90) + 0.7 * math.exp(-step / 500)
        records.append(
            {
                "kind": "train",
                "step": step,
                "loss": loss + chance.gauss(0, 0.06),
                "bits_per_byte": loss / math.log(2) * TOKENS_PER_BYTE,
                "learning_rate": 0.003
                * min(1, step / 60, max(0.0, (steps - step) / (0.4 * steps))),
                "grad_norm": 0.4 + 3 * math.exp(-step / 60) + abs(chance.gauss(0, 0.08)),
                "tokens": step * 8192,
                "tokens_per_second": 16_500 + chance.gauss(0, 500),
                "matmul_share": 0.52 + chance.gauss(0, 0.02),
                "seconds": 12 + step * 0.5,
            }
        )
        if step % 100 == 0:
            held_out = loss + 0.08 + (0.0012 * max(0, step - 600) if overfit else 0)
            records.append(
                {
                    "kind": "validation",
                    "step": step,
                    "loss": held_out,
                    "perplexity": math.exp(held_out),
                    "bits_per_byte": held_out / math.log(2) * TOKENS_PER_BYTE,
                    "train_loss": loss - (0.3 if overfit else 0),
                    "best": held_out < lowest,
                    "seconds": 12 + step * 0.5,
                }
            )
            lowest = min(lowest, held_out)
            records.append(
                {
                    "kind": "sample",
                    "step": step,
                    "prompt": "",
                    "text": "It was a very fine evening, and the old gentleman\n"
                    f"had not yet returned from the village ({step}).",
                }
            )
    return records


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(records: list[Record] | None = None, name: str = "novels", model: bool = True) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        resolved = {"data": ["my_books"], "seed": 1337, "optimizer": "muon", "learning_rate": 0.003}
        (run / "config.yaml").write_text(yaml.safe_dump(resolved), encoding="utf-8")
        facts = {
            "data": ["my_books"],
            "settings": {"optimizer": "muon"},
            "store": "store",
            "plan": {"model": {"family": "qwen3", "layers": 6}, "reasons": ["6 layers: fits"]},
            "precision": {"name": "bf16", "peak": 4e11, "reason": "2.1 times fp32's rate here"},
            "environment": {"python": "3.11.7", "torch": "2.13.0", "threads": 2},
        }
        (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
        (run / "store").mkdir()
        names = ("documents", "tokens", "characters", "bytes")
        counts = dict(zip(names, (27, 6_048_000, 21_500_000, 21_600_000), strict=True))
        held_out = dict(zip(names, (3, 671_000, 2_390_000, 2_400_000), strict=True))
        reasons = {"empty": {"count": 1, "examples": [["my_books/blank.txt", ""]]}}
        manifest = {
            "splits": {"train": counts, "val": held_out},
            "summary": {
                "accepted": 30,
                "skipped": 1,
                "rejected": 0,
                "reasons": reasons,
                "notes": {},
                "languages": {"en": 21_000_000, "fr": 500_000},
                "overlap": {"share": 0.0012, "documents_seen": 0},
            },
        }
        (run / "store" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if records is not None:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (run / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if model:
            (run / "model").mkdir()
            config = {"model_type": "qwen3", "num_hidden_layers": 6, "vocab_size": 8192}
            (run / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
            tensors = {"a": np.zeros((100, 32), np.float32), "b": np.zeros(32, np.float32)}
            save_file(tensors, run / "model" / "model.safetensors")
        return run

    return make


@pytest.fixture
def metrics() -> Callable[..., list[Record]]:
    return lifelike_metrics
