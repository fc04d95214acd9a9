"""The shortest way to end a text that must fit a grammar."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher

# What to try first: what closes, then values that are short, then what opens.
PREFERRED = b"}])\"',>n0123456789aeitosr:tf.-_/[{(<" + bytes(range(33, 127)) + b" \n\t"
TRIED, BRANCHES, DEEPEST = 8, 6, 12  # ways; choices at one place; places of a way


class Endings:
    """Finds endings for the texts of one tokenizer; `names` are its tokens' bytes, None for control
    tokens."""

    def __init__(self, names: Sequence[bytes | None]) -> None:
        self._size = len(names)
        singles = {name[0]: id for id, name in enumerate(names) if name and len(name) == 1}
        order = [*PREFERRED, *range(128, 256)]
        self._is_control = [name is None for name in names]
        self._short = [singles[byte] for byte in dict.fromkeys(order) if byte in singles]
        self._quote = singles.get(ord('"'))
        self._brackets = {singles.get(ord(sign)) for sign in "}]"}
        self._by_length = sorted(
            (id for id, name in enumerate(names) if name), key=lambda id: len(names[id] or b"")
        )

    def shortest(self, matcher: LLMatcher, room: int) -> list[int] | None:
        """Return tokens after which the text may end, at most `room`; None where none are found.

        What closes something is taken before anything else, so the first way is nearly always the
        shortest; where it leads nowhere others are tried.
        """
        ending, tried = self._follow(matcher.deep_copy(), [], room)
        others: deque[tuple[list[int], list[int]]] = deque([([], tried)])
        for _ in range(TRIED):
            if ending is not None or not others:
                break
            # What comes after the first few tokens of a way that was tried, another token then.
            before, way = others.popleft()
            state = matcher.deep_copy()
            state.consume_tokens(before)
            for place in range(min(len(way), DEEPEST)):
                for choice in self._choices(state)[1:BRANCHES]:
                    copy = state.deep_copy()
                    if ending is None and copy.consume_token(choice):
                        start = [*before, *way[:place], choice]
                        ending, tried = self._follow(copy, start, room)
                        others.append((start, tried[len(start) :]))
                if ending is not None or not state.consume_token(way[place]):
                    break
        return ending

    def _follow(
        self, state: LLMatcher, tokens: list[int], room: int
    ) -> tuple[list[int] | None, list[int]]:
        """Return the ending that is found by always taking the first choice, and all that was
        taken."""
        taken = list(tokens)
        while len(taken) <= room:
            if state.is_accepting():
                return taken, taken
            steps = state.compute_ff_tokens() or self._choices(state)[:1]
            if any(self._is_control[step] for step in steps):
                steps = self._choices(state)[:1]
            if not steps or not state.consume_tokens(steps):
                break
            taken += steps
        return None, taken

    def _choices(self, matcher: LLMatcher) -> list[int]:
        mask = matcher.compute_bitmask()
        found = list(_allowed(self._short, mask, BRANCHES))
        if self._brackets <= set(found):  # within a string, where they close nothing
            found.sort(key=lambda id: id != self._quote)
        return found or list(_allowed(self._by_length, mask, BRANCHES))


def _allowed(ids: Sequence[int], mask: bytes, most: int) -> Iterator[int]:
    for id in ids:
        if mask[id >> 3] >> (id & 7) & 1:
            yield id
            most -= 1
            if not most:
                return
