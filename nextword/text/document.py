"""Sources, documents, and the count of what became of each document found."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nextword.errors import UserError

MAX_EXAMPLES = 3  # kept for each reason
EXAMPLE_CHARACTERS = 80
MAX_UNUSED_FIELDS = 100  # counted by their names for each kind of file; the others together
OTHER_FIELDS = "others"
QUARANTINED_CHARACTERS = 4000  # of one item; a line this long is still appended in one write


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, or a data set of the Hub (kind "hub", its size in bytes unknown: 0)."""

    path: str  # as the person wrote it, or an address
    kind: str  # a key of nextword.text.sources.DOCUMENT_READERS
    compression: str | None = None  # gz, zst, xz
    size: int = 0  # bytes on the disk
    version: str = ""  # of a file at an address: another one where its content changed


@dataclass(slots=True)
class Document:
    """A text and its place: "book.txt", "notes.jsonl:12", "a.json:record 3", "x.parquet:row 7"."""

    text: str
    source: str


@dataclass(slots=True)
class ReadError:
    """What a reader yields in place of a document that it could not read."""

    what: str
    source: str
    content: str = ""
    kind: str = ""  # the reason it is counted under; `what` if empty
    mend: str = ""


Documents = Iterator[Document | ReadError]
Records = Iterator[tuple[str, Any]]  # (place, a parsed value or ReadError)


@dataclass(slots=True)
class SkipReason:
    """How many items were left out for one reason, and the first few of them."""

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # (source, start of the text)


@dataclass(slots=True)
class UnusedField:
    """In how many records something stands in a field that is not used, and of how much text."""

    records: int = 0
    characters: int = 0


@dataclass(slots=True)
class ReadStats:
    """Counts of items accepted, skipped (left out on purpose) and rejected (unreadable).

    The three always add up to `total`, the number of items found. `unused` counts what stands
    beside the text, by the kind of file and the name of the field. With `quarantine`, rejected
    items are appended to that file as JSON lines; several processes may share it.
    """

    quarantine: Path | None = None
    accepted: int = 0
    skipped: int = 0
    rejected: int = 0
    reasons: dict[str, SkipReason] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    unused: dict[str, dict[str, UnusedField]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.accepted + self.skipped + self.rejected

    def accept(self) -> None:
        self.accepted += 1

    def skip(self, reason: str, source: str, example: str = "") -> None:
        """Count an item left out before it was accepted, such as an empty record."""
        self.skipped += 1
        self._explain(reason, source, example)

    def drop(self, reason: str, source: str, example: str = "") -> None:
        """Leave out a document that was accepted before, such as a duplicate."""
        self.accepted -= 1
        self.skip(reason, source, example)

    def reject(self, error: ReadError) -> None:
        """Count an item that could not be read, and write it to the quarantine file."""
        self.rejected += 1
        self._explain(error.kind or error.what, error.source, error.content or error.what)
        if self.quarantine is not None:
            _append_line(self.quarantine, error)

    def note(self, what: str, count: int = 1) -> None:
        """Count something worth reporting that left nothing out, such as an encoding."""
        self.notes[what] += count

    def leave(self, kind: str, name: str, characters: int, records: int = 1) -> None:
        """Count what a field holds that is not used."""
        fields = self.unused.setdefault(kind, {})
        entry = fields.get(name)
        if entry is None:
            name = name if len(fields) < MAX_UNUSED_FIELDS else OTHER_FIELDS
            entry = fields.setdefault(name, UnusedField())
        entry.records += records
        entry.characters += characters

    def merge(self, other: ReadStats) -> None:
        """Add the counts of another worker."""
        self.accepted += other.accepted
        self.skipped += other.skipped
        self.rejected += other.rejected
        self.notes.update(other.notes)
        for name, theirs in other.reasons.items():
            ours = self.reasons.setdefault(name, SkipReason())
            ours.count += theirs.count
            ours.examples = (ours.examples + theirs.examples)[:MAX_EXAMPLES]
        for kind, fields in other.unused.items():
            for name, unused in fields.items():
                self.leave(kind, name, unused.characters, unused.records)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON holds them."""
        return {
            "accepted": self.accepted,
            "skipped": self.skipped,
            "rejected": self.rejected,
            "reasons": {name: asdict(reason) for name, reason in self.reasons.items()},
            "notes": dict(self.notes),
            "unused": {
                kind: {name: asdict(unused) for name, unused in fields.items()}
                for kind, fields in self.unused.items()
            },
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> ReadStats:
        """Return what `to_json` was given."""
        reasons = {
            name: SkipReason(
                reason["count"], [(source, text) for source, text in reason["examples"]]
            )
            for name, reason in saved["reasons"].items()
        }
        counts = saved["accepted"], saved["skipped"], saved["rejected"]
        unused = {
            kind: {name: UnusedField(**entry) for name, entry in fields.items()}
            for kind, fields in saved["unused"].items()
        }
        return cls(None, *counts, reasons, Counter(saved["notes"]), unused)

    def _explain(self, reason: str, source: str, example: str) -> None:
        entry = self.reasons.setdefault(reason, SkipReason())
        entry.count += 1
        if len(entry.examples) < MAX_EXAMPLES:
            start = " ".join(example[: 4 * EXAMPLE_CHARACTERS].split())[:EXAMPLE_CHARACTERS]
            entry.examples.append((_printable(source), _printable(start)))


def short_reason(error: BaseException) -> str:
    """Return what a library says is wrong, on one line, without the content that some quote."""
    message = " ".join(re.split(r"b['\"]", str(error))[0].split())[:100].strip(" .:;")
    message = "".join(character for character in message if character.isprintable())
    return message or type(error).__name__


@contextlib.contextmanager
def explaining(where: str | Path, what: str, mend: str = "") -> Iterator[None]:
    """Turn whatever a library raises in the block into a UserError: damage can surprise any parser.

    In `what` "{reason}" stands for what the library says, and "{kind}" for the exception's type.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = what.format(kind=type(error).__name__, reason=short_reason(error))
        raise UserError(what, where=where, mend=mend) from None


def _append_line(path: Path, error: ReadError) -> None:
    """Append in a single write, so that lines of several processes do not mix."""
    content = error.content[:QUARANTINED_CHARACTERS]
    item = {"source": error.source, "reason": error.what, "content": content}
    line = json.dumps(item) + "\n"  # ASCII, so that lone surrogates can be written too
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def lone_surrogate(text: str) -> tuple[str, int] | None:
    """Return half a surrogate pair that stands alone, which no encoding can write, as "U+D800",
    and its place; None where there is none."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        return f"U+{ord(text[error.start]):04X}", error.start
    return None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)
