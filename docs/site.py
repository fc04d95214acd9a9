"""Gathers the documentation's site, a folder and a configuration a language, for `make site`.

The READMEs become its first pages, CONTRIBUTING and CHANGELOG pages of their own, and the examples'
data files are copied, so that the links to them hold. Links that lead out of `docs/` are written
anew; those between the languages go, since the site has a switch of its own.

python docs/site.py
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
NAMES = {"README": "index", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}
# A language's pages end with this, and are built into this folder of the site.
ENDINGS = {"en": ".md", "zh": ".zh-CN.md"}
FOLDERS = {"en": "site", "zh": "site/zh"}
SECTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("Use", "使用"): (
        "commands",
        "data-formats",
        "models",
        "self-supervision",
        "benchmarks",
        "serving",
        "inspection",
        "page",
        "export",
    ),
    ("Tasks", "任务"): (
        "tasks/classify",
        "tasks/tag",
        "tasks/qa",
        "tasks/summarize",
        "tasks/translate",
        "tasks/chat",
        "tasks/prefer",
        "tasks/text",
    ),
    ("Understand", "原理"): (
        "how-it-works",
        "reliability",
        "performance",
        "recipe",
        "scale",
    ),
    ("Work on it", "参与开发"): ("contributing", "changelog"),
}
# Anchors of Chinese headings keep their characters.
SLUGS = {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}}
TOC = {"toc": {"permalink": True, "slugify": SLUGS}}
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
LANGUAGE_LINK = re.compile(r"(?: ?&nbsp; ?)?\[(?:中文|English)\]\([^)]*\)(?: · )?")


def gather(language: str) -> Path:
    """Write a language's pages and configuration anew, and return the configuration's path."""
    folder, ending = BUILD / f"site-pages-{language}", ENDINGS[language]
    shutil.rmtree(folder, ignore_errors=True)
    outside = [ROOT / f"{name}{ending}" for name in NAMES if (ROOT / f"{name}{ending}").is_file()]
    for path in [*outside, *(ROOT / "docs").rglob(f"*{ending}")]:
        name = path.name.removesuffix(ending)
        if "." in name:  # a page of another language
            continue
        place = path.relative_to(ROOT / "docs" if path not in outside else ROOT).parent
        target = folder / place / f"{NAMES.get(name, name) if path in outside else name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        text = LANGUAGE_LINK.sub("", path.read_text(encoding="utf-8"))
        depth = len(place.parts)
        text = LINK.sub(lambda link: site_link(link, depth), text)  # noqa: B023 (used at once)
        target.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs/images", folder / "images")
    shutil.copytree(
        ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("*.md", "__pycache__")
    )
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
    path = BUILD / f"site-{language}.yml"
    text = yaml.safe_dump(configuration(language), allow_unicode=True, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def site_link(link: re.Match[str], depth: int) -> str:
    """Return a link of a page that stands `depth` folders below the root or docs/, as on the
    site."""
    target, anchor = link[1], link[2] or ""
    target = target.replace("../" * (depth + 1), "../" * depth, 1).removeprefix("docs/")
    folder, _, name = target.rpartition("/")
    name = name.replace(".zh-CN.md", ".md")
    page = NAMES.get(name.removesuffix(".md"))
    name = name if page is None else f"{page}.md"
    return f"]({folder}/{name}{anchor})" if folder else f"]({name}{anchor})"


def configuration(language: str) -> dict[str, Any]:
    """Return what the site's generator is told."""
    which = list(ENDINGS).index(language)
    nav: list[dict[str, Any]] = [{("nextword", "首页")[which]: "index.md"}]
    for names, pages in SECTIONS.items():
        nav.append({names[which]: [f"{page}.md" for page in pages]})
    other = {"en": "zh/", "zh": "../"}[language]
    names = {"en": "English", "zh": "中文"}
    alternate = [
        {"name": names[key], "lang": key, "link": "./" if key == language else other}
        for key in ENDINGS
    ]
    switch = [("default", "white", "weather-night"), ("slate", "black", "weather-sunny")]
    palette = [
        {
            "scheme": scheme,
            "primary": primary,
            "accent": "teal",
            "toggle": {"icon": f"material/{icon}", "name": ("Light and dark", "明暗")[which]},
        }
        for scheme, primary, icon in switch
    ]
    features = ["navigation.sections", "navigation.top", "content.code.copy", "search.highlight"]
    return {
        "site_name": "nextword",
        "docs_dir": f"site-pages-{language}",
        "site_dir": FOLDERS[language],
        "use_directory_urls": False,
        "theme": {
            "name": "material",
            "language": language,
            "font": False,  # nothing is fetched from elsewhere
            "palette": palette,
            "features": features,
        },
        "plugins": ["search"],
        "markdown_extensions": ["tables", "attr_list", "md_in_html", "pymdownx.superfences", TOC],
        "extra": {"alternate": alternate},
        "nav": nav,
    }


if __name__ == "__main__":
    for language in ENDINGS:
        print(gather(language))
