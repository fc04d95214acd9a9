"""Which columns hold the text and the label: by name, else by what is in them."""

from __future__ import annotations

from typing import Any

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.classify.data import find_columns
from nextword.tasks.classify.task import Classify
from nextword.tasks.records import Columns, Record

SENTENCE = "The {} number {} stood by the river until it was sold."
NAMES = ("lamp", "stove", "boat", "garden")


def find(columns: dict[str, list[Any]], **settings: Any) -> Columns:
    records = [
        Record(dict(zip(columns, row, strict=True)), f"a.csv:{n}")
        for n, row in enumerate(zip(*columns.values(), strict=True), start=2)
    ]
    return find_columns(records, TaskSettings(task="classify", **settings), labelled=True)


def texts(count: int = 40, begin: str = "") -> list[str]:
    return [begin + SENTENCE.format(NAMES[n % 4], n) for n in range(count)]


def cycle(*values: Any, count: int = 40) -> list[Any]:
    return [values[n % len(values)] for n in range(count)]


GLOSSED = {"label": cycle(100, 101), "label_desc": cycle("a", "b"), "sentence": texts()}
IDS = [f"{n:08x}-12ab" for n in range(40)]


@pytest.mark.parametrize(("one", "other"), [("question", "sentence"), ("premise", "hypothesis")])
def test_pairs_are_known_by_their_usual_names(one: str, other: str) -> None:
    found = find({one: ["a"], other: ["b"], "label": ["c"]})
    assert found == Columns({"text": one, "pair": other}, ["label"], "label_column")


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"v1": cycle("spam", "ham"), "v2": texts()}, "v2", "v1"),
        ({"id": list(range(40)), "v1": cycle(0, 1), "v2": texts()}, "v2", "v1"),
        ({"uid": IDS, "文本": texts(), "类别": cycle("体育", "财经", "娱乐")}, "文本", "类别"),
        ({"what": texts(), "grade": [n / 7 + 0.01 for n in range(40)]}, "what", "grade"),
        ({"what": texts(), "topics": cycle("['a']", "['a' 'b']")}, "what", "topics"),
        ({"v1": cycle("spam", "ham"), "v2": texts(), "3": cycle("")}, "v2", "v1"),
        (GLOSSED, "sentence", "label"),
    ],
)
def test_columns_are_told_by_their_values(
    columns: dict[str, list[Any]], text: str, label: str
) -> None:
    assert find(columns) == Columns({"text": text}, [label], "label_column")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"v1": cycle("spam", "ham"), "v2": texts(), "v3": cycle("en", "de", "fr")},
            r"clearly the label: it may be 'v1' \(spam, ham\) or 'v3' \(en, de, fr\); name it with",
        ),
        (
            {"q1": texts(), "q2": texts(begin="So: "), "same": cycle(0, 1)},
            r"clearly the text: it may be 'q2' \(.*\) or 'q1' \(.*--pair-column",
        ),
        ({"v2": texts(), "n": list(range(40))}, r"no column is clearly the label \(columns: v2, n"),
    ],
)
def test_what_two_columns_may_be_is_asked_for(columns: dict[str, list[Any]], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find(columns)


def test_columns_that_are_not_read_are_counted() -> None:
    records = [
        Record(dict(zip(GLOSSED, row, strict=True)), "a")
        for row in zip(*GLOSSED.values(), strict=True)
    ]
    dataset = Classify.read(records, TaskSettings(task="classify"))
    assert dataset.report.unused == {"label_desc": 40}


def test_tables_of_pairs_as_glue_has_them_are_read() -> None:
    paraphrases = {
        "Quality": cycle("0", "1"),
        "#1 ID": [str(n * 7) for n in range(40)],
        "#2 ID": [str(n * 11) for n in range(40)],
        "#1 String": texts(),
        "#2 String": texts(begin="So: "),
    }
    found = find(paraphrases)
    assert found.inputs == {"text": "#1 String", "pair": "#2 String"}
    assert list(found.targets) == ["Quality"]


def test_what_describes_a_text_is_not_taken_where_a_longer_one_stands_beside_it() -> None:
    columns = {"overall": cycle(1, 5), "summary": [f"Good {n}" for n in range(40)]}
    found = find({**columns, "reviewText": texts()}, label_column="overall")
    assert found.inputs == {"text": "reviewText"}
    assert find(columns, label_column="overall").inputs == {"text": "summary"}
    with pytest.raises(UserError, match=r"no column is clearly the text.*reviewText.*summary"):
        find({"label": cycle(1, 5), "summary": texts(), "reviewText": texts(begin="So: ")})
