"""Writes docs/commands.md: every verb, flag and default, read from the code.

python docs/generate_commands.py
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any, NoReturn

from nextword.cli.main import VERBS

HERE = Path(__file__).parent
INTRODUCTION = """# Commands

[How it works](how-it-works.md) · [Data formats](data-formats.md) · [README](../README.md)

This page is written by `make docs` from the code.

A MODEL is a run directory, a Hugging Face directory, or the name of a model on the Hub (`gpt2`).
DATA is any mix of files, folders, patterns and `hf://` data sets.

Every setting can stand in a YAML file under the name of its flag and be given with `--config FILE`;
flags win over the file. In Python the verbs are functions with the same settings:
`nextword.pretrain("my_books", "run", budget="10m")`. What a command reports goes to standard
error; with `--json` one JSON object goes to standard output.

An error is one sentence on standard error, and exit status 2.
"""


class _Complete(Exception):
    """A verb's parser has everything it will have."""


class _Parser(argparse.ArgumentParser):
    def parse_args(self, *_: Any, **__: Any) -> NoReturn:
        raise _Complete


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser a verb builds for itself, with all its flags."""
    parser = _Parser(f"nextword {verb}", allow_abbrev=False, add_help=False)
    try:
        importlib.import_module(f"nextword.cli.{verb}").run([], parser)
    except _Complete:
        return parser
    raise AssertionError(f"{verb} parsed nothing")


def page() -> str:
    return "\n".join([INTRODUCTION, *(section(verb) for verb in VERBS)])


def section(verb: str) -> str:
    parser = parser_of(verb)
    actions = parser._actions
    positionals = [action for action in actions if not action.option_strings]
    flags = [action for action in actions if action.option_strings]
    usage = " ".join(
        ["nextword", verb, *map(_positional, positionals)]
        + [f"{flag.option_strings[0]} {flag.metavar}" for flag in flags if flag.required]
    )
    lines = [f"## {verb}", "", parser.description or VERBS[verb], "", "```", usage, "```", ""]
    if positionals:
        lines += [f"- `{action.metavar}`: {action.help}" for action in positionals] + [""]
    lines += ["| flag | value | meaning |", "|---|---|---|", *map(_row, flags), ""]
    return "\n".join(lines)


def _positional(action: argparse.Action) -> str:
    form = {"*": "[{}...]", "+": "{}...", "?": "[{}]"}.get(str(action.nargs), "{}")
    return form.format(action.metavar)


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    takes_value = action.nargs != 0 and action.metavar
    value = f"`{action.metavar}{' ...' if action.nargs == '+' else ''}`" if takes_value else ""
    text = (action.help or "").replace("%%", "%")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (names, value, text)) + " |"


if __name__ == "__main__":
    (HERE / "commands.md").write_text(page(), encoding="utf-8")
