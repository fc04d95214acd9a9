"""The runs of a folder, and what is told of them. Runs are made up, but lifelike."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifelike_run import lifelike_metrics, make_run

from nextword.serving.runs import MOST_POINTS, new_records, thin
from nextword.serving.shelf import Shelf, differing, find_runs, plain

MakeRun = Callable[..., Path]
assert make_run  # a fixture


def age(run: Path, seconds: float) -> None:
    for file in run.glob("*.*"):
        os.utime(file, (time.time() - seconds,) * 2)


def test_runs_are_found_at_and_below_a_folder(make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run(lifelike_metrics(100), "novels")
    make_run(lifelike_metrics(100), "sweep/seed-1")
    (tmp_path / "sweep" / "notes").mkdir()
    assert find_runs(tmp_path) == {"novels": first, "sweep/seed-1": tmp_path / "sweep" / "seed-1"}
    assert find_runs(first) == {"novels": first}, "a run alone has its own name"


def test_a_run_is_running_while_it_writes_and_stopped_after(make_run: MakeRun) -> None:
    run = make_run(lifelike_metrics(300))
    shelf = Shelf(run)
    [told] = shelf.table()["runs"]
    assert told["status"] == "running" and told["step"] == 300
    assert told["figures"]["loss"]["interval"] is None
    age(run, 3600)
    assert shelf.table()["runs"][0]["status"] == "stopped"


def test_figures_have_the_intervals_of_the_evaluation(make_run: MakeRun) -> None:
    run = make_run(lifelike_metrics(300))
    best = Shelf(run).summary(run)["best_step"]
    figures = {"step": best, "loss": 3.0, "loss_interval": [2.9, 3.1], "perplexity": math.nan}
    (run / "evaluation.json").write_text(json.dumps(figures))
    told = Shelf(run).summary(run)["figures"]
    assert told == {"loss": {"value": 3.0, "interval": [2.9, 3.1]}}, "what is no number is not told"


def test_a_damaged_run_does_not_hide_the_others(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(lifelike_metrics(100), "sound")
    damaged = make_run(lifelike_metrics(100), "damaged")
    (damaged / "metrics.jsonl").write_text("no JSON\n{}\n")
    runs = {run["name"]: run for run in Shelf(tmp_path).table()["runs"]}
    assert runs["sound"]["status"] == "running"
    assert runs["damaged"]["status"] == "damaged" and "metrics.jsonl:1" in runs["damaged"]["error"]


def test_only_settings_that_differ_are_named() -> None:
    assert differing([{"a": 1, "b": [1], "c": 2}, {"a": 1, "b": [2]}]) == ["b", "c"]
    assert differing([{"a": 1}]) == []


def test_settings_become_plain_json() -> None:
    values = {"rate": math.inf, 1: (Path("x"), None, True), "nested": {"a": math.nan}}
    assert plain(values) == {"rate": "inf", "1": ["x", None, True], "nested": {"a": "nan"}}
    json.dumps(plain(values), allow_nan=False)


def test_records_are_read_as_they_grow_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert new_records(file, 0) == {"position": 0, "restarted": False, "records": []}
    line = b'{"kind": "train", "step": 1, "loss": 2.5}\n'
    file.write_bytes(line + line[:20])
    first = new_records(file, 0)
    assert first["position"] == len(line) and len(first["records"]) == 1
    file.write_bytes(line * 2 + b'{"kind": "train", "step": 3, "loss": NaN}\n')
    then = new_records(file, first["position"])
    assert [record["loss"] for record in then["records"]] == [2.5, None]
    file.write_bytes(line)
    again = new_records(file, then["position"])
    assert again["restarted"] and len(again["records"]) == 1, "a resumed run took records back"


@pytest.mark.parametrize("count", [10, MOST_POINTS, 10_000])
def test_long_curves_are_thinned_and_nothing_else(count: int) -> None:
    records: list[dict[str, Any]] = [{"kind": "train", "step": n} for n in range(count)]
    records[count // 2 : count // 2] = [{"kind": "sample", "step": count // 2, "text": "x"}]
    kept = thin(records)
    assert sum(record["kind"] == "train" for record in kept) <= MOST_POINTS
    assert sum(record["kind"] == "sample" for record in kept) == 1
    assert len(kept) == count + 1 or count > MOST_POINTS
