"""Text that was written in seven bits for mail: HZ, UTF-7 and quoted-printable. By its bytes it is
ASCII, and read as that it would be nonsense; it is told by what it decodes to.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterator

from nextword.errors import UserError

_LOOKED_AT = 2**20  # bytes
_FEWEST = 3  # characters beyond ASCII; with fewer nothing is concluded
_HZ = re.compile(rb"~\{((?:[!-}][!-~])+)~\}")
_UTF7 = re.compile(rb"\+([A-Za-z0-9+/]{3,})-?")
_QUOTED = re.compile(rb"(?:=[C-F][0-9A-F](?:=[89AB][0-9A-F])+)+")
_QUOTED_LETTER = re.compile(rb"(?<=[a-z])=[C-F][0-9A-F](?=[a-z]|=\r?\n)")
_SOFT_BREAK = re.compile(rb"=\r?\n")


def refuse_seven_bits(start: bytes) -> None:
    """Raise UserError for ASCII text that stands for other text, and say which."""
    sample = start[:_LOOKED_AT]
    if b"~{" in sample and _stands_for_text(_HZ, sample, _from_hz):
        raise _refused("HZ", "iconv -f HZ -t UTF-8", b"~{", sample)
    if b"+" in sample and _stands_for_text(_UTF7, sample, _from_utf7):
        raise _refused("UTF-7", "iconv -f UTF-7 -t UTF-8", b"+", sample)
    if b"=" in sample and _is_quoted_printable(sample):
        raise _refused("quoted-printable", "quopri, or the program of your mail", b"=", sample)


def _refused(name: str, tool: str, mark: bytes, sample: bytes) -> UserError:
    return UserError(
        f"seems to be text in {name}, from byte {sample.index(mark)} on",
        mend=f"convert it to UTF-8 (for example with {tool})",
    )


def _stands_for_text(
    pattern: re.Pattern[bytes], sample: bytes, decode: Callable[[bytes], str | None]
) -> bool:
    """Return whether all that is written in a pattern is letters of one script."""
    text = ""
    for match in pattern.finditer(sample):
        part = decode(match[1])
        if part is None:
            return False
        text += part
    letters = [letter for letter in text if letter.isalpha()]
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in letters}
    return len(letters) >= max(_FEWEST, 0.8 * len(text)) and len(scripts) == 1


def _from_hz(content: bytes) -> str | None:
    """Return the text of a part in HZ; None where it is no usual Chinese."""
    if not all(0x21 <= first <= 0x57 for first in content[::2]):  # level 1 of GB 2312 and marks
        return None
    try:
        return bytes(byte | 0x80 for byte in content).decode("gb2312")
    except UnicodeDecodeError:
        return None


def _from_utf7(content: bytes) -> str | None:
    """Return the text of a part in UTF-7; None where it is none."""
    try:
        decoded = base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
    except binascii.Error:
        return None
    text = decoded[: len(decoded) // 2 * 2].decode("utf-16-be", "replace")
    is_whole = base64.b64encode(text.encode("utf-16-be", "replace")).rstrip(b"=") == content
    return text if is_whole and not text.isascii() else None


def _is_quoted_printable(sample: bytes) -> bool:
    parts = list(_decoded(_SOFT_BREAK.sub(b"", sample)))
    if None not in parts and len(set("".join(map(str, parts)))) >= _FEWEST:
        return True
    letters = len(_QUOTED_LETTER.findall(sample))
    return letters >= _FEWEST and _SOFT_BREAK.search(sample) is not None


def _decoded(sample: bytes) -> Iterator[str | None]:
    for match in _QUOTED.finditer(sample):
        try:
            yield binascii.unhexlify(match[0].replace(b"=", b"")).decode()
        except UnicodeDecodeError:
            yield None
