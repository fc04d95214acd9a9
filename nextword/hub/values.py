"""What config.json holds, each value checked for its type when it is read."""

from __future__ import annotations

import math
import reprlib
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.models.config import ROPE_SCALINGS

MOST = {"num_hidden_layers": 10_000, "n_layer": 10_000}  # what is larger is damaged
LARGEST = 2**31 - 1


class Values:
    """`values` by their name, `where` the file they are from. Each reader raises UserError for a
    value of another type; what is missing or null is the default."""

    def __init__(self, values: dict[str, Any], where: Path) -> None:
        self.values, self.where = values, where

    def get(self, key: str, default: Any = None) -> Any:
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(key, "a positive whole number")
        if value > (most := MOST.get(key, LARGEST)):
            raise self.wrong(key, f"a whole number up to {most:,}")
        return value

    def number(self, key: str, default: float | None = None, *, above: float = -math.inf) -> float:
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        if not above < value < math.inf:
            raise self.wrong(key, "a finite number" + f" above {above:g}" * (above > -math.inf))
        return float(value)

    def truth(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def share(self, key: str, default: float) -> float:
        share = self.number(key, default)
        if not 0 <= share < 1:
            raise self.wrong(key, "a share of at least 0 and below 1")
        return share

    def one_of(self, key: str, default: str, known: dict[str, Any]) -> Any:
        """What `known` has under the name that stands here."""
        name = self.get(key, default)
        if not isinstance(name, str) or name not in known:
            raise UserError(
                f"{key} {reprlib.repr(name)} is not supported",
                where=self.where,
                mend="known are " + ", ".join(known),
            )
        return known[name]

    def within(self, key: str) -> Values:
        """The values of an object that stands here."""
        inner = self.get(key, {})
        if not isinstance(inner, dict):
            raise self.wrong(key, "an object")
        return Values(inner, self.where)

    def head_width(self, width: int, heads: int) -> int:
        if width % heads:
            raise UserError(f"width {width} is not divisible by {heads} heads", where=self.where)
        return width // heads

    def layer_kinds(self, layers: int, usual: list[str]) -> tuple[int, ...]:
        """The layers that `layer_types`, or what is usual, gives a sliding window."""
        kinds = self.get("layer_types") or usual
        known = ("sliding_attention", "full_attention")
        if not isinstance(kinds, list) or any(kind not in known for kind in kinds):
            raise self.wrong("layer_types", "a list of " + " and ".join(known))
        if len(kinds) != layers:
            raise UserError(
                f"layer_types has {len(kinds)} entries for {layers} layers", where=self.where
            )
        return tuple(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")

    def wrong(self, key: str, expected: str) -> UserError:
        value = self.get(key)
        found = "is missing" if value is None else f"= {reprlib.repr(value)} is not {expected}"
        return UserError(f"{key} {found}", where=self.where)


def rope(values: Values, scaling: Values, usual: float) -> tuple[float, dict[str, Any] | None]:
    """Theta and stretching of rotary positions; `scaling` is what stands in rope_parameters, or in
    rope_scaling where the file is older and has rope_theta beside it."""
    theta = scaling.number("rope_theta", usual, above=1)
    if scaling.number("partial_rotary_factor", values.number("partial_rotary_factor", 1.0)) != 1:
        raise UserError("partial_rotary_factor is not supported", where=values.where)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ROPE_SCALINGS:
        raise UserError(
            f"rope_type {reprlib.repr(kind)} is not supported",
            where=values.where,
            mend="known are default, " + ", ".join(ROPE_SCALINGS),
        )
    stretch: dict[str, Any] = {"rope_type": kind, "factor": scaling.number("factor", above=0)}
    if kind == "llama3":
        stretch["low_freq_factor"] = low = scaling.number("low_freq_factor", above=0)
        stretch["high_freq_factor"] = scaling.number("high_freq_factor", above=low)
    if kind in ("llama3", "yarn") and scaling.get("original_max_position_embeddings") is not None:
        key = "original_max_position_embeddings"
        stretch[key] = scaling.integer(key)
    if kind == "yarn":
        for key in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"):
            if scaling.get(key):
                stretch[key] = scaling.number(key, above=0)
        if scaling.get("truncate") is not None:
            stretch["truncate"] = scaling.truth("truncate", True)
    return theta, stretch


def theirs(activation: str, known: dict[str, str]) -> str:
    """The first name that a family has for an activation of ours."""
    return next(name for name, ours in known.items() if ours == activation)
