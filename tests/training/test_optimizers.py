from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.training import update_rules
from nextword.training.optimizers import (
    Optimizers,
    OptimizerSettings,
    build_optimizers,
)
from nextword.training.update_rules import SGD, Muon, orthogonalize

both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@both_types
def test_orthogonalised_matrices_have_singular_values_near_one(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for shape in ((3, 64, 32), (2, 32, 96), (1, 48, 48)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape), dtype).float())
        assert values.min() > 0.6 and values.max() < 1.3


@both_types
def test_the_direction_is_that_of_the_polar_factor(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(1, 40, 24)
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    ours = orthogonalize(matrix, dtype)[0].float()
    similarity = torch.nn.functional.cosine_similarity(ours.flatten(), (left @ right).flatten(), 0)
    assert similarity > 0.97


def test_matrices_orthogonalised_in_parts_are_those_orthogonalised_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def learned(at_once: int) -> list[torch.Tensor]:
        monkeypatch.setattr(update_rules, "AT_ONCE", at_once)
        torch.manual_seed(1)
        shapes = [(8, 6), (6, 8), (8, 6), (24, 6)]
        weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        groups = [{"params": [weight]} for weight in weights]
        groups[3]["tile"] = (8, 6)  # type: ignore[assignment]
        muon = Muon(groups, 0.1, 0.9, 0.1)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            muon.step()
        return [weight.detach() for weight in weights]

    together = learned(1 << 24)
    for at_once in (1, 100):  # a matrix at a time, two at a time
        assert all(map(torch.allclose, learned(at_once), together))


@pytest.mark.parametrize("tile", [(16, 24), (48, 8), (16, 8)])
def test_each_tile_is_updated_as_a_matrix_of_its_own(tile: tuple[int, int]) -> None:
    torch.manual_seed(0)
    whole = torch.nn.Parameter(torch.randn(48, 24))
    rows, columns = tile

    def cut(matrix: torch.Tensor) -> list[torch.Tensor]:
        return [p for part in matrix.split(rows) for p in part.split(columns, dim=1)]

    parts = [torch.nn.Parameter(part.clone()) for part in cut(whole.detach())]
    muons = (
        Muon([{"params": [whole], "tile": tile}], 0.1, 0.9, 0.1),
        Muon([{"params": parts}], 0.1, 0.9, 0.1),
    )
    for _ in range(3):
        whole.grad = torch.randn(48, 24)
        for part, gradient in zip(parts, cut(whole.grad), strict=True):
            part.grad = gradient.clone()
        for muon in muons:
            muon.step()
    for part, wanted in zip(cut(whole), parts, strict=True):
        assert torch.allclose(part, wanted, atol=1e-6)


def test_a_step_of_few_tokens_orthogonalises_heads_and_groups_of_neurons() -> None:
    """Of 8 each; other steps all queries, keys and values, a gate and its input."""
    shape: dict[str, Any] = {"layers": 2, "width": 32, "heads": 4, "context_length": 16}
    families: list[dict[str, Any]] = [{"family": f} for f in ("gpt2", "modernbert", "t5")]
    for family in (*families, {"family": "qwen3", "kv_heads": 2}):
        config = config_for(ModelSettings(**shape, **family), 40)
        model = build_model(config)
        few, many, sizes = model.tiles(6 * 32), model.tiles(6 * 32 + 1), model.state_dict()
        assert many == model.tiles() and few.keys() == many.keys()
        for name, tile in few.items():
            for rows, columns in (tile, many[name]):
                assert sizes[name].shape[0] % rows == sizes[name].shape[1] % columns == 0
            assert sorted(tile) == [8, 32]
            if name.endswith("qkv.weight"):
                assert many[name] == (config.key_width, 32)


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
def test_saved_state_goes_on_exactly(kind: str) -> None:
    def make() -> tuple[torch.nn.Linear, Optimizers]:
        torch.manual_seed(1)
        layer = torch.nn.Linear(8, 8, bias=False)
        part: torch.optim.Optimizer
        if kind == "muon":
            part = Muon([{"params": [layer.weight]}], 0.1, 0.9, 0.1)
        elif kind == "adamw":
            part = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
        else:
            part = SGD(layer.parameters(), lr=0.1, momentum=0.9)
        return layer, Optimizers({kind: part}, list(layer.parameters()))

    def steps(layer: torch.nn.Linear, parts: Optimizers, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            layer(torch.randn(4, 8)).square().sum().backward()
            parts.step(1.0)

    straight, parts = make()
    steps(straight, parts, range(6))
    first, saved = make()
    steps(first, saved, range(3))
    second, restored = make()
    second.load_state_dict(first.state_dict())
    restored.load_tensors({name: tensor.clone() for name, tensor in saved.tensors().items()})
    steps(second, restored, range(3, 6))
    assert torch.equal(straight.weight, second.weight)


def svd_muon(
    weight: np.ndarray, gradients: list[np.ndarray], rate: float, mu: float, decay: float
) -> np.ndarray:
    """Muon as its papers write it, with the exact polar factor."""
    momentum = np.zeros_like(weight)
    for gradient in gradients:
        momentum = mu * momentum + (1 - mu) * gradient
        left, _, right = np.linalg.svd(mu * momentum + (1 - mu) * gradient, full_matrices=False)
        weight = weight * (1 - rate * decay) - rate * 0.2 * max(weight.shape) ** 0.5 * left @ right
    return weight


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_muon_takes_the_steps_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    start = draw.standard_normal(shape)
    gradients = [draw.standard_normal(shape) for _ in range(4)]
    weight = torch.nn.Parameter(torch.from_numpy(start).float())
    optimizer = Muon([{"params": [weight]}], 0.02, 0.9, 0.5)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient).float()
        optimizer.step()
    expected = svd_muon(start, gradients, 0.02, 0.9, 0.5)
    moved, wanted = weight.detach().double().numpy() - start, expected - start
    assert np.vdot(moved, wanted) > 0.98 * np.linalg.norm(moved) * np.linalg.norm(wanted)
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(wanted), rel=0.1)
    plain = svd_muon(start, gradients, 0.02, 0.0, 0.5)  # so close that another momentum shows
    assert np.linalg.norm(moved - wanted) < 0.5 * np.linalg.norm(moved - (plain - start))


