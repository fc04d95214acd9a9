from __future__ import annotations

import pytest

from nextword.errors import UserError
from nextword.tasks.generate.prompts import Field, default_template, main_language, parse_template


def test_fields_stand_between_text_and_doubled_braces_are_braces() -> None:
    pieces = parse_template("{text}\\nTL;DR {{short}}:\\t{b}", ["text", "b"])
    assert pieces == [Field("text"), "\nTL;DR {short}:\t", Field("b")]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{texts}:", "--prompt: has no column 'texts'; did you mean 'text'?"),
        ("{text!r}", "has no column 'text!r'"),
        ("{text.__class__}", "has no column 'text.__class__'"),
        ("{text} {", "'{' at character 8 stands alone; write a column as {name}"),
        ("Summary:", "--prompt: names no column; name some, such as {text}"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(template: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_template(template, ["text", "label"])
    assert message in str(raised.value)


def test_mostly_chinese_data_gets_a_chinese_template() -> None:
    assert main_language(["青石镇位于柳河边，约有1200人。", "In English."] * 3) == "zh"
    assert main_language(["The town lies on the river, and it is old.", "好"]) == "en"
    assert "问题" in default_template("qa", "zh")
    assert "Question" in default_template("qa", "de")
