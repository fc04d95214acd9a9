"""The tensors of a GGUF file as Hugging Face names and stores them, in fp32."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import UserError
from nextword.hub.gguf.fields import TensorPlace
from nextword.hub.gguf.names import Layout, hub_name, layout
from nextword.models.config import TransformerConfig


class Header:
    """What safetensors' slices tell of a tensor."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self._shape, self._dtype = shape, dtype

    def get_shape(self) -> list[int]:
        return list(self._shape)

    def get_dtype(self) -> str:
        return self._dtype


class TensorTable:
    """Tensors that are opened as safetensors opens its own: `table` has what is known of each."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def keys(self) -> list[str]:
        return list(self.table)

    def get_slice(self, name: str) -> Header:
        entry = self.table[name]
        return Header(tuple(entry["shape"]), entry.get("dtype", "F32"))


class GgufTensors(TensorTable):
    """A GGUF file: the table has the place and layout of each tensor, as `tensor_table` writes
    it."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        super().__init__(table)
        self.path = path

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor in fp32. Raises UserError where the file is shorter than it was."""
        entry = self.table[name]
        values = read_numbers(self.path, place_of(entry))
        stored = Layout(entry["transposed"], entry["heads"], entry.get("shift", 0))
        return torch.from_numpy(stored.to_hub(values))


def tensor_table(
    config: TransformerConfig, places: list[TensorPlace], where: Path
) -> dict[str, dict[str, Any]]:
    """Return of each tensor, by Hugging Face's name, where it is and how it is stored.

    Raises UserError for tensors of an unknown type; what is no weight of such a model keeps its
    name, and is refused when the model is read.
    """
    table = {}
    for place in places:
        _check_type(place, where)
        hub = hub_name(config.family, place.name) or place.name
        stored = layout(config.family, hub, config.heads, config.kv_heads)
        if stored.heads and (not place.shape or place.shape[0] % (2 * stored.heads)):
            what = f"tensor {place.name!r} of shape {list(place.shape)} does not divide into heads"
            raise UserError(what, where=where)
        table[hub] = {
            "name": place.name,
            "type": place.type,
            "stored": place.shape,
            "shape": place.shape[::-1] if stored.transposed else place.shape,
            "offset": place.offset,
            "bytes": place.bytes,
            "transposed": stored.transposed,
            "heads": stored.heads,
            "shift": stored.shift,
        }
    return table


def place_of(entry: dict[str, Any]) -> TensorPlace:
    """Return where the tensor of a table's entry is."""
    shape = tuple(entry["stored"])
    return TensorPlace(entry["name"], entry["type"], shape, entry["offset"], entry["bytes"])


def read_numbers(path: Path, place: TensorPlace) -> NDArray[np.float32]:
    """Read a tensor's numbers from a file, whatever type they are stored in."""
    import gguf

    with open(path, "rb") as file:
        file.seek(place.offset)
        stored = np.fromfile(file, np.uint8, place.bytes)
    if len(stored) != place.bytes:
        raise UserError(f"ends within tensor {place.name!r}", where=path)
    kind = gguf.GGMLQuantizationType[place.type]
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        numbers = stored.view(np.float32 if place.type == "F32" else np.float16)
    else:
        rows = stored.reshape(math.prod(place.shape[:-1]), -1)
        numbers = gguf.dequantize(rows, kind)
    return numbers.astype(np.float32).reshape(place.shape)


def _check_type(place: TensorPlace, where: Path) -> None:
    if not _is_readable(place.type):
        raise UserError(
            f"tensor {place.name!r} is of type {place.type}, which cannot be read",
            where=where,
            mend="use a file of another quantisation, such as Q8_0 or Q4_K_M",
        )


@functools.cache
def _is_readable(name: str) -> bool:
    """Whether the package `gguf` gives numbers of a type back."""
    import gguf

    kind = gguf.GGMLQuantizationType[name]
    _, size = gguf.GGML_QUANT_SIZES[kind]
    try:
        gguf.dequantize(np.zeros((1, size), np.uint8), kind)
    except NotImplementedError:
        return False
    return True
