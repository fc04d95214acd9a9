"""`report`: a run directory to one HTML file that needs no script, no network and no font.

Everything that came from people or models is escaped, and the page's own policy lets nothing in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import nextword
from nextword.errors import UserError
from nextword.files import write_atomically
from nextword.reports.corpus import document_table, overlap, pairs, split_table
from nextword.reports.examples import present_examples, read_held_out
from nextword.reports.plots import curves, plots
from nextword.reports.snippets import snippets
from nextword.reports.summary import spread_samples, status, summarize_pretraining
from nextword.reports.task import class_rows, summarize_task
from nextword.runs.record import Record, Run, read_run

LONGEST_SAMPLE = 4000  # characters
# Control characters have no place in HTML; their pictures stand for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


def report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return where it is.

    `out` is a file, or a folder to put report.html in; the run directory when not given. Raises
    UserError where `run` is not a run, or `out` cannot be written.
    """
    run = Path(run)
    target = run if out is None else Path(out)
    html = render(read_run(run))
    if target.is_dir():
        target /= "report.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, html)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=target, mend="choose another --out"
        ) from None
    return target


def render(run: Run) -> str:
    """Return the report's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else legible(value),
        trim_blocks=True,
    )
    samples, more_samples = spread_samples([_sample(record) for record in run.samples])
    held_out = read_held_out(run.path) if run.task else []
    return environment.get_template("report.html").render(
        version=nextword.__version__,
        run=run,
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
        snippets=snippets(run),
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
