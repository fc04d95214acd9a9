"""Values of config.json, each checked for its type when it is read."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.hub.config_keys import Field
from nextword.models.config import ROPE_SCALINGS, TransformerConfig

LIMITS = {"num_hidden_layers": 10_000, "n_layer": 10_000}  # a larger number means a damaged file
LIMIT = 2**31 - 1
FULL, SLIDING = "full_attention", "sliding_attention"


class ConfigReader:
    """The `values` of a file `where`, by their keys. Each method raises UserError for a value of
    another type; a value that is missing or null is the default."""

    def __init__(self, values: dict[str, Any], where: Path) -> None:
        self.values, self.where = values, where

    def get(self, key: str, default: Any = None) -> Any:
        """Return any value."""
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number of at least 1, or at `least` 0."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(key, "a positive whole number" if least else "a whole number from 0")
        if value > (limit := LIMITS.get(key, LIMIT)):
            raise self.wrong(key, f"a whole number up to {limit:,}")
        return value

    def number(self, key: str, default: float | None = None, *, above: float = -math.inf) -> float:
        """Return a finite number."""
        value = self.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        if not above < value < math.inf:
            raise self.wrong(key, "a finite number" + f" above {above:g}" * (above > -math.inf))
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """Return a truth value."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a finite number above 0."""
        return self.number(key, default, above=0)

    def fraction(self, key: str, default: float) -> float:
        """Return a number of at least 0 and below 1."""
        value = self.number(key, default)
        if not 0 <= value < 1:
            raise self.wrong(key, "a share of at least 0 and below 1")
        return value

    def choice(self, key: str, default: str, known: dict[str, Any]) -> Any:
        """Return the entry of `known` that the value names."""
        name = self.get(key, default)
        if not isinstance(name, str) or name not in known:
            mend = "known are " + ", ".join(known)
            raise self.error(f"{key} {reprlib.repr(name)} is not supported", mend)
        return known[name]

    def section(self, key: str) -> ConfigReader:
        """Return a reader of the object under a key."""
        inner = self.get(key, {})
        if not isinstance(inner, dict):
            raise self.wrong(key, "an object")
        return ConfigReader(inner, self.where)

    def head_width(self, width: int, heads: int) -> int:
        """Return the width of each head; raise UserError where they do not divide the model's."""
        if width % heads:
            raise self.error(f"width {width} is not divisible by {heads} heads")
        return width // heads

    def read(self, fields: Sequence[Field], **defaults: Any) -> dict[str, Any]:
        """Return the values of fields by our names, with `defaults` by key for those that depend on
        others. Where no field says otherwise, heads divide the width and share no keys."""
        ours = {}
        for field in fields:
            default = defaults.get(field.key, field.default)
            if isinstance(field.kind, dict):
                ours[field.ours] = self.choice(field.key, default, field.kind)
            else:
                ours[field.ours] = getattr(self, field.kind)(field.key, default)
        if "head_width" not in ours:
            ours["head_width"] = self.head_width(ours["width"], ours["heads"])
        return {"kv_heads": ours["heads"]} | ours

    def windowed_layers(self, layers: int, usual: list[str]) -> tuple[int, ...]:
        """Return the layers with a sliding window, by `layer_types` or else by what is `usual`."""
        kinds = self.get("layer_types") or usual
        known = (SLIDING, FULL)
        if not isinstance(kinds, list) or any(kind not in known for kind in kinds):
            raise self.wrong("layer_types", "a list of " + " and ".join(known))
        if len(kinds) != layers:
            raise self.error(f"layer_types has {len(kinds)} entries for {layers} layers")
        return tuple(layer for layer, kind in enumerate(kinds) if kind == SLIDING)

    def wrong(self, key: str, expected: str) -> UserError:
        """Return the error for a value that is missing or not what is expected."""
        value = self.get(key)
        problem = "is missing" if value is None else f"= {reprlib.repr(value)} is not {expected}"
        return self.error(f"{key} {problem}")

    def error(self, what: str, mend: str = "") -> UserError:
        """Return an error that names the file."""
        return UserError(what, where=self.where, mend=mend)


def read_rope(
    values: ConfigReader, scaling: ConfigReader, default_theta: float
) -> tuple[float, dict[str, Any] | None]:
    """Return theta and scaling of rotary positions.

    `scaling` is rope_parameters, or in older files rope_scaling, with rope_theta beside it.
    """
    theta = scaling.number("rope_theta", default_theta, above=1)
    if scaling.number("partial_rotary_factor", values.number("partial_rotary_factor", 1.0)) != 1:
        raise values.error("partial_rotary_factor is not supported")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ROPE_SCALINGS:
        mend = "known are default, " + ", ".join(ROPE_SCALINGS)
        raise values.error(f"rope_type {reprlib.repr(kind)} is not supported", mend)
    rope_scaling: dict[str, Any] = {"rope_type": kind, "factor": scaling.number("factor", above=0)}
    if kind == "llama3":
        rope_scaling["low_freq_factor"] = low = scaling.number("low_freq_factor", above=0)
        rope_scaling["high_freq_factor"] = scaling.number("high_freq_factor", above=low)
    trained = "original_max_position_embeddings"
    if kind in ("llama3", "yarn") and scaling.get(trained) is not None:
        rope_scaling[trained] = scaling.integer(trained)
    if kind == "yarn":
        for key in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"):
            if scaling.get(key):
                rope_scaling[key] = scaling.number(key, above=0)
        if scaling.get("truncate") is not None:
            rope_scaling["truncate"] = scaling.boolean("truncate", True)
    return theta, rope_scaling


def read_ropes(
    values: ConfigReader, thetas: dict[str, tuple[str, float]], stretched: tuple[str, ...]
) -> dict[str, Any]:
    """Return our fields of rotary positions that differ between layers with a window and without.

    `thetas` has for each kind of layer the key of theta in older files, and its default; the older
    rope_scaling is that of the `stretched` kinds.
    """
    sections, older = values.section("rope_parameters"), values.section("rope_scaling").values
    ropes = {}
    for kind, (key, default) in thetas.items():
        base = older if kind in stretched else {}
        scaling = ConfigReader(base | sections.section(kind).values, values.where)
        ropes[kind] = read_rope(values, scaling, values.number(key, default, above=1))
    return {
        "rope_theta": ropes[FULL][0],
        "rope_scaling": ropes[FULL][1],
        "local_rope_theta": ropes[SLIDING][0],
        "local_rope_scaling": ropes[SLIDING][1],
    }


def write_ropes(config: TransformerConfig) -> dict[str, Any]:
    """Return rope_parameters by kind of layer."""
    ropes = {
        FULL: (config.rope_theta, config.rope_scaling),
        SLIDING: (config.local_rope_theta or config.rope_theta, config.local_rope_scaling),
    }
    default = {"rope_type": "default"}
    return {
        kind: (scaling or default) | {"rope_theta": theta}
        for kind, (theta, scaling) in ropes.items()
    }


def layer_types(config: TransformerConfig) -> list[str]:
    """Return the kind of each layer."""
    return [SLIDING if config.window_of(layer) else FULL for layer in range(config.layers)]
