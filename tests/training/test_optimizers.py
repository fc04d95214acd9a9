from __future__ import annotations

import pytest
import torch

from nextword.training.optimizers import Muon, Optimizers, orthogonalize


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 64, 32), (2, 32, 96), (1, 48, 48)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)).float())
        assert values.min() > 0.6 and values.max() < 1.3


def test_the_direction_is_that_of_the_polar_factor() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(1, 40, 24)
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    ours = orthogonalize(matrix)[0].float()
    similarity = torch.nn.functional.cosine_similarity(ours.flatten(), (left @ right).flatten(), 0)
    assert similarity > 0.97


def test_fused_rows_are_orthogonalised_apart() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(48, 16)
    fused = torch.nn.Parameter(torch.zeros(48, 16))
    parts = [torch.nn.Parameter(torch.zeros(16, 16)) for _ in range(3)]
    fused.grad = gradient.clone()
    for part, piece in zip(parts, gradient.split(16), strict=True):
        part.grad = piece.clone()
    Muon([{"params": [fused], "row_blocks": [16, 16, 16]}], 0.1, 0.9, 0.0).step()
    Muon([{"params": parts}], 0.1, 0.9, 0.0).step()
    assert torch.allclose(fused, torch.cat(list(parts)), atol=1e-6)


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
            part = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        return layer, Optimizers({kind: part})

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
