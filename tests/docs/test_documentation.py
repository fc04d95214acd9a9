from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from nextword.cli.main import VERBS
from nextword.models.config import FAMILIES
from nextword.settings import Task

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_commands.py"
    spec = importlib.util.spec_from_file_location("generate_commands", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "language"), [("commands.md", "en"), ("commands.zh-CN.md", "zh")])
def test_the_command_reference_is_that_of_the_code(name: str, language: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == generator().page(language), "run `make docs`"


def test_no_translation_is_left_over() -> None:
    module = generator()
    used: set[str] = set()
    module.TRANSLATIONS = _Noting(module.TRANSLATIONS, used)
    module.page("zh")
    assert used == set(module.TRANSLATIONS)


class _Noting(dict):
    """A dict that notes what was asked of it."""

    def __init__(self, values: dict[str, str], used: set[str]) -> None:
        super().__init__(values)
        self.used = used

    def __getitem__(self, name: str) -> str:
        self.used.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_shown_are_commands_that_parse(page: Path) -> None:
    parsers = {verb: generator().parser_of(verb) for verb in VERBS}
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.DOTALL))
    for line in blocks.splitlines():
        words = shlex.split(line, comments=True) if line.startswith("nextword ") else []
        if page.name.startswith("commands.") or not words:
            continue
        known = {name for action in parsers[words[1]]._actions for name in action.option_strings}
        flags = {word for word in words if word.startswith("--")}
        assert flags <= known, f"{page.name}: {line}"


def test_both_languages_show_the_same_commands() -> None:
    def blocks(name: str) -> list[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)

    assert blocks("README.md") == blocks("README.zh-CN.md")


@pytest.mark.parametrize("name", ["models.md", "models.zh-CN.md"])
def test_the_table_of_shapes_says_what_learns_each_task(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `--task ")]
    named = {word for row in rows for word in re.findall(r"[a-z]+", row.split("|")[1])}
    assert named - {"task"} == {*get_args(Task), "extract"}


@pytest.mark.parametrize("name", ["models.md", "models.zh-CN.md"])
def test_every_family_is_listed(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert [family for family in FAMILIES if f"`{family}`" not in text] == []
