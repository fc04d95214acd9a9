"""Which encoding bytes are in, and decoding that never replaces anything silently."""

from __future__ import annotations

import codecs
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

# Legacy encodings, each with characters that make up a large share of any text in its language
# and come out of no other encoding's bytes at that rate.
_LEGACY = [
    (
        "gb18030",
        "的一是不了人在有我他这中大来上个国说们为子和你地出道也时年得就那要下以生会自着去之过家"
        "學這來個國說們為時會過對發後無開經種與",
    ),
    (
        "big5",
        "的一是不了人在有我他這中大來上個國說們為子和你地出道也時年得就那要下以生會自著去之過家",
    ),
    ("shift_jis", "のにはをたがでとしれさあいうるなもらりかきっまてこそよ"),
    ("euc_jp", "のにはをたがでとしれさあいうるなもらりかきっまてこそよ"),
    ("cp949", "이다는을가의에하고지한로도를기리사어자나아은서인대들그라해"),
    ("cp1251", "оеаинтсрвлкмдпуяыьгзбчйхОВНП"),
    ("koi8_r", "оеаинтсрвлкмдпуяыьгзбчйхОВНП"),
]
_LEGACY_SHARE = 0.12  # of the characters beyond ASCII; 0.2 to 0.8 in real text, under 0.03 if wrong

_LEGACY_LEAST = 8  # such characters, or there is nothing to tell by

_WESTERN = set("àâäáãåæçéèêëíìîïñóòôöõøœúùûüýßÀÂÄÁÅÆÇÉÈÊËÍÎÏÑÓÔÖØŒÚÙÛÜ")
_PUNCTUATION = set("‘’“”–—…«»°§·£€©®™¡¿\u00a0\u00ad½¼¾²³ºª•")
_BEFORE = 1000  # bytes before the first that is not UTF-8
_SAMPLE = 200_000  # bytes looked at to tell legacy encodings apart


def detect(start: bytes, *, whole: bool = True) -> str:
    """The encoding of text that begins with `start` (all of it, if `whole`).

    Raises UserError, naming the first offending byte, where no encoding fits. Text that is UTF-8
    but for a few damaged places is UTF-8: they are for `decode` to name.
    """
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start[:4096]:
        wide = _wide(start[:4096])
        if wide is not None:
            return wide
        offset = start.index(b"\0")
        raise UserError(f"holds a NUL at byte {offset}", mend="is it text? leave it out if not")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start, final=whole)
        return "utf-8"
    except UnicodeDecodeError as error:
        offset = error.start
    sample = start[max(0, offset - _BEFORE) :][:_SAMPLE]
    if _mostly_utf8(sample):
        return "utf-8"
    legacy = _legacy(sample, is_cut=offset > _BEFORE)
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


def _legacy(sample: bytes, is_cut: bool) -> str | None:
    best, best_share = None, _LEGACY_SHARE
    for encoding, common in _LEGACY:
        text = _decode_start(sample, encoding, is_cut)
        beyond = [character for character in text or "" if character > "\x7f"]
        share = sum(character in common for character in beyond) / max(len(beyond), 1)
        if (
            share > best_share
            and len(beyond) >= _LEGACY_LEAST
            and not _is_mixed(text or "", beyond)
        ):
            best, best_share = encoding, share
    return best or ("cp1252" if _is_western(sample, is_cut) else None)


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
    known = sum(character in _WESTERN or character in _PUNCTUATION for character in beyond)
    letters = sum(character.isascii() and character.isalpha() for character in text)
    if known < len(beyond) or len(beyond) > 0.5 * letters:
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
