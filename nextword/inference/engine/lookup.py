"""Prompt lookup: guessing what comes next from what came after the same words before.

Saxena 2023; a guess is verified as in speculative decoding (Leviathan et al. 2023), but each token
is chosen by the model, from the very scores it would have without guessing.
"""

from __future__ import annotations

from collections.abc import Sequence

SAME = 3  # tokens that must have come before
AHEAD = 3  # tokens to guess
DECAY = 0.9  # weight of earlier guesses in the mean
PAUSE = 32  # tokens after which guessing is tried again where it did not pay


class Lookup:
    """The text of one request, and how well its beginnings foretell it.

    A step that verifies guesses costs as much as `cost` steps without. Guessing pauses while the
    guesses that come true are too few for that.
    """

    def __init__(self, prompt: Sequence[int], cost: float) -> None:
        """Begin with a prompt; nothing is looked up where `cost` is infinite."""
        self.cost = cost
        self._text: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # where the text goes on after these tokens
        self._gain = 1.0 + AHEAD  # tokens of a step with guesses, on average
        self._pause = 0
        if self._is_useful:
            for token in prompt:
                self.add(token)

    def add(self, token: int) -> None:
        """Go on to the text with this token."""
        if not self._is_useful:
            return
        if len(self._text) >= SAME:
            self._after[tuple(self._text[-SAME:])] = len(self._text)
        self._text.append(token)
        self._pause -= 1

    def guess(self) -> list[int]:
        """Return up to AHEAD tokens that may come next; none where it would not pay."""
        if self._pause > 0 or len(self._text) < SAME:
            return []
        place = self._after.get(tuple(self._text[-SAME:]))
        return [] if place is None else self._text[place : place + AHEAD]

    def judge(self, generated: int) -> None:
        """Learn how many tokens a step with guesses gave."""
        self._gain = DECAY * self._gain + (1 - DECAY) * generated
        if self._gain < self.cost:
            self._gain, self._pause = self.cost, PAUSE

    @property
    def _is_useful(self) -> bool:
        return self.cost < 1 + AHEAD
