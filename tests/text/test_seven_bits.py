"""Text written in seven bits is named, and ASCII that only looks like it is read."""

from __future__ import annotations

import quopri

import pytest

from nextword.errors import UserError
from nextword.text.encoding import detect_encoding

CHINESE = "春天来了，河边的树都绿了，孩子们在桥上看船。\n"
GREEK = "Η γυναίκα είδε καπνό πάνω από το δάσος.\n"
FRENCH = "L'été dernier, nous sommes allés à la mer, où il a plu près de dix jours, hélas.\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (f"Spring: {CHINESE}".encode("hz"), "HZ"),
        (CHINESE.encode("utf-7"), "UTF-7"),
        (f"She wrote: {GREEK}".encode("utf-7"), "UTF-7"),
        (quopri.encodestring(FRENCH.encode()), "quoted-printable"),
        (quopri.encodestring(CHINESE.encode()), "quoted-printable"),
        (quopri.encodestring((FRENCH * 2).encode("latin-1")), "quoted-printable"),
    ],
)
def test_text_in_seven_bits_is_refused_by_name(content: bytes, name: str) -> None:
    assert content.isascii()
    with pytest.raises(UserError, match=f"seems to be text in {name}, from byte") as caught:
        detect_encoding(content)
    assert "convert it to UTF-8" in caught.value.mend


@pytest.mark.parametrize(
    "text",
    [
        "Call +4930123456- or +441632960961, or write to me+you@example.org.\n",
        "C++11- and C++20, a+b-c, 1+1-2, +abc- and +ABCDEFGH-\n",
        "Open ~{the file~} and ~{close it again~} in ~/notes.\n",
        "https://example.org/?a=C3&b=E9&c=20&name=Ada%20Thorne&x=D0=B0\n",
        "a = 1; b == 2; c =C3; if x=E9: y=F0\n",
        "cGxlYXNl+RG8gbm90+cmVhZA== iVBORw0KGgo+AAAA/ssh-rsa AAAAB3NzaC1yc2E+AAAADAQABAAABAQ\n",
    ],
)
def test_ascii_that_only_looks_like_it_is_read(text: str) -> None:
    assert detect_encoding((text * 20).encode()) == "utf-8"
