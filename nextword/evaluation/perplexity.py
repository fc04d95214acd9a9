"""How figures are written down."""

from __future__ import annotations

import math
from typing import Any

DIGITS = 6  # significant ones in JSON; the order of sums moves those after


def round_for_json(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values, rounded to the digits that do not depend on the batch size."""
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def perplexity(loss: float) -> float:
    """The perplexity of a loss in nats, however large that is."""
    return math.exp(min(loss, 700.0))


def perplexity_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The same of both ends of an interval."""
    return None if interval is None else (perplexity(interval[0]), perplexity(interval[1]))
