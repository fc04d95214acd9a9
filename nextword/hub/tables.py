"""A table of tensors opened as safetensors opens its own: those of a GGUF file, or those of a model
with the low-rank updates of an adapter added to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from nextword.files import read_json
from nextword.hub.gguf.tensors import GgufTensors, TensorTable

Open = Callable[[Path], Any]


def open_table(path: Path, open_tensors: Open) -> GgufTensors | MergedTensors:
    """Open what a table lists; `open_tensors` opens a file of another kind."""
    table = read_json(path)
    if table["kind"] == "gguf":
        return GgufTensors(Path(table["file"]), table["tensors"])
    return MergedTensors(Path(table["adapter"]), table["tensors"], open_tensors)


class MergedTensors(TensorTable):
    """The tensors of a base model with an adapter's updates: W + scale · B A, in fp32.

    An entry of the table has the "file" of a tensor and the name it is "stored" under, and perhaps
    the "update" of it: its two factors' names in the adapter, its "scale", and whether the matrix
    is stored "transposed".
    """

    def __init__(self, adapter: Path, table: dict[str, Any], open_tensors: Open) -> None:
        super().__init__(table)
        self.adapter, self.open_tensors = adapter, open_tensors

    def get_tensor(self, name: str) -> Tensor:
        """Return a tensor in fp32."""
        entry = self.table[name]
        with self.open_tensors(Path(entry["file"])) as file:
            weight: Tensor = file.get_tensor(entry["stored"]).float()
        if (update := entry.get("update")) is None:
            return weight
        with self.open_tensors(self.adapter) as file:
            a, b = (file.get_tensor(update[factor]).float() for factor in "ab")
        delta = b @ a * update["scale"]
        return weight + (delta.t() if update["transposed"] else delta)
