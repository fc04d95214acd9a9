"""The one error meant for people: what is wrong, where, and how to mend it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from os import PathLike


class UserError(Exception):
    """Something the person can mend. The command line prints it as one sentence and exits with 2.

    `where` is a path, with the line (`file:line`), row or byte offset where one is known.
    """

    def __init__(self, what: str, *, where: str | PathLike[str] | None = None, mend: str = ""):
        self.what, self.where, self.mend = what, where, mend
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        remedy = f"; {self.mend}" if self.mend else ""
        return " ".join(f"{place}{self.what}{remedy}".splitlines())


@contextlib.contextmanager
def naming(where: str | PathLike[str]) -> Iterator[None]:
    """Give each UserError of the block that has no place this one."""
    try:
        yield
    except UserError as error:
        if error.where is not None:
            raise
        raise UserError(error.what, where=where, mend=error.mend) from None


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for a mistyped name: "did you mean 'steps'?", or the list of what is known."""
    known = list(known)
    match = difflib.get_close_matches(word[:100], known, n=1)
    return f"did you mean {match[0]!r}?" if match else otherwise or "known are " + ", ".join(known)
