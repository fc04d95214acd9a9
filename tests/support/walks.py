"""How much code a reader walks through: the files, functions and lines that each verb runs.

    python tests/support/walks.py [--root CHECKOUT] [--json] [--files WALK] [--leave-out FOLDER ...]

A walk is one call of the command line on tiny data, or a part of one, in a process of its own. Of
the package it counts

- functions: each `def` that is entered, methods and nested ones among them. Lambdas and
  comprehensions are lines of the function that they stand in. What only runs while a module is
  imported is not counted;
- files: those that hold such a function, but for cli/, which parses and prints for every verb alike
  (`--leave-out` with nothing after it counts that too);
- lines: each function whole, from `def` to its end, since that is what is read, whether all of it
  runs or not. A nested function's lines are counted with it and with the one around it.

A step of training is what makes its batch, ahead and in a thread of its own (BATCH), and what goes
from entering STEP's first function to leaving its second, without the loop that calls them. Where
these functions are renamed or moved, so are BATCH, STEP and TRAINING.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = "nextword"
# Functions as `file:name`, from entering the first to leaving the second.
BATCH = ("training/loop.py:micro_batches", "training/loop.py:micro_batches")
STEP = ("training/loop.py:take_step", "training/loop.py:ThroughputMeter.log")
TRAINING = ("verbs/pretrain.py:run_pretraining", "verbs/pretrain.py:run_pretraining")
MIDDLE = 10  # the step that is counted, of STEPS
STEPS = 20

WALKS = {
    "step": "one training step, batch to log",
    "prepare": "`prepare`",
    "pretrain": "`pretrain`, whole",
    "training": "`pretrain` without the evaluation and report at its end",
    "finetune": "`finetune --task classify`",
    "predict": "`predict` classify",
    "generate": "`generate`",
}
COMMANDS = {
    "prepare": "prepare TEXT --out WORK/store --workers 1",
    "pretrain": "pretrain TEXT --out WORK/run --workers 1 --precision fp32 --layers 2 --width 32 "
    f"--heads 2 --context-length 64 --batch-size 4 --steps {STEPS}",
    "finetune": "finetune WORK/run DATA/classify.csv --task classify --out WORK/tuned "
    "--precision fp32 --epochs 2",
    "predict": "predict WORK/tuned DATA/classify.csv --out WORK/found.jsonl --precision fp32",
    "generate": "generate WORK/run The --max-new-tokens 20 --precision fp32",
}

Function = tuple[str, int]  # file, relative to the package, and the line that it begins at


class Tracer:
    """Notes which functions of the package are entered, in all and within the windows."""

    def __init__(self, package: Path, windows: dict[str, tuple[tuple[str, str], int]]) -> None:
        """`windows` are (first and last function, which call of either) by name."""
        self._package, self._windows = f"{package}{os.sep}", windows
        self._begun, self._ended = dict.fromkeys(windows, 0), dict.fromkeys(windows, 0)
        self.open: dict[str, int] = {}  # and the threads that they began in
        self._ends: dict[str, FrameType] = {}  # the calls that they end with
        self._importing = 0
        self.entered: set[Function] = set()
        self.within: dict[str, set[Function]] = {name: set() for name in windows}

    def __enter__(self) -> Tracer:
        threading.settrace(self._call)
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not (code.co_filename.startswith(self._package) and code.co_filename.endswith(".py")):
            return None
        if code.co_name == "<module>":
            self._importing += 1
            frame.f_trace_lines = False
            return self._imported
        if self._importing:
            return None
        name = self._name(code)
        watched = False
        for window, ((first, last), number) in self._windows.items():
            if name == first:
                self._begun[window] += 1
                if self._begun[window] == number:
                    self.open[window] = threading.get_ident()
            if name == last:
                self._ended[window] += 1
                if self._ended[window] == number:
                    self._ends[window] = frame
                    watched = True
        self.entered.add(self._function(code))
        for window, thread in tuple(self.open.items()):
            if window == "training" or thread == threading.get_ident():
                self.within[window].add(self._function(code))
        if watched:
            frame.f_trace_lines = False
            return self._left
        return None

    def _imported(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return":
            self._importing -= 1
        return self._imported

    def _left(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return":
            for window, end in self._ends.items():
                if end is frame:
                    self.open.pop(window, None)
        return self._left

    def _name(self, code: CodeType) -> str:
        file = Path(code.co_filename[len(self._package) :]).as_posix()
        return f"{file}:{code.co_qualname}"

    def _function(self, code: CodeType) -> Function:
        return Path(code.co_filename[len(self._package) :]).as_posix(), code.co_firstlineno


def trace(root: Path, arguments: list[str]) -> dict[str, list[Function]]:
    """Run a verb; what was entered by name of the walk, with "" for all of it."""
    sys.path.insert(0, str(root))
    from nextword.cli.main import main

    package = Path(sys.modules[PACKAGE].__file__ or "").parent
    if package != root / PACKAGE:
        sys.exit(f"{package} is imported, not {root / PACKAGE}")
    windows = {"batch": (BATCH, MIDDLE), "step": (STEP, MIDDLE), "training": (TRAINING, 1)}
    with Tracer(package, windows if arguments[0] == "pretrain" else {}) as tracer:
        status = main(arguments)
    if status:
        sys.exit(status)
    for name, ((first, last), _) in windows.items():
        if arguments[0] == "pretrain" and (not tracer.within[name] or name in tracer.open):
            sys.exit(f"{first} was not entered, or {last} not left: correct {__file__}")
    found = tracer.within | {"": tracer.entered}
    if arguments[0] == "pretrain":
        found["step"] |= found.pop("batch")
    return {name: sorted(functions) for name, functions in found.items()}


def measure(root: Path) -> dict[str, list[Function]]:
    """What each walk enters, each verb in a process of its own: nothing is cached by another."""
    data, walks = root / "examples" / "data", {}
    with tempfile.TemporaryDirectory() as work:
        text = Path(work) / "text"
        text.mkdir()
        paragraphs = (data / "reader.txt").read_text(encoding="utf-8").split("\n\n")
        for number in range(12):  # documents, some of which are held out
            chosen = "\n\n".join(paragraphs[number::12])
            (text / f"{number:02d}.txt").write_text(chosen, encoding="utf-8")
        for verb, command in COMMANDS.items():
            print(f"{PACKAGE} {command}", file=sys.stderr)
            arguments = command.split()
            for name, place in (("WORK", work), ("TEXT", text), ("DATA", data)):
                arguments = [argument.replace(name, str(place)) for argument in arguments]
            out = Path(work) / "walk.json"
            done = subprocess.run(
                [sys.executable, __file__, "--root", root, "--trace", out, *arguments],
                capture_output=True,
                text=True,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
            if done.returncode:
                sys.exit(f"{done.stderr}\n{PACKAGE} {command}: status {done.returncode}")
            for name, functions in json.loads(out.read_text()).items():
                walks[name or verb] = [(file, line) for file, line in functions]
    return {name: walks[name] for name in WALKS}


@cache
def spans(file: Path) -> dict[int, int]:
    """The lines of each `def` of a file, by the line that it begins at, decorators included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): (
            (node.end_lineno or 0) - node.lineno + 1
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def by_file(root: Path, functions: Iterable[Function]) -> dict[str, tuple[int, int]]:
    """How many functions of each file were entered, and how many lines they are."""
    files: dict[str, tuple[int, int]] = {}
    for file, line in functions:
        length = spans(root / PACKAGE / file).get(line)
        if length is not None:  # else a lambda or a comprehension
            count, lines = files.get(file, (0, 0))
            files[file] = count + 1, lines + length
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="a checkout")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--files", choices=WALKS, help="the files of a walk instead")
    parser.add_argument(
        "--leave-out",
        nargs="*",
        default=["cli"],
        help="folders that do not count; cli if not given",
    )
    parser.add_argument("--trace", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    root = given.root.resolve()
    if given.trace:
        out, *arguments = given.trace
        Path(out).write_text(json.dumps(trace(root, arguments)))
        return
    walks = {name: by_file(root, functions) for name, functions in measure(root).items()}
    left_out = tuple(f"{folder.rstrip('/')}/" for folder in given.leave_out)
    for files in walks.values():
        for file in [file for file in files if file.startswith(left_out)]:
            del files[file]
    if given.files:
        walks = {given.files: walks[given.files]}
    figures = {
        name: {
            "files": len(files),
            "of_tasks": sum(file.startswith("tasks/") for file in files),
            "functions": sum(count for count, _ in files.values()),
            "lines": sum(lines for _, lines in files.values()),
        }
        for name, files in walks.items()
    }
    if given.json:
        print(json.dumps(walks[given.files] if given.files else figures, indent=1))
    elif given.files:
        print("| file | functions | their lines |\n|---|---|---|")
        for file, (count, lines) in sorted(walks[given.files].items()):
            print(f"| {file} | {count} | {lines:,} |")
    else:
        print("| walk | files | functions | their lines |\n|---|---|---|---|")
        for name, row in figures.items():
            tasks = f" ({row['of_tasks']} of tasks/)" if name == "finetune" else ""
            cells = f"{row['files']}{tasks} | {row['functions']} | {row['lines']:,}"
            print(f"| {WALKS[name]} | {cells} |")


if __name__ == "__main__":
    main()
