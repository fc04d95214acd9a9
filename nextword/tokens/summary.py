"""What `prepare` says in the end: what was found, left out and why, and became."""

from __future__ import annotations

from typing import Any

from nextword.terminal import count_of, quantity
from nextword.text.traces import LICENCE, REMARKS, TRACES
from nextword.tokens.select import Corpus

_SHOWN_SOURCE, _SHOWN_TEXT = 26, 20  # characters of an example
_SHOWN_LANGUAGES = 8
_SHOWN_FIELDS = 3
_LEAST_SHARE = 0.001  # of a language that is named

Row = tuple[str, str, str]  # (what, how much, remark)


def summarize(corpus: Corpus, overlap: dict[str, Any]) -> dict[str, Any]:
    """Return what a store's manifest keeps of what was read, left out and dropped."""
    return {
        **corpus.stats.to_json(),
        "characters": corpus.characters,
        "total": corpus.stats.total,
        "languages": dict(corpus.languages.most_common()),
        "duplicates": corpus.duplicates,
        "clusters": corpus.near_clusters,
        "overlap": overlap,
    }


def summary_rows(manifest: dict[str, Any]) -> list[Row]:
    """Return the table that `prepare` ends with: what was found, left out and why, and became."""
    summary, splits = manifest["summary"], manifest["splits"]
    train, val = splits["train"], splits["val"]
    rows: list[Row] = [("documents found", f"{summary['total']:,}", "")]
    for name, reason in sorted(summary["reasons"].items(), key=lambda item: -item[1]["count"]):
        examples = "; ".join(_example(*pair) for pair in reason["examples"][:2])
        rows.append((f"  left out: {name}", f"{reason['count']:,}", examples))
    if summary["rejected"]:
        rows.append(("  of these unreadable", f"{summary['rejected']:,}", "see quarantine.jsonl"))
    notes = dict(summary["notes"])
    shown = {name: notes.pop(name) for name in TRACES if name in notes}
    encodings = ", ".join(f"{count:,} in {name}" for name, count in notes.items())
    rows.append(("documents kept", f"{summary['accepted']:,}", encodings))
    for name, count in shown.items():
        remark = REMARKS.get(name, "")
        if name == LICENCE and count > 1 and not manifest["settings"]["deduplicate_paragraphs"]:
            remark = "--deduplicate-paragraphs drops its repetitions"
        rows.append((f"  with {name}", f"{count:,}", remark))
    rows.append(("characters", f"{summary['characters']:,}", _languages(summary)))
    rows += _unused_rows(summary)
    rows += _duplicate_rows(summary, manifest["settings"])
    for label, counts in (("training tokens", train), ("held-out tokens", val)):
        documents = count_of(counts["documents"], "document")
        parts = " or parts" * (counts["documents"] != 1)
        remark = f"{quantity(counts['bytes'], 'B')}, {documents}{parts}"
        rows.append((label, f"{counts['tokens']:,}", remark))
    if val["tokens"]:
        overlap = summary["overlap"]
        seen = f"{overlap['documents_seen']:,} of {val['documents']:,} mostly seen in training"
        rows.append(("held-out text also trained on", f"{overlap['share']:.2%}", seen))
    per_token = (train["bytes"] + val["bytes"]) / max(train["tokens"] + val["tokens"], 1)
    tokenizer = manifest["tokenizer"]
    kind = f"{tokenizer['kind']}, a vocabulary of {tokenizer['vocab_size']:,}"
    rows.append(("bytes per token", f"{per_token:.3f}", kind))
    return rows


def _languages(summary: dict[str, Any]) -> str:
    total = max(summary["characters"], 1)
    named = [
        f"{name} {count / total:.1%}"
        for name, count in list(summary["languages"].items())[:_SHOWN_LANGUAGES]
        if count >= _LEAST_SHARE * total
    ]
    more = len(summary["languages"]) - len(named)
    return ", ".join([*named, f"traces of {more} more"] if more else named)


def _unused_rows(summary: dict[str, Any]) -> list[Row]:
    """Return, for each kind of file, what stands beside the text: fields by their characters."""
    rows = []
    for kind, fields in summary["unused"].items():
        ranked = sorted(fields.items(), key=lambda item: (-item[1]["characters"], item[0]))
        named = [_unused_field(name, **counts) for name, counts in ranked[:_SHOWN_FIELDS]]
        more = [f"{len(ranked) - len(named):,} more"] if len(ranked) > len(named) else []
        total = sum(counts["characters"] for counts in fields.values())
        rows.append((f"  not used: {kind}", f"{total:,}", ", ".join([*named, *more])))
    return rows


def _unused_field(name: str, records: int, characters: int) -> str:
    size = f"{characters:,} characters in " if characters else "in "
    return f"{name} ({size}{records:,} record{'s' if records != 1 else ''})"


def _duplicate_rows(summary: dict[str, Any], settings: dict[str, Any]) -> list[Row]:
    dropped = summary["duplicates"]
    exact, near = dropped.get("exact duplicate", 0), dropped.get("near duplicate", 0)
    kept = {"near": "", "exact": "; near ones are kept", "none": "; all are kept"}
    remark = f"{exact:,} exact, {near:,} near{kept[settings['deduplicate']]}"
    rows = [("duplicates dropped", f"{exact + near:,}", remark)]
    if clusters := summary["clusters"]["count"]:
        remark = f"of {summary['clusters']['documents']:,} documents"
        if settings["deduplicate"] == "near":
            remark += "; the first of each is kept"
        elif settings["split"] == "document":
            remark += "; each is split as one"
        rows.append(("near-duplicate clusters", f"{clusters:,}", remark))
    if "paragraph" in dropped:
        rows.append(("repeated paragraphs dropped", f"{dropped['paragraph']:,}", ""))
    return rows


def _example(source: str, text: str) -> str:
    place = source if len(source) <= _SHOWN_SOURCE else "…" + source[1 - _SHOWN_SOURCE :]
    start = text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 1] + "…"
    return f"{place} “{start}”" if text else place
