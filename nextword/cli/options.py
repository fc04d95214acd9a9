"""Flags, `--config` files and `--json`, all made from a verb's settings class.

Flags win over the file; an unknown key or flag is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nextword.errors import UserError, nearest
from nextword.settings import Settings, resolve

SettingsKind = TypeVar("SettingsKind", bound=Settings)
LARGEST_CONFIG = 1_000_000  # characters


def add_settings(parser: argparse.ArgumentParser, kind: type[Settings]) -> None:
    """Give the parser a flag for every setting, and `--config`."""
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML with the same names")
    for name, field in kind.model_fields.items():
        group.add_argument(flag(name), dest=name, **_argument(field))


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse(
    parser: argparse.ArgumentParser,
    kind: type[SettingsKind],
    arguments: list[str],
    needed: tuple[str, ...] = (),
) -> tuple[argparse.Namespace, SettingsKind]:
    """Parse a verb's arguments into its positionals (and extra flags) and its checked settings.

    A `--config` file may hold any of them. `needed` names those that must be given, here or there.
    """
    own = {action.dest: action for action in parser._actions if action.dest != "help"}
    parser.usage = _usage(parser.prog, list(own.values()), needed)
    add_settings(parser, kind)
    parser.error = _refuse(parser)  # type: ignore[method-assign]
    parsed = _parse_mixed(parser, arguments)
    given = {name: getattr(parsed, name) for name in kind.model_fields if hasattr(parsed, name)}
    places = {name: flag(name) for name in given}
    values, lines = read_config(parsed.config) if parsed.config else ({}, {})
    for name in [name for name in values if name not in kind.model_fields]:
        if name not in own:
            mend = nearest(name, [*own, *kind.model_fields], f"{parser.prog} --help lists them")
            raise UserError(f"unknown setting {name!r}", where=lines.get(name), mend=mend)
        value = _own_value(own[name], values.pop(name), lines.get(name))
        if not getattr(parsed, name):
            setattr(parsed, name, value)
    for name in needed:
        if not getattr(parsed, name):
            what = own[name].option_strings[0] if own[name].option_strings else own[name].metavar
            raise UserError(f"no {what} was given", mend=_greedy(given) or str(parser.usage))
    try:
        return parsed, resolve(kind, values | given, lines | places)
    except UserError as error:
        if isinstance(given.get(str(error.where).strip("-").replace("-", "_")), list):
            error = UserError(error.what, where=error.where, mend=_greedy(given))
        raise error from None


def _parse_mixed(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Flags and positionals in any order; all words after `--` are positionals.

    argparse itself would give optional positionals up at the first flag, and its
    `parse_intermixed_args` loses a `--` that follows a flag.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    positionals = [action for action in parser._actions if not action.option_strings]
    kept = [(action.nargs, action.default) for action in positionals]
    for action in positionals:
        action.nargs = action.default = argparse.SUPPRESS
    parsed, words = parser.parse_known_args(arguments[:end])
    for action, (nargs, default) in zip(positionals, kept, strict=True):
        action.nargs, action.default = nargs, default
    return parser.parse_args([*words, *arguments[end:]], parsed)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A YAML mapping's values, and for each the place it stands at (`file:line`)."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_CONFIG + 1)
        if len(text) > LARGEST_CONFIG:
            raise UserError("is too long to be a file of settings", where=path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=path) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"is not valid YAML ({error.problem})", where=f"{path}:{line}") from None
    except RecursionError:
        raise UserError("is not valid YAML (nested too deep)", where=path) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"is not valid YAML ({error})", where=path) from None
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise UserError(
            "expected settings, one `name: value` a line",
            where=f"{path}:{node.start_mark.line + 1}",
        )
    places: dict[str, str] = {}
    for key, _ in node.value:
        name, place = str(key.value).replace("-", "_"), f"{path}:{key.start_mark.line + 1}"
        if name in places:
            raise UserError(
                f"{name[:60]!r} is given twice", where=place, mend=f"first at {places[name]}"
            )
        places[name] = place
    return {str(name).replace("-", "_"): value for name, value in values.items()}, places


def print_json(value: Any) -> None:
    """The one JSON object of `--json`, on standard output; NaN and infinity are null."""
    value = _finite(value)
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half a character in a file's name, say
        text = json.dumps(value, indent=2)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _usage(prog: str, own: list[argparse.Action], needed: tuple[str, ...]) -> str:
    """`nextword pretrain [DATA...] --out RUN [settings]`"""
    words = [prog]
    for action in own:
        name = f"{action.metavar}{'...' if action.nargs in ('*', '+') else ''}"
        required = (action.required and action.nargs != "*") or action.dest in needed
        if action.option_strings and required:
            words.append(f"{action.option_strings[0]} {name}")
        elif not action.option_strings:
            words.append(name if required else f"[{name}]")
    return " ".join([*words, "[settings]"])


def _own_value(action: argparse.Action, value: Any, place: str | None) -> Any:
    """A positional or extra flag as a file holds it: text, or texts where several may stand."""
    if action.nargs == 0:
        right, wanted = isinstance(value, bool), "yes or no"
    elif action.nargs == "*":
        value = value if isinstance(value, list) else [value]
        right, wanted = all(isinstance(part, str) for part in value), "texts"
    else:
        right, wanted = isinstance(value, str), "text"
    if not right:
        mend = "put it in quotes" if wanted.startswith("text") else ""
        raise UserError(f"{action.dest}: expected {wanted}", where=place, mend=mend)
    return value


def _greedy(given: dict[str, Any]) -> str:
    """What may have swallowed a positional, if anything."""
    lists = [flag(name) for name, value in given.items() if isinstance(value, list)]
    return f"{lists[0]} takes all words after it: let it come last" if lists else ""


def _argument(field: FieldInfo) -> dict[str, Any]:
    """argparse's description of one setting, from its type annotation."""
    inner = _without_none(field.annotation)
    argument: dict[str, Any] = {
        "default": argparse.SUPPRESS,
        "help": _help(field),
    }
    if inner is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    if get_origin(inner) is list:
        (element,) = get_args(inner)
        argument |= {"nargs": "+", "action": "extend"}
        return argument | (_choices(element) or {"metavar": element.__name__.upper()})
    return argument | (_choices(inner) or {"metavar": _metavar(inner)})


def _choices(kind: Any) -> dict[str, Any] | None:
    return {"metavar": "|".join(get_args(kind))} if get_origin(kind) is Literal else None


def _metavar(kind: Any) -> str:
    return {int: "N", float: "X", str: "NAME"}.get(kind, "VALUE")


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    if field.is_required() or field.default in (None, []) or isinstance(field.default, bool):
        return text
    return f"{text} (default: {field.default})"


def _refuse(parser: argparse.ArgumentParser) -> Any:
    def error(message: str) -> NoReturn:
        help_ = f"see `{parser.prog} --help`"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise UserError(message.removeprefix("argument "), mend=help_)
        word = unknown.split()[0].split("=")[0] if unknown.strip() else unknown
        if not word.startswith("-"):
            raise UserError(f"{word!r} is one argument too many", mend=str(parser.usage))
        known = [name for action in parser._actions for name in action.option_strings]
        raise UserError(f"unknown flag {word}", mend=nearest(word, known, otherwise=help_))

    return error
