"""Generated tokens as text: whole characters, up to the first stop string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nextword.errors import UserError
from nextword.tokens.tokenizer import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
DECODED_WITH = 4  # tokens of the prompt with which the generated ones are decoded


class TextStream:
    """The text of one row as it is generated: whole characters, up to the first stop string.

    `stops.met` is the stop string that was met, `pieces` are all pieces so far. Of the `decoded`
    characters the first `shown` were given out; the others may be the beginning of a stop string.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        """Begin after a prompt. Raises UserError for an empty stop string."""
        self.stops = StopFilter(stops)
        self.pieces: list[str] = []
        self.decoded = self.shown = 0
        self._characters = tokenizer.stream()
        for token in prompt[-DECODED_WITH:]:  # some tokenizers drop the space a text begins with
            self._characters.feed(token)
        self._characters.flush()

    def feed(self, token: int) -> str:
        """Add a token; return the text that is complete with it."""
        piece = self._characters.feed(token)
        self.decoded += len(piece)
        return self._show(self.stops.feed(piece))

    def flush(self) -> str:
        """Return the rest, without a character that was left incomplete."""
        rest = self._characters.flush().rstrip(UNFINISHED)
        self.decoded += len(rest)
        return self._show(self.stops.feed(rest) + self.stops.flush())

    def _show(self, piece: str) -> str:
        self.pieces.append(piece)
        self.shown += len(piece)
        return piece


class StopFilter:
    """Passes text on up to the first stop string, however it is cut into pieces.

    Text that may be the beginning of a stop string is held back until that is known. Raises
    UserError for an empty stop string.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = tuple(dict.fromkeys(stops))
        if "" in self.stops:
            raise UserError("a stop string is empty", mend="leave it out, or name some text")
        self.met: str | None = None
        self._held = ""
        self._beginnings = {stop[:end] for stop in self.stops for end in range(1, len(stop))}
        self._longest = max(map(len, self._beginnings), default=0)

    @property
    def stopped(self) -> bool:
        return self.met is not None

    def feed(self, piece: str) -> str:
        """Add a piece; return the text that is certain to come before any stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        places = [(place, stop) for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            place, self.met = min(places)
            self._held = ""
            return text[:place]
        # The longest end of the text that may be the beginning of a stop string is held back.
        lengths = range(min(self._longest, len(text)), 0, -1)
        ends = (text[-length:] for length in lengths)
        self._held = next((end for end in ends if end in self._beginnings), "")
        return text.removesuffix(self._held)

    def flush(self) -> str:
        """Return the text still held back, after the last piece."""
        text, self._held = self._held, ""
        return text
