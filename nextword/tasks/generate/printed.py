"""Texts that Python or numpy printed of a list, where a conversation or an answer is meant.

A single one may be what an answer says, of code for example. Where all of a column are, a list was
saved where a text was meant.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from nextword.tasks.dataset import printed_error
from nextword.tasks.generate.messages import messages_in
from nextword.tasks.records import Record
from nextword.text.columns import holds, printed_as

PRINTED = "texts in column {!r} that Python printed of a list, read as they stand"


def check_printed(records: Sequence[Record], columns: Iterable[str], notes: Counter[str]) -> None:
    """Count in `notes` the printed lists in some columns. Raises UserError, with the place, for a
    column in which there is nothing else."""
    for column in columns:
        held = [record for record in records if holds(record[column])]
        printed = [record for record in held if _is_printed(record[column])]
        if len(printed) == len(held) > 1:
            raise printed_error(column, "a list", printed[0].place)
        if printed:
            notes[PRINTED.format(column)] += len(printed)


def _is_printed(value: object) -> bool:
    """Return whether a text is a list as Python prints it; one of JSON may be meant, and messages
    are read."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return False
    if printed_as(value) != "a list" or messages_in(value, "") is not None:
        return False
    try:
        json.loads(value, strict=False)
    except (ValueError, RecursionError):
        return True
    return False
