"""The memory that training takes on a GPU, beside what nextword predicts of it."""

from __future__ import annotations

import torch

from gpu.models import config_of, new_learner, random_batch
from gpu.section import NO_CUDA, Section, peak_bytes
from nextword.training import costs
from nextword.training.machine import Precision

ROWS = {"124M": (8, 32), "350M": (8, 32), "1.3B": (2, 8)}
GIB = 2**30


def memory(section: Section) -> None:
    """Compare the prediction with the peak of whole steps."""
    precision = Precision("bf16", 1.0, "")
    for size, many in ROWS.items():
        config = config_of(size, section.small)
        for rows in many:
            if not section.has_time(name := f"{size}, {rows} rows", 1 if section.small else 5):
                continue
            needs = costs.predict_memory(config, rows, precision, "adamw", device=section.device)
            predicted = needs.states + needs.working
            if not section.on_gpu:
                section.note(name, {"predicted GiB": predicted / GIB, "measured": NO_CUDA})
                continue
            with section.part(name):
                learner = new_learner(config, section.device, torch.bfloat16)
                batch = random_batch(config, rows).to(section.device)
                learner.step(batch)
                torch.cuda.reset_peak_memory_stats(section.device)
                learner.step(batch)
                peak = peak_bytes(section.device)
                found = {"peak GiB": peak / GIB, "predicted GiB": predicted / GIB}
                section.note(name, found | {"predicted / peak": predicted / peak})
                del learner, batch
