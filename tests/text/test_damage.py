"""Whatever happens to a file, reading it ends soon, with its text or a sentence."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from samples import all_kinds

from nextword.errors import UserError
from nextword.text.document import ReadStats
from nextword.text.sources import find_sources, read_documents

SPECIAL = [b"[", b'{"a":', b"<div>", b"<<", b"(", b'"', b"9", b"\0", b"\xff", b"\r", b"\xe4"]
WORDS = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f"]
LONGEST = 5  # seconds of a processor: other programs may run


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


def most_memory() -> int:
    """The most this process has held, in kB; ru_maxrss would count the one it began as too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.read_text().partition("VmHWM:")[2].split()[0])


def read_damaged(name: str, mutations: int, folder: Path) -> dict[str, float]:
    """Counts of what became of the files, the longest time taken and the memory used, in kB."""
    content, path, chance = all_kinds()[name], folder / name, random.Random(name)
    largest = content + max(SPECIAL, key=len) * 200_000  # clean runs on files of any such size
    for clean in (content, largest):
        path.write_bytes(clean)
        list(read_documents(find_sources([str(path)])[0], skip_bad=True, stats=ReadStats()))
    clean_memory = most_memory()
    read_whole = refused = longest = 0.0
    for _ in range(mutations):
        path.write_bytes(mutated(content, chance))
        [source] = find_sources([str(path)])
        for skip_bad in (False, True):
            tally, started = ReadStats(), time.process_time()
            try:
                documents = list(read_documents(source, skip_bad=skip_bad, stats=tally))
            except UserError as error:
                assert not skip_bad and tally.rejected == 1
                assert str(folder) in str(error) and "\n" not in str(error)
                assert len(str(error)) < 300 + len(str(folder))
                refused += 1
            else:
                read_whole += not skip_bad
                assert len(documents) == tally.accepted
                for document in documents:
                    document.text.encode()
            assert tally.accepted + tally.skipped + tally.rejected == tally.total
            longest = max(longest, time.process_time() - started)
    memory = most_memory()
    return {
        "read": read_whole,
        "refused": refused,
        "longest": round(longest, 3),
        "clean_memory": clean_memory,
        "memory": memory,
    }


@pytest.mark.parametrize("name", all_kinds())
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    found = read_damaged(name, 60, tmp_path)
    assert found["read"] + found["refused"] == 60
    assert found["longest"] < LONGEST
    assert found["memory"] - found["clean_memory"] < 150_000


@pytest.mark.slow(cases=10_000)
@pytest.mark.parametrize("name", all_kinds())
def test_ten_thousand_damaged_files_are_read_or_refused(name: str) -> None:
    """In a process of its own, whose memory is at most twice what the clean file takes."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parents[1]}"}
    command = [sys.executable, __file__, name, "10000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(name, found)
    assert found["read"] + found["refused"] == 10_000
    assert found["longest"] < LONGEST
    assert found["memory"] <= 2 * found["clean_memory"]


@pytest.mark.parametrize("name", all_kinds())
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\n", b"\xff\xfe", b"PK\x03\x04", b"%PDF-1.4", b"PAR1"]
)
def test_what_is_no_such_file_at_all_is_refused_or_empty(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    [source] = find_sources([str(tmp_path / name)])
    tally = ReadStats()
    assert len(list(read_documents(source, skip_bad=True, stats=tally))) == tally.accepted
    assert tally.total <= 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(read_damaged(sys.argv[1], int(sys.argv[2]), Path(place))))
