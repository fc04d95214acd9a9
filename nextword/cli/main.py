"""The `nextword` command: finds the verb, runs it, and turns every failure into one sentence."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import nextword
from nextword.errors import UserError, nearest
from nextword.resources import is_out_of_memory, timed_command

if TYPE_CHECKING:
    from nextword.cli.options import Command


class Verb(NamedTuple):
    """Where a verb's command is declared, under the verb's own name, and one line about it."""

    module: str
    help: str


VERBS = {
    "prepare": Verb("train", "read, clean, de-duplicate, split and tokenize text into a store"),
    "plan": Verb("train", "say what pretraining would do here, and how good it would be"),
    "pretrain": Verb("train", "train a new model on text or a token store"),
    "finetune": Verb("train", "train a model for a task on labelled data"),
    "evaluate": Verb("evaluate", "measure a model on held-out text, or on a test set of its task"),
    "predict": Verb("use", "write a fine-tuned model's predictions for new data"),
    "compare": Verb("evaluate", "test whether one of two models is better on labelled data"),
    "generate": Verb("use", "continue a prompt; without one, begin a new text"),
    "trace": Verb("use", "find where a text occurs word for word in a run's training text"),
    "fill": Verb("use", "fill each [MASK] of a text with the likeliest words"),
    "chat": Verb("chat", "talk with a model in the terminal, or write a text in turns with it"),
    "serve": Verb("use", "open a model in the browser, and to other programs through OpenAI's API"),
    "export": Verb("use", "write a model as a GGUF file, for llama.cpp and Ollama"),
    "info": Verb(
        "info",
        "describe a store, run, model or labelled data on one screen",
    ),
    "report": Verb("info", "write a run's report as one self-contained HTML file"),
    "doctor": Verb("info", "show the facts about this machine that a bug report needs"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process, and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with timed_command():
            status = _run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _fail(error, 2, arguments)
    except BrokenPipeError:  # whoever read our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell counts a process that died of it
    except KeyboardInterrupt:
        print("nextword: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        status = 2 if isinstance(error, PermissionError) else 1  # only the first can be mended
        return _fail(explain(error, arguments), status, arguments)


def usage() -> str:
    """Return the list of verbs that `nextword --help` prints."""
    lines = ["usage: nextword VERB ...", "", "Your own text to a working language model.", ""]
    lines += [f"  {name:<10} {verb.help}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "`nextword VERB --help` explains a verb and all its options."])


def load_command(verb: str) -> tuple[Command, argparse.ArgumentParser]:
    """Return a verb's command and its parser. Raises UserError for an unknown verb."""
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}", mend=nearest(verb, VERBS))
    from nextword.cli.options import make_parser

    module, summary = VERBS[verb]
    command: Command = getattr(importlib.import_module(f"nextword.cli.{module}"), verb)
    description = f"{summary[0].upper()}{summary[1:]}."
    return command, make_parser(f"nextword {verb}", description, command)


def explain(error: Exception, arguments: list[str]) -> UserError:
    """Return what to say of an unforeseen error: the machine ran out of something, or it is a bug.

    A bug's traceback goes to a file, which the sentence names.
    """
    if is_out_of_memory(error):
        return UserError(
            "there is not enough memory for this",
            mend="try a smaller --batch-size, --micro-batch, --context-length or --size",
        )
    if isinstance(error, OSError):
        from nextword.files import DISK_FULL

        if error.errno in DISK_FULL:
            return UserError(
                "the disk is full",
                where=error.filename,
                mend="free some space, then run the same command again, with --resume if it trains",
            )
        if error.filename is not None and error.errno:
            return UserError(f"cannot be used ({error.strerror})", where=error.filename)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    brief = " ".join(str(error).split())[:200]
    return UserError(
        f"this is a bug in nextword, not your mistake: {type(error).__name__}{place}: {brief}",
        mend=_write_details(error, arguments),
    )


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        python, machine = platform.python_version(), platform.platform()
        print(
            f"nextword {nextword.__version__} (Python {python}, {machine}; more: nextword doctor)"
        )
        return 0
    command, parser = load_command(arguments[0])
    from nextword.cli.options import parse, print_json

    parsed, settings = parse(parser, command, arguments[1:])
    result = command.run(parsed, settings)
    if parsed.json and result is not None:
        print_json(result)
    return 0


def _fail(error: UserError, status: int, arguments: list[str]) -> int:
    """Say it in one sentence; and to programs, with `--json`, as an object."""
    print(f"nextword: {error}", file=sys.stderr)
    if "--json" in arguments:
        from nextword.cli.options import print_json

        where = None if error.where is None else str(error.where)
        print_json({"error": {"what": error.what, "where": where, "mend": error.mend}})
    return status


def _write_details(error: Exception, arguments: list[str]) -> str:
    """Write the traceback to a file, and return how to report it."""
    python, machine = platform.python_version(), platform.platform()
    lines = [
        f"nextword {nextword.__version__}, Python {python}, {machine}",
        f"nextword {shlex.join(arguments)}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="nextword-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write("\n".join(lines))
    except OSError:
        return "please report it, with the command that led to it"
    return f"please report it, with the details in {file.name}"


if __name__ == "__main__":
    sys.exit(main())
