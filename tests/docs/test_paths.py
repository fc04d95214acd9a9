"""Every file, folder and module that a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
FOLDERS = ("nextword", "tests", "docs", "benchmarks", "examples")
ROOTS = (ROOT, ROOT / "nextword", ROOT / "docs")  # that a page's paths may begin at
WRITTEN = {"benchmarks/results/"}  # by commands that a page shows; not in the repository
CODE = re.compile(r"`([^`\n]+)`|```\w*\n(.*?)```", re.DOTALL)
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*|[\w/-]+\.py\b|(?<![\w./-])[a-z_]+/(?=\s|$)")
STAGES = {path.name for path in (ROOT / "nextword").iterdir() if path.is_dir()}


def paths(text: str) -> set[str]:
    """The paths named in a page's code and commands: of this repository, not of its reader's."""
    found = set()
    for inline, block in CODE.findall(text):
        for path in PATH.findall(inline or block):
            is_folder = path.endswith("/") and path.split("/")[0] not in FOLDERS
            if not is_folder or inline == path:  # a folder of nextword/, alone: `text/`
                found.add(path)
    return found


def exists(path: str) -> bool:
    if "/" not in path:  # a module, wherever it stands
        return bool(list((ROOT / "nextword").rglob(path)))
    return path in WRITTEN or any((root / path).exists() or list(root.glob(path)) for root in ROOTS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_modules_that_are_named_exist(page: Path) -> None:
    named = paths(page.read_text(encoding="utf-8"))
    assert [path for path in sorted(named) if not exists(path)] == []


@pytest.mark.parametrize("name", ["how-it-works.md", "how-it-works.zh-CN.md"])
def test_every_stage_is_explained(name: str) -> None:
    named = paths((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert sorted(STAGES - {path.split("/")[0] for path in named} - {"__pycache__"}) == []


def test_what_is_not_there_would_be_found() -> None:
    named = paths(
        "See `training/lop.py`, `tests/none.py`, `corpus/` and `reader.txt`.\n```\nx\n```"
    )
    assert named == {"training/lop.py", "tests/none.py", "corpus/"}
    assert not any(map(exists, named))
