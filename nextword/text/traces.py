"""What a text shows of how it was kept before: markup, an encoding read wrongly, lost characters.

Cleaning leaves it as it is, for only people know whether it belongs to their text; it is counted.
"""

from __future__ import annotations

import re

_GUTENBERG = "PROJECT GUTENBERG"  # stands in capitals where its books begin and end
LICENCE = "Project Gutenberg's licence"
MARKUP = "tags or entities of HTML or XML"
JSON = "the marks of JSON"
MISREAD = "letters that were once read in a wrong encoding"
LOST = "characters that were lost before (U+FFFD)"
SUBTITLES = "the times of subtitles"
PRINTED_BYTES = "bytes as Python prints them (b'…')"
TRACES = (LICENCE, MARKUP, JSON, MISREAD, LOST, SUBTITLES, PRINTED_BYTES)
REMARKS = {  # where something can be done about it
    MARKUP: "strip them, or save pages as .html",
    JSON: "save it as .json or .jsonl",
    MISREAD: "such as Ã¶ for ö; ftfy mends them",
    LOST: "decode the original again",
    PRINTED_BYTES: "decode them before they are saved",
}

_TAGS = ("</p>", "<br", "</div>", "</a>", "</text>", "</doc>", "</item>", "<?xml")
_ENTITIES = ("&nbsp;", "&quot;", "&amp;", "&lt;", "&#39;", "&#x27;")
_BEGINS_AS_JSON = re.compile(r'\s*(?:\[\s*)?\{\s*"[^"\n]{1,60}"\s*:')
_TIMES = re.compile(r"\d\d:\d\d[.,]\d{3} --> ")
_SUBTITLES_BEGIN = 500  # characters
_JUDGED = 20_000  # characters of a text that may be in a wrong encoding

# What the bytes 0x80 to 0xBF are in Latin-1 and in code page 1252: the later bytes of UTF-8.
_LATER = "\x80-\xbf" + "".join(
    bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)
)
_MISREAD = re.compile(
    f"[\xc2-\xc5\xce-\xd1][{_LATER}]|[\xe2-\xef][{_LATER}]{{2}}|\xf0[{_LATER}]{{3}}"
)


def traces(text: str) -> list[str]:
    """Return the names of what `text` shows, of what people seldom mean to be there."""
    found = []
    if _GUTENBERG in text:
        found.append(LICENCE)
    if ("<" in text and any(tag in text for tag in _TAGS)) or (
        "&" in text and any(entity in text for entity in _ENTITIES)
    ):
        found.append(MARKUP)
    if _BEGINS_AS_JSON.match(text):
        found.append(JSON)
    if " --> " in text[:_SUBTITLES_BEGIN] and _TIMES.search(text[:_SUBTITLES_BEGIN]):
        found.append(SUBTITLES)
    if text.startswith(("b'", 'b"')) and text.rstrip().endswith(text[1]):
        found.append(PRINTED_BYTES)
    if not text.isascii():
        if "\ufffd" in text:
            found.append(LOST)
        if _is_misread(text[:_JUDGED]):
            found.append(MISREAD)
    return found


def _is_misread(text: str) -> bool:
    """Return whether most of what is not ASCII is UTF-8 that was taken for one byte a character."""
    misread = sum(map(len, _MISREAD.findall(text)))
    return misread > 0.5 * (len(text) - len(text.encode("ascii", "ignore")))