def adamw_in_numpy(
    weight: np.ndarray, gradients: list[np.ndarray], rates: list[float], decay: float
) -> np.ndarray:
    """Loshchilov & Hutter 2019, algorithm 2, with betas 0.9 and 0.95."""
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        update = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.95**step)) + 1e-8)
        weight = weight - rate * update - rate * decay * weight
    return weight


def sgd_in_numpy(
    weight: np.ndarray, gradients: list[np.ndarray], rates: list[float], decay: float
) -> np.ndarray:
    """Momentum of 0.8 as Sutskever et al. 2013 and PyTorch have it."""
    velocity = np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = 0.8 * velocity + gradient + decay * weight
        weight = weight - rate * velocity
    return weight


@pytest.mark.parametrize(("kind", "reference"), [("adamw", adamw_in_numpy), ("sgd", sgd_in_numpy)])
def test_every_step_is_that_of_the_textbook(kind: str, reference: object) -> None:
    """With the schedule's scale of the rate, and weight decay for matrices alone."""
    settings = ModelSettings(layers=1, width=16, heads=2, context_length=16, tied=False)
    model = Transformer(config_for(settings, 40), seed=1)
    chosen = OptimizerSettings(kind, 0.01, 0.3, momentum=0.8, betas=(0.9, 0.95))  # type: ignore[arg-type]
    optimizers = build_optimizers(model, chosen, torch.float32, model.tiles())
    draw = np.random.default_rng(0)
    scales = [0.5, 1.0, 0.25]
    starts = {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}
    gradients = {
        name: [draw.standard_normal(w.shape) for _ in scales] for name, w in starts.items()
    }
    for step, lr_scale in enumerate(scales):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name][step]).float()
        optimizers.step(lr_scale)
        assert all(p.grad is None for p in model.parameters())
    for name, parameter in model.named_parameters():
        decayed = name.startswith("head.") or (name.startswith("blocks.") and parameter.ndim == 2)
        rates = [0.01 * lr_scale for lr_scale in scales]
        expected = reference(starts[name], gradients[name], rates, 0.3 * decayed)  # type: ignore[operator]
        assert np.allclose(parameter.detach().numpy(), expected, rtol=1e-4, atol=1e-6), name


def test_muon_takes_the_matrices_inside_the_blocks_and_nothing_else() -> None:
    settings = ModelSettings(layers=2, width=16, heads=2, context_length=16, tied=False)
    model = Transformer(config_for(settings, 40), seed=1)
    chosen = OptimizerSettings("muon", 0.01, 0.1, momentum=0.95, betas=(0.9, 0.95))
    parts = build_optimizers(model, chosen, torch.float32, model.tiles()).parts
    mine = {id(p) for group in parts["muon"].param_groups for p in group["params"]}
    theirs = {id(p) for group in parts["adamw"].param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        inside = name.startswith("blocks.") and parameter.ndim == 2
        assert (id(parameter) in mine, id(parameter) in theirs) == (inside, not inside), name


def test_wide_matrices_are_orthogonalised_through_their_gram_matrix_alike() -> None:
    """Also where singular values fall to a thousandth of the largest."""
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(2, 24, 64).double(), full_matrices=False)
    wide = left @ torch.diag_embed(torch.logspace(0, -3, 24).double().expand(2, 24)) @ right
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-6)
    for a, b, c in update_rules.POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(wide, torch.float64), x)
    torch.testing.assert_close(orthogonalize(wide.mT, torch.float64), x.mT)
    single = orthogonalize(wide.float(), torch.float32).double()
    assert (single - x).norm() < 1e-3 * x.norm()
