"""The documentation's site has every page, and every link of a page leads to a file of the site."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.BUILD = tmp_path_factory.mktemp("build")
    return module


def test_every_page_is_in_the_sites_menu(site: ModuleType) -> None:
    pages = {
        path.relative_to(ROOT / "docs").as_posix().removesuffix(".md")
        for path in (ROOT / "docs").rglob("*.md")
        if not path.name.endswith(".zh-CN.md")
    }
    named = [page for pages in site.SECTIONS.values() for page in pages]
    assert set(named) - set(site.NAMES.values()) == pages and len(named) == len(set(named))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_link_leads_to_a_file_of_the_site(site: ModuleType, language: str) -> None:
    site.gather(language)
    folder = site.BUILD / f"site-pages-{language}"
    pages = list(folder.rglob("*.md"))
    assert len(pages) > 15 and (folder / "index.md").is_file()
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page} links to {target}"


def test_a_page_is_in_one_language(site: ModuleType) -> None:
    for language in site.ENDINGS:
        site.gather(language)
    english = (site.BUILD / "site-pages-en" / "tasks" / "qa.md").read_text(encoding="utf-8")
    chinese = (site.BUILD / "site-pages-zh" / "tasks" / "qa.md").read_text(encoding="utf-8")
    assert not re.search(r"[一-鿿]{3}", english.split("```")[0])
    assert re.search(r"[一-鿿]{3}", chinese)
    shutil.rmtree(site.BUILD)
