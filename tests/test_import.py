"""What importing nextword does, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os, sys
import nextword
print(os.environ["GOMP_SPINCOUNT"], os.environ["THP_MEM_ALLOC_ENABLE"], "torch" in sys.modules)
"""


def printed(**chosen: str) -> str:
    names = ("GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE")
    environment = {name: value for name, value in os.environ.items() if name not in names} | chosen
    command = [sys.executable, "-c", CODE]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_program_that_imports_nextword_first_has_the_settings_of_the_command_line() -> None:
    assert printed() == "3000 1 False\n"
    assert printed(GOMP_SPINCOUNT="7", THP_MEM_ALLOC_ENABLE="0") == "7 0 False\n"
