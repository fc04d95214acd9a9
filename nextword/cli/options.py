"""A verb's command line: its own arguments, a flag for every setting, `--config` and `--json`.

Flags win over the file; an unknown key or flag is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nextword.errors import UserError, nearest
from nextword.files import yaml_errors
from nextword.settings import Settings, resolve

LARGEST_CONFIG = 1_000_000  # characters


@dataclass(frozen=True)
class Argument:
    """A word of the command line, or a flag with a value; `many` takes any number of words."""

    name: str  # "model", or "--out"
    metavar: str
    help: str
    required: bool = True
    many: bool = False

    @property
    def dest(self) -> str:
        return self.name.lstrip("-")

    @property
    def is_flag(self) -> bool:
        return self.name.startswith("-")

    def __str__(self) -> str:
        """Return the argument as a usage line shows it: `[DATA...]`, `--out RUN`."""
        words = f"{self.metavar}{'...' if self.many else ''}"
        words = f"{self.name} {words}" if self.is_flag else words
        return words if self.required else f"[{words}]"


# It returns what `--json` prints, or None where nothing is left to print.
Runner = Callable[[argparse.Namespace, Any], Any]


@dataclass(frozen=True)
class Command:
    """What a verb takes, and the function that runs it with its arguments and checked settings."""

    run: Runner
    settings: type[Settings]
    arguments: tuple[Argument, ...]


def command(settings: type[Settings], *arguments: Argument) -> Callable[[Runner], Command]:
    """Make a command of the function below: it takes `arguments`, `--json` and all `settings`."""
    return lambda run: Command(run, settings, arguments)


MODEL = Argument(
    "model", "MODEL", "a run, a Hugging Face directory, a GGUF file, an adapter or a Hub name"
)
TEXTS = Argument(
    "data", "DATA", "files, folders, patterns, s3://bucket/folder, hf://owner/dataset", many=True
)
LABELLED = Argument(
    "data", "DATA", "labelled data: CSV, TSV, JSON or Parquet files, hf://...", many=True
)
OUT_RUN = Argument("--out", "RUN", "the run's directory")


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UserErrors that say how to mend them."""

    def error(self, message: str) -> NoReturn:
        see_help = f"see `{self.prog} --help`"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise UserError(message.removeprefix("argument "), mend=see_help)
        word = unknown.split()[0].split("=")[0] if unknown.strip() else unknown
        if not word.startswith("-"):
            raise UserError(f"{word!r} is one argument too many", mend=str(self.usage))
        known = [name for action in self._actions for name in action.option_strings]
        raise UserError(f"unknown flag {word}", mend=nearest(word, known, otherwise=see_help))


