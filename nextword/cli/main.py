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
    "evaluate": "loss, perplexity and bits per byte on held-out text",
    "generate": "continue a prompt, word by word",
    "info": "what a store, run or model is, in one screen",
    "report": "a run as one self-contained HTML file",
}


def usage() -> str:
    lines = ["usage: nextword VERB ...", "", "Your own text to a working language model.", ""]
    lines += [f"  {verb:<10} {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join([*lines, "", "`nextword VERB --help` explains a verb and all its options."])


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"nextword {nextword.__version__}")
        return 0
    # Large pages for PyTorch's tensors on a CPU: about a tenth faster; read when torch is loaded.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in VERBS:
            raise UserError(f"no verb {verb!r}", mend=nearest(verb, VERBS))
        module = importlib.import_module(f"nextword.cli.{verb}")
        parser = argparse.ArgumentParser(f"nextword {verb}", allow_abbrev=False)
        module.run(rest, parser)
        return 0
    except UserError as error:
        print(f"nextword: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("nextword: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
