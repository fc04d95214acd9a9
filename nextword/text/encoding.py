"""Which encoding bytes are in, and decoding that never replaces anything silently."""

from __future__ import annotations

import codecs
import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from nextword.errors import UserError

_BOMS = [  # the longer first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]

# Legacy encodings, in the order they are tried. Of those in one line the better one is taken.
_LEGACY = [("euc_jp",), ("shift_jis",), ("cp949",), ("gb18030", "big5"), ("cp1251", "koi8_r")]
_LEGACY_SHARE = 0.85  # of the characters beyond ASCII: 0.95 in real text, under 0.7 if wrong
_LEGACY_LEAST = 4  # such characters, or there is nothing to tell by
_TELLING = {"euc_jp": 0.25, "shift_jis": 0.25, "cp949": 0.8}  # least share of kana, of Hangul

_EASTERN_MARKS = frozenset("“”‘’—…·×° ") | frozenset(
    map(chr, [*range(0x3000, 0x3040), *range(0xFF00, 0xFF5F)])
)
_KANA = frozenset(map(chr, range(0x3041, 0x30FF)))
_HANGUL = frozenset(map(chr, range(0xAC00, 0xD7A4)))
_WESTERN = set("àâäáãåæçéèêëíìîïñóòôöõøœúùûüýßÀÂÄÁÅÆÇÉÈÊËÍÎÏÑÓÔÖØŒÚÙÛÜ")
_PUNCTUATION = set("‘’“”–—…«»°§·£€©®™¡¿\u00a0\u00ad½¼¾²³ºª•")
_BEFORE = 1000  # bytes before the first that is not UTF-8
_SAMPLE = 60_000  # bytes looked at to tell legacy encodings apart


def detect(start: bytes, *, whole: bool = True) -> str:
    """The encoding of text that begins with `start` (all of it, if `whole`).

    Raises UserError, naming the first offending byte, where no encoding fits. Text that is UTF-8
    but for a few damaged places is UTF-8: they are for `decode` to name.
    """
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start[:4096]:
        wide = _wide(start[:4096]) or _wide_eastern(start)
        if wide is not None:
            return wide
        offset = start.index(b"\0")
        raise UserError(f"holds a NUL at byte {offset}", mend="is it text? leave it out if not")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=whole)
        return "utf-8"
    except UnicodeDecodeError as error:
        offset = error.start
    if _mostly_utf8(start[max(0, offset - _BEFORE) :][:_SAMPLE]):
        return "utf-8"
    sample = start[_word_start(start, offset) :][:_SAMPLE]
    legacy = _legacy(sample, is_cut=offset > _BEFORE) or _wide_eastern(start)
    if legacy is None or (whole and not _decodes(start, legacy)):
        raise _undecodable("utf-8", start, offset)
    return legacy


def _wide(start: bytes) -> str | None:
    """UTF-16 without a mark: in most scripts one byte of two is the same for nearly all letters."""
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


_UTF8_CHARACTER = re.compile(
    rb"[\xC2-\xDF][\x80-\xBF]|[\xE0-\xEF][\x80-\xBF]{2}|[\xF0-\xF4][\x80-\xBF]{3}"
)


def _mostly_utf8(sample: bytes) -> bool:
    characters = _UTF8_CHARACTER.findall(sample)
    inside = sum(map(len, characters))
    beyond_ascii = len(sample) - len(sample.translate(None, bytes(range(128, 256))))
    return 0 < 0.5 * beyond_ascii <= inside  # the legacy encodings of the East have under 0.3


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _word_start(content: bytes, offset: int) -> int:
    """A place before `offset` where a character begins in any encoding: after a space, as no
    character's later bytes are one. The start of the text, or some bytes before, if there is none.
    """
    low = max(0, offset - _BEFORE)
    places = [content.rfind(bytes([space]), low, offset) for space in b" \n"]
    return max(*places, low - 1) + 1


def _legacy(sample: bytes, is_cut: bool) -> str | None:
    for encodings in _LEGACY:
        texts = {encoding: _decode_start(sample, encoding, is_cut) for encoding in encodings}
        shares = {encoding: _expected(text or "", encoding) for encoding, text in texts.items()}
        best = max(shares, key=shares.__getitem__)
        if shares[best] >= _LEGACY_SHARE:
            return best
    return "cp1252" if _is_western(sample, is_cut) else None


