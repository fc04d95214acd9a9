"""How far a result moves with the seed alone: mean, deviation and interval over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextword.files import read_json

SEEDS = "seeds.json"  # in a run directory of several seeds


@dataclass(frozen=True)
class SeedStats:
    """`deviation` is the runs' standard deviation (over n - 1), `interval` the 95% interval of the
    mean (Student's t): what other seeds would give on the same examples."""

    mean: float
    deviation: float
    interval: tuple[float, float]


def seed_stats(found: Sequence[dict[str, float]]) -> dict[str, SeedStats]:
    """Of each figure that all runs have; there are at least two."""
    from scipy.stats import t

    told = {}
    for name in (name for name in found[0] if all(name in figures for figures in found)):
        values = np.array([figures[name] for figures in found], np.float64)
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        reach = float(t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
        told[name] = SeedStats(mean, deviation, (mean - reach, mean + reach))
    return told


def runs_of(place: Path) -> list[Path]:
    """The runs behind a run of several seeds that is over, the one whose model it holds first; none
    behind others."""
    if not (place / SEEDS).is_file():
        return []
    kept = read_json(place / SEEDS)
    names = sorted(kept["runs"], key=lambda name: name != kept["best"]) if "best" in kept else []
    return [place / name for name in names]
