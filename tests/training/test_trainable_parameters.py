"""Which parameters learn and how fast: against PyTorch's own optimizers, group by group."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.config import ENCODERS, Family, TransformerConfig
from nextword.models.heads import SequenceClassificationModel
from nextword.models.lora import add_lora
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.training.optimizers import (
    Muon,
    Optimizers,
    OptimizerSettings,
    build_optimizers,
    freeze,
    layer_rates,
    trainable_parameters,
)

Kind = Literal["muon", "adamw", "sgd"]
KINDS: tuple[Kind, ...] = ("muon", "adamw", "sgd")
ROW = torch.randint(0, 97, (2, 12), generator=torch.Generator().manual_seed(1))


def transformer(family: Family = "gpt2", **changes: Any) -> Transformer:
    shape: dict[str, Any] = {
        "vocab_size": 97,
        "context_length": 16,
        "layers": 3,
        "width": 32,
        "heads": 4,
        "kv_heads": 4,
        "head_width": 8,
        "mlp_width": 48,
        "init_std": 0.2,
    }
    return Transformer(TransformerConfig(family=family, **shape | STYLES[family] | changes))


def make(classifies: bool) -> Transformer | SequenceClassificationModel:
    return (
        SequenceClassificationModel(transformer(), 3, seed=4)
        if classifies
        else transformer(tied=False)
    )


def backward(model: nn.Module, number: int) -> None:
    row = (ROW + number) % 97
    if isinstance(model, SequenceClassificationModel):
        model(model.transformer(row)[:, -1]).square().sum().backward()
    else:
        assert isinstance(model, Transformer)
        model.logits(model(row)).logsumexp(-1).sum().backward()


def draw_gradients(model: nn.Module, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        drawn = torch.empty(parameter.shape).normal_(generator=generator)
        parameter.grad = drawn if parameter.requires_grad else None


def built(
    model: Transformer | SequenceClassificationModel,
    kind: Kind,
    shares: dict[str, float] | None = None,
) -> Optimizers:
    body = model if isinstance(model, Transformer) else model.transformer
    settings = OptimizerSettings(kind, 0.01, 0.1, momentum=0.9, betas=(0.9, 0.95))
    return build_optimizers(model, settings, torch.float32, body.tiles(), shares)


def plain(name: str) -> str:
    return name.removeprefix("transformer.")


def reference(
    model: Transformer | SequenceClassificationModel, kind: Kind, decay: float
) -> list[Any]:
    """An optimizer of PyTorch's for each parameter that learns, with a rate of its own."""
    body = model if isinstance(model, Transformer) else model.transformer
    parts: list[Any] = []
    muon: list[dict[str, Any]] = []  # of one optimizer, which stacks matrices of one shape
    for full_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = plain(full_name)
        depth = 0
        if name.startswith("blocks."):
            depth = 2 - int(name.split(".")[1])
        elif name.startswith(("embedding", "positions")):
            depth = 3
        rate = 0.01 * decay**depth
        is_matrix = name.startswith("blocks.") and parameter.ndim == 2
        weight_decay = 0.1 if is_matrix or name in ("head.weight", "score.weight") else 0.0
        if kind == "muon" and is_matrix:
            tile = body.tiles().get(name)
            muon.append({"params": [parameter], "tile": tile, "lr": rate})
        elif kind == "sgd":
            parts.append(
                torch.optim.SGD([parameter], lr=rate, momentum=0.9, weight_decay=weight_decay)
            )
        else:
            parts.append(
                torch.optim.AdamW(
                    [parameter],
                    lr=rate,
                    betas=(0.9, 0.95),
                    weight_decay=weight_decay,
                    eps=1e-10 if kind == "muon" else 1e-8,
                )
            )
    return [*parts, Muon(muon, 1e9, 0.9, 0.1)] if muon else parts


