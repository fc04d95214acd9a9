from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from nextword.errors import UserError
from nextword.models.config import DECODERS, Family, TransformerConfig
from nextword.models.heads import SequenceClassificationModel
from nextword.models.lora import (
    add_lora,
    block_matrices,
    count_trainable,
    low_rank_modules,
    merge_lora,
)
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer

ROW = torch.randint(0, 97, (2, 24), generator=torch.Generator().manual_seed(1))


def transformer(family: Family = "qwen3", tied: bool = True) -> Transformer:
    return Transformer(
        TransformerConfig(
            family=family,
            vocab_size=97,
            context_length=64,
            layers=2,
            tied=tied,
            width=48,
            heads=6,
            kv_heads=6 if family == "gpt2" else 2,
            head_width=8,
            mlp_width=80,
            init_std=0.2,
            **STYLES[family],
        )
    )


def loss(model: Transformer, row: Tensor = ROW) -> Tensor:
    hidden = model(row)
    return model.logits(hidden).float().logsumexp(-1).sum() / 100


@pytest.mark.parametrize("family", DECODERS)
def test_training_begins_at_the_model_itself(family: Family) -> None:
    model = transformer(family)
    before = model(ROW)
    add_lora(model, rank=4, alpha=8, dropout=0.5)
    assert torch.equal(model(ROW), before)


@pytest.mark.parametrize("family", DECODERS)
def test_only_a_and_b_learn_all_of_them_and_a_new_head_with_them(family: Family) -> None:
    model = SequenceClassificationModel(transformer(family), 3)
    add_lora(model, rank=4, alpha=8)
    for step in range(2):  # in the first step B is zero, and A has no gradient but zeros
        model.zero_grad()
        model(model.transformer(ROW)[:, -1]).square().sum().backward()
        for name, parameter in model.named_parameters():
            if "lora_" in name or name == "score.weight":
                assert parameter.grad is not None, name
                assert parameter.grad.any() or (step == 0 and "lora_a" in name), name
            else:
                assert parameter.grad is None, name
        with torch.no_grad():
            for module in low_rank_modules(model).values():
                assert module.lora_b.grad is not None
                module.lora_b -= module.lora_b.grad


def test_the_update_is_alpha_over_rank_times_b_a() -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=6)
    name, module = next(iter(low_rank_modules(model).items()))
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(2))
    torch.nn.init.normal_(module.lora_b)
    expected = x @ module.weight.T + 1.5 * (x @ module.lora_a.T @ module.lora_b.T)
    torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=0)
    merged = dict(merge_lora(model).named_parameters())[f"{name}.weight"]
    torch.testing.assert_close(x @ merged.T, expected, atol=1e-5, rtol=0)


def test_dropout_falls_on_the_update_alone_and_in_training_alone() -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=8, dropout=0.5)
    module = next(iter(low_rank_modules(model).values()))
    nn.init.normal_(module.lora_b)
    x = torch.randn(64, 48, generator=torch.Generator().manual_seed(2))
    plain = x @ module.weight.T
    torch.manual_seed(0)
    many = torch.stack([module(x) - plain for _ in range(400)])
    assert many.std(0).min() > 0
    model.eval()
    expected = module(x) - plain
    assert (many.mean(0) - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.parametrize(
    ("targets", "parts"),
    [("attention", {"qkv", "output"}), ("mlp", {"input", "output"}), ("all", None)],
)
def test_targets_are_the_matrices_of_one_part_or_both(targets: str, parts: set[str] | None) -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=8, targets=targets)  # type: ignore[arg-type]
    names = {tuple(name.split(".")[2:]) for name in low_rank_modules(model)}
    chosen = ("attention", "mlp") if targets == "all" else (targets,)
    assert {part for part, _ in names} == set(chosen)
    assert parts is None or {matrix for _, matrix in names} == parts
    assert len(low_rank_modules(model)) == len(list(block_matrices(model, targets)))  # type: ignore[arg-type]


def test_the_share_that_learns_is_counted() -> None:
    model = transformer()
    every = sum(p.numel() for p in model.parameters())
    add_lora(model, rank=4, alpha=8, targets="attention")
    qkv, output = 4 * (48 + 80), 4 * (48 + 48)
    assert count_trainable(model) == (2 * (qkv + output), every + 2 * (qkv + output))


def test_a_is_a_function_of_the_seed_and_names_are_stable() -> None:
    def state(seed: int) -> dict[str, Tensor]:
        model = transformer()
        names = set(model.state_dict())
        add_lora(model, rank=4, alpha=8, seed=seed)
        assert names < set(model.state_dict())  # what was there keeps its name
        return model.state_dict()

    one, same, other = state(1), state(1), state(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "blocks.1.attention.qkv.lora_a"
    assert not torch.equal(one[name], other[name])


def test_a_checkpoint_of_updates_goes_back_in() -> None:
    model, again = transformer(), transformer()
    for one in (model, again):
        add_lora(one, rank=4, alpha=8, seed=3)
    for module in low_rank_modules(model).values():
        nn.init.normal_(module.lora_b)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(ROW), again(ROW))


def test_gradients_add_up_over_micro_batches() -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=8)
    for module in low_rank_modules(model).values():
        nn.init.normal_(module.lora_b, std=0.1)
    loss(model).backward()
    whole = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row in ROW.split(1):
        loss(model, row).backward()
    for name, parameter in model.named_parameters():
        if name in whole:
            torch.testing.assert_close(parameter.grad, whole[name], atol=1e-4, rtol=1e-3)


def test_bf16_activations_keep_fp32_updates_and_stay_close() -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=8)
    for module in low_rank_modules(model).values():
        nn.init.normal_(module.lora_b, std=0.05)
    exact = model(ROW)
    model.activation_dtype = torch.bfloat16
    rounded = model(ROW)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()
    loss(model).backward()
    for module in low_rank_modules(model).values():
        assert module.lora_a.grad is not None and module.lora_a.grad.dtype == torch.float32


@pytest.mark.parametrize("classifies", [False, True])
def test_no_parameter_is_unused_under_ddp(classifies: bool, tmp_path: Path) -> None:
    """DDP refuses a second step where a parameter that learns had no gradient in the first."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for adapted in (True, False):
            body = transformer(tied=not classifies)
            model = SequenceClassificationModel(body, 3) if classifies else body
            if adapted:
                add_lora(model, rank=4, alpha=8)

            class Objective(nn.Module):
                def __init__(self, model: nn.Module) -> None:
                    super().__init__()
                    self.model = model

                def forward(self, row: Tensor) -> Tensor:
                    if isinstance(self.model, Transformer):
                        return loss(self.model, row)
                    return self.model(self.model.transformer(row)[:, -1]).square().sum()

            replicated = nn.parallel.DistributedDataParallel(Objective(model))
            for _ in range(3):
                replicated(ROW).backward()
    finally:
        distributed.destroy_process_group()


def test_updates_are_added_only_once() -> None:
    model = transformer()
    add_lora(model, rank=4, alpha=8)
    with pytest.raises(UserError, match="has low-rank updates already"):
        add_lora(model, rank=4, alpha=8)
    assert merge_lora(merge_lora(model)) is not model
    assert not any(p.requires_grad for p in merge_lora(model).parameters() if p.ndim == 1)
