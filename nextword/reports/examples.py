"""The held-out examples of a fine-tuned run, for people: the worst, all of them, and those that the
training data holds too.

A line of RUN/held_out.jsonl is an object with "place", "text", "label" (for answers: "references"),
"prediction", "loss" and, where there are such, "probabilities" and "score" by name, and "twin", the
same or nearly the same example of the training data, null where it has none.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.runs.record import HELD_OUT, Record

WORST = 12  # examples shown
MOST_ROWS = 500  # of the table of all, so that the page stays light
LONGEST = 300  # characters of a text shown


@dataclass(frozen=True)
class Example:
    """One held-out example for people; `sure` is the probability given to what was said, or its
    score; `is_wrong` None where nothing is simply right or wrong."""

    place: str
    text: str
    wanted: str
    said: str
    sure: str
    loss: str
    is_wrong: bool | None
    is_known: bool  # the training data holds it too, or nearly


@dataclass(frozen=True)
class Known:
    """A held-out example beside the one of the training data."""

    place: str
    text: str
    twin_place: str
    twin_text: str
    alike: str


@dataclass(frozen=True)
class Examples:
    """`suspicious` are those of the highest loss, of classes only the wrong ones; `rows` all, the
    worst first, but for those `left_out`; `score` names the column of sureness or score."""

    suspicious: list[Example]
    rows: list[Example]
    left_out: int
    score: str
    known: list[Known]
    overlap: str


def read_held_out(path: Path) -> list[Record]:
    """The held-out examples that a run has kept; none where it has not. Raises UserError with the
    line for what is no such record."""
    if not (path / HELD_OUT).is_file():
        return []
    found = []
    with open(path / HELD_OUT, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                float(record["loss"]), record["text"], record["prediction"]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise UserError(
                    "is no held-out example (an object with text, prediction and loss)",
                    where=f"{path / HELD_OUT}:{number}",
                    mend="remove the file, and the report does without it",
                ) from None
            found.append(record)
    return found


def examples(found: list[Record]) -> Examples:
    order = sorted(found, key=lambda record: -_loss(record))
    rows = [_example(record) for record in order[:MOST_ROWS]]
    has_classes = any(isinstance(record.get("label"), str) for record in found)
    worst = [row for row in rows if row.is_wrong] if has_classes else rows
    scores = [name for record in found[:1] for name in _mapping(record.get("score"))]
    return Examples(
        suspicious=worst[:WORST],
        rows=rows,
        left_out=len(found) - len(rows),
        score=scores[0] if scores else "sure",
        known=[_known(record) for record in found if _mapping(record.get("twin"))][:WORST],
        overlap=_overlap(found),
    )


def _overlap(found: list[Record]) -> str:
    if not any("twin" in record for record in found):
        return ""  # not looked for
    alike = [_mapping(record.get("twin")).get("alike") for record in found]
    exact = sum(share == 1 for share in alike)
    near = sum(share is not None for share in alike) - exact
    if not exact and not near:
        return f"None of the {len(found):,} held-out examples is in the training data too."
    return (
        f"Of the {len(found):,} held-out examples {exact:,} are in the training data too, and "
        f"{near:,} nearly: what is measured on them says little about new ones."
    )


def _known(record: Record) -> Known:
    twin = record["twin"]
    alike = twin.get("alike")
    return Known(
        place=_brief(record.get("place", "")),
        text=_cut(str(record["text"])),
        twin_place=_brief(twin.get("place", "")),
        twin_text=_cut(str(twin.get("text", ""))),
        alike="the same" if alike == 1 else f"{alike:.0%} alike",
    )


def _loss(record: Record) -> float:
    value = float(record["loss"])
    return math.inf if math.isnan(value) else value


def _example(record: Record) -> Example:
    wanted, said = record.get("label", record.get("references", "")), record["prediction"]
    score = next(iter(_mapping(record.get("score")).values()), None)
    sure = _mapping(record.get("probabilities")).get(said) if isinstance(said, str) else None
    is_wrong: bool | None = None
    if "references" in record:
        is_wrong = None if "F1" not in _mapping(record.get("score")) else score != 1
    elif not isinstance(wanted, float):
        is_wrong = wanted != said
    return Example(
        place=_brief(record.get("place", "")),
        text=_cut(str(record["text"]), tail=LONGEST // 3 if "references" in record else 0),
        wanted=_cut(_words(wanted)),
        said=_cut(_words(said)),
        sure=f"{sure:.0%}" if _is_number(sure) else f"{score:.3g}" if _is_number(score) else "",
        loss=f"{_loss(record):.2f}",
        is_wrong=is_wrong,
        is_known=bool(_mapping(record.get("twin"))),
    )


def _brief(place: Any) -> str:
    """A place without the folders, whose names take the room of the text."""
    return str(place).rpartition("/")[2] if not str(place).startswith("hf://") else str(place)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " · ".join(map(str, value)) or "(none)"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(nothing)"


def _cut(text: str, tail: int = 0) -> str:
    """A text of at most so many characters, `tail` of them from its end."""
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - tail]} … {text[len(text) - tail :] if tail else ''}".rstrip()


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
