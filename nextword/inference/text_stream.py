"""Generated tokens as text: whole characters, up to the first stop string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nextword.errors import UserError
from nextword.tokens.tokenizer import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
DECODED_WITH = 4  # tokens of the prompt with which the generated ones are decoded


class TextStream:
    """The text of one row as it is generated: whole characters, up to the first stop string.

    `stops.stopped` says whether a stop string was met, `pieces` are all pieces so far.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        """Begin after a prompt. Raises UserError for an empty stop string."""
        self.stops = StopFilter(stops)
        self.pieces: list[str] = []
        self._characters = tokenizer.stream()
        for token in prompt[-DECODED_WITH:]:  # some tokenizers drop the space a text begins with
            self._characters.feed(token)
        self._characters.flush()

    def feed(self, token: int) -> str:
        """Add a token; return the text that is complete with it."""
        self.pieces.append(self.stops.feed(self._characters.feed(token)))
        return self.pieces[-1]

    def flush(self) -> str:
        """Return the rest, without a character that was left incomplete."""
        rest = self._characters.flush().rstrip(UNFINISHED)
        self.pieces.append(self.stops.feed(rest) + self.stops.flush())
        return self.pieces[-1]


class StopFilter:
    """Passes text on up to the first stop string, however it is cut into pieces.

    Text that may be the beginning of a stop string is held back until that is known. Raises
    UserError for an empty stop string.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = tuple(dict.fromkeys(stops))
        if "" in self.stops:
            raise UserError("a stop string is empty", mend="leave it out, or name some text")
        self.stopped = False
        self._held = ""
        self._beginnings = {stop[:end] for stop in self.stops for end in range(1, len(stop))}
        self._longest = max(map(len, self._beginnings), default=0)

    def feed(self, piece: str) -> str:
        """Add a piece; return the text that is certain to come before any stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        # The longest end of the text that may be the beginning of a stop string is held back.
        lengths = range(min(self._longest, len(text)), 0, -1)
        ends = (text[-length:] for length in lengths)
        self._held = next((end for end in ends if end in self._beginnings), "")
        return text.removesuffix(self._held)

    def flush(self) -> str:
        """Return the text still held back, after the last piece."""
        text, self._held = self._held, ""
        return text
