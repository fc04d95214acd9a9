"""`nextword prepare`, `pretrain` and `finetune`: from text or labelled data to a model."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nextword.cli.evaluate import interval_text, show_seeds
from nextword.cli.options import LABELLED, MODEL, OUT_RUN, TEXTS, Argument, command, print_json
from nextword.errors import UserError
from nextword.resources import lasting
from nextword.settings import FinetuneSettings, PrepareSettings, PretrainSettings
from nextword.terminal import duration, quantity, say, table

if TYPE_CHECKING:
    from nextword.verbs.finetune_run import Finetuned
    from nextword.verbs.plan import Planned
    from nextword.verbs.plan_cluster import ClusterPlan
    from nextword.verbs.pretrain import FinishedRun

F = TypeVar("F", "FinishedRun", "Finetuned")
# What may have been measured at the end of pretraining: a model has the first of these it can have.
MEASURES = {
    "bits_per_byte": "bits per byte",
    "masked_accuracy": "of hidden tokens found",
    "perplexity": "perplexity of hidden words",
}


@command(
    PrepareSettings, TEXTS, Argument("--out", "STORE", "directory of the new store, or its address")
)
def prepare(parsed: argparse.Namespace, settings: PrepareSettings) -> dict[str, Any]:
    from nextword.tokens.prepare import prepare

    return {"store": parsed.out, **prepare(parsed.data, parsed.out, settings).manifest}


@command(
    PretrainSettings,
    TEXTS,
    Argument("--gpus", "8xH100", "plan for GPUs that are not here: A100, H100 or H200", False),
    Argument("--price", "PRICE", "with --gpus: what an hour of one GPU costs", False),
)
def plan(parsed: argparse.Namespace, settings: PretrainSettings) -> dict[str, Any]:
    if parsed.gpus:
        from nextword.verbs.plan_cluster import plan_cluster

        price = _price(parsed.price)
        found = plan_cluster(parsed.data, parsed.gpus, price, settings)
        show_cluster_plan(found)
        return dataclasses.asdict(found)
    if parsed.price:
        raise UserError("--price does nothing without --gpus", mend="give --gpus too")
    with lasting():
        from nextword.verbs.plan import plan

    planned = plan(parsed.data, settings)
    show_plan(planned)
    return dataclasses.asdict(planned)


@command(PretrainSettings, dataclasses.replace(TEXTS, required=False), OUT_RUN)
def pretrain(parsed: argparse.Namespace, settings: PretrainSettings) -> None:
    if not parsed.data and not settings.resume:
        raise UserError("no DATA was given", mend="nextword pretrain DATA... --out RUN")

    with lasting():
        from nextword.verbs.pretrain import pretrain

    conclude(pretrain(parsed.data, parsed.out, settings), show_pretrained, parsed)


@command(FinetuneSettings, MODEL, LABELLED, OUT_RUN)
def finetune(parsed: argparse.Namespace, settings: FinetuneSettings) -> None:
    with lasting():
        from nextword.verbs.finetune import finetune

    conclude(finetune(parsed.model, parsed.data, parsed.out, settings), show_finetuned, parsed)


def conclude(finished: F, show: Callable[[F], None], parsed: argparse.Namespace) -> None:
    """Show how a run ended, and exit as a shell counts it where a signal has ended it."""
    if int(os.environ.get("RANK", 0)) == 0:  # it speaks for all that torchrun has started
        show(finished)
        if parsed.json:
            print_json(dataclasses.asdict(finished))
    if finished.signal:
        raise SystemExit(128 + finished.signal)


def show_pretrained(finished: FinishedRun) -> None:
    if finished.signal:  # the last line has said how to continue
        return
    evaluation = finished.evaluation or {}
    measure = next((name for name in MEASURES if evaluation.get(f"{name}_interval")), None)
    if measure:
        low, high = evaluation[f"{measure}_interval"]
        is_sample = evaluation["tokens"] < evaluation["held_out_tokens"]
        sample = f" (a sample of {quantity(evaluation['tokens'], 'tokens')})" if is_sample else ""
        say(
            f"On held-out text{sample}: {evaluation[measure]:.4f} {MEASURES[measure]}, "
            f"95% interval {low:.4f} to {high:.4f}"
        )
    say(f"Report: {finished.report}", copied=True)
    if finished.model:
        say(f"Model: {finished.model}", copied=True)
        say(f"Try: {finished.trial}", copied=True)


def show_plan(planned: Planned) -> None:
    text, seen = quantity(planned.text_tokens, "tokens"), quantity(planned.seen_tokens, "tokens")
    threads = f" on {planned.threads} of the CPU's threads" if planned.threads else ""
    free = f" of {quantity(planned.free, 'B')} that are free" if planned.free else ""
    bits = planned.bits_per_byte
    rows: list[tuple[str, Any]] = [
        (
            "model",
            f"{quantity(planned.parameters, 'parameters')}: {planned.layers} layers of width "
            f"{planned.width}, {planned.heads} heads",
        ),
        ("vocabulary", f"{planned.vocab_size:,} tokens"),
        ("context", f"{planned.context_length:,} tokens"),
        ("text to learn from", text),
        ("tokens seen", f"{seen}, {planned.seen_tokens / planned.text_tokens:,.1f} passes"),
        (
            "steps",
            f"{planned.steps:,} of {planned.batch_size} × {planned.context_length} tokens, "
            f"{planned.micro_batch} sequences at once",
        ),
        (
            "learning rate",
            f"{planned.learning_rate:.2g} ({planned.optimizer}), rising for {planned.warmup} steps",
        ),
        ("computes in", f"{planned.precision}{threads}"),
        ("speed", quantity(planned.tokens_per_second, "tokens/s")),
        ("time", duration(planned.seconds)),
        ("memory", f"{quantity(planned.memory, 'B')}{free}"),
        ("bits per byte", "–" if bits is None else f"about {bits:.2f}"),
    ]
    table("The plan", ["", ""], rows)
    say(f"Bits per byte on held-out text: {planned.estimate}")
    for reason in planned.reasons:
        say(f"  {reason}")


def _price(text: str | None) -> float | None:
    """Return the price that was given. Raises UserError where it is none."""
    try:
        price = None if text is None else float(text)
    except ValueError:
        price = -1.0
    if price is not None and not 0 <= price < 1e6:
        raise UserError(f"{text!r}: expected a price such as 2.50", where="--price")
    return price


def show_cluster_plan(planned: ClusterPlan) -> None:
    bits, cost = planned.bits_per_byte, planned.cost
    rows: list[tuple[str, Any]] = [
        ("GPUs", f"{planned.gpus}, --shard {planned.sharding}"),
        (
            "model",
            f"{quantity(planned.parameters, 'parameters')}: {planned.layers} layers of width "
            f"{planned.width}, {planned.heads} heads",
        ),
        ("context", f"{planned.context_length:,} tokens, {planned.micro_batch} rows at once"),
        ("text to learn from", quantity(planned.text_tokens, "tokens")),
        (
            "tokens seen",
            f"{quantity(planned.seen_tokens, 'tokens')}, "
            f"{planned.seen_tokens / planned.text_tokens:,.1f} passes",
        ),
        ("speed", quantity(planned.tokens_per_second, "tokens/s")),
        ("time", duration(planned.seconds)),
        (
            "memory a GPU",
            f"{quantity(planned.memory, 'B')} of {quantity(planned.gpu_memory, 'B')}",
        ),
        ("loss", f"about {planned.loss:.2f} nats a token"),
        ("bits per byte", "–" if bits is None else f"about {bits:.2f}"),
        ("cost", "– (--price)" if cost is None else f"{cost:,.2f}"),
    ]
    table("The plan", ["", ""], rows)
    for name, source in planned.sources.items():
        say(f"  {name.replace('_', ' ')}: {source}")


def show_finetuned(finished: Finetuned) -> None:
    if finished.signal:
        say(
            f"Stopped and saved at step {finished.steps:,}. To continue, run the same command "
            "with --resume"
        )
        return
    say(f"Finished: {finished.finished}")
    if finished.trials:
        show_trials(finished.trials)
    if finished.loss is not None:
        ends = finished.intervals
        rows = [
            (name, value, interval_text(ends[name]) if name in ends else "")
            for name, value in {"loss": finished.loss, **finished.metrics}.items()
        ]
        columns = ["on held-out examples", "", "95% interval"]
        table(f"The best model, from step {finished.best_step:,}", columns, rows)
    if finished.seeds:
        show_seeds(finished.seeds)
    run = shlex.quote(finished.run)
    say(f"Model: {finished.run}/model")
    say(f"Evaluate it on a test set: nextword evaluate {run} TEST_DATA")
    use = f"predict {run} NEW_DATA --out predictions.jsonl"
    say(f"Use it: nextword {f'generate {run}' if finished.task == 'text' else use}")


def show_trials(trials: dict[str, dict[str, Any]]) -> None:
    """Show a row for each trial. The first changes nothing: the longest one names the columns."""
    columns = max(map(list, trials.values()), key=len)
    rows = []
    for name, trial in trials.items():
        values = [trial.get(column) for column in columns]
        cells = [
            f"{v:.4g}" if isinstance(v, float) else str("–" if v is None else v) for v in values
        ]
        rows.append((name.rpartition("-")[2], *cells))
    table("Trials", ["", *(column.replace("_", " ") for column in columns)], rows)
