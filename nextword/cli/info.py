"""`nextword info PATH`"""

from __future__ import annotations

import argparse
from typing import Any

from nextword.cli import options
from nextword.settings import Settings
from nextword.terminal import duration, quantity, say, table

MOST_NAMED = 3
USES = {
    None: "",
    "decoder": ", a decoder: it goes on with texts",
    "encoder": ", an encoder: it fills in masked words",
    "encoder–decoder": ", an encoder–decoder: it reads a text and writes another",
    "classifier": ", with a head that classifies texts",
    "tags": ", with a head that tags words",
    "spans": ", with a head that finds answers in texts",
}
Facts = list[tuple[str, Any]]


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "What a store, a run or a model is, in one screen."
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="a store, run or model; or the word: sizes"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, _ = options.parse(parser, Settings, arguments, needed=("path",))

    from nextword.verbs.info import info

    found = info(parsed.path)
    SHOWN[found["kind"]](found)
    if parsed.json:
        options.print_json(found)


def show_sizes(found: dict[str, Any]) -> None:
    columns = ("layers", "width", "heads", "kv_heads", "vocab_size")
    rows = [
        (size["name"], *(size[c] for c in columns), quantity(size["parameters"]))
        for size in found["sizes"]
    ]
    names = ["name", "layers", "width", "heads", "kv heads", "with vocabulary", "parameters"]
    table("Sizes for --size", names, rows)


def show_store(found: dict[str, Any]) -> None:
    rows = []
    for name, split in found["splits"].items():
        width = split["bytes"] / max(1, split["tokens"])
        rows.append((name, split["documents"], split["characters"], split["tokens"], width))
    columns = ["split", "documents", "characters", "tokens", "bytes/token"]
    table(f"Token store {found['path']}", columns, rows)
    tokenizer, overlap, documents = found["tokenizer"], found["overlap"], found["documents"]
    facts: Facts = [
        ("made from", _named(found["data"])),
        (
            "tokenizer",
            f"{tokenizer.get('kind', 'made elsewhere')}, {tokenizer['vocab_size']:,} tokens",
        ),
    ]
    if documents:
        facts.append(
            ("documents found, kept", f"{documents['total']:,}, {documents['accepted']:,}")
        )
    facts += [(f"... left out: {reason}", count) for reason, count in found["left_out"].items()]
    if languages := found["languages"]:
        whole = sum(languages.values()) or 1
        most = sorted(languages.items(), key=lambda item: -item[1])[:6]
        facts.append(("languages", ", ".join(f"{name} {n / whole:.0%}" for name, n in most)))
    facts += [
        ("held-out text seen in training", f"{overlap['share']:.2%}" if overlap else "not known"),
        ("on the disk", quantity(found["bytes"], "B")),
    ]
    table("About it", ["", ""], facts)


def show_model(found: dict[str, Any]) -> None:
    table(f"Model {found['path']}", ["", ""], _model_facts(found))


def _model_facts(found: dict[str, Any]) -> Facts:
    shared = "" if found["heads"] == found["kv_heads"] else f", {found['kv_heads']} key/value"
    use = USES[found["shape"]] if found["head"] == "language" else USES[found["head"]]
    return [
        ("family", f"{found['family']}{use}"),
        ("parameters", quantity(found["parameters"])),
        ("layers × width", f"{found['layers']} × {found['width']}"),
        ("heads", f"{found['heads']}{shared}"),
        ("context", f"{found['context_length']:,} tokens"),
        ("vocabulary", f"{found['vocab_size']:,} tokens"),
        ("output head", "shared with the embedding" if found["tied"] else "its own"),
        ("weights", f"{found['weights']}, {quantity(found['bytes'], 'B')}"),
    ]


def _named(data: list[str] | None) -> str:
    """What was given as data, a line each; a pattern may have become hundreds of files."""
    data = data or []
    more = [f"and {len(data) - MOST_NAMED:,} more"] if len(data) > MOST_NAMED else []
    return "\n".join([*data[:MOST_NAMED], *more]) or "not known"


def show_run(found: dict[str, Any]) -> None:
    steps, best, train = found["steps"], found["best"], found["train"] or {}
    ends = f"finished: {found['finished']}" if found["finished"] else "not finished"
    planned = f" of {steps['planned']:,}" if steps["planned"] and not found["finished"] else ""
    facts: Facts = [
        ("trained on", _named(found["data"])),
        ("steps", f"{steps['taken']:,}{planned}, {ends}"),
    ]
    if found["task"]:
        facts.insert(0, ("fine-tuned for", found["task"]))
    if train:
        facts += [("tokens seen", quantity(train["tokens"]))] if "tokens" in train else []
        facts += [
            ("time", duration(train.get("seconds", 0))),
            ("training loss", train.get("loss")),
        ]
    if best:
        facts.append(("best validation loss", f"{best['loss']:.4f} at step {best['step']:,}"))
        names = ("bits_per_byte", "masked_accuracy", "perplexity")
        facts += [(f"... {n.replace('_', ' ')}", best[n]) for n in names if n in best]
    whole = found["evaluation"] or {}
    for name in ("bits_per_byte", "masked_accuracy"):
        if whole.get(f"{name}_interval"):
            low, high = whole[f"{name}_interval"]
            sure = f"{whole[name]:.4f}, 95% interval {low:.4f} … {high:.4f}"
            facts.append((f"{name.replace('_', ' ')} when finished", sure))
    for name, metric in whole.get("metrics", {}).items():
        ends = metric.get("interval")
        sure = f", 95% interval {ends[0]:.4f} … {ends[1]:.4f}" if ends else ""
        facts.append((f"{name}, held out", f"{metric['value']:.4f}{sure}"))
    facts.append(("checkpoints", ", ".join(found["checkpoints"]) or "none"))
    table(f"Run {found['path']}", ["", ""], facts)
    if found["model"]:
        table("Its model (the best so far)", ["", ""], _model_facts(found["model"]))
    for event in found["events"][-3:]:
        say(f"step {event.get('step', 0):,}: {event.get('message', '')}")
    if found["sample"]:
        say(f"It writes: “{' '.join(str(found['sample'].get('text')).split())[:300]}”")


SHOWN = {"store": show_store, "run": show_run, "model": show_model, "sizes": show_sizes}
