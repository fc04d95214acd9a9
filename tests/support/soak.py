"""The table with which `make soak` ends: how much each long test tried, survived and lost.

A test says how many cases it is: `@pytest.mark.slow(cases=200)`. One that fails counts none of them
as survived: what it says itself tells which are lost.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

CASES = "cases"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := item.get_closest_marker("slow"):
            item.user_properties.append((CASES, mark.kwargs.get(CASES, 1)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            cases = dict(report.user_properties).get(CASES)
            if cases and (report.when == "call" or outcome != "passed"):
                name = report.location[2].partition("[")[0].removeprefix("test_").replace("_", " ")
                tried[name] += cases
                failed[name] += cases * (outcome != "passed")
    if not tried:
        return
    tried["all"], failed["all"] = tried.total(), failed.total()
    terminalreporter.section("what was tried, survived and lost")
    terminalreporter.write_line(f"{'':<84} {'tried':>10} {'survived':>10} {'lost':>16}")
    for name, count in tried.items():
        lost = f"up to {failed[name]:,}" if failed[name] else "0"
        survived = count - failed[name]
        terminalreporter.write_line(f"{name:<84} {count:>10,} {survived:>10,} {lost:>16}")
