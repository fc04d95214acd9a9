"""The `nextword` command: finds the verb, runs it, and turns errors into one clear sentence."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import nextword
from nextword.errors import UserError, nearest

VERBS = {
    "prepare": "raw text to a token store: read, clean, de-duplicate, split, tokenize",
    "pretrain": "raw text or a store to a pretrained model",
    "finetune": "a model and labelled data to a model for that task",
    "evaluate": "loss and bits per byte on held-out text, or a task's metrics on a test set",
    "predict": "what a fine-tuned model says of new data",
    "compare": "whether one of two fine-tuned models is better, or chance parts them",
    "generate": "continue a prompt, word by word",
    "fill": "the likeliest words for each [MASK] of a text",
    "info": "what a store, run or model is, in one screen",
    "report": "a run as one self-contained HTML file",
}


def usage() -> str:
    lines = ["usage: nextword VERB ...", "", "Your own text to a working language model.", ""]
    lines += [f"  {verb:<10} {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join([*lines, "", "`nextword VERB --help` explains a verb and all its options."])


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Large pages for PyTorch's tensors on a CPU: about a tenth faster; read when torch is loaded.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # OpenMP's threads yield soon when they wait for each other: where another program runs too,
    # training is three times as fast, and alone it loses next to nothing (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _end(error, 2, arguments)
    except BrokenPipeError:  # whoever read our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell counts a process that died of it
    except KeyboardInterrupt:
        print("nextword: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from nextword.cli.failures import explain

        status = 2 if isinstance(error, PermissionError) else 1  # that one a person can mend
        return _end(explain(error, arguments), status, arguments)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"nextword {nextword.__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"no verb {verb!r}", mend=nearest(verb, VERBS))
    module = importlib.import_module(f"nextword.cli.{verb}")
    module.run(rest, argparse.ArgumentParser(f"nextword {verb}", allow_abbrev=False))
    return 0


def _end(error: UserError, status: int, arguments: list[str]) -> int:
    """Say it in one sentence; and to programs, with `--json`, as an object."""
    print(f"nextword: {error}", file=sys.stderr)
    if "--json" in arguments:
        from nextword.cli.options import print_json

        where = None if error.where is None else str(error.where)
        print_json({"error": {"what": error.what, "where": where, "mend": error.mend}})
    return status


if __name__ == "__main__":
    sys.exit(main())
