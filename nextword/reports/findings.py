"""What a run's numbers mean, in sentences: how good, how sure, and what to do next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nextword.tasks.run import Record, Run
from nextword.terminal import duration, quantity

CLOSE = 0.1  # nats between training and held-out loss that are not worth a word
RISEN = 0.02  # nats by which held-out loss must have risen above its best to be called worse


@dataclass(frozen=True)
class Figure:
    """A headline number, its name, and what it means."""

    value: str
    name: str
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """A judgement: `mood` is "good", "fair", "bad" or "unknown"."""

    mood: str
    title: str
    text: str


def headline(run: Run) -> list[Figure]:
    """The numbers at the top of the page; those that a young run lacks are left out."""
    figures = []
    if run.best:
        bits, perplexity = run.best.get("bits_per_byte"), run.best.get("perplexity")
        if isinstance(bits, float | int):
            figures.append(
                Figure(f"{bits:.3f}", "bits per byte", "on held-out text, whatever the tokenizer")
            )
        figures.append(
            Figure(f"{run.best['loss']:.3f}", "validation loss", "nats per token, held-out text")
        )
        if isinstance(perplexity, float | int):
            figures.append(Figure(f"{perplexity:,.1f}", "perplexity", _perplexity_means(run)))
    if run.weights:
        size = quantity(run.weights.parameters)
        figures.append(Figure(size, "parameters", _shape(run.model)))
    last = run.train[-1] if run.train else {}
    if isinstance(last.get("tokens"), int | float):
        figures.append(
            Figure(quantity(last["tokens"]), "tokens read", f"in {last['step']:,} steps")
        )
    if run.seconds:
        figures.append(Figure(duration(run.seconds), "training time", _speed(run)))
    return figures


def status(run: Run) -> str:
    """How far the run is, and why it ended if it has."""
    if run.finished:
        return f"finished: {run.finished}"
    if not run.step:
        return "nothing measured yet"
    return f"not finished: it is at step {run.step:,}, and goes on with --resume"


def overfitting(run: Run) -> Verdict:
    """Did the model learn the text by heart instead of what is in it?"""
    if not run.validations or run.best is None:
        return Verdict(
            "unknown",
            "Overfitting is not known",
            "There is no measurement on held-out text yet, so nothing can be said about how well "
            "the model does on text it has not seen.",
        )
    last, best = run.validations[-1], run.best
    rise = last["loss"] - best["loss"]
    event = run.happened("overfitting")
    if event or rise > RISEN:
        return Verdict(
            "bad" if event else "fair",
            "The model overfits" if event else "Held-out loss has turned upwards",
            f"Held-out loss was lowest at step {best['step']:,} ({best['loss']:.3f}) and has since "
            f"risen by {rise:.3f} nats. The model kept is the one of step {best['step']:,}, so "
            "nothing is lost; more text, fewer epochs, dropout or a smaller model would help.",
        )
    gap = _gap(last)
    if gap is None:
        return Verdict("unknown", "No sign of overfitting", "Held-out loss is at its lowest.")
    sides = f"({last['loss']:.3f} against {last['train_loss']:.3f} nats per token)"
    if gap <= CLOSE:
        return Verdict(
            "good",
            "No sign of overfitting",
            f"The model does as well on held-out text as on the text it learns from {sides}. "
            + _more_training(run),
        )
    return Verdict(
        "fair",
        "Held-out loss still falls, behind training loss",
        f"The model knows the text it learns from better than held-out text, by {gap:.3f} nats "
        f"per token {sides}, but held-out loss is at its lowest: it has not begun to suffer. "
        + _more_training(run),
    )


def spread(samples: list[Record], count: int = 5) -> tuple[list[Record], list[Record]]:
    """(`count` samples evenly over the run, the newest first; the rest, the newest first)."""
    newest = samples[::-1]
    if len(newest) <= count:
        return newest, []
    shown = {round(i * (len(newest) - 1) / (count - 1)) for i in range(count)}
    kept = [sample for i, sample in enumerate(newest) if i in shown]
    return kept, [sample for i, sample in enumerate(newest) if i not in shown]


def _gap(validation: Record) -> float | None:
    train = validation.get("train_loss")
    if not isinstance(train, int | float) or not math.isfinite(train) or not train:
        return None
    return validation["loss"] - train


def _more_training(run: Run) -> str:
    """Is the curve still going down at the end?"""
    if len(run.validations) < 3:
        return ""
    before, last = run.validations[-2]["loss"], run.validations[-1]["loss"]
    if before - last > 0.01:
        return "It was still improving at the end: longer training would likely help."
    return "It has levelled off: more text or a larger model would likely help, more steps less."


def _perplexity_means(run: Run) -> str:
    vocabulary = run.model.get("vocab_size")
    if isinstance(vocabulary, int):
        return f"as if choosing among so many of {vocabulary:,} tokens"
    return "as if choosing among so many tokens"


def _shape(model: Record) -> str:
    names: list[tuple[str, tuple[str, ...]]] = [
        ("layers", ("num_hidden_layers", "n_layer", "layers")),
        ("wide", ("hidden_size", "n_embd", "width")),
    ]
    parts = [f"{value:,} {word}" for word, keys in names if (value := _first(model, keys))]
    return ", ".join([*([str(model["model_type"])] if "model_type" in model else []), *parts])


def _first(mapping: Record, keys: tuple[str, ...]) -> Any:
    return next((mapping[key] for key in keys if key in mapping), None)


def _speed(run: Run) -> str:
    speeds = sorted(
        r["tokens_per_second"]
        for r in run.train
        if isinstance(r.get("tokens_per_second"), int | float)
    )
    return f"{quantity(speeds[len(speeds) // 2])} tokens a second" if speeds else ""
