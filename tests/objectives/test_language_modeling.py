from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives.language_modeling import hidden_states, loss, score_hidden_tokens
from nextword.settings import ModelSettings
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.masking import MaskedLoader, Masking
from nextword.tokens.store import Split

CLS, SEP, MASK, VOCABULARY = 61, 62, 63, 64


def model(family: str = "modernbert", dtype: torch.dtype = torch.float32) -> Transformer:
    settings = ModelSettings.model_validate(
        {"family": family, "layers": 3, "width": 32, "heads": 4, "context_length": 64}
    )
    made = Transformer(config_for(settings, VOCABULARY), seed=1).to(dtype)
    made.activation_dtype = dtype
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    return made


def loader(longest: int = 30) -> MaskedLoader:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 60, rng.integers(3, longest)).tolist() for _ in range(60)]
    tokens = np.array([id for text in texts for id in [*text, SEP]], np.uint16)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    split = Split("train", tokens, starts, SEP, VOCABULARY)
    return MaskedLoader(split, 48, 3, Masking(0.3, 0.1, 0.1, CLS, SEP, MASK, np.arange(60)))


def alone(batch: Batch, row: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and targets of one document of a row, [1, time]."""
    assert batch.documents is not None
    here = batch.documents[row] == number
    return batch.tokens[row][here][None], batch.targets[row][here][None]


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_the_loss_is_that_of_each_document_alone_at_its_hidden_places(family: str) -> None:
    network, batch = model(family), loader().batch(0, 3)
    assert batch.documents is not None
    expected = 0.0
    for row in range(3):
        for number in batch.documents[row].unique().tolist():
            tokens, targets = alone(batch, row, number)
            logits = network.logits(network(tokens))
            expected += float(F.cross_entropy(logits[0], targets[0], reduction="sum").detach())
    assert float(loss(network, batch).detach()) == pytest.approx(expected, rel=1e-5)
    losses, right = score_hidden_tokens(network, batch)
    assert float(losses.sum()) == pytest.approx(expected, rel=1e-5)
    assert len(right) == batch.target_count


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_another_document_beside_it_changes_nothing(family: str) -> None:
    network, batch = model(family), loader().batch(0, 4)
    assert batch.documents is not None
    other = batch.documents != 1
    changed = torch.where(other, (batch.tokens + 7) % 60, batch.tokens)
    with torch.no_grad():
        first = hidden_states(network, batch)
        second = hidden_states(
            network, Batch(changed, batch.targets, batch.documents, batch.positions, [])
        )
    assert torch.equal(first[~other], second[~other])
    assert not torch.equal(first[other], second[other])


def test_padding_on_either_side_changes_nothing() -> None:
    network, batch = model(), loader().batch(0, 4)
    tokens, targets = alone(batch, 0, 2)
    time = tokens.shape[1]
    plain = loss(network, Batch(tokens, targets, None, None, []))
    for left, right in ((0, 9), (9, 0), (4, 5)):
        padded = [
            F.pad(t, (left, right), value=v) for t, v in ((tokens, 5), (targets, IGNORE_INDEX))
        ]
        documents = F.pad(torch.ones(1, time, dtype=torch.int32), (left, right))
        positions = F.pad(torch.arange(time)[None], (left, right))
        shifted = loss(network, Batch(padded[0], padded[1], documents, positions, []))
        assert float(shifted.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)


@pytest.mark.parametrize("sizes", [(4, 4), (2, 2, 2, 2), (1, 5, 2), (1,) * 8])
def test_gradients_do_not_depend_on_how_a_step_is_cut_up(sizes: tuple[int, ...]) -> None:
    batches = loader()

    def gradients(parts: tuple[int, ...]) -> list[torch.Tensor]:
        network = model(dtype=torch.float64)
        first, total = 0, batches.batch(0, 8).target_count
        for count in parts:
            (loss(network, batches.batch(first, count)) / total).backward()
            first += count
        return [p.grad for p in network.parameters() if p.grad is not None]

    for whole, cut in zip(gradients((8,)), gradients(sizes), strict=True):
        assert torch.allclose(whole, cut, rtol=1e-9, atol=1e-12)


def test_every_weight_learns() -> None:
    network = model()
    loss(network, loader().batch(0, 4)).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())
