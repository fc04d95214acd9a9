"""Entities as annotation programs write them: lists of spans, those of Label Studio and doccano,
and objects by kind, as CLUENER has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.tasks.dataset import LeftOut
from nextword.tasks.tag.offsets import Span

STARTS = ("start", "start_offset", "start_idx", "startOffset", "start_char", "start_pos", "begin")
ENDS = ("end", "end_offset", "end_idx", "endOffset", "end_char", "end_pos", "stop")
KINDS = ("label", "type", "entity", "entity_group", "labels", "category", "tag", "class")
SIZED = ("offset", "length")
SURFACES = ("text", "word", "surface", "surface_form", "mention", "entity")


def hold_spans(value: Any) -> bool:
    """Return whether a value is an object, or a list of objects or lists: of spans, not of tags."""
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping | list)
    )


def read_spans(given: Any, text: str, place: str) -> tuple[list[Span], Counter[str]]:
    """Return the entities of `text`, and a count of the keys that are not read of them.

    They are [start, end, label], {"start", "end", "label"} under the names that programs have for
    these, what annotators of Label Studio did, or {label: {text: [[first, last], ...]}}. Raises
    UserError, with the place, for anything else, and LeftOut where nobody has annotated the text.
    """
    unused: Counter[str] = Counter()
    if isinstance(given, Mapping):
        return list(_by_kind(given, place)), unused
    if not isinstance(given, list):
        raise UserError("is not a list of entities", where=place, mend="a text without any has []")
    if given and all(isinstance(item, Mapping) and "result" in item for item in given):
        given = _result(given, place, unused)
    spans = []
    for item in _points(given):
        span, others = _span(item, text, place)
        spans.append(span)
        unused.update(others)
    return spans, unused


def _points(given: list[Any]) -> Iterator[Any]:
    """Yield entities; those that Dataturks puts under a label one by one, each up to the character
    after its last one."""
    for item in given:
        points = item.get("points") if isinstance(item, Mapping) else None
        if not isinstance(points, list):
            yield item
            continue
        others = {name: value for name, value in item.items() if name != "points"}
        for point in points:
            is_whole = isinstance(point, Mapping) and isinstance(point.get("end"), int)
            yield others | dict(point) | {"end": point["end"] + 1} if is_whole else point


def _span(item: Any, text: str, place: str) -> tuple[Span, list[str]]:
    """Return an entity, and the names of what is not read of it."""
    values: list[Any] = []
    surface, others = None, list[str]()
    if isinstance(item, Mapping):
        start, end, kind_name = (_first(item, names) for names in (STARTS, ENDS, KINDS))
        kind = item.get(kind_name)
        kind = kind[0] if isinstance(kind, list) and len(kind) == 1 else kind
        values = [item.get(start), item.get(end), kind]
        if start is None and [type(item.get(name)) for name in SIZED] == [int, int]:
            start, end = SIZED
            values[:2] = [item[start], item[start] + item[end]]
        surface_name = _first({k: v for k, v in item.items() if k != kind_name}, SURFACES)
        surface = item.get(surface_name)
        if surface_name == "entity" and str(surface) not in text:  # a name in some list of things
            surface = surface_name = None
        read = {start, end, kind_name, surface_name}
        others = [str(name) for name, value in item.items() if name not in read and value]
    elif isinstance(item, list):
        values = item
    if (
        len(values) != 3
        or not all(type(n) is int for n in values[:2])
        or not values[2]
        or isinstance(values[2], list | Mapping)
    ):
        raise UserError(
            "holds an entity without start, end and label",
            where=place,
            mend='write {"start": 0, "end": 5, "label": "place"}, counted in characters',
        )
    surface = surface if isinstance(surface, str) and surface.strip() else None
    return Span(values[0], values[1], str(values[2]), surface), others


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((name for name in names if name in item), None)


def _by_kind(given: Mapping[str, Any], place: str) -> Iterator[Span]:
    """Yield the entities of an object by kind, then by their text; each ends with the last
    character, as in CLUENER (Xu et al. 2020)."""
    for kind, entities in given.items():
        for surface, places in entities.items() if isinstance(entities, Mapping) else [("", None)]:
            is_pair = isinstance(places, list) and [type(n) for n in places] == [int, int]
            for ends in [places] if is_pair else places if isinstance(places, list) else [None]:
                if not (isinstance(ends, list) and [type(n) for n in ends] == [int, int]):
                    raise UserError(
                        f"the entities of {kind!r} are not written by their text",
                        where=place,
                        mend='write {"place": {"Harrow": [[0, 5]]}}, or a list of entities',
                    )
                yield Span(ends[0], ends[1] + 1, str(kind), str(surface))


def _result(
    annotations: Sequence[Mapping[str, Any]], place: str, unused: Counter[str]
) -> list[Mapping[str, Any]]:
    """Return the spans of one annotator's work in Label Studio, and count what else is there."""
    done = [one for one in annotations if not one.get("was_cancelled")]
    if not done:
        raise LeftOut("whose annotation was cancelled")
    chosen = [one for one in done if one.get("ground_truth")] or done
    results = []
    for annotation in chosen:
        spans = []
        for part in annotation["result"] or []:
            value = part.get("value") if isinstance(part, Mapping) else None
            if isinstance(value, Mapping) and _first(value, STARTS) is not None:
                spans.append(value)
            else:
                kind = part.get("type") if isinstance(part, Mapping) else None
                unused[f"result of type {kind}"] += 1
        results.append(spans)
    first = _sorted(results[0])
    if any(_sorted(other) != first for other in results[1:]):
        raise UserError(
            f"holds {len(results)} annotations that differ",
            where=place,
            mend="keep one, or mark it as ground truth",
        )
    return results[0]


def _sorted(spans: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return spans in an order of their own, to compare them."""
    return sorted(
        tuple(str(value.get(_first(value, names))) for names in (STARTS, ENDS, KINDS))
        for value in spans
    )
