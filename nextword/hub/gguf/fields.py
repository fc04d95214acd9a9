"""The header of a GGUF file: its fields, each checked for its type, and where its tensors are.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. It is read by the package
`gguf`, which also gives quantised tensors their numbers back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nextword.errors import UserError

MAGIC = b"GGUF"
Kind = TypeVar("Kind", int, float, str, bool)


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor is in a file: its `type` of number, its shape (rows first), and its bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


class Fields:
    """The fields of a GGUF file by their names. Each method raises UserError for a value of another
    type."""

    def __init__(self, values: dict[str, Any], where: Path) -> None:
        self.values, self.where = values, where

    def get(self, key: str, kind: type[Kind], default: Kind | None = None) -> Kind:
        """Return a field; where it is missing the default, without which it has to be there."""
        value = self.values.get(key, default)
        if value is None:
            raise UserError(f"has no field {key!r}", where=self.where)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        is_finite = not isinstance(value, float) or math.isfinite(value)
        if type(value) is not kind or not is_finite:
            found = repr(value)[:60]
            raise UserError(f"{key} = {found} is no {kind.__name__}", where=self.where)
        return kind(value)

    def texts(self, key: str) -> list[str]:
        """Return a list of strings; an empty one where there is none."""
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UserError(f"{key} is not a list of strings", where=self.where)
        return values

    def numbers(self, key: str) -> list[Any]:
        """Return a list of numbers; an empty one where there is none."""
        values = self.values.get(key, [])
        if not isinstance(values, list) or any(isinstance(value, str) for value in values):
            raise UserError(f"{key} is not a list of numbers", where=self.where)
        return values


def read_header(path: Path) -> tuple[Fields, list[TensorPlace]]:
    """Read a file's fields and where its tensors are. Raises UserError for a damaged file, and for
    one of several parts."""
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
        places = [
            TensorPlace(
                tensor.name,
                tensor.tensor_type.name,
                tuple(int(size) for size in reversed(tensor.shape)),
                int(tensor.data_offset),
                int(tensor.n_bytes),
            )
            for tensor in reader.tensors
        ]
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the reader checks little: whatever it stumbles on is damage
        said = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"is not a whole GGUF file ({said})", where=path) from None
    fields = Fields(values, path)
    if (parts := fields.get("split.count", int, 1)) > 1:
        raise UserError(
            f"is one of {parts} parts of a model",
            where=path,
            mend="join them with llama.cpp's `llama-gguf-split --merge`",
        )
    return fields, places
