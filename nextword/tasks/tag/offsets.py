"""Where entities stand in a text: programs count in characters, UTF-16 units or bytes, from 0 or 1,
to the last character or the one after it. An entity that has its own text tells which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nextword.errors import UserError

CODECS = {"UTF-16 units": ("utf-16-le", 2), "bytes of UTF-8": ("utf-8", 1)}


@dataclass(frozen=True)
class Span:
    """An entity by where it begins and ends, as it is given; `surface` is its own text, if it has
    one."""

    start: int
    end: int
    label: str
    surface: str | None = None


@dataclass(frozen=True)
class Offsets:
    """How offsets are counted: in a `unit`, after `first` and `last` are added to the two ends."""

    unit: str = "characters"
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        begun = {0: "", -1: " from 1", 1: " from -1"}[self.first]
        ends = {1: " to the last one", -1: " to the second after"}.get(self.last - self.first, "")
        return f"offsets counted in {self.unit}{begun}{ends}"

    def place(self, text: str, span: Span) -> tuple[int, int] | None:
        """Return where a span begins and ends in characters; None where it holds a part of one, or
        is not in the text."""
        start, end = span.start + self.first, span.end + self.last
        if self.unit == "characters":
            return (start, end) if 0 <= start < end <= len(text) else None
        codec, size = CODECS[self.unit]
        content = text.encode(codec, "surrogatepass")
        if not 0 <= start < end <= len(content) // size:
            return None
        try:
            before = content[: start * size].decode(codec)
            inside = content[start * size : end * size].decode(codec)
        except UnicodeDecodeError:
            return None
        return len(before), len(before) + len(inside)

    def moves(self, text: str, span: Span) -> bool:
        """Return whether a span stands elsewhere than its offsets say as characters."""
        return self.place(text, span) != (span.start, span.end)

    def fits(self, text: str, span: Span) -> bool:
        """Return whether a span's own text stands there, if it has one."""
        if span.surface is None:
            return True
        found = self.place(text, span)
        return found is not None and _folded(text[slice(*found)]) == _folded(span.surface)


AS_GIVEN = Offsets()
RULES = [
    *[Offsets(), *map(Offsets, CODECS)],
    *(Offsets("characters", *ends) for ends in ((0, 1), (-1, -1), (-1, 0), (0, -1), (1, 1))),
    *(Offsets(unit, *ends) for unit in CODECS for ends in ((0, 1), (-1, -1), (-1, 0))),
]


def find_offsets(texts: Iterable[tuple[str, Sequence[Span]]]) -> Offsets | None:
    """Return the first way of counting by which every entity of all texts stands where its own text
    does; None where there is none."""
    told = [(text, span) for text, spans in texts for span in spans if span.surface is not None]
    return next((rule for rule in RULES if all(rule.fits(*pair) for pair in told)), None)


def offsets_of(text: str, spans: Sequence[Span], place: str) -> Offsets:
    """Return the way of counting that fits all entities of one text. Raises UserError, with what
    stands in either place, where none does."""
    rule = find_offsets([(text, spans)])
    if rule is not None:
        return rule
    wrong = next(span for span in spans if not AS_GIVEN.fits(text, span))
    found = text.find(str(wrong.surface))
    where = f", which stands at {found} to {found + len(str(wrong.surface))}" if found >= 0 else ""
    raise UserError(
        f"entity {wrong.start} to {wrong.end} is {text[wrong.start : wrong.end]!r} there, but its "
        f"own text is {wrong.surface!r}{where}",
        where=place,
        mend="mend one of the two; offsets are counted in characters",
    )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
