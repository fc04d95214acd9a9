from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nextword.reports.summary import Summary, spread_samples, status, summarize_pretraining
from nextword.runs.record import read_run


def summary_of(run: Path) -> Summary:
    return summarize_pretraining(read_run(run))


def test_the_headline_is_that_of_the_best_validation(make_run: Any, metrics: Any) -> None:
    records = metrics(overfit=True)
    best = min((r for r in records if r["kind"] == "validation"), key=lambda r: r["loss"])
    figures = {figure.name: figure.value for figure in summary_of(make_run(records)).figures}
    assert figures["held-out loss"] == f"{best['loss']:.3f}"
    assert figures["bits per byte"] == f"{best['bits_per_byte']:.3f}"
    assert figures["parameters"] == "3.23 k"  # 100 × 32 + 32, from the file's header


def test_a_rise_above_the_best_validation_is_named_overfitting(make_run: Any, metrics: Any) -> None:
    verdict = summary_of(make_run(metrics(overfit=True))).verdict
    assert verdict.mood == "fair" and "started to rise" in verdict.title
    event = {"kind": "event", "step": 1200, "event": "overfitting", "message": "overfitting"}
    verdict = summary_of(make_run([*metrics(overfit=True), event], name="named")).verdict
    assert verdict.mood == "bad" and verdict.title == "The model overfits"


def test_a_close_held_out_loss_is_good_news(make_run: Any, metrics: Any) -> None:
    verdict = summary_of(make_run(metrics())).verdict
    assert verdict.mood == "good" and "as well on held-out text" in verdict.text


def test_a_large_gap_that_still_falls_is_neither(
    make_run: Any, metrics: Callable[..., Any]
) -> None:
    records = metrics()
    for record in records:
        if record["kind"] == "validation":
            record["train_loss"] -= 0.5
    verdict = summary_of(make_run(records)).verdict
    assert verdict.mood == "fair" and "0.580 nats" in verdict.text


def test_without_held_out_text_nothing_is_claimed(make_run: Any, metrics: Any) -> None:
    records = [record for record in metrics() if record["kind"] == "train"]
    summary = summary_of(make_run(records))
    assert summary.verdict.mood == "unknown"
    assert "bits per byte" not in {figure.name for figure in summary.figures}


def test_a_run_that_is_not_over_says_how_to_go_on(make_run: Any, metrics: Any) -> None:
    assert "step 1,200" in status(read_run(make_run(metrics())))
    done = make_run(metrics(), name="done")
    state = done / "checkpoints" / "step-00001200" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"finished": "the last step"}', encoding="utf-8")
    assert status(read_run(done)) == "finished: the last step"


def test_samples_shown_are_spread_over_the_run_and_none_is_lost() -> None:
    samples: list[dict[str, Any]] = [{"step": step} for step in range(100)]
    shown, rest = spread_samples(samples)
    assert shown[0]["step"] == 99 and shown[-1]["step"] == 0
    assert [s["step"] for s in shown] == sorted((s["step"] for s in shown), reverse=True)
    assert sorted(s["step"] for s in [*shown, *rest]) == list(range(100))


def test_the_final_evaluation_gives_the_headline_its_intervals(make_run: Any, metrics: Any) -> None:
    run = make_run(metrics())
    evaluation = {"step": 1200, "held_out_tokens": 4000, "tokens": 1000, "documents": 9}
    evaluation |= {
        "loss": 3.2,
        "perplexity": 24.5,
        "bits_per_byte": 1.29,
        "interval_units": "documents",
    }
    evaluation |= {"loss_interval": [3.1, 3.3], "perplexity_interval": [22.2, 27.1]}
    evaluation |= {"bits_per_byte_interval": [1.25, 1.33]}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    figures = {figure.name: figure for figure in summary_of(run).figures}
    assert figures["bits per byte"].value == "1.290"
    assert "95% interval 1.250 – 1.330" in figures["bits per byte"].meaning
    sentence = summary_of(run).measured_on
    assert "on a sample (25%) of the held-out text" in sentence and "9 documents" in sentence


def test_an_evaluation_of_another_model_than_the_best_is_not_shown(
    make_run: Any, metrics: Any
) -> None:
    run = make_run(metrics())
    (run / "evaluation.json").write_text(json.dumps({"step": 600, "bits_per_byte": 9.0}))
    figures = {figure.name: figure.value for figure in summary_of(run).figures}
    assert figures["bits per byte"] != "9.000" and "best validation" in summary_of(run).measured_on
