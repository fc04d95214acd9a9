"""What a run was trained on, as tables: the splits, what was kept and left out, the overlap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from nextword.runs.record import Record, mapping

MOST_LANGUAGES = 6
LONGEST_PLACE, LONGEST_TEXT = 48, 32  # characters of an example
_NAMES = {"train": "training", "val": "held out"}


class Row(NamedTuple):
    """A row of a table: its name, its numbers, and a note beside them."""

    name: str
    cells: list[str]
    note: str = ""


def split_table(manifest: Record) -> tuple[list[str], list[Row]]:
    """Return the counts of each split: (names of the columns, a row for each split)."""
    counts = {
        str(name): {str(k): v for k, v in values.items() if _is_count(v)}
        for name, values in mapping(manifest.get("splits")).items()
        if isinstance(values, dict)
    }
    columns = list(dict.fromkeys(column for values in counts.values() for column in values))
    rows = []
    for name, values in counts.items():
        cells = [f"{values[column]:,}" if column in values else "–" for column in columns]
        tokens, size = values.get("tokens"), values.get("bytes")
        cells.append(f"{size / tokens:.2f}" if tokens and size else "–")
        rows.append(Row(_NAMES.get(name, name), cells))
    return [*(column.replace("_", " ") for column in columns), "bytes per token"], rows


def document_table(manifest: Record) -> list[Row]:
    """Return how many documents were found, kept and left out, and why, with examples."""
    summary = mapping(manifest.get("summary"))
    counts = [summary.get(name) for name in ("accepted", "skipped", "rejected")]
    if not all(_is_count(count) for count in counts):
        return []
    languages = {k: n for k, n in mapping(summary.get("languages")).items() if _is_count(n)}
    shown, total = list(languages.items())[:MOST_LANGUAGES], sum(languages.values()) or 1
    rows = [
        Row("found", [f"{sum(counts):,}"]),  # type: ignore[arg-type]
        Row("kept", [f"{counts[0]:,}"], ", ".join(f"{name} {n / total:.0%}" for name, n in shown)),
    ]
    for reason, entry in mapping(summary.get("reasons")).items():
        examples = [_example(*map(str, pair)) for pair in entry.get("examples", [])[:3]]
        rows.append(Row(f"left out: {reason}", [f"{entry.get('count', 0):,}"], "; ".join(examples)))
    for note, count in mapping(summary.get("notes")).items():
        rows.append(Row(str(note), [f"{count:,}" if _is_count(count) else str(count)]))
    return rows


def overlap(manifest: Record) -> str:
    """Return how much of the held-out text is also in the training text, in a sentence."""
    measured = mapping(mapping(manifest.get("summary")).get("overlap"))
    share, seen = measured.get("share"), measured.get("documents_seen")
    if not isinstance(share, int | float) or not _is_count(seen):
        return ""
    return (
        f"{share:.2%} of the held-out text's long passages are also in the training text; "
        f"{seen:,} held-out documents were mostly seen in training."
    )


def pairs(values: Record, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield a mapping's leaves as (name, value), nested names joined; long values cut."""
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from pairs(value, f"{label} · ")
        elif value is not None and value not in ([], {}):
            yield label, _value(value)


def _example(place: str, text: str) -> str:
    """Where a document stands and how it begins, on about a line."""
    place = place if len(place) <= LONGEST_PLACE else "…" + place[-LONGEST_PLACE:]
    text = " ".join(text.split())
    text = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    return f"{place}: {text}" if text else place


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
