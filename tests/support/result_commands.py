"""Run commands of nextword one after another: `result_commands.py '[["1-evaluate", [...]], ...]'`.

Each runs in a process of its own, forked from one that has only torch loaded, which saves the time
of loading it again. NAME.json gets what a command prints on standard output, NAME.log the rest.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    import torch  # noqa: F401

    for name, words in json.loads(sys.argv[1]):
        process = os.fork()
        if not process:
            _redirect(sys.stdout.fileno(), f"{name}.json")
            _redirect(sys.stderr.fileno(), f"{name}.log")
            sys.argv = ["nextword", *words]
            from nextword.cli.main import main as run

            return run()
        _, status = os.waitpid(process, 0)
        if status:
            print(name)
            return 1
    return 0


def _redirect(stream: int, path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, stream)
    os.close(file)


if __name__ == "__main__":
    raise SystemExit(main())
