from __future__ import annotations

import contextlib
import json
import math
import random
import time
from typing import Any

import numpy as np
import pytest

from nextword.errors import UserError
from nextword.text.cells import read_cell, read_value

VALUES: list[Any] = [
    [],
    {},
    ["joy"],
    ["it's", 'a "quote"', "both ' and \"", "comma, inside", "[bracket", "back\\slash", "a\nb"],
    ["愛", "naïve", "😀"],
    [3, 10, -1],
    [1.5, -0.25, 1e-9],
    [True, False, None],
    [["a", "b"], ["c"], []],
    {"text": ["Marrow"], "answer_start": [12]},
    [{"from": "human", "value": "Hi {there}"}, {"from": "gpt", "value": "it's [ok]"}],
]


@pytest.mark.parametrize("value", VALUES)
def test_what_json_and_python_print_is_read_back(value: Any) -> None:
    for printed in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2), str(value)):
        assert read_cell(printed) == read_cell(f" {printed}\n") == value


@pytest.mark.parametrize(
    "values",
    [
        ["joy", "anger"],
        ["it's", 'a "quote"', "a b", "c\nd", ""],
        ["a long label number " + str(n) for n in range(60)],  # printed on many lines
        [3, 10],
        [0.5, 1.0, 1e-8, 1e20],
        [True, False],
    ],
)
@pytest.mark.parametrize("kind", [None, object])
def test_what_numpy_prints_is_read_back(values: list[Any], kind: Any) -> None:
    for printed in (str(np.array(values, kind)), repr(np.array(values, kind))):
        cell = printed if printed.startswith("[") else f"[{printed}]"
        read = read_cell(cell)
        assert (read if printed is cell else read[0]) == values


def test_numpy_in_lists_and_objects_is_read() -> None:
    answers = {"text": np.array(["Marrow"], object), "answer_start": np.array([12], np.int32)}
    assert read_cell(str(answers)) == {"text": ["Marrow"], "answer_start": [12]}
    assert read_cell(str({"text": np.array([], object)})) == {"text": []}
    assert read_cell(str([np.str_("a"), np.float64(0.5), np.True_])) == ["a", 0.5, True]
    turns = np.array([{"role": "user", "content": "it's"}, {"role": "bot", "content": "ok"}])
    assert read_cell(str(turns)) == list(turns)
    assert read_cell(str(np.array([["a", "b"], ["c", "d"]]))) == [["a", "b"], ["c", "d"]]
    assert math.isnan(read_cell(str(np.array([np.nan, 1.0])))[0])


def test_tuples_and_sets_are_lists() -> None:
    assert read_cell("('a', 'b')") == ["a", "b"]
    assert read_cell("{'a', 'b'}") == ["a", "b"]
    assert read_cell("[('a', 1), ('b', 2)]") == [["a", 1], ["b", 2]]
    assert read_cell("[b'a', u'b']") == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "7",
        "true",
        '"quoted"',
        "[Applause] Thank you [laughs]",
        "[laughs]",
        "[12 May 2020]",
        "[1] Smith et al.; see also [2]",
        "[[Image: a 'red' boat]]",
        "[[Category:Boats]] and [[Trees]]",
        "{laughs} Well. {pause}",
        "(He said: 'yes', and left.)",
        '["Where?" he asked, "and why?"]',
        "['Tis the season]",
        "[the 'first' and the 'last']",
        "{{cite book | title='A', 'B'}}",
        "['a'] and then ['b']",
        "[http://a.org]",
        "[ ] to do",
        "{ int a = 'x'; return b; }",
    ],
)
def test_prose_in_brackets_stays_text(text: str) -> None:
    assert read_cell(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("['it's', 'b']", "cannot be read"),
        ("['it's']", "cannot be read"),
        ("['a' 'b', 'c']", "commas stand between some"),
        ("['say ''hi'' now', 'b']", "expected"),
        ("['a', 'b]", "unclear"),
        ("['a', b, 'c']", "'b' stands in it without quotes"),
        ("['a', Path('b'), 'c']", "a 'Path' stands in it"),
        (str(np.arange(2000)), "shortened"),
        (str(np.array([f"label {n}" for n in range(2000)])), "shortened"),
        ("{'text': ['it's'], 'start': [1]}", "looks like an object"),
        ("{'text': 'a', 'start': }", "looks like an object"),
        ("[{'from': 'human', 'value': 'it's'}]", "looks like a list"),
        ("[{'a': 'b's'}, {'a': 'c'}]", "looks like a list"),
        ("['a', __import__('os').getcwd(), 'b']", "cannot be read"),
        ("['\\x', 'b']", "damaged"),
    ],
)
def test_a_damaged_list_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_cell(text)


def test_depth_is_bounded() -> None:
    assert read_cell("[" * 90 + "'a'" + "]" * 90) is not None
    for depth in (200, 100_000):
        read_cell("[" * depth + "a" + "]" * depth)  # prose, however deep
        with pytest.raises(UserError, match="too deep"):
            read_cell("[" * depth + "'a'" + "]" * depth)


def test_lists_of_any_strings_survive_every_print() -> None:
    draw = random.Random(5)
    for _ in range(500):
        strings = [
            "".join(draw.choices("ab'\" ,[]{}\\\n\té愛:.", k=draw.randint(0, 8)))
            for _ in range(draw.randint(0, 6))
        ]
        for printed in (json.dumps(strings), str(strings), str(np.array(strings, object))):
            assert read_cell(printed) == strings, printed


@pytest.mark.parametrize(
    "text",
    [
        "['a'" + " " * 200_000 + "x]",
        "[" + "1" * 200_000 + "x]",
        "[" + "1." * 100_000 + "x]",
        "[" + "'" * 100_001 + "]",
        "['" + "\\'" * 100_000 + "]",
        '["' + "a' , b " * 50_000 + "]",
    ],
)
def test_hostile_cells_take_bounded_time(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(UserError):
        read_cell(text)
    assert time.process_time() - started < 10  # a quadratic search takes minutes


def test_a_damaged_cell_is_refused_by_its_name_and_place() -> None:
    assert read_value('["a"]', "a.csv:2") == ["a"] and read_value(["a"], "a.csv:2") == ["a"]
    with pytest.raises(UserError, match=r"a\.csv:2: column 'x' looks like a list") as raised:
        read_value('["a", "b" "c"]', "a.csv:2", "column 'x' ")
    assert raised.value.mend
