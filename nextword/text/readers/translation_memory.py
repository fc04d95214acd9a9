"""Translation memories in TMX: units, each a text in several languages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nextword.text.compression import open_decompressed
from nextword.text.document import ReadError, ReadStats, Records, Source

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = ("bpt", "ept", "ph", "it", "ut")  # hold codes of a program, not words


def tmx_records(source: Source, stats: ReadStats) -> Records:
    """Yield {language: text} of each unit, the source language first, with what else it holds.

    Places are lines of the file. Entities and other files are never fetched.
    """
    from lxml import etree

    first = ""  # the language that the units were translated from
    with open_decompressed(source.path, source.compression) as file:
        elements = etree.iterparse(
            file, tag=("{*}header", "{*}tu"), resolve_entities=False, no_network=True
        )
        for _, element in elements:
            if etree.QName(element).localname == "header":
                first = str(element.get("srclang", ""))
            else:
                place = f"{source.path}:{element.sourceline}"
                yield place, _unit(element, str(element.get("srclang", first)), place)
            element.clear(keep_tail=True)
            while element.getprevious() is not None:  # what was read is not kept
                del element.getparent()[0]


def _unit(unit: Any, first: str, place: str) -> dict[str, Any] | ReadError:
    texts: dict[str, str] = {}
    beside: dict[str, Any] = {f"tu.{name}": value for name, value in unit.attrib.items()}
    for child in unit:
        name = _name(child)
        if name in ("note", "prop"):
            beside[f"{name}.{child.get('type', '')}".rstrip(".")] = child.text
        if name != "tuv":
            continue
        language = str(child.get(_LANG) or child.get("lang") or "")
        segment = next((part for part in child if _name(part) == "seg"), None)
        if not language or language in texts:
            what = f"has two texts in {language!r}" if language else "has a text in no language"
            return ReadError(what, place, "", what, "give each text its own xml:lang")
        texts[language] = "" if segment is None else "".join(_words(segment))
    order = sorted(texts, key=lambda language: language.lower() != first.lower())
    return {language: texts[language] for language in order} | beside


def _words(element: Any) -> Iterator[str]:
    """Yield the text in an element, without the codes of a program around it."""
    yield element.text or ""
    for child in element:
        if _name(child) not in _CODES:
            yield from _words(child)
        yield child.tail or ""


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
