"""A file or directory is whole or absent, under its own name, at every instant."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nextword import files
from nextword.errors import UserError
from nextword.files import read_json, recover, whole_directory, write_atomically


def write(path: Path, content: str) -> None:
    with whole_directory(path) as aside:
        (aside / "a").write_text(content)
        (aside / "b").write_text(content)


def test_a_directory_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in ("one", "two", "three"):
        write(tmp_path / "model", content)
        assert (tmp_path / "model" / "a").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_block_that_fails_leaves_the_old_directory(tmp_path: Path) -> None:
    write(tmp_path / "model", "one")
    with pytest.raises(ZeroDivisionError), whole_directory(tmp_path / "model") as aside:
        (aside / "a").write_text("two")
        _ = 1 / 0
    assert (tmp_path / "model" / "a").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_its_name_is_never_without_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model", "one")
    missing = []
    for name in ("rename", "replace", "fsync", "unlink", "rmdir"):
        real = getattr(os, name)

        def watched(*arguments: object, real: object = real, **named: object) -> object:
            missing.append(not (tmp_path / "model" / "a").exists())
            return real(*arguments, **named)  # type: ignore[operator]

        monkeypatch.setattr(os, name, watched)
    write(tmp_path / "model", "two")
    if not files.exchange(tmp_path / "model", tmp_path / "model"):
        pytest.skip("this system cannot swap two names in one step")
    assert missing and not any(missing)


def test_where_names_cannot_be_swapped_a_killed_replacement_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "exchange", lambda first, second: False)
    write(tmp_path / "model", "one")
    (tmp_path / "model").rename(tmp_path / ".model.displaced")  # killed here
    (tmp_path / ".model.partial").mkdir()
    recover(tmp_path / "model")
    assert (tmp_path / "model" / "a").read_text() == "one"
    write(tmp_path / "model", "two")
    assert (tmp_path / "model" / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", "one")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "file", "two")
    assert (tmp_path / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"a": 1,}', b""], ids=range(6)
)
def test_json_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError):
        read_json(tmp_path)
