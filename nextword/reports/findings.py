"""What a run's numbers mean, in sentences: how good, how sure, and what to do next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nextword.runs.record import Record, Run
from nextword.terminal import duration, quantity

CLOSE = 0.1  # nats between training and held-out loss that are not worth a word
STILL_FALLING = 0.01  # nats over a tenth of the run
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
        measured = run.evaluation or run.best
        bits, perplexity = measured.get("bits_per_byte"), measured.get("perplexity")
        if isinstance(bits, float | int):
            sure = _interval(run.evaluation, "bits_per_byte", ".3f") or "whatever the tokenizer"
            figures.append(Figure(f"{bits:.3f}", "bits per byte", f"on held-out text, {sure}"))
        accuracy = measured.get("masked_accuracy")
        if isinstance(accuracy, float | int):
            sure = _interval(run.evaluation, "masked_accuracy", ".1%") or "in held-out text"
            figures.append(Figure(f"{accuracy:.1%}", "of hidden tokens found", sure))
        sure = _interval(run.evaluation, "loss", ".3f") or "nats per token, held-out text"
        figures.append(Figure(f"{measured['loss']:.3f}", "held-out loss", sure))
        if isinstance(perplexity, float | int):
            sure = _interval(run.evaluation, "perplexity", ",.1f") or _perplexity_means(run)
            figures.append(Figure(f"{perplexity:,.1f}", "perplexity", sure))
    if run.weights:
        size = quantity(run.weights.parameters)
        figures.append(Figure(size, "parameters", _shape(run.model)))
    last = run.train[-1] if run.train else {}
    if isinstance(last.get("tokens"), int | float):
        figures.append(Figure(quantity(last["tokens"]), "tokens read", _passes(run, last)))
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


def unbroken(words: str) -> str:
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _gap(validation: Record) -> float | None:
    train = validation.get("train_loss")
    if not isinstance(train, int | float) or not math.isfinite(train) or not train:
        return None
    return validation["loss"] - train


def _more_training(run: Run) -> str:
    """Was the loss still falling over the last tenth of the run?"""
    last = run.validations[-1]
    before = [record for record in run.validations if record["step"] <= 0.9 * last["step"]]
    if len(before) < 2:
        return ""
    if before[-1]["loss"] - last["loss"] > STILL_FALLING:
        return "It was still improving at the end: longer training would likely help."
    return "It has levelled off: more text or a larger model would likely help, more steps less."


def measured_on(run: Run) -> str:
    """What the headline's numbers were measured on, in a sentence or two."""
    found = run.evaluation
    if "hidden_tokens" in found:
        return (
            f"These are the figures of the model of step {found['step']:,}, the best one, on "
            f"{found['hidden_tokens']:,} tokens hidden in {found['rows']:,} rows of held-out text. "
            "In 95 of 100 samples of such text the interval, drawn over rows, would hold the true "
            "value."
        )
    if not found:
        return (
            "These figures are those of the best validation during training, "
            f"which reads a part of the held-out text; nextword evaluate {run.path} measures on "
            "all of it, and says how sure the numbers are."
            if run.best
            else ""
        )
    tokens, whole = found["tokens"], found.get("held_out_tokens") or found["tokens"]
    part = "all" if tokens >= whole else f"a sample ({min(0.99, tokens / whole):.0%})"
    return (
        f"Bits per byte, loss and perplexity are those of the model of step {found['step']:,}, the "
        f"best one, on {part} of the held-out text: {tokens:,} tokens in "
        f"{_documents(found['documents'])}. In 95 of 100 samples of such text the interval, drawn "
        f"over {found['interval_units']}, would hold the true value."
    )


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"


def _interval(found: Record, name: str, form: str) -> str:
    ends = found.get(f"{name}_interval")
    return f"95% interval {ends[0]:{form}} – {ends[1]:{form}}" if ends else ""


def _passes(run: Run, last: Record) -> str:
    text = f"in {last['step']:,} steps"
    tokens = run.manifest.get("splits", {}).get("train", {}).get("tokens")
    return f"{text}, {last['tokens'] / tokens:.2g} passes over the text" if tokens else text


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
    speed = run.tokens_per_second
    return f"{quantity(speed)} tokens a second" if speed else ""
