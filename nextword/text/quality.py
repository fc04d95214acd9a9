"""Whether a document reads as prose: the rules of Gopher (Rae et al., 2021, table A1) and of C4,
with thresholds loosened for short texts and with characters in place of words for Chinese.
"""

from __future__ import annotations

import re
from collections import Counter

_HEAD = 200_000  # characters looked at
_WORD = re.compile(r"\w+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")


def quality(text: str) -> str | None:
    """Why `text` does not read as prose, or None if it does."""
    text = text[:_HEAD]
    dense = len(_CJK.findall(text))
    words = _WORD.findall(text)
    shown = len(text) - sum(map(text.count, " \n\t"))
    if shown == 0:
        return "empty"
    if dense + len(words) < 5:
        return "too short"
    if sum(map(len, words)) < 0.6 * shown:
        return "mostly symbols"
    if dense < 0.3 * shown:
        mean = sum(map(len, words)) / len(words)
        if not 2 <= mean <= 14:
            return "words too short or too long"
        if sum(any(map(str.isalpha, word)) for word in words) < 0.7 * len(words):
            return "mostly numbers"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.endswith(("...", "…")) for line in lines) > 0.3 * len(lines):
        return "lines cut short"
    if sum(line.startswith(("•", "‣", "◦", "- ", "* ")) for line in lines) > 0.9 * len(lines) > 5:
        return "a list"
    if _repeated(lines) > 0.3 * shown and len(lines) > 5:
        return "repeated lines"
    units = list(text) if dense >= 0.3 * shown else words
    if len(units) > 50 and max(_shares(units, length) for length in (2, 3, 4)) > 0.2:
        return "repeated phrases"
    return None


def _repeated(lines: list[str]) -> int:
    """Characters in lines that came before."""
    return sum(len(line) * (count - 1) for line, count in Counter(lines).items())


def _shares(units: list[str], length: int) -> float:
    """Share of the most frequent run of `length` units."""
    runs = Counter(zip(*(units[start:] for start in range(length)), strict=False))
    return runs.most_common(1)[0][1] * length / len(units)
