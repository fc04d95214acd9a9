"""A run's report as one HTML file that needs nothing else: no script, no network, no font.

Everything that came from people or models is escaped, and the page's own policy lets nothing in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import nextword
from nextword.reports import findings, task
from nextword.reports.corpus import document_table, overlap, pairs, split_table
from nextword.reports.curves import Line, chart
from nextword.reports.examples import examples, read_held_out
from nextword.reports.plots import plots
from nextword.reports.uses import uses
from nextword.runs.record import Record, Run
from nextword.terminal import duration, quantity

LONGEST_SAMPLE = 4000  # characters
SPEEDS = ("tokens_per_second", "examples_per_second")
# Control characters have no place in HTML; their pictures stand for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


@dataclass(frozen=True)
class Curve:
    title: str
    lines: list[Line]
    svg: Markup


def render(run: Run) -> str:
    """The report's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else legible(value),
        trim_blocks=True,
    )
    samples, more = findings.spread([_sample(record) for record in run.samples])
    columns, rows = split_table(run.manifest)
    told = task if run.task else findings
    held_out = read_held_out(run.path) if run.task else []
    return environment.get_template("report.html").render(
        version=nextword.__version__,
        name=run.path.resolve().name,
        path=run.path,
        task=run.task,
        summary=task.summary(run) if run.task else summary(run),
        status=findings.status(run),
        figures=told.headline(run),
        measured_on=told.measured_on(run),
        verdict=told.overfitting(run),
        classes=task.classes(held_out),
        plots=plots(run.task, held_out),
        examples=examples(held_out) if held_out else None,
        curves=[curve for curve in curves(run) if curve.svg],
        notable=[
            {"step": f"{e['step']:,}", "message": e.get("message") or e.get("event", "")}
            for e in run.events
        ],
        samples=samples,
        more_samples=more,
        unprompted=not any(sample["prompt"] for sample in (*samples, *more)),
        data=run.data,
        splits={"columns": columns, "rows": rows} if rows else None,
        documents=document_table(run.manifest),
        overlap=overlap(run.manifest),
        has_model=run.has_model,
        fills=run.objective == "masked",
        model_path=run.path / "model",
        uses=uses(run),
        settings=[(k, v, k.partition(" ")[0] in run.asked) for k, v in pairs(run.settings)],
        asked=run.asked,
        reasons=run.reasons,
        model=list(pairs(run.model)),
        environment=list(pairs(run.environment)),
    )


def summary(run: Run) -> str:
    """The run in one sentence."""
    kind = str(run.model.get("model_type") or run.model.get("family") or "model")
    count = run.weights.parameters if run.weights else 0
    size = f"{findings.unbroken(quantity(count))}-parameter " if count else ""
    last = run.train[-1] if run.train else {}
    words = [f"A {size}{kind if kind == 'model' else kind + ' model'}"]
    if isinstance(last.get("tokens"), int | float):
        words.append(f"that has read {findings.unbroken(quantity(last['tokens']))} tokens")
        words += [f"in {findings.unbroken(duration(run.seconds))}"] if run.seconds else []
    bits = (run.evaluation or run.best or {}).get("bits_per_byte")
    if isinstance(bits, int | float):
        words.append(f"and needs {bits:.3f} bits for a byte of text it has never seen")
    return " ".join(words) + "."


def curves(run: Run) -> list[Curve]:
    """Loss first, then what explains it."""
    marks = [(e["step"], "resumed") for e in run.events if e.get("event") == "resume"]
    if run.best and len(run.validations) > 1:
        marks.append((run.best["step"], "best"))
    loss = [
        Line("training", _points(run.train, "loss"), "train", noisy=True),
        Line(
            "held-out examples" if run.task else "held-out text",
            _points(run.validations, "loss"),
            "held",
            dots=True,
        ),
    ]
    loss = [line for line in loss if line.points]
    second = _bits_per_nat(run)
    axis = (second, "bits/byte") if second else None
    unit = {"classify": "loss per example", "tag": "nats per word"}.get(run.task, "nats per token")
    drawn = chart("Loss", loss, unit=unit, second_axis=axis, marks=marks, height=360)
    result = [Curve("Loss", loss, drawn)]
    for title, line in task.curves(run) if run.task else ():
        is_zero = not any(y for _, y in line.points)
        svg = chart(
            title, [line], unit="held-out examples", from_zero=is_zero, width=420, height=230
        )
        result.append(Curve(title, [line], svg))
    speed = next((name for name in SPEEDS if any(name in r for r in run.train)), SPEEDS[0])
    for title, name, unit in (
        ("Learning rate", "learning_rate", ""),
        ("Gradient norm", "grad_norm", "before clipping"),
        ("Speed", speed, f"{speed.partition('_')[0]} a second"),
        ("Use of the machine", "matmul_share", "share of matmul peak"),
    ):
        lines = [Line(title, _points(run.train, name), "blue", noisy=name != "learning_rate")]
        svg = chart(title, lines, unit=unit, from_zero=True, width=420, height=230)
        result.append(Curve(title, lines, svg))
    return result


def legible(value: Any) -> Any:
    """Text that any browser shows and any encoder takes: no control character, no half of one."""
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


def _points(records: list[Record], name: str) -> list[tuple[float, float]]:
    return [(r["step"], r[name]) for r in records if _is_number(r.get(name))]


def _bits_per_nat(run: Run) -> float | None:
    """What turns the loss on held-out text into bits per byte."""
    for record in run.validations:
        loss, bits = record.get("loss"), record.get("bits_per_byte")
        if _is_number(loss) and _is_number(bits) and loss and bits:
            return bits / loss
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
