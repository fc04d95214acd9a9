"""A run in words: how good its model is, how sure that is, and what to do next.

This page is about pretraining; reports/task.py does the same for fine-tuning.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeGuard

from nextword.runs.record import Record, Run
from nextword.terminal import count_of, duration, quantity

CLOSE = 0.1  # nats between training and held-out loss that are not worth mentioning
STILL_FALLING = 0.01  # nats over a tenth of the run
RISEN = 0.02  # nats by which held-out loss must have risen above its best to be called worse
TRUE_VALUE = "for 95 of 100 such samples, the interval would contain the true value"


class Figure(NamedTuple):
    """A headline number, its name, and what it means."""

    value: str
    name: str
    meaning: str


class Verdict(NamedTuple):
    """A judgement: `mood` is "good", "fair", "bad" or "unknown"."""

    mood: str
    title: str
    text: str


class Summary(NamedTuple):
    """The top of a report: the run in one sentence, its headline figures, what they were measured
    on, and whether the model overfits."""

    sentence: str
    figures: list[Figure]
    measured_on: str
    verdict: Verdict


def summarize_pretraining(run: Run) -> Summary:
    """Return what a run of pretraining has to say for itself."""
    return Summary(_sentence(run), _headline(run), _measured_on(run), _overfitting(run))


def status(run: Run) -> str:
    """Return how far the run is, and why it ended if it has."""
    if run.finished:
        return f"finished: {run.finished}"
    if not run.step:
        return "nothing measured yet"
    return f"not finished: at step {run.step:,}; --resume continues it"


def spread_samples(samples: list[Record], count: int = 5) -> tuple[list[Record], list[Record]]:
    """Return (`count` samples evenly over the run, the rest), each with the newest first."""
    newest = samples[::-1]
    if len(newest) <= count:
        return newest, []
    places = [round(i * (len(newest) - 1) / (count - 1)) for i in range(count)]
    rest = [sample for i, sample in enumerate(newest) if i not in places]
    return [newest[i] for i in places], rest


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value that a run's files hold is a finite number; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def unbroken(words: str) -> str:
    """Return words that a browser does not break into two lines."""
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def _sentence(run: Run) -> str:
    kind = str(run.model.get("model_type") or run.model.get("family") or "model")
    count = run.weights.parameters if run.weights else 0
    size = f"{unbroken(quantity(count))}-parameter " if count else ""
    sentence = f"A {size}{kind if kind == 'model' else kind + ' model'}"
    tokens = run.train[-1].get("tokens") if run.train else None
    if is_number(tokens):
        sentence += f" trained on {unbroken(quantity(tokens))} tokens"
        sentence += f" in {unbroken(duration(run.seconds))}" if run.seconds else ""
    bits = (run.evaluation or run.best or {}).get("bits_per_byte")
    if is_number(bits):
        sentence += f"; it needs {bits:.3f} bits per byte of text it has never seen"
    return sentence + "."


def _headline(run: Run) -> list[Figure]:
    """The numbers at the top of the page; those that a young run lacks are left out."""
    figures = []
    measured, vocabulary = run.evaluation or run.best or {}, run.model.get("vocab_size")
    of_all = f", out of {vocabulary:,}" if isinstance(vocabulary, int) else ""
    choice = f"as if choosing among that many equally likely tokens{of_all}"
    for name, title, form, meaning in (
        ("bits_per_byte", "bits per byte", ".3f", "comparable across tokenizers"),
        ("masked_accuracy", "of hidden tokens found", ".1%", "on held-out text"),
        ("loss", "held-out loss", ".3f", "nats per token, held-out text"),
        ("perplexity", "perplexity", ",.1f", choice),
    ):
        value, interval = measured.get(name), run.evaluation.get(f"{name}_interval")
        if not isinstance(value, int | float):
            continue
        if interval:
            meaning = f"95% interval {interval[0]:{form}} – {interval[1]:{form}}"
        if name == "bits_per_byte":
            meaning = f"on held-out text, {meaning}"
        figures.append(Figure(f"{value:{form}}", title, meaning))
    if run.weights:
        size = quantity(run.weights.parameters)
        figures.append(Figure(size, "parameters", _shape(run.model)))
    last = run.train[-1] if run.train else {}
    if is_number(last.get("tokens")):
        passes = f"in {last['step']:,} steps"
        if tokens := run.manifest.get("splits", {}).get("train", {}).get("tokens"):
            passes += f", {last['tokens'] / tokens:.2g} passes over the text"
        figures.append(Figure(quantity(last["tokens"]), "tokens read", passes))
    if run.seconds:
        speed = run.tokens_per_second
        per_second = f"{quantity(speed)} tokens per second" if speed else ""
        figures.append(Figure(duration(run.seconds), "training time", per_second))
    return figures


def _measured_on(run: Run) -> str:
    evaluation = run.evaluation
    if not run.best:
        return ""
    if not evaluation:
        return (
            "These figures come from the best validation during training, which reads only a part "
            f"of the held-out text. nextword evaluate {run.path} measures on all of it and gives "
            "95% intervals."
        )
    model = f"the best model (step {evaluation['step']:,})"
    if "hidden_tokens" in evaluation:
        return (
            f"These figures are for {model}, on {evaluation['hidden_tokens']:,} tokens hidden in "
            f"{evaluation['rows']:,} rows of held-out text. The intervals come from resampling "
            f"rows: {TRUE_VALUE}."
        )
    tokens = evaluation["tokens"]
    total = evaluation.get("held_out_tokens") or tokens
    part = "all" if tokens >= total else f"a sample ({min(0.99, tokens / total):.0%})"
    count = evaluation["documents"]
    documents = count_of(count, "document")
    return (
        f"Bits per byte, loss and perplexity are for {model}, on {part} of the held-out text: "
        f"{tokens:,} tokens in {documents}. The intervals come from resampling "
        f"{evaluation['interval_units']}: {TRUE_VALUE}."
    )


def _overfitting(run: Run) -> Verdict:
    """Did the model learn the text by heart instead of what is in it?"""
    if not run.validations or run.best is None:
        return Verdict(
            "unknown",
            "Overfitting is not known",
            "Nothing has been measured on held-out text yet, so how well the model does on text it "
            "has not seen is unknown.",
        )
    last, best = run.validations[-1], run.best
    rise = last["loss"] - best["loss"]
    event = run.happened("overfitting")
    if event or rise > RISEN:
        return Verdict(
            "bad" if event else "fair",
            "The model overfits" if event else "Held-out loss has started to rise",
            f"Held-out loss was lowest at step {best['step']:,} ({best['loss']:.3f}) and has since "
            f"risen by {rise:.3f} nats. The model of step {best['step']:,} is the one that is "
            "saved, so nothing is lost. More text, fewer epochs, dropout or a smaller model would "
            "help.",
        )
    train_loss = last.get("train_loss")
    if not is_number(train_loss) or not train_loss:
        return Verdict("unknown", "No sign of overfitting", "Held-out loss is at its lowest.")
    gap = last["loss"] - train_loss
    losses = f"({last['loss']:.3f} against {train_loss:.3f} nats per token)"
    if gap <= CLOSE:
        return Verdict(
            "good",
            "No sign of overfitting",
            f"The model does as well on held-out text as on its training text {losses}. "
            + _more_training(run),
        )
    return Verdict(
        "fair",
        "Held-out loss is still falling, but lags behind training loss",
        f"The model does better on its training text than on held-out text, by {gap:.3f} nats "
        f"per token {losses}, but held-out loss is still at its lowest, so no harm is done yet. "
        + _more_training(run),
    )


def _more_training(run: Run) -> str:
    """Was the loss still falling over the last tenth of the run?"""
    last = run.validations[-1]
    before = [record for record in run.validations if record["step"] <= 0.9 * last["step"]]
    if len(before) < 2:
        return ""
    if before[-1]["loss"] - last["loss"] > STILL_FALLING:
        return "It was still improving at the end: longer training would likely help."
    return (
        "It has levelled off: more text or a larger model would likely help more than longer "
        "training."
    )


def _shape(model: Record) -> str:
    """`llama, 4 layers, 128 wide`, from a configuration of any family."""
    parts = [str(model["model_type"])] if "model_type" in model else []
    for word, *names in (
        ("layers", "num_hidden_layers", "n_layer", "layers"),
        ("wide", "hidden_size", "n_embd", "width"),
    ):
        if size := next((model[name] for name in names if name in model), None):
            parts.append(f"{size:,} {word}")
    return ", ".join(parts)
