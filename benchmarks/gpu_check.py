"""Everything that a GPU at hand for a few minutes can tell: is it right, how fast, how much memory?

    PYTHONPATH=. python benchmarks/gpu_check.py [--only SECTION ...] [--budget 480] [--out FOLDER]
    PYTHONPATH=. python benchmarks/gpu_check.py --small      the rehearsal, on any machine

Sections run one after another, each in its own process with its own limit of seconds; one that
fails or takes too long costs the others nothing. Every figure is added to FOLDER/figures.jsonl at
once, and FOLDER/summary.json is written anew after every section (few files, as some machines give
only a few back). FOLDER is $OUT, else benchmarks/results/gpu. The text is made of random ids: no
network and no data are needed, nor is nextword installed. The exit status is 1 if a section of
correctness failed, 2 where packages are missing.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUDGET = 480.0
CARRIED = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection")
NEEDED = (*CARRIED, "torch", "numpy", "safetensors", "tokenizers", "rich", "yaml", "jinja2")


@dataclass(frozen=True)
class Limit:
    """A section: the function of its name in `module`, its seconds, and whether it tells right
    from wrong."""

    module: str
    seconds: float
    correctness: bool = False


SECTIONS = {
    "versions": Limit("machine", 20),
    "correctness": Limit("correctness", 100, correctness=True),
    "rates": Limit("machine", 20),
    "attention": Limit("attention", 60),
    "loss": Limit("losses", 50),
    "training": Limit("steps", 150),
    "beside": Limit("beside", 90),
    "ranks": Limit("ranks", 100, correctness=True),
    "memory": Limit("memory", 60),
    "serving": Limit("serving", 30, correctness=True),
    "commands": Limit("commands", 90),
}


def run_section(name: str, out: Path, small: bool, seconds: float) -> int:
    """Run one section in this process; return 0 if all held, 1 if a check did not, 2 for errors."""
    from gpu.section import Section

    section = Section(name, out, small, seconds)
    try:
        getattr(importlib.import_module(f"gpu.{SECTIONS[name].module}"), name)(section)
    except Exception as error:
        section.failed.append(name)
        trace = "".join(traceback.format_exception(error))
        section.note("error", {"error": f"{type(error).__name__}: {error}", "trace": trace[-4000:]})
    section.note("outcome", {"wrong": section.wrong, "failed": section.failed})
    return 1 if section.wrong else 2 if section.failed else 0


def started_section(name: str, out: Path, small: bool, seconds: float) -> dict[str, Any]:
    """Run one section in a process of its own; return its verdict."""
    command = [sys.executable, __file__, "--section", name, "--out", str(out)]
    command += ["--budget", str(seconds), *(["--small"] if small else [])]
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the section and what it has started
        _, errors = process.communicate()
        status = None
    verdict = {0: "right", 1: "WRONG", 2: "failed in part", None: "over time"}.get(status, "failed")
    found: dict[str, Any] = {"verdict": verdict, "seconds": round(time.monotonic() - started, 1)}
    if verdict in ("failed", "over time"):
        found["stderr"] = errors.decode(errors="replace")[-4000:]
    return found


def figures_of(out: Path) -> dict[str, dict[str, Any]]:
    """Return all figures that are on the disk, by section and name, without a line cut short."""
    figures: dict[str, dict[str, Any]] = {}
    path = out / "figures.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            figure = json.loads(line)
        except json.JSONDecodeError:
            continue
        figures.setdefault(figure["section"], {})[figure["name"]] = figure["value"]
    return figures


def card(figures: dict[str, dict[str, Any]]) -> str:
    device = figures.get("versions", {}).get("device", "unknown")
    return str(device["name"]) if isinstance(device, dict) else str(device)


def write_summary(out: Path, verdicts: dict[str, dict[str, Any]], small: bool) -> dict[str, Any]:
    figures = figures_of(out)
    sections = {
        name: verdict | {"figures": figures.get(name, {})} for name, verdict in verdicts.items()
    }
    summary = {"card": card(figures), "small": small, "sections": sections}
    aside = out / ".summary.json"
    aside.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    aside.replace(out / "summary.json")
    return summary


def shown(value: Any) -> str:
    """Return a figure as the table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name not in ("trace", "of time")}
        return ", ".join(f"{name} {shown(part)}" for name, part in kept.items())
    return str(value)


def print_summary(summary: dict[str, Any]) -> None:
    print(f"\ncard: {summary['card']}{' (a rehearsal)' if summary['small'] else ''}")
    for name, section in summary["sections"].items():
        print(f"\n{name}: {section['verdict']}, {section['seconds']} s")
        for figure, value in section["figures"].items():
            print(f"  {figure:<52} {shown(value)[:160]}")
        if section.get("stderr"):
            print("  " + section["stderr"].strip().splitlines()[-1])


def missing_packages() -> str:
    """Return one sentence on what is missing and how to bring it, "" where all is there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"{', '.join(missing)} are missing here: carry them as wheels, of the versions in "
        "requirements.lock (`pip download --no-deps --only-binary=:all: --python-version 3.12 "
        "-d .whl NAME==VERSION` where there is a network), and run "
        "`python3 -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl && "
        "export PYTHONPATH=/tmp/site:.` before this script"
    )


def run_all(names: list[str], out: Path, small: bool, budget: float) -> int:
    """Run sections in their order while the budget lasts, print the table, return the status."""
    for old in (out / "figures.jsonl", out / "summary.json"):
        old.unlink(missing_ok=True)
    began, verdicts, summary = time.monotonic(), {}, {}
    for name in names:
        left = budget - (time.monotonic() - began)
        if left < 5:
            verdicts[name] = {"verdict": "skipped: the budget is spent", "seconds": 0.0}
        else:
            limit = SECTIONS[name].seconds * (4 if small else 1)  # a busy machine rehearses, too
            verdicts[name] = started_section(name, out, small, min(limit, left))
        summary = write_summary(out, verdicts, small)
        print(f"{name}: {verdicts[name]['verdict']}, {verdicts[name]['seconds']} s", flush=True)
    print_summary(summary)
    checked = [verdicts[name]["verdict"] for name in names if SECTIONS[name].correctness]
    return int(any(verdict != "right" for verdict in checked))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all sections")
    parser.add_argument("--small", action="store_true", help="a rehearsal at tiny sizes")
    default = os.environ.get("OUT") or Path(__file__).parent / "results" / "gpu"
    parser.add_argument("--out", type=Path, default=Path(default))
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.section:
        return run_section(given.section, given.out, given.small, given.budget)
    if sentence := missing_packages():
        print(sentence, file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")])
    )
    names = [name for name in SECTIONS if not given.only or name in given.only]
    return run_all(names, given.out, given.small, given.budget)


if __name__ == "__main__":
    sys.exit(main())
