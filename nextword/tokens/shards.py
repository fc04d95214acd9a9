"""What `prepare` keeps on the disk between its stages: shards of a few megabytes, each a
safetensors file that is whole or absent. They hold all that a killed run needs to go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.files import write_atomically
from nextword.text.document import Reason, Tally
from nextword.text.process import Processed

SUFFIX = ".safetensors"


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], notes: dict[str, Any]) -> None:
    from safetensors.numpy import save

    metadata = {name: json.dumps(value) for name, value in notes.items()}
    write_atomically(path, save(arrays, metadata))


class Shard:
    """The arrays (`shard["characters"]`) and notes (`shard.notes["tally"]`) of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> NDArray[Any]:
        from safetensors import safe_open

        with safe_open(self.path, framework="np") as file:
            array: NDArray[Any] = file.get_tensor(name)
            return array

    @cached_property
    def notes(self) -> dict[str, Any]:
        from safetensors import safe_open

        with safe_open(self.path, framework="np") as file:
            return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}

    def strings(self, name: str) -> list[str]:
        content, ends = self[name].tobytes(), self[f"{name}.ends"].tolist()
        starts = [0, *ends][: len(ends)]
        return [
            content[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts, ends, strict=True)
        ]


def strings_as_arrays(name: str, strings: Iterable[str]) -> dict[str, NDArray[Any]]:
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}.ends": ends}


def write_documents(path: Path, documents: Sequence[Processed], tally: Tally) -> None:
    """Documents that went through all that one document goes through on its own."""
    languages = sorted({document.language for document in documents})
    signed = [document.signature for document in documents if document.signature is not None]
    arrays = {
        **strings_as_arrays("text", (document.text for document in documents)),
        **strings_as_arrays("source", (document.source for document in documents)),
        "characters": np.array([len(document.text) for document in documents], np.int64),
        "digest": np.frombuffer(b"".join(d.digest for d in documents), np.uint8),
        "language": np.array([languages.index(d.language) for d in documents], np.uint16),
    }
    if signed and len(signed) == len(documents):
        arrays["signature"] = np.stack(signed)
    notes = {"tally": tally_to_json(tally), "languages": languages, "signed": "signature" in arrays}
    write_arrays(path, arrays, notes)


def tally_to_json(tally: Tally) -> dict[str, Any]:
    return {
        "accepted": tally.accepted,
        "skipped": tally.skipped,
        "rejected": tally.rejected,
        "reasons": {name: asdict(reason) for name, reason in tally.reasons.items()},
        "notes": dict(tally.notes),
    }


def tally_from_json(saved: dict[str, Any]) -> Tally:
    tally = Tally(accepted=saved["accepted"], skipped=saved["skipped"], rejected=saved["rejected"])
    tally.notes.update(saved["notes"])
    for name, reason in saved["reasons"].items():
        examples = [(source, text) for source, text in reason["examples"]]
        tally.reasons[name] = Reason(reason["count"], examples)
    return tally