@pytest.mark.parametrize("classifies", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("decay", "frozen"), [(1.0, 0), (0.5, 0), (0.5, 2)])
def test_each_parameter_learns_at_its_own_rate_or_not_at_all(
    kind: Kind, classifies: bool, decay: float, frozen: int
) -> None:
    ours, theirs = make(classifies), make(classifies)
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    for model in (ours, theirs):
        freeze(model, frozen)
    parts = built(ours, kind, layer_rates(ours, decay))
    others = reference(theirs, kind, decay)
    for number, lr_scale in enumerate((1.0, 0.5, 0.25)):
        draw_gradients(ours, number)
        parts.step(lr_scale)
        draw_gradients(theirs, number)
        for part in others:
            for group in part.param_groups:
                peak = group.setdefault("peak", group["lr"])
                group["lr"] = peak * lr_scale
            part.step()
            part.zero_grad()
    for (name, mine), reached in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reached, atol=2e-6, rtol=0)
        is_frozen = frozen and plain(name).startswith(
            ("embedding", "positions", "blocks.0.", "blocks.1.")
        )
        assert torch.equal(mine, before[name]) == bool(is_frozen), name
        assert mine.grad is None


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_frozen_parameters_goes_on_exactly(kind: Kind, adapted: bool) -> None:
    def begin() -> tuple[SequenceClassificationModel, Optimizers]:
        model = SequenceClassificationModel(transformer(), 3, seed=4)
        if adapted:
            add_lora(model, rank=2, alpha=4)
        else:
            freeze(model, 1)
        return model, built(model, kind, layer_rates(model, 0.8))

    def steps(model: SequenceClassificationModel, parts: Optimizers, numbers: range) -> None:
        for number in numbers:
            backward(model, number)
            parts.step(1.0)

    straight, parts = begin()
    steps(straight, parts, range(6))
    first, saved = begin()
    steps(first, saved, range(3))
    second, restored = begin()
    second.load_state_dict(first.state_dict())
    restored.load_tensors({name: tensor.clone() for name, tensor in saved.tensors().items()})
    steps(second, restored, range(3, 6))
    for (name, one), other in zip(straight.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), name
    learned = sum(p.requires_grad for p in straight.parameters())
    states = {key.rsplit(".", 1)[0] for key in saved.tensors()}
    assert len(states) == learned < len(list(straight.parameters()))


def test_rates_fall_from_the_head_to_the_embedding() -> None:
    model = SequenceClassificationModel(transformer(), 3)
    shares = layer_rates(model, 0.5)
    assert shares["score.weight"] == shares["transformer.norm.weight"] == 1.0
    assert shares["transformer.blocks.2.mlp.input.weight"] == 1.0
    assert shares["transformer.blocks.0.mlp.input.weight"] == 0.25
    assert shares["transformer.embedding.weight"] == 0.125
    assert shares["transformer.positions.weight"] == 0.125


@pytest.mark.parametrize("family", ENCODERS)
def test_what_leads_to_an_encoders_scores_learns_as_its_head_does(family: Family) -> None:
    model = SequenceClassificationModel(transformer(family), 3)
    shares = layer_rates(model, 0.5)
    freeze(model, 2)
    learned = {part.name: part for part in trainable_parameters(model, shares)}
    before = "transform.dense" if family == "modernbert" else "pooler"
    for name in (f"{before}.weight", "score.weight"):
        assert learned[name].share == 1.0 and learned[name].decays and not learned[name].matrix
    below = ("embedding", "positions", "types", "blocks.0.", "blocks.1.")
    assert not any(name.startswith(below) for name in learned)
    assert {shares[name] for name in shares if plain(name).startswith(below[:3])} == {0.125}
    add_lora(model, rank=2, alpha=4)
    assert {f"{before}.weight", "score.bias"} <= {part.name for part in trainable_parameters(model)}


def test_the_order_of_groups_is_that_of_older_checkpoints() -> None:
    """Moments are numbered in this order: matrices, the head, then what does not decay."""
    model = transformer(tied=False)
    groups = built(model, "adamw").parts["adamw"].param_groups
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and n.startswith("blocks.")]
    others = [p for n, p in named.items() if p.ndim == 1 or n.startswith(("emb", "pos"))]
    expected: list[list[Tensor]] = [[*matrices, named["head.weight"]], others]
    assert [[id(p) for p in g["params"]] for g in groups] == [[id(p) for p in e] for e in expected]


def test_freezing_all_is_refused_but_a_head_may_learn_alone() -> None:
    with pytest.raises(UserError, match="3 layers cannot be frozen: the model has 3"):
        freeze(transformer(), 3)
    model = SequenceClassificationModel(transformer(), 3)
    freeze(model, 3)
    names = {member.name for member in trainable_parameters(model)}
    assert names == {"norm.weight", "norm.bias", "score.weight"}
    with pytest.raises(UserError, match="4 layers cannot be frozen"):
        freeze(model, 4)
    model.requires_grad_(False)
    with pytest.raises(UserError, match="nothing is left to learn"):
        built(model, "adamw")
