"""Run the commands of one checkout, each in a process of its own.

The processes are forked from one that has torch loaded and nothing of nextword: loading it takes
longer than most of these commands.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import sys
from pathlib import Path

LONGEST = 1200  # seconds that a command may take
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["torch", "torch._dynamo"])


class CommandError(Exception):
    """A command ended with an error."""


def run_command(words: list[str], checkout: Path, folder: Path, name: str) -> None:
    """Run a command of nextword in a folder. NAME.json gets what it prints, NAME.log what it tells
    people. Raises CommandError where it fails."""
    os.environ.update(ENVIRONMENT)
    process = FORKING.Process(target=_become, args=(words, checkout, folder, name))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode:
        log = folder / f"{name}.log"
        said = log.read_text("utf-8").strip() if log.is_file() else ""
        last = said.rpartition("\n")[2] or f"exit status {process.exitcode}"
        raise CommandError(f"{last} ({checkout}: {shlex.join(words)})")


def _become(words: list[str], checkout: Path, folder: Path, name: str) -> None:
    """Make this process the command. Exits with its status."""
    os.chdir(folder)
    for stream, file in ((sys.stdout, f"{name}.json"), (sys.stderr, f"{name}.log")):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    os.environ["PYTHONPATH"] = str(checkout)
    sys.path.insert(0, str(checkout))
    sys.argv = ["nextword", *words]

    import nextword
    from nextword.cli.main import main

    if Path(nextword.__file__) != checkout / "nextword" / "__init__.py":
        raise SystemExit(f"nextword is imported from {nextword.__file__}")
    raise SystemExit(main())
