"""What a field of a record holds: text, spaces or nothing."""

from __future__ import annotations

import math

from nextword.text.columns import holds, is_empty


def test_nothing_and_spaces_and_what_programs_write_for_nothing_are_told_apart() -> None:
    nothing = [None, math.nan, "", "nan", " NaN ", "<NA>", "#N/A"]
    assert not any(map(holds, [*nothing, [], {}])) and all(map(is_empty, nothing))
    assert holds(" \n") and is_empty(" \n")
    assert not any(map(is_empty, [[], {}, 0, False, "0", "none"]))
    assert all(map(holds, [0, False, "0", "none", [None], {"a": None}]))
