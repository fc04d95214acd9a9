"""Stop strings in text that comes in pieces: never missed, never leaked."""

from __future__ import annotations

from collections.abc import Iterable

from nextword.errors import UserError


class StopFilter:
    """Passes text on up to the first stop string, however pieces cut it.

    Text that may be the beginning of a stop string is held back until that is known.
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
        """The text that is sure to come before any stop string."""
        if self.stopped:
            return ""
        text = self._held + piece
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = self._held_back(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What is still held when no more text comes."""
        text, self._held = self._held, ""
        return text

    def _held_back(self, text: str) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0
