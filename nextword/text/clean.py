"""The same text, written one way: Unicode NFC, Unix line ends, no control characters."""

from __future__ import annotations

import re
import unicodedata

# Controls, and marks that show nothing: byte order mark, soft hyphen, directions, interlinear
# marks, tags. Joiners (U+200C, U+200D) and variation selectors stay: scripts and emoji need them.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)
_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
_PLAIN = bytes([9, 10, *range(32, 127)])


def clean(text: str) -> str:
    """`text` in NFC with "\\n" for every line end, without control and invisible characters.

    Nothing else changes: spaces, tabs and empty lines stay as they are.
    """
    # Only what is left without plain ASCII is searched: most text has little of it.
    rest = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    if not rest:
        return text
    unusual = rest.decode("utf-8", "surrogatepass")
    if "\r" in unusual:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _LINE_ENDS.search(unusual):
        text = _LINE_ENDS.sub("\n", text)
    if _DROPPED.search(unusual):
        text = _DROPPED.sub("", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return text
