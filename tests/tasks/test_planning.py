from __future__ import annotations

import pytest

from nextword.tasks.training import usual_epochs


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 20), (60, 17), (500, 6), (2_000, 3), (100_000, 3), (900_000, 1)]
)
def test_fewer_examples_are_read_more_often(examples: int, epochs: float) -> None:
    assert usual_epochs(examples) == epochs
