"""`nextword info`, `report` and `doctor`: what a store, a run, a model or this machine is."""

from __future__ import annotations

import argparse
from typing import Any

from nextword.cli.options import Argument, command
from nextword.errors import UserError
from nextword.settings import DoctorSettings, InfoSettings, ReportSettings
from nextword.terminal import count_of, duration, quantity, say, table, warn

MOST_NAMED = 3  # files or data sets
MOST_LANGUAGES = 6
# What a model of each shape, or with each head, is for.
PURPOSES = {
    None: "",
    "decoder": ", a decoder: it continues texts",
    "encoder": ", an encoder: it fills in masked words",
    "encoder–decoder": ", an encoder–decoder: it reads a text and writes another",
    "classifier": ", with a head that classifies texts",
    "tags": ", with a head that tags words",
    "spans": ", with a head that finds answers in texts",
}
Facts = list[tuple[str, Any]]
Description = dict[str, Any]


@command(
    InfoSettings,
    Argument(
        "path",
        "PATH",
        "a store, run or model; the word `sizes`; or labelled data, with --task",
        many=True,
    ),
)
def info(parsed: argparse.Namespace, settings: InfoSettings) -> Description:
    if settings.task is not None:
        from nextword.verbs.preview import preview_data

        found = preview_data(parsed.path, settings)
        show_examples(found)
        return found
    from nextword.verbs.info import info

    if unused := sorted(settings.model_fields_set):
        flag = "--" + unused[0].replace("_", "-")
        raise UserError(f"{flag} does nothing without --task", mend="name the task of the data")
    if len(parsed.path) > 1:
        raise UserError(
            f"{parsed.path[1]!r} is one argument too many", mend="describe one thing at a time"
        )
    description = info(parsed.path[0])
    show = {"store": show_store, "run": show_run, "model": show_model, "sizes": show_sizes}
    show[description["kind"]](description)
    return description


@command(
    ReportSettings,
    Argument("run", "RUN", "the run's directory"),
    Argument("--out", "FILE", "file to write; RUN/report.html if not given", required=False),
)
def report(parsed: argparse.Namespace, _: ReportSettings) -> Description:
    from nextword.reports.report import report

    path = report(parsed.run, parsed.out)
    say(f"Report: {path}", copied=True)
    return {"report": str(path)}


@command(
    DoctorSettings,
    Argument("folder", "FOLDER", "where runs are to be written; by default here", required=False),
)
def doctor(parsed: argparse.Namespace, settings: DoctorSettings) -> Description:
    from nextword.verbs.doctor import doctor

    facts = doctor(parsed.folder or ".", measure=settings.measure)
    show_machine(facts)
    return facts


def show_machine(facts: Description) -> None:
    rows = []
    for group, values in facts.items():
        if group == "remarks":
            continue
        if group == "accelerators":
            values = {device["kind"]: _device_text(device) for device in values} or {"": "none"}
        for number, (name, value) in enumerate(values.items()):
            rows.append(("" if number else group, name, _fact_text(group, value)))
    table("This machine", ["", "", ""], rows)
    for remark in facts["remarks"]:
        warn(remark)


