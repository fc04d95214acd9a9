"""A run's report as one HTML file that needs nothing else: no script, no network, no font.

Everything that came from people or models is escaped, and the page's own policy lets nothing in.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import nextword
from nextword.reports import findings
from nextword.reports.curves import Line, chart
from nextword.reports.run import Record, Run
from nextword.terminal import duration, quantity

LONGEST_SAMPLE = 4000  # characters
# Control characters have no place in HTML; their pictures stand for them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


@dataclass(frozen=True)
class Curve:
    title: str
    lines: list[Line]
    svg: Markup


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[str]


@dataclass(frozen=True)
class Use:
    title: str
    code: str


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
    return environment.get_template("report.html").render(
        version=nextword.__version__,
        name=run.path.resolve().name,
        path=run.path,
        summary=summary(run),
        status=findings.status(run),
        figures=findings.headline(run),
        verdict=findings.overfitting(run),
        curves=[curve for curve in curves(run) if curve.svg],
        notable=[
            {"step": f"{e['step']:,}", "message": e.get("message") or e.get("event", "")}
            for e in run.events
            if e.get("event") != "finished"
        ],
        samples=samples,
        more_samples=more,
        unprompted=not any(sample["prompt"] for sample in (*samples, *more)),
        data=run.data,
        splits={"columns": columns, "rows": rows} if rows else None,
        facts=list(pairs({k: v for k, v in run.manifest.items() if k not in ("splits", "files")})),
        has_model=run.has_model,
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
    size = f"{quantity(run.parameters)}-parameter " if run.parameters else ""
    last = run.train[-1] if run.train else {}
    words = [f"A {size}{kind if kind == 'model' else kind + ' model'}"]
    if isinstance(last.get("tokens"), int | float):
        words.append(f"that has read {quantity(last['tokens'])} tokens")
        seconds = findings.elapsed(run)
        words += [f"in {duration(seconds)}"] if seconds else []
    bits = (run.best or {}).get("bits_per_byte")
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
        Line("held-out text", _points(run.validations, "loss"), "held", dots=True),
    ]
    loss = [line for line in loss if line.points]
    second = _bits_per_nat(run)
    axis = (second, "bits/byte") if second else None
    drawn = chart("Loss", loss, unit="nats per token", second_axis=axis, marks=marks, height=360)
    result = [Curve("Loss", loss, drawn)]
    for title, name, unit in (
        ("Learning rate", "learning_rate", ""),
        ("Gradient norm", "grad_norm", "before clipping"),
        ("Speed", "tokens_per_second", "tokens a second"),
        ("Use of the machine", "matmul_share", "share of matmul peak"),
    ):
        lines = [Line(title, _points(run.train, name), "blue", noisy=name != "learning_rate")]
        svg = chart(title, lines, unit=unit, from_zero=True, width=420, height=230)
        result.append(Curve(title, lines, svg))
    return result


def split_table(manifest: Record) -> tuple[list[str], list[Row]]:
    """The counts of each split: a row a split, a column a kind of thing counted."""
    splits = manifest.get("splits")
    counts = {
        str(name): {str(k): v for k, v in values.items() if _is_count(v)}
        for name, values in (splits.items() if isinstance(splits, dict) else ())
        if isinstance(values, dict)
    }
    columns = list(dict.fromkeys(column for values in counts.values() for column in values))
    names = {"train": "training", "val": "held out"}
    rows = []
    for name, values in counts.items():
        cells = [f"{values[column]:,}" if column in values else "–" for column in columns]
        tokens, size = values.get("tokens"), values.get("bytes")
        rows.append(Row(names.get(name, name), [*cells, f"{size / tokens:.2f}" if tokens and size else "–"]))
    return [*(column.replace("_", " ") for column in columns), "bytes per token"], rows


def pairs(values: Record, prefix: str = "") -> Iterable[tuple[str, str]]:
    """A mapping's leaves as (name, value), nested names joined; long values cut."""
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from pairs(value, f"{label} · ")
        elif value is not None and value not in ([], {}):
            yield label, _value(value)


def uses(run: Run) -> list[Use]:
    """Commands and code that can be copied as they stand."""
    path = str(run.path)
    quoted, folder = shlex.quote(path), str(run.path / "model")
    found = []
    if run.has_model:
        found = [
            Use("Let it write", f'nextword generate {quoted} "Once upon a time" --max-new-tokens 200'),
            Use("Measure it", f"nextword evaluate {quoted}\nnextword evaluate {quoted} other_text/"),
            Use(
                "In Python",
                "import nextword as nw\n\n"
                f"model = nw.load({path!r})\n"
                'print(model.generate("Once upon a time", temperature=0.8))\n'
                'for piece in model.stream("Once upon a time"):\n    print(piece, end="")',
            ),
            Use(
                "In transformers",
                "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                f"model = AutoModelForCausalLM.from_pretrained({folder!r})\n"
                f"tokenizer = AutoTokenizer.from_pretrained({folder!r})",
            ),
        ]
    if not run.finished:
        again = " ".join(["nextword pretrain", *map(shlex.quote, run.data)])
        found.append(Use("Go on with the run", f"{again} --out {quoted} --resume"))
    return found


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


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else text[:200] + " …"
