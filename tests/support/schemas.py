"""JSON schemas such as people write them: nested, with arrays, enums, numbers and all scripts."""

from __future__ import annotations

import random
from typing import Any

NAMES = ("name", "age", "tags", "адрес", "标题", "prix (€)", "a b", "is_ok", "n", "naïve", "🙂")
WORDS = ("red", "green", "北京", "naïve café", "🙂", 'a "quote"', "back\\slash", "", "l1\nl2")


def schema(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """Return an object's schema."""
    names = rng.sample(NAMES, rng.randint(1, 4))
    required = [name for name in names if rng.random() < 0.6]
    made: dict[str, Any] = {
        "type": "object",
        "properties": {name: value(rng, depth - 1) for name in names},
        "required": required,
        "additionalProperties": False,
    }
    return made


def value(rng: random.Random, depth: int) -> dict[str, Any]:
    kinds = ["string", "integer", "number", "boolean", "enum", "null", "const", "bounded", "length"]
    kinds += ["object", "array", "anyOf"] * 2 if depth > 0 else []
    kind = rng.choice(kinds)
    if kind == "object":
        return schema(rng, depth)
    if kind == "array":
        low = rng.randint(0, 2)
        items = value(rng, depth - 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + 3}
    if kind == "anyOf":
        return {"anyOf": [{"type": "null"}, value(rng, depth - 1)]}
    if kind == "enum":
        return {"enum": [*rng.sample(WORDS, 3), rng.randint(-5, 500)]}
    if kind == "const":
        return {"const": rng.choice(WORDS)}
    if kind == "bounded":
        low = rng.randint(-100, 100)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 1000)}
    if kind == "length":
        low = rng.randint(0, 5)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 10)}
    return {"type": kind}
