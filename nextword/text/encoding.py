"""Detecting the encoding of bytes, and decoding that never replaces anything silently.

It is told by byte order marks, by the rules of UTF-8 and UTF-16, and, for the encodings before
Unicode, by how much of the decoded text is made of characters in common use (those of the East), or
by the language that the text then is in (`nextword.text.single_byte`).
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from nextword.errors import UserError
from nextword.text.seven_bits import refuse_seven_bits
from nextword.text.single_byte import Reading, likeliest

_BOMS = [  # the longer first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]

# Encodings of the East, in the order they are tried. Of those in one tuple the better is taken.
_EASTERN = [("euc_jp",), ("shift_jis",), ("cp949",), ("gb18030", "big5")]
_EASTERN_SHARE = 0.85  # of the characters beyond ASCII: 0.95 in real text, under 0.7 if wrong
_EASTERN_LEAST = 4  # such characters; with fewer nothing is concluded
_MIN_KANA_HANGUL = {"euc_jp": 0.25, "shift_jis": 0.25, "cp949": 0.8}  # least share

_EASTERN_MARKS = frozenset("“”‘’—…·×° ") | frozenset(
    map(chr, [*range(0x3000, 0x3040), *range(0xFF00, 0xFF5F)])
)
_KANA = frozenset(map(chr, range(0x3041, 0x30FF)))
_HANGUL = frozenset(map(chr, range(0xAC00, 0xD7A4)))
_PLAIN = frozenset("\t\n\r" + "".join(map(chr, range(32, 127))))
_INSIDE_WORD = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])")
_UTF8_CHARACTER = re.compile(
    rb"[\xC2-\xDF][\x80-\xBF]|[\xE0-\xEF][\x80-\xBF]{2}|[\xF0-\xF4][\x80-\xBF]{3}"
)
_ESCAPED = re.compile(rb"\x1b\$[@B](?:[!-~]{2})+\x1b\([BJ]")  # Japanese within ISO-2022-JP
_SHORT = 80  # bytes of text that may be in an encoding of the East, or in another
_BYTES_BEFORE = 1000  # bytes before the first that is not UTF-8
_SAMPLE_BYTES = 60_000  # looked at to tell encodings of the East apart
_SHOWN = 20  # characters on either side of where two readings begin to differ
_PIECES, _PIECE_BYTES = 16, 256  # looked at to tell encodings of one byte a character apart
_ASCII_RUN = re.compile(rb"([\x00-\x7f]{100})[\x00-\x7f]+([\x00-\x7f]{100})")


def detect_encoding(start: bytes, *, whole: bool = True) -> str:
    """Return the encoding of text that begins with `start` (and ends with it, if `whole`).

    Text that is UTF-8 but for a few damaged bytes is called UTF-8: `decode` names them. Raises
    UserError, naming the first offending byte, where no encoding fits.
    """
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start[:4096]:
        utf16 = _unmarked_utf16(start[:4096]) or _unmarked_eastern_utf16(start)
        if utf16 is not None:
            return utf16
        offset = start.index(b"\0")
        raise UserError(f"holds a NUL at byte {offset}", mend="is it text? leave it out if not")
    if b"\x1b$" in start and _ESCAPED.search(start):  # ASCII, by its bytes
        return "iso2022_jp"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=whole)
        if start.isascii():
            refuse_seven_bits(start)
        return "utf-8"
    except UnicodeDecodeError as error:
        offset = error.start
    if _mostly_utf8(start[max(0, offset - _BYTES_BEFORE) :][:_SAMPLE_BYTES]):
        return "utf-8"
    sample = start[_word_start(start, offset) :][:_SAMPLE_BYTES]
    legacy = _eastern(sample, offset > _BYTES_BEFORE)
    if legacy is None or len(sample) < _SHORT:
        found = likeliest(_pieces(start, offset))
        if found and legacy is not None:
            eastern = Reading(legacy, "", sample.decode(legacy, "replace"), 0.0)
            raise _ambiguous(start, offset, eastern, found[0])
        if len(found) > 1:
            raise _ambiguous(start, offset, *found)
        legacy = legacy or (found[0].encoding if found else _unmarked_eastern_utf16(start))
    if legacy is not None:
        with contextlib.suppress(UnicodeDecodeError):
            if whole:
                start.decode(legacy)
            return legacy
    raise _undecodable("utf-8", start, offset)


def _unmarked_utf16(start: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark.

    In most scripts one byte of two is the same for nearly all letters.
    """
    letters = start.replace(b"\0", b"")
    plain = len(letters) - len(letters.translate(None, bytes([9, 10, 13, *range(32, 127)])))
    if plain > 0.9 * len(letters) and len(letters) > 0.8 * len(start):
        return None  # plain text with a few NULs in it
    for name, high in (("utf-16-le", start[1::2]), ("utf-16-be", start[0::2])):
        common = Counter(high).most_common(1)
        if not common or common[0][1] < 0.3 * len(high):
            continue
        try:
            text = start[: len(start) // 2 * 2].decode(name)
        except UnicodeDecodeError as error:
            if error.start < len(start) - 4:
                continue
            text = start[: error.start].decode(name)
        if text and sum(c.isprintable() or c in "\n\r\t\f" for c in text) > 0.99 * len(text):
            return name
    return None


def _mostly_utf8(sample: bytes) -> bool:
    characters = _UTF8_CHARACTER.findall(sample)
    inside = sum(map(len, characters))
    beyond_ascii = len(sample) - len(sample.translate(None, bytes(range(128, 256))))
    return 0 < 0.5 * beyond_ascii <= inside  # the legacy encodings of the East have under 0.3


def _word_start(content: bytes, offset: int) -> int:
    """Return a place before `offset` where a character begins in any encoding: after a space, as
    no character's later bytes are one. Without a space, the start of the text or a place near."""
    low = max(0, offset - _BYTES_BEFORE)
    spaces = [content.rfind(space, low, offset) for space in (b" ", b"\n")]
    return max(*spaces, low - 1) + 1


def _pieces(content: bytes, offset: int) -> bytes:
    """Return what is near bytes beyond ASCII from `offset` on, or pieces spread evenly over it."""
    content = _ASCII_RUN.sub(rb"\1\n\2", content[max(0, offset - _BYTES_BEFORE) :])
    if len(content) <= _PIECES * _PIECE_BYTES:
        return content
    starts = range(0, len(content), -(-len(content) // _PIECES))
    return b"\n".join(content[start : start + _PIECE_BYTES] for start in starts)


def _eastern(sample: bytes, is_cut: bool) -> str | None:
    for encodings in _EASTERN:
        texts = {encoding: _decode_start(sample, encoding, is_cut) for encoding in encodings}
        shares = {encoding: _usual_share(text or "", encoding) for encoding, text in texts.items()}
        best = max(shares, key=shares.__getitem__)
        if shares[best] >= _EASTERN_SHARE:
            return best
    return None


def _usual_share(text: str, encoding: str) -> float:
    """Return the share of the characters beyond ASCII that are usual in this encoding's text."""
    beyond = [character for character in text if character > "\x7f"]
    # Characters beyond ASCII that stand in Latin words are Latin letters.
    if len(beyond) < _EASTERN_LEAST or len(_INSIDE_WORD.findall(text)) > 0.2 * len(beyond):
        return 0
    usual = _common_characters(encoding)
    kana_or_hangul = sum(character in _KANA or character in _HANGUL for character in beyond)
    if kana_or_hangul < _MIN_KANA_HANGUL.get(encoding, 0) * len(beyond):
        return 0
    return sum(character in usual for character in beyond) / len(beyond)


@functools.cache
def _common_characters(encoding: str) -> frozenset[str]:
    """Return the characters that national standards put first, as the ones in common use."""

    def rows(name: str, first: int, last: int) -> frozenset[str]:
        cells = [bytes([row, cell]) for row in range(first, last + 1) for cell in range(64, 255)]
        return frozenset("".join(cell.decode(name, "ignore") for cell in cells)) - {
            *map(chr, range(128))
        }

    if encoding == "cp949":
        return _HANGUL | _EASTERN_MARKS
    if encoding in ("euc_jp", "shift_jis"):
        return _KANA | _EASTERN_MARKS | rows("euc_jp", 0xB0, 0xCF)
    return _EASTERN_MARKS | rows("gb2312", 0xB0, 0xD7) | rows("big5", 0xA4, 0xC6) - _KANA


def _unmarked_eastern_utf16(start: bytes) -> str | None:
    """Detect Chinese, Japanese or Korean in UTF-16 without a byte order mark."""
    usual = _common_characters("gb18030") | _common_characters("shift_jis") | _HANGUL
    for encoding in ("utf-16-le", "utf-16-be"):
        text = _decode_start(start[:4096], encoding, is_cut=False) or ""
        known = sum(character in usual or character in _PLAIN for character in text)
        if known >= 0.95 * len(text) and len(text) >= _EASTERN_LEAST:
            return encoding
    return None


def _decode_start(sample: bytes, encoding: str, is_cut: bool) -> str | None:
    """Return `sample` as text, or None if it is not in this encoding.

    A character may be cut off at its end, and at its start too if `is_cut` out of a text.
    """
    for start in range(4 if is_cut else 1):
        try:
            return codecs.getincrementaldecoder(encoding)().decode(sample[start:])
        except UnicodeDecodeError:
            continue
    return None


def decode(content: bytes, encoding: str, offset: int = 0) -> str:
    """Return `content`, from byte `offset` of its file on, as text without a byte order mark.

    Raises UserError naming the first byte that is not in this encoding.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(encoding, content, error.start, offset) from None
    return text[1:] if text.startswith("\ufeff") and offset == 0 else text


def decode_chunks(chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Decode content that comes in chunks, which may cut characters in two.

    Raises UserError as `decode` does.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0  # of the chunk's first byte
    for chunk in itertools.chain(chunks, [None]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            raise _undecodable(encoding, error.object, error.start, offset - pending) from None
        offset += len(chunk or b"")
        if text:
            yield text


def _undecodable(encoding: str, content: bytes, position: int, offset: int = 0) -> UserError:
    found = content[position : position + 1].hex() or "nothing"
    return UserError(
        f"is not {_written(encoding)}: found 0x{found} at byte {offset + position}",
        mend="convert it to UTF-8 (for example with iconv), or pass --skip-bad to leave it out",
    )


def _ambiguous(content: bytes, position: int, first: Reading, second: Reading) -> UserError:
    """An error with two readings, and the first word in which they differ."""
    pairs = enumerate(zip(first.text, second.text, strict=False))
    place = next(number for number, (one, other) in pairs if one != other)
    shown = []
    for reading in (first, second):
        before = re.search(r"\S*\Z", reading.text[:place])
        after = re.match(r".\S*", reading.text[place:], re.S)
        word = (before[0][-_SHOWN:] if before else "") + (after[0][:_SHOWN] if after else "")
        shown.append(f"{_written(reading.encoding)} (“{word}”)")
    found = f"0x{content[position]:02x} at byte {position}"
    return UserError(
        f"is not UTF-8 ({found}): it may be {' or '.join(shown)}",
        mend=f"convert it to UTF-8: iconv -f {_written(first.encoding)} -t UTF-8, if that is right",
    )


def _written(encoding: str) -> str:
    return encoding.upper().removesuffix("-SIG").replace("_", "-")
