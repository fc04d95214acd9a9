"""Every setting is checked where it was given, and said to be wrong there."""

from __future__ import annotations

import pytest

from nextword.errors import UserError
from nextword.settings import FinetuneSettings, GenerateSettings, PretrainSettings, resolve


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("1.5m", 90), ("10m", 600), ("1h30m", 5400), (45.0, 45)]
)
def test_times_are_read_with_their_units(written: object, seconds: float) -> None:
    assert resolve(PretrainSettings, {"budget": written}).budget == seconds


@pytest.mark.parametrize("written", ["5", 5])
def test_a_time_without_a_unit_is_refused(written: object) -> None:
    with pytest.raises(UserError, match="has no unit; write 5s, 5m or 5h"):
        resolve(PretrainSettings, {"budget": written})


def test_a_setting_that_is_missing_is_named_as_a_flag() -> None:
    with pytest.raises(UserError, match=r"no --task was given; one of classify, .*prefer"):
        resolve(FinetuneSettings, {})


def test_a_flag_is_named_once() -> None:
    with pytest.raises(UserError) as caught:
        resolve(PretrainSettings, {"steps": "many"}, {"steps": "--steps"})
    assert str(caught.value).startswith("--steps: 'many': ")


def test_a_line_of_a_file_is_named_with_its_setting() -> None:
    with pytest.raises(UserError) as caught:
        resolve(PretrainSettings, {"budget": "soon"}, {"budget": "run.yaml:3"})
    assert str(caught.value).startswith("run.yaml:3: budget = 'soon': ")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        resolve(GenerateSettings, {"temprature": 1.0})


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("val_fraction", 1.0), ("learning_rate", -1), ("vocab_size", 3), ("seed", -1)],
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        resolve(PretrainSettings, {name: value})
