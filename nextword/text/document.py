"""A document, and the count of what became of each one found."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = 3  # kept for each reason
EXAMPLE_CHARACTERS = 80
QUARANTINED_CHARACTERS = 4000  # of one item; a line this long is still appended in one write


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, or a data set of the Hub (kind "hub", its size in bytes unknown: 0)."""

    path: str  # as the person wrote it
    kind: str  # a key of nextword.text.sources.READERS
    compression: str | None = None  # gz, zst, xz
    size: int = 0  # bytes on the disk


@dataclass(slots=True)
class Document:
    """`source` is its place: "book.txt", "notes.jsonl:12", "a.json:record 3", "x.parquet:row 7"."""

    text: str
    source: str


@dataclass(slots=True)
class Bad:
    """What a reader yields in place of a document it could not read."""

    what: str
    source: str
    content: str = ""
    kind: str = ""  # the reason it is counted under; `what` if not given
    mend: str = ""


@dataclass(slots=True)
class Reason:
    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # (source, start of the text)


@dataclass(slots=True)
class Tally:
    """What was accepted, skipped (left out on purpose) and rejected (could not be read).

    The three always add up to `total`, the number of items found. With `quarantine`, rejected
    items are appended to that file as JSON lines; several processes may share it.
    """

    quarantine: Path | None = None
    accepted: int = 0
    skipped: int = 0
    rejected: int = 0
    reasons: dict[str, Reason] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.accepted + self.skipped + self.rejected

    def accept(self) -> None:
        self.accepted += 1

    def skip(self, reason: str, source: str, example: str = "") -> None:
        """An item left out before it was accepted, such as an empty record."""
        self.skipped += 1
        self._explain(reason, source, example)

    def drop(self, reason: str, source: str, example: str = "") -> None:
        """A document accepted before is left out after all, such as a duplicate."""
        self.accepted -= 1
        self.skip(reason, source, example)

    def reject(self, reason: str, source: str, content: str = "", detail: str = "") -> None:
        """`reason` is what many items have in common, `detail` what is wrong with this one."""
        self.rejected += 1
        self._explain(reason, source, content or detail)
        if self.quarantine is not None:
            self._set_aside(detail or reason, source, content)

    def note(self, what: str, count: int = 1) -> None:
        self.notes[what] += count

    def merge(self, other: Tally) -> None:
        self.accepted += other.accepted
        self.skipped += other.skipped
        self.rejected += other.rejected
        self.notes.update(other.notes)
        for name, theirs in other.reasons.items():
            ours = self.reasons.setdefault(name, Reason())
            ours.count += theirs.count
            ours.examples = (ours.examples + theirs.examples)[:EXAMPLES]

    def _explain(self, reason: str, source: str, example: str) -> None:
        entry = self.reasons.setdefault(reason, Reason())
        entry.count += 1
        if len(entry.examples) < EXAMPLES:
            entry.examples.append((_printable(source), _one_line(example)))

    def _set_aside(self, reason: str, source: str, content: str) -> None:
        item = {"source": source, "reason": reason, "content": content[:QUARANTINED_CHARACTERS]}
        line = json.dumps(item) + "\n"  # ASCII, so that lone surrogates can be written too
        assert self.quarantine is not None
        file = os.open(self.quarantine, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def why(error: BaseException) -> str:
    """What a library says is wrong, on one line, without the content that some of them quote."""
    said = " ".join(re.split(r"b['\"]", str(error))[0].split())[:100].strip(" .:;")
    said = "".join(character for character in said if character.isprintable())
    return said or type(error).__name__


def _one_line(text: str) -> str:
    """The start of `text`, printable and on one line."""
    return _printable(" ".join(text[: 4 * EXAMPLE_CHARACTERS].split())[:EXAMPLE_CHARACTERS])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)
