"""Lists and objects that a cell of a table holds as text: JSON, Python's print, or numpy's.

A table has no lists of its own, so programs write what they would print: `["a", "b"]`, `['a', 'b']`
or, without commas, `['a' 'b']`. Nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, NoReturn

from nextword.errors import UserError
from nextword.text.columns import CLOSERS, has_list_structure

_MAX_DEPTH = 100  # of lists and objects
_TOKEN = re.compile(
    r"""(?P<string>[bu]?(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"))
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<name>[+-]?[A-Za-z_][\w.]*)
    | (?P<mark>\.\.\.|[\[\](){},:=])""",
    re.X | re.S,
)
_SPACES = re.compile(r"\s*")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("True", "true", "np.True_"), True),
    **dict.fromkeys(("False", "false", "np.False_"), False),
    **dict.fromkeys(("None", "null"), None),
    **dict.fromkeys(("nan", "NaN", "np.nan"), float("nan")),
    **dict.fromkeys(("inf", "+inf", "Infinity", "np.inf"), float("inf")),
    **dict.fromkeys(("-inf", "-Infinity", "-np.inf"), float("-inf")),
}
_SETS = ("set", "frozenset")
_CALLED = re.compile(r"array|(?:np|numpy)\.\w+|(?:frozen)?set")  # array(['a'], dtype=object)

_CALL = re.compile(r"(?:(?:np|numpy)\.)?array\(\s*\[|(?:frozen)?set\(\s*[\[{)]")


def read_cell(text: str) -> Any:
    """Return the list or object (a dict) that `text` is a print of; `text` itself if of none.

    A tuple or a set comes as a list. A number, or another value that stands alone, stays text.
    Raises UserError for what has the structure of a list or an object and cannot be read.
    """
    start = _SPACES.match(text).end()  # type: ignore[union-attr]  # it matches everywhere
    called = _CALL.match(text, start)
    opener = "(" if called else text[start : start + 1]
    if opener not in CLOSERS or not text[-100:].rstrip().endswith(CLOSERS[opener]):
        return text
    printed = text.strip()
    if opener != "(":
        try:
            return json.loads(printed, strict=False)
        except (ValueError, RecursionError):
            pass
    try:
        return _Printed(printed).parse()
    except ValueError as error:
        if not called and not has_list_structure(printed):
            return text
        kind = "an object" if opener == "{" else "a list"
        raise UserError(
            f"looks like {kind} and cannot be read as one ({error})",
            mend='write it as JSON, e.g. ["a", "b"]',
        ) from None


def read_value(value: Any, place: str, name: str = "") -> Any:
    """Return a value; of text the list or object that it is a print of, else the text.

    Raises UserError, with the place and what is called by its `name`, for one that is damaged.
    """
    try:
        return read_cell(value) if isinstance(value, str) else value
    except UserError as error:
        raise UserError(f"{name}{error.what}", where=place, mend=error.mend) from None


class _Printed:
    """A parser of what Python and numpy print."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, bool]] = []  # kind, text, whether spaces stand before
        at = 0
        while at < len(text):
            start = _SPACES.match(text, at).end()  # type: ignore[union-attr]
            token = _TOKEN.match(text, start)
            if token is None:
                raise ValueError(f"what stands at character {start + 1} is unclear")
            self._tokens.append((str(token.lastgroup), token.group(), start > at))
            at = token.end()
        self._at = 0

    def parse(self) -> Any:
        """Return the value that all of the text is. Raises ValueError if it is none."""
        value = self._value(0)
        if self._at < len(self._tokens):
            raise ValueError(f"it goes on after its end with {self._peek()!r}")
        return value

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise ValueError("it ends too early")
        kind, text, _ = self._tokens[self._at]
        self._at += 1
        return kind, text

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            self._fail(self._peek(), f"expected {mark!r}, found {self._peek()!r}")
        self._at += 1

    def _value(self, depth: int) -> Any:
        kind, text = self._take()
        if kind == "string":
            return _unquote(text)
        if kind == "number":
            return int(text) if text.lstrip("+-").isdigit() else float(text)
        if kind == "name":
            return self._named(text, depth)
        if text not in CLOSERS:
            self._fail(text, f"expected a value, found {text!r}")
        if depth == _MAX_DEPTH:
            raise ValueError("it is nested too deep")
        return self._object(depth) if text == "{" else self._list(CLOSERS[text], depth)

    def _list(self, closer: str, depth: int) -> list[Any]:
        """Return the values up to `closer`; numpy prints them with spaces in place of commas."""
        values: list[Any] = []
        separators: set[str] = set()
        while self._peek() != closer:
            values.append(self._value(depth + 1))
            if self._peek() == ",":
                separators.add(",")
                self._at += 1
            elif self._peek() != closer:
                follows = self._tokens[self._at] if self._at < len(self._tokens) else None
                if follows is None or not follows[2] or closer != "]":
                    self._expect(closer)
                separators.add(" ")
        self._at += 1
        if len(separators) > 1:
            raise ValueError("commas stand between some of its values only")
        return values

    def _object(self, depth: int) -> Any:
        """Return a dict, or the values of a set."""
        if self._peek() == "}":
            self._at += 1
            return {}
        start = self._at
        first = self._value(depth + 1)
        if self._peek() != ":":
            self._at = start
            return self._list("}", depth)
        values: dict[Any, Any] = {}
        key = first
        while True:
            self._expect(":")
            if isinstance(key, list | dict):
                raise ValueError("a key of it is a list or an object")
            values[key] = self._value(depth + 1)
            if self._peek() != ",":
                break
            self._at += 1
            if self._peek() == "}":
                break
            key = self._value(depth + 1)
        self._expect("}")
        return values

    def _named(self, name: str, depth: int) -> Any:
        if self._peek() != "(":
            if name not in _CONSTANTS:
                raise ValueError(f"{name!r} stands in it without quotes")
            return _CONSTANTS[name]
        if not _CALLED.fullmatch(name) or depth == _MAX_DEPTH:
            raise ValueError(f"a {name!r} stands in it")
        self._at += 1
        if self._peek() == ")" and name in _SETS:
            self._at += 1
            return []
        value = self._value(depth + 1)
        while self._peek() == ",":  # dtype=object and the like
            self._at += 1
            self._take()
            self._expect("=")
            if self._take()[1] == "(":
                self._list(")", depth + 1)
        self._expect(")")
        return value

    def _fail(self, found: str, what: str) -> NoReturn:
        if found == "...":
            what = "it was shortened when it was printed: '...' stands in it"
        raise ValueError(what if found else "it ends too early")


def _unquote(token: str) -> str:
    """Return what a string in quotes stands for."""
    if "\\" not in token and token[0] not in "bu":
        return token[1:-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash that stands for nothing
            value = ast.literal_eval(token.replace("\r", "\\r").replace("\n", "\\n"))
        return value.decode() if isinstance(value, bytes) else str(value)
    except (ValueError, SyntaxError):
        raise ValueError(f"the string {token[:40]} is damaged") from None
