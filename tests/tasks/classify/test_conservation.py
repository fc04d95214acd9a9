"""Nothing is lost or made up: each label of a data set, sound or with one damage, is read as it is,
or its record is left out, refused or noted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.classify.task import Classify
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record

SETTINGS = TaskSettings(task="classify")
CLASSES = ("joy", "anger", "云", "not sure", "a-b")
Cell = tuple[Any, Any]  # what stands in the data, and the label that it is


def words(chance: random.Random) -> list[Cell]:
    return [(name, name) for name in chance.choices(CLASSES, k=12)] + [(n, n) for n in CLASSES]


def numbers(chance: random.Random) -> list[Cell]:
    spelled = (str, int, float, lambda number: f"{number}.0", lambda number: f" {number} ")
    return [(chance.choice(spelled)(n), str(n)) for n in chance.choices(range(-1, 2), k=15)]


def booleans(chance: random.Random) -> list[Cell]:
    spelled = {"true": ("True", "true", "TRUE", True), "false": ("False", "false", False)}
    cells = [(chance.choice(spelled[n]), n) for n in chance.choices(list(spelled), k=9)]
    return [*cells, ("True", "true"), (True, "true"), ("False", "false"), (False, "false")]


def lists(chance: random.Random) -> list[Cell]:
    printed: tuple[Callable[[list[str]], Any], ...] = (
        list,
        str,
        lambda names: json.dumps(names, ensure_ascii=False),
        lambda names: str(np.array(names)),
    )
    cells = []
    for _ in range(12):
        names = chance.sample(CLASSES, chance.randint(0, 3))
        cells.append((chance.choice(printed)(names), names))
    return [*cells, ([CLASSES[0]], [CLASSES[0]])]


def joined(chance: random.Random) -> list[Cell]:
    mark = chance.choice("|;,")
    cells = [(mark.join(n), n) for n in (chance.sample(CLASSES, 2) for _ in range(12))]
    return cells + [(name, [name]) for name in CLASSES] * 2


def amounts(chance: random.Random) -> list[Cell]:
    """Numbers in one notation, some of which can be read in no other."""
    point, thousands = chance.choice([(".", ""), (".", ","), (",", "."), (",", " "), (",", "")])
    cells = []
    for _ in range(12):
        number = round(chance.uniform(-9000, 9000), 2)
        text = f"{number:,.2f}" if thousands else f"{number:.2f}"
        text = text.replace(",", "\0").replace(".", point).replace("\0", thousands)
        cells.append((text + chance.choice(("", " ")), number))
    sure = f"-1{thousands}234{point}05"
    return [*cells, (sure, -1234.05), (f"0{point}75", 0.75), (f"2{point}25", 2.25)]


SOUND = [words, numbers, booleans, lists, joined, amounts]
DAMAGED: list[Any] = [
    *("", "  ", None, float("nan"), {"joy": 0.5}, [["joy"]], [None], "['joy', 'an", "['joy' 'an]"),
    *("[joy, anger]", "-", "1,2,3,4", "n/a"),
]


def read(cells: list[Cell]) -> Dataset[Any] | None:
    """Read cells; None where the whole data set is refused, which says why."""
    records = [Record({"text": f"t {n}", "label": v}, str(n)) for n, (v, _) in enumerate(cells)]
    try:
        return Classify.read(records, SETTINGS, keep_going=True)
    except UserError as error:
        assert error.what and error.where is not None
        return None


def check(seed: int) -> None:
    chance = random.Random(seed)
    cells = chance.choice(SOUND)(chance)
    chance.shuffle(cells)
    sound = read(cells)
    assert sound is not None, f"seed {seed}: refused"
    labels = [text.label for text in sound.examples]
    assert labels == [label for _, label in cells], f"seed {seed}"
    at = chance.randrange(len(cells))
    damage = chance.choice(DAMAGED)
    cells[at] = (damage, None)
    dataset = read(cells)
    if dataset is None:
        return
    report, found = dataset.report, {text.place: text.label for text in dataset.examples}
    left_out = [str(error.where) for error in report.left_out.values()]
    assert report.records == len(found) + len(left_out) + len(report.unreadable) == len(cells)
    for place, (_, label) in enumerate(cells):
        if place != at:
            assert listed(found[str(place)]) == listed(label), f"seed {seed}"
        elif str(place) in found:  # as what stands there
            assert listed(found[str(place)]) in ([damage], str(damage).split(",")), f"seed {seed}"


def listed(label: Any) -> list[Any]:
    """A label, or labels: one list among names makes all of them lists."""
    return label if isinstance(label, list) else [label]


@pytest.mark.parametrize("part", range(4))
def test_every_label_is_read_left_out_or_refused(part: int) -> None:
    for seed in range(part * 50, part * 50 + 50):
        check(seed)


@pytest.mark.slow(cases=10_000)
def test_every_label_of_very_many_data_sets_is_read_left_out_or_refused() -> None:
    for seed in range(1000, 11_000):
        check(seed)
