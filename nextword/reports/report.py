"""`report`: a run directory to one HTML file that needs no script, no network and no font.

Everything that came from people or models is escaped, and the page's own policy lets nothing in.
What the run was trained on stands in tables: the splits, what was kept and left out, the overlap.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

import nextword
from nextword.files import is_replaced, write_atomically, write_errors
from nextword.reports.examples import class_rows, present_examples, read_held_out
from nextword.reports.plots import curves, plots
from nextword.reports.summary import spread_samples, status, summarize_pretraining
from nextword.reports.task import summarize_task
from nextword.runs.record import Record, Run, mapping, read_run
from nextword.terminal import command_name, count_of

LONGEST_SAMPLE = 4000  # characters
MOST_LANGUAGES = 6
LONGEST_PLACE, LONGEST_TEXT = 48, 32  # characters of an example
SPLITS = {"train": "training", "val": "held out"}
# Control characters have no place in HTML; their pictures stand for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


def report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return where it is.

    `out` is a file, or a folder to put report.html in; the run directory when not given. Raises
    UserError where `run` is not a run, or `out` cannot be written or is no report.
    """
    run = Path(run)
    target = run if out is None else Path(out)
    html = render(read_run(run))
    if target.is_dir():
        target /= "report.html"
    is_replaced(target, "report", _is_report)
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, html)
    return target


def _is_report(start: bytes) -> bool:
    return b'<meta name="generator" content="nextword ' in start


def render(run: Run) -> str:
    """Return the report's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else legible(value),
        trim_blocks=True,
    )
    environment.filters |= {
        "python": lambda value: repr(str(value)),
        "shell": lambda value: shlex.quote(str(value)),
        "of": count_of,
    }
    samples, more_samples = spread_samples([_sample(record) for record in run.samples])
    held_out = read_held_out(run.path) if run.task else []
    return environment.get_template("report.html").render(
        version=nextword.__version__,
        run=run,
        command=command_name(),
        status=status(run),
        summary=summarize_task(run) if run.task else summarize_pretraining(run),
        curves=curves(run),
        classes=class_rows(held_out),
        plots=plots(run.task, held_out),
        examples=present_examples(held_out) if held_out else None,
        samples=samples,
        more_samples=more_samples,
        splits=split_table(run.manifest),
        documents=document_table(run.manifest),
        overlap=overlap(run.manifest),
        settings=list(pairs(run.settings)),
        model=list(pairs(run.model)),
        environment=list(pairs(run.environment)),
    )


def legible(value: Any) -> Any:
    """Return text that any browser shows and any encoder takes: no control character, no half of
    a surrogate pair."""
    if not isinstance(value, str | Path):
        return value
    return str(value).translate(_PICTURES).encode("utf-8", "replace").decode()


def _sample(record: Record) -> Record:
    text = str(record.get("text", ""))
    cut = text[:LONGEST_SAMPLE] + (" …" if len(text) > LONGEST_SAMPLE else "")
    indented = sum(line.startswith(("    ", "\t")) for line in cut.splitlines())
    return {
        "step": f"{record['step']:,}",
        "prompt": str(record.get("prompt") or ""),
        "text": cut,
        "code": indented >= 3,  # columns matter: set it in a typewriter face
    }


class Row(NamedTuple):
    """A row of a table: its name, its numbers, and a note beside them."""

    name: str
    cells: list[str]
    note: str = ""


def split_table(manifest: Record) -> tuple[list[str], list[Row]]:
    """Return the counts of each split: (names of the columns, a row for each split)."""
    counts = {
        str(name): {str(k): v for k, v in values.items() if _is_count(v)}
        for name, values in mapping(manifest.get("splits")).items()
        if isinstance(values, dict)
    }
    columns = list(dict.fromkeys(column for values in counts.values() for column in values))
    rows = []
    for name, values in counts.items():
        cells = [f"{values[column]:,}" if column in values else "–" for column in columns]
        tokens, size = values.get("tokens"), values.get("bytes")
        cells.append(f"{size / tokens:.2f}" if tokens and size else "–")
        rows.append(Row(SPLITS.get(name, name), cells))
    return [*(column.replace("_", " ") for column in columns), "bytes per token"], rows


def document_table(manifest: Record) -> list[Row]:
    """Return how many documents were found, kept and left out, and why, with examples."""
    summary = mapping(manifest.get("summary"))
    counts = [summary.get(name) for name in ("accepted", "skipped", "rejected")]
    if not all(_is_count(count) for count in counts):
        return []
    languages = {k: n for k, n in mapping(summary.get("languages")).items() if _is_count(n)}
    shown, total = list(languages.items())[:MOST_LANGUAGES], sum(languages.values()) or 1
    rows = [
        Row("found", [f"{sum(counts):,}"]),  # type: ignore[arg-type]
        Row("kept", [f"{counts[0]:,}"], ", ".join(f"{name} {n / total:.0%}" for name, n in shown)),
    ]
    for reason, entry in mapping(summary.get("reasons")).items():
        examples = [_example(*map(str, pair)) for pair in entry.get("examples", [])[:3]]
        rows.append(Row(f"left out: {reason}", [f"{entry.get('count', 0):,}"], "; ".join(examples)))
    for note, count in mapping(summary.get("notes")).items():
        rows.append(Row(str(note), [f"{count:,}" if _is_count(count) else str(count)]))
    return rows


def overlap(manifest: Record) -> str:
    """Return how much of the held-out text is also in the training text, in a sentence."""
    measured = mapping(mapping(manifest.get("summary")).get("overlap"))
    share, seen = measured.get("share"), measured.get("documents_seen")
    if not isinstance(share, int | float) or not _is_count(seen):
        return ""
    return (
        f"{share:.2%} of the held-out text's long passages are also in the training text; "
        f"{seen:,} held-out documents were mostly seen in training."
    )


def pairs(values: Record, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield a mapping's leaves as (name, value), nested names joined; long values cut."""
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from pairs(value, f"{label} · ")
        elif value is not None and value not in ([], {}):
            yield label, _value(value)


def _example(place: str, text: str) -> str:
    """Where a document stands and how it begins, on about a line."""
    place = place if len(place) <= LONGEST_PLACE else "…" + place[-LONGEST_PLACE:]
    text = " ".join(text.split())
    text = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    return f"{place}: {text}" if text else place


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else text[:200] + " …"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
