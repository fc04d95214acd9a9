"""How a step is cut into micro-batches and ranks never changes its gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives.language_modeling import hidden_states, loss
from nextword.settings import ModelSettings
from nextword.tokens.loader import IGNORE_INDEX, Batch, BlockLoader
from nextword.tokens.store import Store
from nextword.training import optimizers
from nextword.training.loop import NonFiniteError, train_step
from nextword.training.parallel import Group
from nextword.training.sharding import LossModule
from nextword.training.update_rules import SGD

CONTEXT = 48


def small_model(vocab_size: int, dtype: torch.dtype = torch.float64) -> Transformer:
    settings = ModelSettings(layers=2, width=32, heads=4, kv_heads=2, context_length=CONTEXT)
    model = Transformer(config_for(settings, vocab_size), seed=3).to(dtype)
    model.activation_dtype = dtype
    return model


def ragged(batch: Batch) -> Batch:
    """Rows with fewer and fewer targets, the last with a single one."""
    targets = batch.targets.clone()
    for row in range(len(targets)):
        targets[row, : (row * CONTEXT) // len(targets)] = IGNORE_INDEX
    targets[-1, :-1] = IGNORE_INDEX
    return replace(batch, targets=targets)


def gradients(model: Transformer, batches: list[Batch]) -> list[Tensor]:
    """What train_step hands to the optimizer."""
    seen: list[Tensor] = []

    class Spy(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            seen.extend(p.grad.clone() for p in self.param_groups[0]["params"])

    learned = list(model.parameters())
    spy = optimizers.Optimizers({"sgd": Spy(learned, lr=0.0)}, learned)
    train_step(LossModule(model, loss), spy, batches, 1.0, 0.0, Group())
    return seen


def rows(batch: Batch, begin: int, end: int) -> Batch:
    def cut(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[begin:end]

    return Batch(
        batch.tokens[begin:end],
        batch.targets[begin:end],
        cut(batch.documents),
        cut(batch.positions),
        batch.samples[begin:end],
    )


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_accumulation_gives_the_gradient_of_the_whole_batch(
    store: Path, dtype: torch.dtype, limit: float
) -> None:
    opened = Store.open(store)
    batch = ragged(BlockLoader(opened.train, CONTEXT, seed=1).batch(0, 8))
    assert batch.documents is not None, "the rows should pack several documents"
    model = small_model(opened.tokenizer.vocab_size, dtype)
    whole = gradients(model, [batch])
    for size in (4, 2, 1):
        cut = gradients(model, [rows(batch, at, at + size) for at in range(0, 8, size)])
        for ours, reference in zip(cut, whole, strict=True):
            assert (ours - reference).norm() <= limit * reference.norm()


def test_the_loss_is_that_of_torch_with_each_document_alone(store: Path) -> None:
    opened = Store.open(store)
    batch = BlockLoader(opened.train, CONTEXT, seed=1).batch(0, 4)
    model = small_model(opened.tokenizer.vocab_size)
    assert batch.documents is not None and batch.positions is not None
    nats = 0.0
    for row in range(4):
        for number in batch.documents[row].unique():
            mine = batch.documents[row] == number
            hidden = model(batch.tokens[row, mine][None])
            logits = hidden @ model.output_weight.t()
            nats += torch.nn.functional.cross_entropy(
                logits[0], batch.targets[row, mine], ignore_index=IGNORE_INDEX, reduction="sum"
            ).item()
    assert loss(model, batch).item() == pytest.approx(nats, rel=1e-9)


def test_packed_documents_never_see_each_other(store: Path) -> None:
    opened = Store.open(store)
    loader = BlockLoader(opened.train, CONTEXT, seed=2)
    batch = next(b for b in (loader.batch(n, 1) for n in range(50)) if b.documents is not None)
    model = small_model(opened.tokenizer.vocab_size, torch.float32)
    assert batch.documents is not None
    first = batch.documents[0] == batch.documents[0, 0]
    assert 0 < int(first.sum()) < CONTEXT
    other = batch.tokens.clone()
    other[0, first] = torch.randint(0, 200, (int(first.sum()),))
    before = hidden_states(model, batch)[0, ~first]
    after = hidden_states(model, replace(batch, tokens=other))[0, ~first]
    assert torch.equal(before, after)


def test_a_step_that_is_not_finite_updates_nothing(store: Path) -> None:
    opened = Store.open(store)
    batch = BlockLoader(opened.train, CONTEXT, seed=1).batch(0, 2)
    model = small_model(opened.tokenizer.vocab_size, torch.float32)
    with torch.no_grad():
        model.blocks[0].mlp.input.weight[0, 0] = float("nan")  # type: ignore[union-attr,index]
    before = [p.clone() for p in model.parameters()]
    learned = list(model.parameters())
    parts = optimizers.Optimizers({"sgd": SGD(learned, lr=1.0)}, learned)
    with pytest.raises(NonFiniteError):
        train_step(LossModule(model, loss), parts, [batch], 1.0, 1.0, Group()).read()
    for ours, reference in zip(model.parameters(), before, strict=True):
        assert torch.equal(ours.nan_to_num(), reference.nan_to_num())
        assert ours.grad is None


def test_every_token_is_a_target_once_an_epoch(store: Path) -> None:
    split = Store.open(store).train
    loader = BlockLoader(split, CONTEXT, seed=5)
    batch = loader.batch(0, loader.blocks)
    assert batch.target_count == len(split)
    scored = batch.targets[batch.targets != IGNORE_INDEX]
    assert torch.equal(
        scored.sort().values, torch.from_numpy(split.tokens.astype("int64")).sort().values
    )