def _fact_text(group: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if group == "speed":
        return f"{value / 1e9:,.0f} GFLOP/s"
    return quantity(value, "B") if group in ("memory", "disk") else value


def _device_text(device: Description) -> str:
    memory = "" if device["memory"] is None else f", {quantity(device['memory'], 'B')}"
    return f"{device['name']}{memory}"


def show_examples(found: Description) -> None:
    from nextword.verbs.preview import show

    tokens = f" of {quantity(found['tokens'], 'tokens')}" if "tokens" in found else ""
    examples = count_of(found["examples"], "example")
    say(f"{found['path']}: {examples}{tokens} for the task {found['task']}")
    show(found)


def show_sizes(sizes: Description) -> None:
    keys = ("layers", "width", "heads", "kv_heads", "vocab_size")
    rows = [
        (size["name"], *(size[key] for key in keys), quantity(size["parameters"]))
        for size in sizes["sizes"]
    ]
    columns = ["name", "layers", "width", "heads", "kv heads", "vocabulary", "parameters"]
    table("Sizes for --size", columns, rows)


def show_store(store: Description) -> None:
    rows = []
    for name, split in store["splits"].items():
        sizes = (split[key] for key in ("documents", "characters", "tokens"))
        rows.append((name, *sizes, split["bytes"] / max(1, split["tokens"])))
    columns = ["split", "documents", "characters", "tokens", "bytes/token"]
    table(f"Token store {store['path']}", columns, rows)
    tokenizer, overlap = store["tokenizer"], store["overlap"]
    kind = tokenizer.get("kind", "made elsewhere")
    facts: Facts = [
        ("made from", _name_some(store["data"])),
        ("tokenizer", f"{kind}, {tokenizer['vocab_size']:,} tokens"),
    ]
    if documents := store["documents"]:
        facts.append(("documents found, kept", "{total:,}, {accepted:,}".format(**documents)))
    facts += [(f"... left out: {reason}", count) for reason, count in store["left_out"].items()]
    if languages := store["languages"]:
        total = sum(languages.values()) or 1
        most = sorted(languages.items(), key=lambda item: -item[1])[:MOST_LANGUAGES]
        facts.append(("languages", ", ".join(f"{name} {n / total:.0%}" for name, n in most)))
    facts += [
        ("held-out text seen in training", f"{overlap['share']:.2%}" if overlap else "not known"),
        ("on disk", quantity(store["bytes"], "B")),
    ]
    table("About it", ["", ""], facts)


def show_model(model: Description, title: str = "") -> None:
    shared = "" if model["heads"] == model["kv_heads"] else f", {model['kv_heads']} key/value"
    purpose = PURPOSES[model["shape"] if model["head"] == "language" else model["head"]]
    facts = [
        ("family", f"{model['family']}{purpose}"),
        ("parameters", quantity(model["parameters"])),
        ("layers × width", f"{model['layers']} × {model['width']}"),
        ("heads", f"{model['heads']}{shared}"),
        ("context", f"{model['context_length']:,} tokens"),
        ("vocabulary", f"{model['vocab_size']:,} tokens"),
        ("output head", "shared with the embedding" if model["tied"] else "its own"),
        ("weights", f"{model['weights']}, {quantity(model['bytes'], 'B')}"),
    ]
    table(title or f"Model {model['path']}", ["", ""], facts)


def show_run(run: Description) -> None:
    steps = run["steps"]
    end = f"finished: {run['finished']}" if run["finished"] else "not finished"
    planned = f" of {steps['planned']:,}" if steps["planned"] and not run["finished"] else ""
    facts: Facts = [("fine-tuned for", run["task"])] if run["task"] else []
    facts += [
        ("trained on", _name_some(run["data"])),
        ("steps", f"{steps['taken']:,}{planned}, {end}"),
    ]
    if train := run["train"]:
        facts += [("tokens seen", quantity(train["tokens"]))] if "tokens" in train else []
        seconds, loss = duration(train.get("seconds", 0)), train.get("loss")
        facts += [("time", seconds), ("training loss", loss)]
    if best := run["best"]:
        facts.append(("best validation loss", f"{best['loss']:.4f} at step {best['step']:,}"))
        names = ("bits_per_byte", "masked_accuracy", "perplexity")
        facts += [(f"... {name.replace('_', ' ')}", best[name]) for name in names if name in best]
    evaluation = run["evaluation"] or {}
    for name in ("bits_per_byte", "masked_accuracy"):
        if interval := evaluation.get(f"{name}_interval"):
            figure = _with_interval(evaluation[name], interval)
            facts.append((f"{name.replace('_', ' ')} when finished", figure))
    for name, metric in evaluation.get("metrics", {}).items():
        figure = _with_interval(metric["value"], metric.get("interval"))
        facts.append((f"{name}, held out", figure))
    facts.append(("checkpoints", ", ".join(run["checkpoints"]) or "none"))
    table(f"Run {run['path']}", ["", ""], facts)
    if run["model"]:
        show_model(run["model"], "Its model (the best so far)")
    for event in run["events"][-3:]:
        say(f"step {event.get('step', 0):,}: {event.get('message', '')}")
    if run["sample"]:
        say(f"It writes: “{' '.join(str(run['sample'].get('text')).split())[:300]}”")


def _with_interval(value: float, interval: list[float] | None) -> str:
    return f"{value:.4f}" + (", 95% interval {:.4f} … {:.4f}".format(*interval) if interval else "")


def _name_some(data: list[str] | None) -> str:
    """A file or data set per line; a pattern may have become hundreds of files."""
    data = data or []
    more = [f"and {len(data) - MOST_NAMED:,} more"] if len(data) > MOST_NAMED else []
    return "\n".join([*data[:MOST_NAMED], *more]) or "not known"
