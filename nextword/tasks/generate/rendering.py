"""A process that renders chat templates, which may be hostile, and is kept for the next time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UserError

SECONDS, MEMORY, LONGEST = 20, 2**30, 2**20  # of rendering; bytes; characters of what comes out
MARK = "\ufdd1"  # a noncharacter, around the number of a message

Shape = tuple[Sequence[str], bool]  # the roles, and whether an answer is asked for


class Renderer:
    """Renders one template, in a process that is started when it is needed, and again where it has
    ended. Threads take turns."""

    def __init__(self, template: str, variables: Mapping[str, str] | None = None) -> None:
        self.template, self.variables = template, dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def render(self, shapes: Sequence[Shape]) -> list[str]:
        """Return what the template makes of conversations with these roles, marks standing for
        contents.

        Raises UserError for a template that is wrong, refuses the roles, or takes too much.
        """
        asked = {
            "template": self.template,
            "variables": self.variables,
            "shapes": [[list(roles), asks] for roles, asks in shapes],
            "bounds": [SECONDS, MEMORY, LONGEST],
            "mark": MARK,
        }
        with self._lock:
            answer = self._ask(json.dumps(asked).encode() + b"\n")
        if isinstance(answer, str):
            raise _wrong(answer)
        return [str(text) for text in answer]

    def _ask(self, line: bytes) -> Any:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        impatience = threading.Timer(SECONDS, process.kill)
        impatience.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):  # it was killed, or has ended itself
            _end(process)
            return "takes too much time or memory"
        finally:
            impatience.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-I", str(Path(__file__).with_name("chat_renderer.py"))]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            weakref.finalize(self, _end, self._process)
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not written yet
                pipe.close()


def _wrong(what: str) -> UserError:
    return UserError(
        f"the model's chat template {what}",
        mend="mend or remove chat_template in its tokenizer_config.json",
    )
