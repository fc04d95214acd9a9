"""What may differ between two checkouts' results, what has another name, and what is not equal."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

IGNORED = {  # keys of JSON at any depth, by their names before: times and speeds
    *("seconds", "tokens_per_second", "words_per_second", "examples_per_second", "matmul_share"),
}
RENAMED: dict[str, dict[str, str]] = {  # the name before: the name after
    "files": {},  # of a file or folder that a command writes, as "held_out.jsonl"
    "keys": {"figures": "metrics"},  # of JSON; "held_out.jsonl:twin" is that key in one file
    "values": {},  # "labels=several": this string under this key, and as this flag's argument
    # of a word in a command; it may become several, or ""
    "flags": {},
}
ADDED = [  # paths of JSON that only the AFTER side has: not differences, but counted
    re.compile(pattern)
    for pattern in (
        r"\.direction$",  # of a run's deciding metric
        r"\.(metrics|intervals|seeds)\.loss($|\.)",  # classifiers have a held-out loss too
        r"compare\.json\.metrics\.[^.]+$",  # two models are compared by every metric they have
        r"\.(unknown_share|unknown_tokens|contents|summary\.unused|sizes)$",  # of a text
        r"model/config\.json\.pad_token_id$",
        r"predictions\.jsonl\[\d+\]\.(data\.|is_impossible$)",  # what stands beside a question
    )
]
TINY = 0.01  # less than that is noise: a bias that nothing depends on
HASHED = {"tokenizer.json", "tokenizer_config.json"}  # JSON, but compared as bytes


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@dataclass
class Comparison:
    """How many values were compared, and those that differ as (path, before, after). Fractions may
    differ by the share `within`; so may weights then, which are compared by each tensor's norm."""

    within: float = 0.0
    values: int = 0
    added: int = 0
    differences: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, before: Any, after: Any, path: str) -> None:
        """Compare two trees of JSON. Numbers are equal if they have the same type and digits."""
        if isinstance(before, dict) and isinstance(after, dict):
            for key in before | after:
                self.add(before.get(key, MISSING), after.get(key, MISSING), f"{path}.{key}")
        elif isinstance(before, list) and isinstance(after, list):
            pairs = itertools.zip_longest(before, after, fillvalue=MISSING)
            for number, (old, new) in enumerate(pairs):
                self.add(old, new, f"{path}[{number}]")
        elif before is MISSING and any(pattern.search(path) for pattern in ADDED):
            self.added += 1
        else:
            self.values += 1
            if repr(before) != repr(after) and not self._close(before, after):
                self.differences.append((path, repr(before)[:200], repr(after)[:200]))

    def _close(self, before: Any, after: Any) -> bool:
        """Whether these are fractions that differ by less than they may."""
        if not (self.within and isinstance(before, float) and isinstance(after, float)):
            return False
        return abs(before - after) <= self.within * max(abs(before), abs(after), TINY)

    def add_files(self, name: str, before: Path, after: Path) -> None:
        """Compare a file, or all files of a folder, that both sides wrote.

        JSON is compared as trees, anything else by its SHA-256. Raises ValueError where neither
        side wrote it, and where RENAMED is at fault.
        """
        ours = {_renamed_path(path): before / path for path in _files(before, name)}
        theirs = {path: after / path for path in _files(after, _renamed_path(name))}
        if not ours and not theirs:
            raise ValueError(f"no command wrote {name}")
        for path in sorted(ours.keys() | theirs.keys()):
            file = ours[path].name if path in ours else Path(path).name
            old = in_new_words(self._read(ours[path]), file) if path in ours else MISSING
            new = _without_ignored(self._read(theirs[path]), file) if path in theirs else MISSING
            self.add(old, new, path)

    def _read(self, path: Path) -> Any:
        if self.within and path.suffix == ".safetensors":
            norms = load_file(path)
            return {name: float(np.linalg.norm(value)) for name, value in norms.items()}
        return _read(path)


def renamed_command(words: Sequence[str]) -> list[str]:
    """Say a command in the words of the AFTER side."""
    said: list[str] = []
    key = ""
    for word in words:
        if word.startswith("--"):
            key = word.removeprefix("--").replace("-", "_")
        if word in RENAMED["flags"]:
            said += RENAMED["flags"][word].split()
        else:
            said.append(RENAMED["values"].get(f"{key}={word}", word))
    return said


def in_new_words(tree: Any, file: str, key: str = "") -> Any:
    """Say what the BEFORE side wrote to a file in the words of the AFTER side, less IGNORED."""
    if isinstance(tree, dict):
        kept = {name: value for name, value in tree.items() if name not in IGNORED}
        renamed = {
            _renamed_key(name, file): in_new_words(value, file, name)
            for name, value in kept.items()
        }
        if len(renamed) < len(kept):
            raise ValueError(f"RENAMED gives two keys of {file} one name: {', '.join(kept)}")
        return renamed
    if isinstance(tree, list):
        return [in_new_words(value, file, key) for value in tree]
    return RENAMED["values"].get(f"{key}={tree}", tree) if isinstance(tree, str) else tree


def _without_ignored(tree: Any, file: str) -> Any:
    if isinstance(tree, dict):
        ignored = {_renamed_key(name, file) for name in IGNORED}
        return {n: _without_ignored(v, file) for n, v in tree.items() if n not in ignored}
    return [_without_ignored(value, file) for value in tree] if isinstance(tree, list) else tree


def _renamed_key(name: str, file: str) -> str:
    keys = RENAMED["keys"]
    return keys.get(f"{file}:{name}", keys.get(name, name))


def _renamed_path(path: str) -> str:
    return "/".join(RENAMED["files"].get(part, part) for part in path.split("/"))


def _files(folder: Path, name: str) -> list[str]:
    found = [folder / name, *(folder / name).rglob("*")]
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _read(path: Path) -> Any:
    if path.suffix == ".json" and path.name not in HASHED:
        return json.loads(path.read_text("utf-8"))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return hashlib.sha256(path.read_bytes()).hexdigest()
