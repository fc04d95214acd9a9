"""JSON that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

WRONG: list[Any] = [None, True, -1, 0.5, 1e400, 10**30, "x", "", [], [[]], {}, {"x": 1}]


def altered(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced by something of another kind, or left out."""
    yield from WRONG
    if isinstance(value, dict):
        for key, part in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield value | {f"{key}?": part}
            for changed in altered(part):
                yield value | {key: changed}
