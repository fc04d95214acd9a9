"""Files in the formats that people publish labelled data in are read without a word about columns,
and their commonest damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.published_formats import FORMATS, Published
from support.published_tags import TAGS

from nextword.errors import UserError
from nextword.settings import InfoSettings, Task
from nextword.verbs.preview import preview_data

DOCS = Path(__file__).parents[2] / "docs"
BY_NAME = pytest.mark.parametrize(
    "published", [*FORMATS, *TAGS], ids=lambda published: published.name
)


def look(folder: Path, files: dict[str, str], task: Task) -> dict[str, Any]:
    """What `nextword info` finds in these files."""
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    names = [name for name in files if not name.endswith(".ann")]
    return preview_data([str(folder / name) for name in names], InfoSettings(task=task))


@BY_NAME
def test_a_published_format_is_read(tmp_path: Path, published: Published) -> None:
    found = look(tmp_path, published.sound, published.task)
    assert found["shown"][0] == published.shown
    assert tuple(found["unused"]) == published.unused
    assert found["examples"] == found["records"]


@BY_NAME
def test_the_commonest_damage_of_a_published_format_is_named(
    tmp_path: Path, published: Published
) -> None:
    try:
        found = look(tmp_path, published.damaged, published.task)
        said = [*found["unreadable"], *found["notes"], *found["left_out"]]
    except UserError as error:
        said = [str(error)]
    assert published.says in "\n".join(said)


@BY_NAME
def test_the_pages_on_data_quote_what_is_said(published: Published) -> None:
    for page in ("data-formats.md", "data-formats.zh-CN.md"):
        assert f"`{published.says}`" in (DOCS / page).read_text(encoding="utf-8"), page
    names = (DOCS / "data-formats.md").read_text(encoding="utf-8")
    assert published.name in names
