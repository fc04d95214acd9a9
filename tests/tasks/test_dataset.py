from __future__ import annotations

import math

from nextword.settings import FinetuneSettings
from nextword.tasks.opening import task_class
from nextword.tasks.records import Record


def test_a_column_without_anything_in_it_is_not_named_as_unused() -> None:
    nothing = [None, "", "nan", "#N/A", math.nan, [], {}]
    rows = [{"text": f"t{n}", "label": str(n % 2), "note": note} for n, note in enumerate(nothing)]
    records = [Record(row | {"by": "Ann"}, "a") for row in rows]
    dataset = task_class("classify").read(records, FinetuneSettings(task="classify"))
    assert dataset.report.unused == {"by": len(nothing)}