def _expected(text: str, encoding: str) -> float:
    """Of the characters beyond ASCII, the share that text in this encoding is mostly made of."""
    beyond = [character for character in text if character > "\x7f"]
    if len(beyond) < _LEGACY_LEAST or _is_mixed(text, beyond):
        return 0
    if encoding in ("cp1251", "koi8_r"):
        return _cyrillic(text, len(beyond))
    usual = _common(encoding)
    telling = sum(character in _KANA or character in _HANGUL for character in beyond)
    if telling < _TELLING.get(encoding, 0) * len(beyond):
        return 0
    return sum(character in usual for character in beyond) / len(beyond)


@functools.cache
def _common(encoding: str) -> frozenset[str]:
    """The characters that national standards put first, as the ones in common use."""

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


def _cyrillic(text: str, beyond: int) -> float:
    """The share of characters in words written as people write them: word, Word or WORD."""
    letters = sum("\u0400" <= character <= "\u04ff" for character in text)
    small = sum("\u0430" <= character <= "\u045f" for character in text)
    if small < 0.5 * letters:
        return 0  # the two encodings swap capitals and small letters
    marks = sum(character in _PUNCTUATION or character == "№" for character in text)
    return (sum(map(len, _CYRILLIC_WORD.findall(text))) + marks) / beyond


_CYRILLIC_WORD = re.compile(
    "(?<![\u0400-\u04ff])(?:[\u0400-\u04ff][\u0430-\u045f]{0,30}|[\u0400-\u042f]{1,30})(?![\u0400-\u04ff])"
)


def _wide_eastern(start: bytes) -> str | None:
    """UTF-16 without a mark in which Chinese, Japanese or Korean is written."""
    usual = _common("gb18030") | _common("shift_jis") | _HANGUL
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(start[:4096])
        except UnicodeDecodeError:
            continue
        known = sum(character in usual or character in _PLAIN for character in text)
        if known >= 0.95 * len(text) and len(text) >= _LEGACY_LEAST:
            return encoding
    return None


_PLAIN = frozenset("\t\n\r" + "".join(map(chr, range(32, 127))))


def _is_mixed(text: str, beyond: list[str]) -> bool:
    """Whether characters beyond ASCII stand inside Latin words, as only Latin letters do."""
    return len(_INSIDE_WORD.findall(text)) > 0.2 * len(beyond)


_INSIDE_WORD = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])")


def _decode_start(sample: bytes, encoding: str, is_cut: bool) -> str | None:
    """`sample` as text, or None. A character may be cut off at its end, and at its start too if
    the sample is cut out of a text.
    """
    for start in range(4 if is_cut else 1):
        try:
            return codecs.getincrementaldecoder(encoding)().decode(sample[start:])
        except UnicodeDecodeError:
            continue
    return None


def _is_western(sample: bytes, is_cut: bool) -> bool:
    text = _decode_start(sample, "cp1252", is_cut)
    if text is None:
        return False
    beyond = [character for character in text if character > "\x7f"]
    accented = sum(character in _WESTERN for character in beyond)
    marks = sum(character in _PUNCTUATION for character in beyond)
    letters = sum(character.isascii() and character.isalpha() for character in text)
    if accented + marks < len(beyond) or accented > 0.5 * letters or marks > letters:
        return False
    return re.search(r"[\x00-\x08\x0e-\x1f]", text) is None


def decode(content: bytes, encoding: str, offset: int = 0) -> str:
    """`content`, which begins at byte `offset` of its file, as text without a byte order mark.

    Raises UserError that names the byte where it is not in this encoding.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(encoding, content, error.start, offset) from None
    return text[1:] if text.startswith("\ufeff") and offset == 0 else text


def decode_pieces(pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """The same for content that comes in pieces, which may cut characters in two."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0  # of the piece's first byte
    for piece, is_last in _with_last(pieces):
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=is_last)
        except UnicodeDecodeError as error:
            raise _undecodable(encoding, error.object, error.start, offset - waiting) from None
        offset += len(piece)
        if text:
            yield text


def _with_last(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and whether it is the last; an empty one ends them all."""
    for piece in pieces:
        yield piece, False
    yield b"", True


def _undecodable(encoding: str, content: bytes, position: int, offset: int = 0) -> UserError:
    found = content[position : position + 1].hex() or "nothing"
    name = encoding.upper().removesuffix("-SIG").replace("_", "-")
    return UserError(
        f"is not {name}: found 0x{found} at byte {offset + position}",
        mend="convert it to UTF-8 (for example with iconv), or pass --skip-bad to leave it out",
    )
