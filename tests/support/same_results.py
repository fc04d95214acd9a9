"""Show that a change of the code moves no result: run the same small jobs with two checkouts.

    python tests/support/same_results.py --before OLD_CHECKOUT --after NEW_CHECKOUT

Every job of `result_cases` runs once with each checkout, through the command line alone, and what
it wrote is compared value by value: numbers must be equal to the last digit, other files must have
the same SHA-256. `result_compare` lists what may differ (IGNORED), and what has another name in the
new checkout and must still hold the same value (RENAMED). The exit status is 1 if anything differs.

With --keep FOLDER all files stay there, and what the old checkout wrote is not written again by the
next call with this folder: that halves the time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.result_cases import BASES, CASES, Case
from tests.support.result_commands import CommandError, run_command
from tests.support.result_compare import Comparison, renamed_command
from tests.support.result_data import write_data

DATA = Path(__file__).with_name("result_data.py")
WORKERS = 2
SHOWN = 20  # differences of a case that are listed


@dataclass
class Outcome:
    """What became of a case: the files compared and the comparison; `failure` says why a command
    did not run, `skipped` why none was tried."""

    case: Case
    files: list[str] = field(default_factory=list)
    found: Comparison = field(default_factory=Comparison)
    failure: str = ""
    skipped: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.found.differences and not self.failure

    @property
    def verdict(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.failure:
            return f"FAILED: {self.failure}"
        if self.found.differences:
            path, before, after = self.found.differences[0]
            more = len(self.found.differences) - 1
            return f"DIFFERS: {path}: {before} → {after}" + (f" and {more:,} more" if more else "")
        return "equal"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--after", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument(
        "--within",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="by which fractions and tensors' norms may differ: rounding in another order",
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases whose names begin so")
    parser.add_argument("--out", type=Path, metavar="TABLE.md", help="write the table there too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave all files there")
    parsed = parser.parse_args(arguments)
    cases = [case for case in CASES if case.name.startswith(tuple(parsed.only or [""]))]
    if not cases:
        parser.error(f"no such case; there are {', '.join(case.name for case in CASES)}")
    with tempfile.TemporaryDirectory() as temporary:
        checkouts = parsed.before.resolve(), parsed.after.resolve()
        work = (parsed.keep or Path(temporary) / "work").resolve()
        try:
            outcomes = run_cases(cases, checkouts, work, parsed.within)
        except CommandError as error:
            parser.exit(1, f"{error}\n")
    report = to_markdown(outcomes)
    print(f"\n{report}", end="")
    if parsed.out:
        parsed.out.write_text(report, "utf-8")
    return int(not all(outcome.is_good for outcome in outcomes))


def run_cases(
    cases: Sequence[Case], checkouts: tuple[Path, Path], work: Path, within: float
) -> list[Outcome]:
    """Run every case with both checkouts. Raises CommandError where no base can be pretrained."""
    before, after = checkouts
    _begin(work, before)
    text = " ".join(command for case in cases for command in case.commands)
    bases = [name for name in BASES if f"{{bases}}/{name}/" in text]
    with ThreadPoolExecutor(WORKERS) as pool:
        print(f"pretraining what is fine-tuned: {', '.join(bases) or 'nothing'}", flush=True)
        list(pool.map(lambda name: _pretrain(name, before, work), bases))
        futures = [pool.submit(run_case, case, before, after, work, within) for case in cases]
        for count, future in enumerate(as_completed(futures), 1):
            done = future.result()
            line = f"[{count:2}/{len(cases)}] {done.case.name:32} {done.seconds:5.1f} s"
            print(f"{line} {done.found.values:7,} values  {done.verdict[:400]}", flush=True)
    return [future.result() for future in futures]


def _begin(work: Path, before: Path) -> None:
    """Write the data, unless an earlier call with the same old checkout did so. Raises SystemExit
    for a folder that holds anything else."""
    sources = [*(before / "nextword").rglob("*.py"), *(before / "examples" / "data").iterdir()]
    digest = hashlib.sha256(f"{BASES} {version('torch')}".encode())
    for path in [DATA, *sorted(sources)]:
        digest.update(path.read_bytes())
    noted = work / "before.sha256"
    if not work.exists():
        write_data(before / "examples" / "data", work / "data")
        noted.write_text(digest.hexdigest(), "utf-8")
    elif not noted.is_file() or noted.read_text("utf-8") != digest.hexdigest():
        raise SystemExit(f"{work} holds something else than this script begins with; name another")


def _pretrain(name: str, before: Path, work: Path) -> None:
    _run([("1-pretrain", _filled(BASES[name], work))], before, work / "bases" / name, again=False)


def run_case(case: Case, before: Path, after: Path, work: Path, within: float) -> Outcome:
    """Run a case's commands with both checkouts, and compare what they wrote and printed."""
    outcome, started = Outcome(case, found=Comparison(within)), time.monotonic()
    if case.needs_bf16 and not _computes_in_bf16():
        outcome.skipped = "this processor does not compute in bf16"
        return outcome
    old = [_filled(command, work) for command in case.commands]
    new = [renamed_command(words) for words in old]
    names = [f"{number}-{words[0]}" for number, words in enumerate(old, 1)]
    ours, theirs = work / "before" / case.name, work / "after" / case.name
    try:
        _run(list(zip(names, old, strict=True)), before, ours, again=False)
        _run(list(zip(names, new, strict=True)), after, theirs, again=True)
        for name in (*(f"{name}.json" for name in names), *case.files):
            outcome.found.add_files(name, ours, theirs)
            outcome.files.append(name)
    except (CommandError, OSError, ValueError) as error:
        outcome.failure = str(error)
    outcome.seconds = time.monotonic() - started
    return outcome


def _filled(command: str, work: Path) -> list[str]:
    places = {"{data}": f"{work}/data", "{bases}": f"{work}/bases"}
    words = shlex.split(command)
    for name, path in places.items():
        words = [word.replace(name, path) for word in words]
    return words


def _run(
    commands: Sequence[tuple[str, list[str]]], checkout: Path, folder: Path, *, again: bool
) -> None:
    """Run commands, each under a name, in a folder that is emptied first. Not `again`: unless the
    same commands have already ended well there."""
    asked, ended = json.dumps(commands), folder / "commands.json"
    if not again and ended.is_file() and ended.read_text("utf-8") == asked:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, words in commands:
        run_command(words, checkout, folder, name)
    ended.write_text(asked, "utf-8")


def _computes_in_bf16() -> bool:
    facts = Path("/proc/cpuinfo")
    return facts.exists() and bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", facts.read_text()))


def to_markdown(outcomes: Sequence[Outcome]) -> str:
    """Write a table of the cases, and under it the differences found."""
    lines = ["| case | compared | values | result |", "|---|---|---:|---|"]
    for outcome in outcomes:
        count = f"{outcome.found.values:,}"
        cells = (outcome.case.name, ", ".join(outcome.files), count, outcome.verdict[:300])
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    values = sum(outcome.found.values for outcome in outcomes)
    verdict = f"{len(bad)} differ or failed" if bad else "all equal"
    ending = f", {skipped} skipped" if skipped else ""
    lines += ["", f"{len(outcomes)} cases, {values:,} values: {verdict}{ending}."]
    for outcome in bad:
        differences = outcome.found.differences
        lines += ["", f"{outcome.case.name}: {outcome.failure}".rstrip(), ""]
        lines += [f"- `{path}`: {old} → {new}" for path, old, new in differences[:SHOWN]]
        if len(differences) > SHOWN:
            lines.append(f"- and {len(differences) - SHOWN:,} more")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    raise SystemExit(main())
