"""Nothing in a step waits for the device: what a step does needs no value from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from nextword.models.encoder_decoder import build_model
from nextword.models.heads import SequenceClassificationModel, TokenClassificationModel
from nextword.models.layers import Embedding
from nextword.models.sizes import config_for
from nextword.objectives import language_modeling, preference
from nextword.objectives.heads import (
    SequenceBatch,
    TokenBatch,
    sequence_loss,
    token_head_loss,
)
from nextword.objectives.preference import PreferenceBatch
from nextword.settings import ModelSettings
from nextword.tokens.loader import IGNORE_INDEX, AnyBatch, Batch, to_batch
from nextword.tokens.packing import Example, collate_examples
from nextword.training.loop import TakenStep, train_step
from nextword.training.optimizers import OptimizerSettings, build_optimizers
from nextword.training.parallel import Group
from nextword.training.sharding import LossModule

ROWS, TIME, VOCABULARY = 4, 32, 61


def packed(share: float) -> Batch:
    """Rows of two documents, a share of whose tokens are targets."""
    draw = np.random.default_rng(0)
    ids = draw.integers(0, VOCABULARY, (ROWS, TIME))
    begins = np.zeros((ROWS, TIME), np.bool_)
    begins[:, [0, 11]] = True
    targets = np.where(draw.random((ROWS, TIME)) < share, ids, IGNORE_INDEX)
    return to_batch(ids, targets, begins, [])


def pairs() -> AnyBatch:
    ids = np.arange(12) % VOCABULARY
    return collate_examples([Example(ids, ids > 5) for _ in range(4)], [], 24, start_id=0)


def preferences() -> AnyBatch:
    sequences = packed(0.5)
    owners = torch.arange(ROWS)[:, None].expand(ROWS, TIME).contiguous()
    return PreferenceBatch(sequences, owners, torch.zeros(ROWS // 2))


def classes() -> AnyBatch:
    begins, ends = torch.tensor([0, 11, 40]), torch.tensor([10, 31, 60])
    rows = packed(0.0)
    assert rows.documents is not None and rows.positions is not None
    types = torch.zeros_like(rows.tokens)
    laid = (rows.tokens, rows.documents, rows.positions, types)
    return SequenceBatch(*laid, begins, ends, torch.tensor([0, 1, 1]), [])


def tags() -> AnyBatch:
    rows: Any = classes()
    laid = (rows.tokens, rows.documents, rows.positions, rows.types)
    return TokenBatch(*laid, torch.tensor([3, 4, 50]), torch.tensor([0, 2, 1]), [])


def build(family: str, head: str) -> Any:
    shape = {"layers": 2, "width": 32, "heads": 4, "context_length": TIME}
    config = config_for(ModelSettings(**shape, family=family), VOCABULARY)  # type: ignore[arg-type]
    model: Any = build_model(replace(config, mean_pooling=head == "classes"), seed=None)
    if head == "classes":
        return SequenceClassificationModel(model, 2, 0)
    return TokenClassificationModel(model, 3, 0) if head == "tags" else model


CASES: dict[str, tuple[str, Any, AnyBatch]] = {
    "classes": ("modernbert", sequence_loss, classes()),
    "tags": ("bert", token_head_loss, tags()),
    "all tokens": ("qwen3", language_modeling.loss, packed(1.1)),
    "some tokens": ("modernbert", language_modeling.loss, packed(0.3)),
    "pairs": ("t5", language_modeling.loss, pairs()),
    "preferences": ("qwen3", lambda m, b: preference.loss(m, b, 0.1), preferences()),
}


def fake_step(case: str, optimizer: str, micro_batches: int) -> TakenStep:
    """A step on tensors without values, as a device's are until somebody waits for them."""
    family, loss, batch = CASES[case]
    batches = [batch.to("cpu") for _ in range(micro_batches)]  # as before a device gets them
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = build(family, case)
        for module in model.modules():
            if isinstance(module, Embedding):
                module.sparse = False  # as on a GPU
        settings = OptimizerSettings(optimizer, 0.01, 0.1, 0.9, (0.9, 0.95))  # type: ignore[arg-type]
        tiles = getattr(model, "transformer", model).tiles()
        learned = build_optimizers(model, settings, torch.float32, tiles)
        return train_step(LossModule(model, loss), learned, batches, 1.0, 1.0, Group())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_a_step_takes_no_value_from_the_device(case: str, optimizer: str) -> None:
    assert fake_step(case, optimizer, micro_batches=3).figures.shape == (5,)


def test_what_waits_would_be_found() -> None:
    with FakeTensorMode():
        losses: Tensor = torch.ones(3)
        with pytest.raises(DataDependentOutputException):
            float(losses.sum())
        with pytest.raises(DynamicOutputShapeException):
            losses[losses > 0]
