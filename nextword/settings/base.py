"""What a setting is, and how settings are resolved from flags, YAML and Python arguments."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

from nextword.errors import UserError, nearest

Fraction = Annotated[float, Field(ge=0, lt=1)]
SettingsKind = TypeVar("SettingsKind", bound="Settings")

# Settings that several verbs take.
Precision = Annotated[
    Literal["auto", "bf16", "fp32"], Field(description="number format of activations")
]
Threads = Annotated[
    int | None,
    Field(ge=1, le=4096, description="threads of a CPU; by default as many as are fastest now"),
]
OnNonfinite = Annotated[
    Literal["stop", "skip"], Field(description="what to do when the loss is NaN or infinite")
]
Patience = Annotated[
    int | None, Field(ge=1, description="stop after this many validations without improvement")
]
Shard = Annotated[
    Literal["auto", "none", "node", "all"],
    Field(
        description="several GPUs: copy the model to each (none, DDP), or spread it over those of "
        "a node (node, HSDP) or over all (all, FSDP2); by default the first that fits"
    ),
]
LogTo = Annotated[
    list[Literal["tensorboard", "wandb", "mlflow"]],
    Field(description="experiment trackers to log to as well"),
]


class Settings(BaseModel):
    """Settings that every verb takes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    seed: int = Field(1337, ge=0, lt=2**63, description="seed of every random choice")

    def changes(self, name: str) -> bool:
        """Whether a setting is another than it is by default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_a_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """`steps: yes` is a mistake, not one step."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("expected a value, not yes or no")
        return value


def resolve(
    kind: type[SettingsKind], values: dict[str, Any], places: dict[str, str] | None = None
) -> SettingsKind:
    """Check `values` against a settings class.

    `places` says where a value came from ("run.yaml:3", "--steps"). Raises UserError with the
    place, what was found and what was expected.
    """
    places = places or {}
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"unknown setting {_brief(name)}",
                where=places.get(name),
                mend=nearest(name, kind.model_fields),
            ) from None
        if first["type"] == "missing":
            known = get_args(kind.model_fields[name].annotation)
            mend = f"one of {', '.join(map(str, known))}" if known else ""
            raise UserError(f"no --{name.replace('_', '-')} was given", mend=mend) from None
        place = places.get(name)
        found = _brief(first["input"])
        if place is None or not place.startswith("--"):
            found = f"{name} = {found}"
        raise UserError(f"{found}: {_expected(first)}", where=place) from None


def with_defaults(settings: SettingsKind, defaults: dict[str, Any]) -> SettingsKind:
    """Return settings with other defaults for those that nobody set."""
    return resolve(type(settings), defaults | settings.model_dump(exclude_unset=True))


def with_overrides(
    kind: type[SettingsKind], settings: Settings | None, overrides: dict[str, Any]
) -> SettingsKind:
    """Return what was set in `settings`, with `overrides` in its place, checked as by resolve."""
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    return resolve(kind, given | overrides)


_EXPECTED = {
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_parsing": "expected yes or no",
    "bool_type": "expected yes or no",
    "string_type": "expected text (in quotes, where it looks like something else)",
    "list_type": "expected a list, such as [a, b]",
    "literal_error": "expected {expected}",
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
}


def _expected(error: ErrorDetails) -> str:
    """What a value should have been, in our words."""
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**error.get("ctx", {}))
    return error["msg"].removeprefix("Value error, ")


def _brief(value: Any) -> str:
    """A value as Python writes it, cut: a file may hold a list of lists of lists ..."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = shown.maxlong = 60
    shown.maxlevel = 3
    return shown.repr(value)
