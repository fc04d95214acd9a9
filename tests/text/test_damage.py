"""Whatever happens to a file, reading it ends soon, with its text or a sentence."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pytest
from samples import all_kinds

from nextword.errors import UserError
from nextword.text.document import Tally
from nextword.text.sources import expand, read

MUTATIONS = 60  # of each kind of file; a longer run takes more
SPECIAL = [b"[", b'{"a":', b"<div>", b"<<", b"(", b'"', b"9", b"\0", b"\xff", b"\r", b"\xe4"]
WORDS = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f"]


def mutated(content: bytes, random: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        place = random.randrange(len(damaged) + 1)
        match random.randrange(7):
            case 0 if place < len(damaged):
                damaged[place] ^= 1 << random.randrange(8)
            case 1:
                damaged[place : place + 1] = random.randbytes(1)
            case 2:
                del damaged[place:]
            case 3:
                del damaged[place : place + random.randrange(1, 50)]
            case 4:
                damaged[place:place] = random.randbytes(random.randrange(1, 20))
            case 5:
                times = random.choice([1, 10, 1000, 50_000])
                damaged[place:place] = random.choice(SPECIAL) * times
            case 6:
                damaged[place : place + 4] = random.choice(WORDS)
    return bytes(damaged)


@pytest.mark.parametrize("name", all_kinds())
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    content, path, source_of_chance = all_kinds()[name], tmp_path / name, random.Random(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(content, source_of_chance))
        [source] = expand([str(path)])
        for skip_bad in (False, True):
            tally, started = Tally(), time.monotonic()
            try:
                documents = list(read(source, skip_bad=skip_bad, tally=tally))
            except UserError as error:
                assert not skip_bad and tally.rejected == 1
                assert (
                    str(tmp_path) in str(error) and len(str(error)) < 400 and "\n" not in str(error)
                )
            else:
                assert len(documents) == tally.accepted
                for document in documents:
                    document.text.encode()
            assert time.monotonic() - started < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 150_000  # kB; libraries are loaded on the way


@pytest.mark.parametrize("name", all_kinds())
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\n", b"\xff\xfe", b"PK\x03\x04", b"%PDF-1.4", b"PAR1"]
)
def test_what_is_no_such_file_at_all_is_refused_or_empty(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    [source] = expand([str(tmp_path / name)])
    tally = Tally()
    assert len(list(read(source, skip_bad=True, tally=tally))) == tally.accepted
    assert tally.total <= 1
