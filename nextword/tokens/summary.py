"""The table that `prepare` ends with."""

from __future__ import annotations

from typing import Any

from nextword.terminal import quantity, table
from nextword.tokens.store import Store


def show(store: Store) -> None:
    """What was found, left out and why, how it was split, and what it became."""
    table(f"Prepared {store.path}", ("text", "number", "remark"), rows(store.manifest))


def rows(manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, how much, remark) from a store's manifest."""
    summary, splits = manifest["summary"], manifest["splits"]
    train, val = splits["train"], splits["val"]
    characters = sum(summary["languages"].values())
    shown = [("documents found", f"{summary['total']:,}", "")]
    for name, reason in sorted(summary["reasons"].items(), key=lambda item: -item[1]["count"]):
        examples = "; ".join(
            f"{source} {text!r}" if text else source for source, text in reason["examples"][:2]
        )
        shown.append((f"  left out: {name}", f"{reason['count']:,}", _shorten(examples)))
    shown.append(("documents kept", f"{summary['accepted']:,}", f"{characters:,} characters"))
    if removed := summary["duplicates"].get("paragraph"):
        shown.append(("  repeated paragraphs dropped", f"{removed:,}", ""))
    for name, count in list(summary["languages"].items())[:6]:
        shown.append((f"  language {name}", f"{count / max(characters, 1):.1%}", "of characters"))
    shown += [(f"  note: {what}", f"{count:,}", "") for what, count in summary["notes"].items()]
    for label, counts in (("training", train), ("held-out", val)):
        remark = f"{counts['documents']:,} documents, {quantity(counts['bytes'], 'B')}"
        shown.append((f"{label} tokens", f"{counts['tokens']:,}", remark))
    overlap = summary["overlap"]
    seen = f"{overlap['documents_seen']:,} held-out documents mostly seen in training"
    shown.append(("held-out text also in training", f"{overlap['share']:.2%}", seen))
    tokens = train["tokens"] + val["tokens"]
    per_token = (train["bytes"] + val["bytes"]) / max(tokens, 1)
    shown.append(
        (
            "bytes per token",
            f"{per_token:.3f}",
            f"vocabulary of {manifest['tokenizer']['vocab_size']:,}",
        )
    )
    return shown


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
