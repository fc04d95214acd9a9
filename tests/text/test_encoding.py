from __future__ import annotations

import codecs
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ReadBytes

from nextword.errors import UserError
from nextword.text.encoding import decode, decode_chunks, detect_encoding

CHINESE = "人们常说，学习是一件快乐的事情。我们在这里读书，也在这里生活，时间过得很快。\n" * 3
TRADITIONAL = "我們在這裡讀書，也在這裡生活，時間過得很快。他說這個國家的人都知道這件事情。\n" * 3
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 3
KOREAN = "나는 오늘 학교에 가서 책을 읽고 친구들과 이야기를 하였다. 그리고 집으로 돌아왔다.\n" * 3
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива.\n" * 3
FRENCH = (
    "Longtemps, je me suis couché de bonne heure. À peine ma bougie éteinte, « je m’endors ».\n" * 3
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        (CHINESE, "gbk"),
        (TRADITIONAL, "big5"),
        (TRADITIONAL, "gb18030"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "cp949"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (FRENCH, "cp1252"),
        *[
            (text, encoding)
            for text in (CHINESE, RUSSIAN, FRENCH)
            for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
        ],
    ],
)
def test_the_encoding_of_real_text_is_found(text: str, encoding: str) -> None:
    content = text.encode(encoding)
    assert decode(content, detect_encoding(content)) == text
    prefix = ("plain words " * 300).encode(encoding)
    if not encoding.startswith("utf-") and len(text) > 0:
        assert decode(prefix + content, detect_encoding(prefix + content)).endswith(text)


@pytest.mark.parametrize("damage", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe4\xb8"])
@pytest.mark.parametrize("text", [CHINESE, FRENCH, "All of it plain.\n" * 5])
def test_a_damaged_byte_is_named_and_never_replaced(
    damage: bytes, text: str, read_bytes: ReadBytes
) -> None:
    before = text.encode()
    with pytest.raises(UserError, match=rf"a\.txt: is not UTF-8: .* at byte {len(before)}"):
        read_bytes("a.txt", before + damage + b" " + text.encode())


def test_a_damaged_line_costs_no_other(read_bytes: ReadBytes) -> None:
    lines = [b'{"text": "caf\xc3\xa9"}', b'{"text": "\xff"}', b'{"text": "fin"}']
    documents, tally = read_bytes("a.jsonl", b"\n".join(lines), skip_bad=True)
    assert [d.text for d in documents] == ["café", "fin"] and tally.rejected == 1
    with pytest.raises(UserError, match=rf"a\.jsonl:2: .*0xff at byte {len(lines[0]) + 11};"):
        read_bytes("a.jsonl", b"\n".join(lines))


def test_nul_is_named(read_bytes: ReadBytes) -> None:
    for place in (3, 100_000):
        content = b"a" * place + b"\0" + b"b" * 50
        with pytest.raises(UserError, match=f"NUL at byte {place}"):
            read_bytes("a.txt", content)


def test_a_byte_order_mark_is_no_part_of_the_text(read_bytes: ReadBytes) -> None:
    marks = (codecs.BOM_UTF8, "utf-8", 0), (codecs.BOM_UTF16_BE, "utf-16-be", 1)
    for mark, encoding, notes in marks:  # UTF-8 with a mark is no other encoding
        documents, tally = read_bytes("a.txt", mark + "καλημέρα".encode(encoding))
        assert documents[0].text == "καλημέρα" and len(tally.notes) == notes
        lines = mark + '{"text": "καλημέρα"}\n{"text": "b"}\n'.encode(encoding)
        documents, _ = read_bytes("a.jsonl", lines)
        assert [d.text for d in documents] == ["καλημέρα", "b"]


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200), st.sampled_from(["utf-8", "utf-16-le", "gb18030"]), st.integers(1, 9))
def test_pieces_cut_anywhere_decode_like_the_whole(text: str, encoding: str, size: int) -> None:
    content = text.encode(encoding)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert "".join(decode_chunks(pieces, encoding)) == text


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.integers(1, 9))
def test_damage_is_found_at_the_same_byte_in_pieces(noise: bytes, size: int) -> None:
    content = "éà".encode() + noise
    pieces = [content[at : at + size] for at in range(0, len(content), size)]

    def outcome(action: object) -> str:
        try:
            return action()  # type: ignore[operator]
        except UserError as error:
            return error.what

    whole = outcome(lambda: decode(content, "utf-8"))
    assert outcome(lambda: "".join(decode_chunks(pieces, "utf-8"))) == whole


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_losslessly_or_refused(content: bytes) -> None:
    try:
        encoding = detect_encoding(content)
        text = decode(content, encoding)
    except UserError as error:
        assert "byte" in error.what
        return
    assert "\ufffd" not in text or "\ufffd".encode(encoding) in content


TANG = "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。連甍遙接漢，飛觀迥凌虛。\n"
MODERN = "今天天气很好，我们一起去公园散步吧。这个问题不容易解决，但是可以试试看。\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TANG, "gb18030"),
        (TANG, "big5"),
        (TANG, "utf-16-le"),
        (MODERN, "gbk"),
        (MODERN, "utf-16-be"),
        (JAPANESE, "utf-16-le"),
        ("你好，世界", "gbk"),
        ("“It’s” – he said — “naïve” …", "cp1252"),
    ],
)
def test_classical_and_short_text_is_told_apart_too(text: str, encoding: str) -> None:
    content = text.encode(encoding)
    assert decode(content, detect_encoding(content)) == text


def test_excerpts_of_published_text_are_read_right_or_refused(shared_data: Path) -> None:
    """Mojibake would be worse than an error: it is never taken for text."""
    rng = random.Random(0)
    poems = json.loads((shared_data / "poetry-zh" / "poet.tang.1000.json").read_text("utf-8"))
    tang = "\n".join(line for poem in poems for line in poem["paragraphs"])
    modern = re.sub("[^\u4e00-\u9fff，。\n]", "", (shared_data / "cmrc2018/test.json").read_text())
    german = (shared_data / "multi30k" / "val.de").read_text("utf-8")
    for text, encodings in (
        (tang, ["gb18030", "big5", "utf-16-le"]),
        (modern, ["gbk", "utf-16-be"]),
        (german, ["cp1252"]),
    ):
        for encoding in encodings:
            refused = 0
            for _ in range(60):
                start, length = rng.randrange(len(text) - 500), rng.randrange(20, 500)
                content = text[start : start + length].encode(encoding, "ignore")
                try:
                    assert decode(content, detect_encoding(content)) == content.decode(encoding)
                except UserError:
                    refused += 1
            assert refused <= 3, (encoding, text[:20])


def test_japanese_that_is_escaped_in_ascii_is_read(read_bytes: ReadBytes) -> None:
    text = "件名: 今日は天気がよくて、公園へ行きました。\n"
    [document], _ = read_bytes("mail.txt", text.encode("iso2022_jp"))
    assert document.text == text


@pytest.mark.parametrize(
    ("text", "encoding"), [("сиділа біля", "koi8_u"), ("до прозореца и гледаше", "koi8_r")]
)
def test_a_few_words_of_cyrillic_are_not_taken_for_chinese_or_korean(
    text: str, encoding: str
) -> None:
    try:
        assert decode(text.encode(encoding), detect_encoding(text.encode(encoding))) == text
    except UserError as error:
        assert "it may be" in error.what
