"""What a classifier's outputs are called, in the words of config.json."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nextword.errors import UserError

Kind = Literal["single", "several", "amount"]
PROBLEMS: dict[Kind, str] = {
    "single": "single_label_classification",
    "several": "multi_label_classification",
    "amount": "regression",
}


@dataclass(frozen=True)
class Outputs:
    """`names` [outputs] of a head that gives one class of these, any number of them at once, or an
    amount, which has one name."""

    kind: Kind
    names: tuple[str, ...]


def write_labels(outputs: Outputs) -> dict[str, Any]:
    """What config.json holds of them."""
    return label_names(outputs.names) | {"problem_type": PROBLEMS[outputs.kind]}


def label_names(names: tuple[str, ...]) -> dict[str, Any]:
    """Names and numbers of outputs, both ways."""
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def read_labels(values: dict[str, Any], count: int, where: Path) -> Outputs:
    """What config.json says of a head with `count` outputs.

    Where it names none they are LABEL_0 and so on, and where it does not say what kind of problem
    they are for it is one class of several, or, of one output, an amount: as transformers takes it.
    Raises UserError where names and outputs do not fit.
    """
    names = _names(values.get("id2label"), where)
    names = names or tuple(f"LABEL_{number}" for number in range(count))
    if len(names) != count:
        raise UserError(f"id2label names {len(names)} labels for {count} outputs", where=where)
    problem = values.get("problem_type")
    kind: Kind = "amount" if count == 1 else "single"
    if problem is not None:
        kinds: dict[Any, Kind] = {theirs: ours for ours, theirs in PROBLEMS.items()}
        if not isinstance(problem, str) or problem not in kinds:
            raise UserError(
                f"problem_type {reprlib.repr(problem)} is not known",
                where=where,
                mend="known are " + ", ".join(PROBLEMS.values()),
            )
        kind = kinds[problem]
    if kind == "amount" and count != 1:
        raise UserError(f"a regression of {count} amounts at once is not supported", where=where)
    return Outputs(kind, names)


def _names(given: Any, where: Path) -> tuple[str, ...]:
    if given is None or given == {}:
        return ()
    keys = [str(number) for number in range(len(given))] if isinstance(given, dict) else []
    if not keys or set(given) != set(keys):
        raise UserError("id2label does not number its labels from 0", where=where)
    names = tuple(given[key] for key in keys)
    if not all(isinstance(name, str) for name in names):
        raise UserError("id2label holds a name that is not text", where=where)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"id2label holds {reprlib.repr(twice)} twice", where=where)
    return names
