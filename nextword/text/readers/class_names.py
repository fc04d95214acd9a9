"""Columns that hold numbers of classes, whose names a data set of Hugging Face keeps apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Names = dict[str, list[str]]  # of each such column


def class_names(features: Any) -> Names:
    """By column, from what `datasets` writes of its features; {} where that cannot be read."""
    found: Names = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        while isinstance(feature, Mapping) and "feature" in feature:  # a list of them
            feature = feature["feature"]
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                found[str(column)] = names
    return found


def with_names(record: Any, names: Names) -> Any:
    """A record with names for its numbers; -1 stands for a label that is not known."""
    if not names or not isinstance(record, Mapping):
        return record
    return {
        column: _named(value, names[column]) if column in names else value
        for column, value in record.items()
    }


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if value == -1:
        return None
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if known else value
