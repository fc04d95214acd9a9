from __future__ import annotations

import gzip
import io
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import samples

from nextword.errors import UserError
from nextword.text.compression import open_decompressed, read_file

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": samples.zst,
}
CONTENT = samples.TEXT.encode() * 3000


@pytest.mark.parametrize("kind", PACK)
def test_what_was_packed_comes_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PACK[kind](CONTENT) + PACK[kind](b"second") + PACK[kind](b""))
    assert read_file(path, kind) == CONTENT + b"second"


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("cut", [1, 3, 10, 1000])
def test_a_truncated_file_is_named(kind: str, cut: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    noise = bytes(i * i * 7919 >> 5 & 255 for i in range(5000))
    path.write_bytes(PACK[kind](noise)[:-cut])
    with pytest.raises(UserError, match=rf"file: is not a whole \.{kind} file"):
        read_file(path, kind)


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_is_refused_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    if kind == "zst":
        import zstandard

        file = io.BytesIO()
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as writer:
            for _ in range(400):
                writer.write(bytes(2**20))
        path.write_bytes(file.getvalue())
    else:
        path.write_bytes(PACK[kind](bytes(2**27)))
    tracemalloc.start()
    with pytest.raises(UserError, match="bomb"), open_decompressed(path, kind) as stream:
        while stream.read(2**16):
            pass
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1001))
    with pytest.raises(UserError, match="larger"):
        read_file(tmp_path / "file", limit=1000)
