"""How much of the text of some records a field takes, and how much it would leave.

Only running text is weighed: names, dates, addresses, codes and what repeats the text taken (a
message's own links, a page with its tags) may stand beside any text.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nextword.errors import UserError
from nextword.text.cells import read_cell
from nextword.text.columns import count_characters, join_text
from nextword.text.document import Document
from nextword.text.extraction import MAX_DEPTH, TextField, find_records, to_document

_SAMPLED_ITEMS = 1000  # of each list of objects
_SHORTEST, _SHORTEST_DENSE = 32, 12  # characters of running text; in scripts without spaces
_LONGEST_WORD = 16  # characters, on average
_WINDOW, _WINDOWS = 24, 20  # excerpts of a text that are looked for in another
_REPEATED = 0.8  # of them found: then it is the same text
_GROWN = 3  # times the text: so much beside it is no longer what stands beside a text
_TAG = re.compile(r"<[^<>]*>")


@dataclass
class Weighed:
    """What a field takes of some records, and the fields beside it."""

    texts: list[str] = field(default_factory=list)
    refused: int = 0
    left: int = 0  # characters of running text
    nested: int = 0  # of these, in lists and objects
    sizes: Counter[str] = field(default_factory=Counter)  # characters in each field left

    @property
    def taken(self) -> int:
        return sum(map(len, self.texts))


def weigh(values: list[Any], text_field: TextField) -> Weighed:
    """Return what `text_field` takes and leaves of some values."""
    weighed = Weighed()
    for value in values:
        beside: list[tuple[str, Any]] = []

        def leave(name: str, item: Any, beside: list[tuple[str, Any]] = beside) -> None:
            beside.append((name, item))

        texts = []
        for found in find_records(value, text_field, leave):
            document = to_document(found, "", leave)
            if isinstance(document, Document):
                texts.append(document.text)
            else:
                weighed.refused += 1
        weighed.texts += texts
        taken = _squeeze("".join(texts))
        for name, item in beside:
            if size := count_characters(item):
                weighed.sizes[name] += size
                left = _running_text(item, taken)
                weighed.left += left
                weighed.nested += left if isinstance(item, list | dict) else 0
    return weighed


def refuse_longer_field(
    left: Counter[str], known: set[str], taken: int, column: str, path: str
) -> None:
    """Raise UserError where a field came to hold far more than the text; `known` ones were weighed
    when that was chosen."""
    name, most = max(left.items(), key=lambda item: item[1], default=("", 0))
    if name not in known and most > _GROWN * taken:
        raise UserError(
            f"field {name!r} holds {most:,} characters and field {column!r}, which its first "
            f"records have as their text, {taken:,}",
            where=path,
            mend="name the text with --text-column",
        )


def is_printed(values: list[Any], field: TextField) -> bool:
    """Return whether every cell of a column is a list of texts, held as text."""
    if field.column is None or field.inner is not None:
        return False
    cells = [text for text in weigh(values, field).texts if text.strip()]
    if not cells or not all(cell.lstrip().startswith("[") for cell in cells):
        return False
    lists = 0
    for cell in cells:
        try:
            read = read_cell(cell)
        except UserError:
            continue  # it is refused where it is read
        if isinstance(read, str) or join_text(read) is None:
            return False
        lists += 1
    return lists > 0


def new_text(texts: list[str], known: list[str]) -> int:
    """Return how many characters of `texts` do not only repeat what is `known`."""
    before, squeezed = set(known), _squeeze("".join(known))
    return sum(len(text) for text in texts if text not in before and not repeats(text, squeezed))


def _running_text(value: Any, taken: str) -> int:
    if isinstance(value, str):
        return len(value) if is_running_text(value) and not repeats(value, taken) else 0
    if isinstance(value, dict):
        return sum(_running_text(item, taken) for item in value.values())
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return _running_text(" ".join(value), taken) if " " in "".join(value) else 0
        return sum(_running_text(item, taken) for item in value)
    return 0


def is_running_text(text: str) -> bool:
    """Return whether `text` is long enough, and has enough spaces, to be read as sentences."""
    text = text.strip()
    if text.isascii():
        is_data = text[:1] in "[{" and text[-1:] in "]}"
        spaces = text.count(" ") + text.count("\n")
        return len(text) >= _SHORTEST and not is_data and spaces * _LONGEST_WORD >= len(text)
    return len(text) >= _SHORTEST_DENSE


def repeats(text: str, squeezed: str) -> bool:
    """Return whether `text` stands in another, which is without spaces, but for tags."""
    bare = _squeeze(html.unescape(_TAG.sub(" ", text)))
    if len(bare) <= _WINDOW:
        return bare in squeezed
    step = max(1, (len(bare) - _WINDOW) // _WINDOWS)
    windows = [bare[at : at + _WINDOW] for at in range(0, len(bare) - _WINDOW + 1, step)]
    return sum(window in squeezed for window in windows) >= _REPEATED * len(windows)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def cut_lists(value: Any, depth: int = 0) -> Any:
    """Return a value with the first items only of its long lists of objects."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {name: cut_lists(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return [cut_lists(item, depth + 1) for item in value[:_SAMPLED_ITEMS]]
    return value


def objects_in(value: Any, depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every object in a value with its depth in objects."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield depth, value
        for item in value.values():
            if isinstance(item, list | dict):
                yield from objects_in(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, list | dict):
                yield from objects_in(item, depth)
