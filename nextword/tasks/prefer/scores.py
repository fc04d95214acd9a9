"""Scores beside preferences, which must not say that the rejected answer is the better one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from nextword.errors import UserError
from nextword.tasks.records import Record
from nextword.text.columns import holds

TIED = "pairs of answers with the same score"
_SCORED = re.compile(r"score|rating|reward|grade")  # where more is better


def score_columns(names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of the chosen answers' scores, each followed by that of the rejected ones;
    `names` are those there are, by lower case."""
    return tuple(
        column
        for low, name in names.items()
        if "chosen" in low and _SCORED.search(low)
        if (other := low.replace("chosen", "rejected")) in names
        for column in (name, names[other])
    )


def check_scores(record: Record, columns: Sequence[str], notes: Counter[str]) -> None:
    """Count a tie in `notes`. Raises UserError, with the place, for a chosen answer whose score is
    below that of the rejected one."""
    for chosen, rejected in zip(columns[::2], columns[1::2], strict=True):
        one, other = (_number(record[column]) for column in (chosen, rejected))
        if one is None or other is None:
            continue
        if one < other:
            raise UserError(
                f"contradicts itself: {chosen} is {one:g} and {rejected} is {other:g}",
                where=record.place,
                mend="exchange the answers, or remove the row or these columns",
            )
        notes[TIED] += one == other


def _number(value: object) -> float | None:
    if not holds(value) or isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
