"""JSON and JSON lines: records with their text in one field, in lists however nested."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nextword.errors import UserError
from nextword.text.columns import SAMPLE, NotText, find_column, is_textual, lookup, named_column
from nextword.text.columns import text_of as text_of_value
from nextword.text.compression import open_stream
from nextword.text.document import Bad, Document, Source, Tally
from nextword.text.encoding import decode_pieces, detect
from nextword.text.limits import WHOLE_FILE
from nextword.text.readers.lines import read_lines

_BLOCK = 2**20
Found = tuple[str, Any]  # (place, a value parsed, or Bad)


def read_jsonl(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    return documents(jsonl_records(source, tally), text_column, source.path)


def jsonl_records(source: Source, tally: Tally) -> Iterator[Found]:
    """The value of each line."""
    for number, line in read_lines(source, tally):
        where = f"{source.path}:{number}"
        if isinstance(line, Bad):
            yield where, line
        elif line.strip():
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield where, Bad(f"is not valid JSON ({_why(error)})", where, line, "not JSON")


def read_json(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    def values() -> Iterator[Found]:
        numbers = itertools.count(1)
        for _, value in json_records(source, tally):
            for record in _records(value, text_column):
                yield f"{source.path}:record {next(numbers)}", record

    return documents(values(), text_column, source.path)


def json_records(source: Source, tally: Tally) -> Iterator[Found]:
    """The elements of the list that a file holds, or the one value that it is."""
    with open_stream(source.path, source.compression) as file:
        start = file.read(_BLOCK)
        encoding = detect(start, whole=len(start) < _BLOCK)
        blocks = itertools.chain([start], iter(lambda: file.read(_BLOCK), b""))
        values = _top_level(decode_pieces(blocks, encoding), source.path)
        for number, value in enumerate(values, start=1):
            yield f"{source.path}:record {number}", value


def documents(
    found: Iterable[Found], text_column: str | None, path: str
) -> Iterator[Document | Bad]:
    """The text of each record; the first ones decide which field holds it."""
    found = iter(found)
    column: str | None = None
    while sample := list(itertools.islice(found, SAMPLE)):
        mappings = [value for _, value in sample if isinstance(value, Mapping)]
        if mappings:
            column = find_column(mappings, text_column, path)
            found = itertools.chain(sample, found)
            break
        yield from (document(where, value, "") for where, value in sample)
    for where, value in found:
        yield document(where, value, column or "")


def document(where: str, value: Any, column: str) -> Document | Bad:
    if isinstance(value, Bad):
        return value
    if isinstance(value, Mapping):
        field, name = lookup(value, column), f"field {column!r}"
        if field is None and column not in value:
            return Bad(f"has no {name}", where, _shown(value), f"no {name}")
    else:
        field, name = value, "the record"
    try:
        text = text_of_value(field)
    except NotText as kind:
        expected = "expected text or a list of texts"
        return Bad(f"{name} is {kind}, {expected}", where, _shown(value), f"{name} is not text")
    return Document(text, where)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:1000]


def _records(value: Any, wanted: str | None, depth: int = 0) -> Iterator[Any]:
    """The records in a JSON value: objects that have the text field, or nothing nested in them."""
    if isinstance(value, list) and depth < 100:
        for item in value:
            yield from _records(item, wanted, depth + 1)
    elif isinstance(value, dict):
        if wanted is not None:
            holds_text = lookup(value, wanted) is not None
        else:
            holds_text = named_column(key for key in value if is_textual(value[key])) is not None
        nested = [
            item
            for item in value.values()
            if isinstance(item, dict)
            or (isinstance(item, list) and any(isinstance(child, dict | list) for child in item))
        ]
        only_lists = bool(value) and all(
            is_textual(i) and isinstance(i, list) for i in value.values()
        )
        if holds_text or depth >= 100:
            yield value
        elif nested or only_lists:
            for item in nested or value.values():
                yield from _records(item, wanted, depth + 1)
        else:
            yield value
    else:
        yield value


def _top_level(pieces: Iterator[str], path: str) -> Iterator[Any]:
    """The elements of a JSON list one by one, in constant memory; other values, of which several
    may follow one another as in JSON lines, each as a whole."""
    text = _Parser(pieces, path)
    if text.peek() != "[":
        yield text.value()
        while text.peek():
            yield text.value()
    else:
        text.skip()
        if text.peek() == "]":
            text.skip()
        else:
            while True:
                yield text.value()
                mark = text.peek()
                text.skip()
                if mark == "]":
                    break
                if mark != ",":
                    raise text.error("expected ',' or ']'")
    if text.peek():
        raise text.error("something follows the end")


class _Parser:
    """JSON values out of text that comes in pieces."""

    def __init__(self, pieces: Iterator[str], path: str) -> None:
        self._pieces, self._path = pieces, path
        self._text, self._at, self._line = next(pieces, ""), 0, 1
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not a space; "" at the end."""
        while True:
            match = _NOT_SPACE.search(self._text, self._at)
            if match:
                self._at = match.start()
                return match.group()
            self._at = len(self._text)
            if not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError as error:
                raise self.error(_why(error)) from None
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self._text) - 16 or error.msg.startswith("Unterminated")
                if not cut_off or not self._more():
                    self._at = min(error.pos, len(self._text))
                    raise self.error(error.msg) from None
            except ValueError as error:
                raise self.error(_why(error)) from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    self._at = end
                    return value

    def _more(self) -> bool:
        """Let go of what was parsed and at least double what is held; False at the end."""
        rest = self._text[self._at :]
        if len(rest) > WHOLE_FILE // 4:
            raise self.error(f"a value is longer than {WHOLE_FILE // 4} characters")
        read: list[str] = []
        while sum(map(len, read)) <= len(rest):
            piece = next(self._pieces, None)
            if piece is None:
                break
            read.append(piece)
        if not read:
            return False
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = rest + "".join(read), 0
        return True

    def error(self, what: str) -> UserError:
        line = self._line + self._text.count("\n", 0, self._at)
        what = what[:1].lower() + what[1:]
        return UserError(f"is not valid JSON ({what})", where=f"{self._path}:{line}")


_NOT_SPACE = re.compile(r"[^ \t\r\n]")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower() + error.msg[1:]} at column {error.pos + 1}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).split(";")[0]
