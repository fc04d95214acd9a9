"""The table that `prepare` ends with."""

from __future__ import annotations

from typing import Any

from nextword.terminal import quantity, table
from nextword.tokens.store import Store

_SOURCE, _TEXT = 26, 20  # characters of an example shown
_NAMED = 8  # languages at most
_LEAST_SHARE = 0.001  # of a language that is named


def show(store: Store) -> None:
    """What was found, left out and why, how it was split, and what it became."""
    table(f"Prepared {store.path}", ("", "", ""), rows(store.manifest))


def rows(manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, how much, remark) from a store's manifest."""
    summary, splits = manifest["summary"], manifest["splits"]
    train, val = splits["train"], splits["val"]
    shown = [("documents found", f"{summary['total']:,}", "")]
    for name, reason in sorted(summary["reasons"].items(), key=lambda item: -item[1]["count"]):
        examples = "; ".join(_example(*pair) for pair in reason["examples"][:2])
        shown.append((f"  left out: {name}", f"{reason['count']:,}", examples))
    if summary["rejected"]:
        shown.append(("  of these unreadable", f"{summary['rejected']:,}", "see quarantine.jsonl"))
    shown.append(("documents kept", f"{summary['accepted']:,}", _notes(summary)))
    shown.append(("characters", f"{summary['characters']:,}", _languages(summary)))
    shown += _repeats(summary, manifest["settings"])
    for label, counts in (("training tokens", train), ("held-out tokens", val)):
        remark = f"{quantity(counts['bytes'], 'B')}, {counts['documents']:,} documents or parts"
        shown.append((label, f"{counts['tokens']:,}", remark))
    if val["tokens"]:
        overlap = summary["overlap"]
        seen = f"{overlap['documents_seen']:,} of {val['documents']:,} mostly seen in training"
        shown.append(("held-out text also trained on", f"{overlap['share']:.2%}", seen))
    per_token = (train["bytes"] + val["bytes"]) / max(train["tokens"] + val["tokens"], 1)
    tokenizer = manifest["tokenizer"]
    kind = f"{tokenizer['kind']}, a vocabulary of {tokenizer['vocab_size']:,}"
    shown.append(("bytes per token", f"{per_token:.3f}", kind))
    return shown


def _languages(summary: dict[str, Any]) -> str:
    whole = max(summary["characters"], 1)
    named = [
        f"{name} {count / whole:.1%}"
        for name, count in list(summary["languages"].items())[:_NAMED]
        if count >= _LEAST_SHARE * whole
    ]
    more = len(summary["languages"]) - len(named)
    return ", ".join([*named, f"traces of {more} more"] if more else named)


def _notes(summary: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} in {what}" for what, count in summary["notes"].items())


def _repeats(summary: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, str, str]]:
    dropped = summary["duplicates"]
    exact, near = dropped.get("exact duplicate", 0), dropped.get("near duplicate", 0)
    kept = {"near": "", "exact": "; near ones are kept", "none": "; all are kept"}
    remark = f"{exact:,} exact, {near:,} near{kept[settings['deduplicate']]}"
    shown = [("duplicates dropped", f"{exact + near:,}", remark)]
    if clusters := summary["clusters"]["count"]:
        alike = f"of {summary['clusters']['documents']:,} documents"
        if settings["deduplicate"] == "near":
            alike += "; the first of each is kept"
        elif settings["split"] == "document":
            alike += "; each is split as one"
        shown.append(("near-duplicate clusters", f"{clusters:,}", alike))
    if "paragraph" in dropped:
        shown.append(("repeated paragraphs dropped", f"{dropped['paragraph']:,}", ""))
    return shown


def _example(source: str, text: str) -> str:
    place = source if len(source) <= _SOURCE else "…" + source[1 - _SOURCE :]
    start = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
    return f"{place} “{start}”" if text else place
