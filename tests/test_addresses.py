from __future__ import annotations

from pathlib import Path

import pytest

from nextword.addresses import download, is_address, list_files, open_address, upload
from nextword.errors import UserError


def test_addresses_are_told_from_paths_and_data_sets() -> None:
    assert all(map(is_address, ("s3://bucket/a", "memory://x", "file:///tmp", "gs://b")))
    assert not any(
        map(is_address, ("a/b", "C:\\text", "hf://owner/set", "://", "notes: a://b", ""))
    )


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_files_are_listed_read_and_written(scheme: str, tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}" if scheme == "memory" else f"file://{tmp_path}/there"
    content = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(content)
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        upload(tmp_path / "a", f"{root}/{name}")
    found = list_files(root)
    assert [Path(file.address).name for file in found] == ["a.txt", "b.txt", "c.txt"]
    assert [file.size for file in found] == [len(content)] * 3 and all(f.version for f in found)
    assert len(list_files(f"{root}/*.txt")) == 2 and list_files(f"{root}/none") == []
    with open_address(found[0].address) as file:
        assert file.read() == content
    download([(file, tmp_path / "got" / str(n)) for n, file in enumerate(found)])
    assert [(tmp_path / "got" / str(n)).read_bytes() for n in range(3)] == [content] * 3


def test_ranges_of_a_file_are_fetched_to_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.addresses.RANGE", 1000)
    content = bytes(n % 251 for n in range(12_345))
    (tmp_path / "a").write_bytes(content)
    [file] = list_files(f"file://{tmp_path}/a")
    download([(file, tmp_path / "b")])
    assert (tmp_path / "b").read_bytes() == content


def test_a_scheme_that_nothing_opens_and_one_that_needs_a_package_are_named() -> None:
    with pytest.raises(UserError, match=r"nosuch://a: no way to open nosuch:// is known"):
        list_files("nosuch://a")
    with pytest.raises(UserError, match=r"abfs://a/b: needs a package .*adlfs"):
        list_files("abfs://a/b")
    with pytest.raises(UserError, match=r"memory://nothing/here: no such file or folder"):
        open_address("memory://nothing/here")