def make_parser(prog: str, description: str, command: Command) -> Parser:
    """Return the parser of a command, with a flag for each of its settings."""
    parser = Parser(prog, description=description, allow_abbrev=False)
    # Flags that may be left out are not part of the usage line.
    shown = [str(a) for a in command.arguments if a.required or not a.is_flag]
    parser.usage = " ".join([prog, *shown, "[settings]"])
    for argument in command.arguments:
        nargs = None if argument.is_flag else "*" if argument.many else "?"
        parser.add_argument(
            argument.name, metavar=argument.metavar, nargs=nargs, help=argument.help
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object to stdout")
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML file of these settings")
    for name, field in command.settings.model_fields.items():
        group.add_argument(flag(name), dest=name, **_describe(field))
    return parser


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse(
    parser: argparse.ArgumentParser, command: Command, words: list[str]
) -> tuple[argparse.Namespace, Settings]:
    """Parse a command line into its own arguments and its checked settings.

    A `--config` file may hold any of them. Raises UserError with the flag or the file's line for
    what is unknown, missing or out of range.
    """
    kind = command.settings
    parsed = parse_mixed(parser, words)
    flags = {name: getattr(parsed, name) for name in kind.model_fields if hasattr(parsed, name)}
    values, places = read_config(parsed.config) if parsed.config else ({}, {})
    names = {argument.dest for argument in command.arguments} | {"json"}
    own = {action.dest: action for action in parser._actions if action.dest in names}
    for name in [name for name in values if name not in kind.model_fields]:
        if name not in own:
            mend = nearest(name, [*own, *kind.model_fields], f"{parser.prog} --help lists them")
            raise UserError(f"unknown setting {name!r}", where=places.get(name), mend=mend)
        value = _own_value(own[name], values.pop(name), places.get(name))
        if not getattr(parsed, name):
            setattr(parsed, name, value)
    for argument in command.arguments:
        if argument.required and not getattr(parsed, argument.dest):
            missing = argument.name if argument.is_flag else argument.metavar
            mend = _greedy_flag(flags) or str(parser.usage)
            raise UserError(f"no {missing} was given", mend=mend)
    try:
        return parsed, resolve(kind, values | flags, places | {name: flag(name) for name in flags})
    except UserError as error:
        if isinstance(flags.get(str(error.where).strip("-").replace("-", "_")), list):
            error = UserError(error.what, where=error.where, mend=_greedy_flag(flags))
        raise error from None


def parse_mixed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse flags and positionals in any order; all words after `--` are positionals.

    argparse itself would give optional positionals up at the first flag, and its
    `parse_intermixed_args` loses a `--` that follows a flag.
    """
    end = words.index("--") if "--" in words else len(words)
    positionals = [action for action in parser._actions if not action.option_strings]
    shapes = [(action.nargs, action.default) for action in positionals]
    for action in positionals:
        action.nargs = action.default = argparse.SUPPRESS
    parsed, rest = parser.parse_known_args(_with_negative_values(parser, words[:end]))
    for action, (nargs, default) in zip(positionals, shapes, strict=True):
        action.nargs, action.default = nargs, default
    return parser.parse_args([*rest, *words[end:]], parsed)


def _with_negative_values(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """Join a flag and a value such as `-5m`, which argparse would take for a flag."""
    flags = {name for a in parser._actions if a.nargs is None for name in a.option_strings}
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in flags and re.match(r"-[.\d]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a YAML file into its values and, for each, its place (`file:line`).

    Raises UserError for what is no mapping of settings, or names one of them twice.
    """
    import yaml

    with yaml_errors(path):
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_CONFIG + 1)
        if len(text) > LARGEST_CONFIG:
            raise UserError("is too long to be a file of settings", where=path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        place = f"{path}:{node.start_mark.line + 1}"
        raise UserError("expected settings, one `name: value` per line", where=place)
    places: dict[str, str] = {}
    for key, _ in node.value:
        name, place = str(key.value).replace("-", "_"), f"{path}:{key.start_mark.line + 1}"
        if name in places:
            mend = f"the first is at {places[name]}"
            raise UserError(f"{name[:60]!r} is given twice", where=place, mend=mend)
        places[name] = place
    return {str(name).replace("-", "_"): value for name, value in values.items()}, places


def print_json(value: Any) -> None:
    """Print the one JSON object of `--json` to standard output; NaN and infinity become null."""
    value = _finite(value)
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half a character in a file's name, say
        text = json.dumps(value, indent=2)
    print(text, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _own_value(action: argparse.Action, value: Any, place: str | None) -> Any:
    """Check an argument that a file holds: text, or texts where several may stand."""
    if action.nargs == 0:
        is_right, expected = isinstance(value, bool), "yes or no"
    elif action.nargs == "*":
        value = value if isinstance(value, list) else [value]
        is_right, expected = all(isinstance(part, str) for part in value), "texts"
    else:
        is_right, expected = isinstance(value, str), "text"
    if not is_right:
        mend = "put it in quotes" if expected.startswith("text") else ""
        raise UserError(f"{action.dest}: expected {expected}", where=place, mend=mend)
    return value


def _greedy_flag(flags: dict[str, Any]) -> str:
    """Name the flag that may have swallowed a positional, if any."""
    lists = [flag(name) for name, value in flags.items() if isinstance(value, list)]
    return f"{lists[0]} takes all words after it: put it last" if lists else ""


def _describe(field: FieldInfo) -> dict[str, Any]:
    """Describe one setting to argparse, from its type annotation."""
    kind: Any = field.annotation
    text = (field.description or "").replace("%", "%%")
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if not (field.is_required() or field.default in (None, []) or isinstance(field.default, bool)):
        text += f" (default: {field.default})"
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
    if kind is bool:
        return options | {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
        options |= {"nargs": "+", "action": "extend"}
    if get_origin(kind) is Literal:
        return options | {"metavar": "|".join(get_args(kind))}
    return options | {"metavar": {int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE")}
