"""Flags, `--config` files and `--json`, all made from a verb's settings class.

Flags win over the file; an unknown key or flag is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nextword.errors import UserError, nearest
from nextword.settings import Settings, resolve

SettingsKind = TypeVar("SettingsKind", bound=Settings)


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
    also: tuple[str, ...] = (),
) -> tuple[argparse.Namespace, SettingsKind]:
    """Parse a verb's arguments into its positionals (and extra flags) and its checked settings.

    `also` names positionals that a `--config` file may hold too.
    """
    add_settings(parser, kind)
    parser.error = _refuse(parser)  # type: ignore[method-assign]
    parsed = parser.parse_args(arguments)
    given = {name: getattr(parsed, name) for name in kind.model_fields if hasattr(parsed, name)}
    places = {name: flag(name) for name in given}
    values, lines = read_config(parsed.config) if parsed.config else ({}, {})
    for name in also:
        held = values.pop(name, None)
        if held is not None and not getattr(parsed, name):
            setattr(parsed, name, [str(v) for v in held] if isinstance(held, list) else [str(held)])
    return parsed, resolve(kind, values | given, lines | places)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """A YAML mapping's values, and for each the place it stands at (`file:line`)."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=path) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"is not valid YAML ({error.problem})", where=f"{path}:{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "nested too deep"
        raise UserError(f"is not valid YAML ({reason})", where=path) from None
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise UserError(
            "expected settings, one `name: value` a line",
            where=f"{path}:{node.start_mark.line + 1}",
        )
    places: dict[str, str] = {}
    for key, _ in node.value:
        if key.value in places:
            raise UserError(
                f"{key.value!r} is given twice",
                where=f"{path}:{key.start_mark.line + 1}",
                mend=f"first at {places[key.value]}",
            )
        places[key.value] = f"{path}:{key.start_mark.line + 1}"
    return {str(name).replace("-", "_"): value for name, value in values.items()}, {
        name.replace("-", "_"): place for name, place in places.items()
    }


def print_json(value: Any) -> None:
    """The one JSON object of `--json`, on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


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
        argument |= {"nargs": "+"}
        return argument | (_choices(element) or {"metavar": element.__name__.upper()})
    return argument | (_choices(inner) or {"metavar": _metavar(inner)})


def _choices(kind: Any) -> dict[str, Any] | None:
    if get_origin(kind) is Literal:
        return {"choices": list(get_args(kind)), "metavar": "|".join(get_args(kind))}
    return None


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
    if field.default is None or isinstance(field.default, bool) or field.default == []:
        return text
    return f"{text} (default: {field.default})"


def _refuse(parser: argparse.ArgumentParser) -> Any:
    def error(message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and unknown.startswith("--"):
            word = unknown.split()[0].split("=")[0]
            known = [name for action in parser._actions for name in action.option_strings]
            raise UserError(f"unknown flag {word}", mend=nearest(word, known))
        raise UserError(message, mend=f"see `{parser.prog} --help`")

    return error
