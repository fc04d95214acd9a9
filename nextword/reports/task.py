"""A fine-tuned run in words; reports/summary.py does the same for pretraining."""

from __future__ import annotations

from nextword.reports.summary import (
    RISEN,
    TRUE_VALUE,
    Figure,
    Summary,
    Verdict,
    is_number,
    unbroken,
)
from nextword.runs.record import Run, mapping
from nextword.terminal import duration, quantity

NO_METRICS = {"kind", "step", "loss", "train_loss", "best", "seconds", "perplexity"}
PURPOSES = {
    "classify": "a text classifier",
    "qa": "a model that answers questions",
    "summarize": "a model that writes summaries",
    "translate": "a model that translates",
    "chat": "a chat model",
    "text": "a language model trained further",
    "tag": "a word tagger",
}


def summarize_task(run: Run) -> Summary:
    """Return what a run of fine-tuning has to say for itself."""
    return Summary(_sentence(run), _headline(run), _measured_on(run), _overfitting(run))


def metric_names(run: Run) -> list[str]:
    """Return the names of the task's metrics in the validations of a run."""
    names = dict.fromkeys(name for record in run.validations for name in record)
    return [
        name
        for name in names
        if name not in NO_METRICS and any(is_number(r.get(name)) for r in run.validations)
    ]


def _sentence(run: Run) -> str:
    sentence = PURPOSES.get(run.task, f"a model for the task {run.task}").capitalize()
    if run.weights:
        sentence += f" with {unbroken(quantity(run.weights.parameters))} parameters"
    if run.seconds:
        sentence += f", fine-tuned in {unbroken(duration(run.seconds))}"
    return sentence + "."


def _headline(run: Run) -> list[Figure]:
    """The task's metrics on held-out examples, with their intervals once they are known."""
    figures = []
    for name, metric in (run.evaluation.get("metrics") or {}).items():
        if not isinstance(metric, dict) or not is_number(metric.get("value")):
            continue
        ends, meaning = metric.get("interval"), "on held-out examples"
        if isinstance(ends, list) and len(ends) == 2:
            meaning = f"95% interval {_short(ends[0])} – {_short(ends[1])}"
        over = mapping(run.seeds.get(name))
        if is_number(over.get("mean")):
            meaning += f", over the seeds {_short(over['mean'])} ± {_short(over['deviation'])}"
        figures.append(Figure(_short(metric["value"]), name, meaning))
    if not figures and (best := run.best):
        figures = [
            Figure(_short(best[name]), name.replace("_", " "), "during training")
            for name in [*metric_names(run), "loss"]
            if is_number(best.get(name))
        ]
    return figures


def _measured_on(run: Run) -> str:
    if run.evaluation:
        return (
            f"These figures are for the best model (step {run.evaluation['step']:,}), on "
            f"{run.evaluation['examples']:,} held-out examples. Those examples also chose the "
            "model, so its figures on a separate test set may be slightly worse. The intervals "
            f"come from resampling examples: {TRUE_VALUE}."
        )
    if run.best:
        return (
            "These figures come from the best validation so far. Those of all held-out examples, "
            "with their intervals, follow when the run is finished."
        )
    return ""


def _overfitting(run: Run) -> Verdict:
    """Has the model begun to learn its examples by heart?"""
    if not run.validations or run.best is None:
        return Verdict("unknown", "Overfitting is not known", "Nothing was held out to measure it.")
    lowest = min(run.validations, key=lambda record: record["loss"])
    last = run.validations[-1]
    saved = f"The model of step {run.best['step']:,} is the one that is saved."
    if last["loss"] <= lowest["loss"] + RISEN:
        return Verdict("good", "No sign of overfitting", f"Held-out loss is at its lowest. {saved}")
    return Verdict(
        "bad" if last["loss"] > 1.5 * lowest["loss"] else "fair",
        "Held-out loss has started to rise",
        f"It was lowest at step {lowest['step']:,} ({lowest['loss']:.3f}) and is "
        f"{last['loss']:.3f} at the end: the model has become more confident than it is right. "
        f"{saved} Fewer epochs, dropout, --lora or more examples would help.",
    )


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
