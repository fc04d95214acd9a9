"""The page: a run while it trains, and the runs of a folder side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.browser import visit
from support.runs_to_serve import served_runs

OpenPage = Callable[..., Any]
NAMES = {"tales", "tales-small", "gaps", "reviews", "entities", "qa", "chat"}


def settle(page: Any) -> None:
    page.wait_for_selector("main[aria-busy=false]")


def test_a_folder_of_runs_is_a_table_with_best_figures_and_intervals(
    open_page: OpenPage, runs: Path
) -> None:
    page = open_page("tales", "runs")
    page.wait_for_selector("tbody tr")
    assert {row.inner_text() for row in page.locator("tbody th").all()} == NAMES
    evaluation = json.loads((runs / "tales" / "evaluation.json").read_text())
    row = page.locator("tbody tr", has=page.get_by_role("rowheader", name="tales", exact=True))
    assert f"{evaluation['bits_per_byte']:.3f}" in row.inner_text()
    low, high = evaluation["bits_per_byte_interval"]
    assert row.locator(".whisker").get_attribute("title") == f"{low:.3f} – {high:.3f}"
    assert "finished" in row.inner_text()
    assert page.get_by_role("columnheader", name="task", exact=True).count() == 1, (
        "it differs among them"
    )


def test_curves_of_several_runs_lie_over_one_another(open_page: OpenPage) -> None:
    page = open_page("tales", "runs")
    page.wait_for_selector("tbody tr")
    for box in page.locator("tbody input").all():
        box.set_checked(box.get_attribute("aria-label") in ("Show tales", "Show tales-small"))
    chart = page.get_by_role("img")
    page.wait_for_function("() => document.querySelector('.chart canvas')")
    page.wait_for_function(
        "() => document.querySelector('.chart').getAttribute('aria-label').includes(', ')"
    )
    assert "tales" in chart.get_attribute("aria-label") and "tales-small" in chart.get_attribute(
        "aria-label"
    )
    colours = page.locator(".chart canvas").evaluate(
        """canvas => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let at = 0; at < data.length; at += 4)
            if (data[at + 3] === 255) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
          return [...seen];
        }"""
    )
    assert "179,64,31" in colours and "43,106,143" in colours, "a colour for each run"
    page.get_by_role("radio", name="bits per byte").click()
    page.get_by_role("radio", name="time").click()
    assert "bits per byte" in chart.get_attribute("aria-label")


def test_two_runs_are_compared_and_read_with_both(open_page: OpenPage) -> None:
    page = open_page("tales", "runs")
    page.wait_for_selector("tbody tr")
    for box in page.locator(".wide tbody input").all():
        box.set_checked(box.get_attribute("aria-label") in ("Show tales", "Show tales-small"))
    page.wait_for_selector(".pair")
    width = page.locator(".pair tr", has=page.get_by_role("rowheader", name="width", exact=True))
    assert {cell.inner_text() for cell in width.locator("td").all()} == {"32", "16"}
    page.get_by_role("button", name="Read with both").click()
    page.wait_for_selector(".two")
    assert page.locator(".two h2").count() == 2


def test_a_run_under_way_is_followed_and_its_better_model_taken_over(
    browser: Any, runs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "growing"
    shutil.copytree(runs / "tales", run)
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "checkpoints")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    half = next(n for n, line in enumerate(lines) if '"validation"' in line) + 1
    (run / "metrics.jsonl").write_text("".join(lines[:half]))
    with served_runs(run) as address, visit(browser, f"{address}/#runs") as page:
        page.wait_for_selector(".lead .status.running")
        before = page.locator(".lead").inner_text()
        with open(run / "metrics.jsonl", "a") as file:
            file.writelines(lines[half:])
            sample = {"kind": "sample", "step": 60, "prompt": "Once", "text": " <i>there</i> was"}
            file.write(
                json.dumps(sample) + "\n" + '{"kind": "train", "st'
            )  # cut off: not whole yet
        page.get_by_text("<i>there</i>").wait_for()
        page.wait_for_function(
            "before => document.querySelector('.lead').innerText !== before", arg=before
        )
        page.evaluate("location.hash = 'write'")
        page.get_by_role("textbox", name="The text").fill("The old king")
        settle(page)
        old = page.locator(".facts").inner_text()
        aside = run / "model.new"
        shutil.copytree(runs / "tales-small" / "model", aside)
        shutil.rmtree(run / "model")
        aside.rename(run / "model")
        page.get_by_role("textbox", name="The text").fill("The old king.")
        settle(page)
        page.get_by_role("textbox", name="The text").fill("The old king")
        settle(page)
        assert page.locator(".facts").inner_text() != old, "another model reads it otherwise"


def test_a_run_without_a_model_yet_shows_its_curves(
    browser: Any, runs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "young"
    run.mkdir()
    for name in ("config.yaml", "run.json"):
        shutil.copy(runs / "tales" / name, run / name)
    record = {"kind": "train", "step": 1, "loss": 5.5, "seconds": 0.5, "tokens": 100}
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    with served_runs(run) as address, visit(browser, address) as page:
        page.wait_for_selector(".lead .status.running")
        assert page.locator("nav a").all_inner_texts() == ["Runs"]


def lead(page: Any) -> str:
    page.wait_for_selector(".lead .status")
    text: str = page.locator(".lead").inner_text()
    return text


def test_a_run_that_is_over_has_the_steps_that_it_has(
    browser: Any, runs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "timed"
    shutil.copytree(runs / "tales", run)
    facts = json.loads((run / "run.json").read_text())
    facts["plan"]["schedule"]["steps"] = 25  # what it was thought to manage in its time
    (run / "run.json").write_text(json.dumps(facts))
    with served_runs(run) as address, visit(browser, f"{address}/#runs") as page:
        words = lead(page)
        assert "60 steps in" in words and "25" not in words and "so far" not in words
        page.get_by_role("button", name="中文").click()
        assert "共 60 步" in lead(page) and "目前" not in lead(page)


def test_a_budget_is_a_time(browser: Any, runs: Path, tmp_path: Path) -> None:
    for name, budget in (("one", 120.0), ("two", 30.0)):
        shutil.copytree(runs / "tales", tmp_path / name)
        with open(tmp_path / name / "config.yaml", "a") as file:
            file.write(f"budget: {budget}\n")
    with served_runs(tmp_path) as address, visit(browser, f"{address}/#runs") as page:
        page.wait_for_selector("tbody tr")
        assert page.get_by_role("cell", name="2 min", exact=True).count() == 1
        assert page.get_by_role("cell", name="30 s", exact=True).count() == 1
