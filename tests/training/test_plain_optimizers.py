"""Optimizers without torch's compiler behave as torch's own do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from nextword.training import plain_optimizers

KINDS: dict[str, dict[str, Any]] = {
    "AdamW": {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True},
}
LEARN = """
import sys
import torch
from nextword.training.plain_optimizers import AdamW
from nextword.training.update_rules import SGD, Muon
weight = torch.nn.Parameter(torch.ones(4, 4))
for optimizer in (
    AdamW([weight], lr=0.1, fused=True),
    SGD([weight], 0.1),
    Muon([{"params": [weight]}], 0.1, 0.9, 0.0),
):
    weight.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def learned(kind: type[torch.optim.Optimizer], settings: dict[str, Any]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    optimizer = kind(model.parameters(), **settings)  # type: ignore[arg-type]
    for step in range(6):
        if step == 3:  # as after a resume
            optimizer.load_state_dict(optimizer.state_dict())
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("name", list(KINDS))
def test_they_learn_to_the_bit_what_torchs_do(name: str) -> None:
    ours = learned(getattr(plain_optimizers, name), KINDS[name])
    theirs = learned(getattr(torch.optim, name), KINDS[name])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_they_do_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", LEARN], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
