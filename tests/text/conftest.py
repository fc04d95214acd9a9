from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nextword.text.document import Document, ReadStats
from nextword.text.sources import find_sources, read_documents

sys.path.insert(0, str(Path(__file__).parent))
from samples import ReadBytes


@pytest.fixture
def read_bytes(tmp_path: Path) -> ReadBytes:
    """(name, content, options of read) → (documents, tally)."""

    def run(name: str, content: bytes | str, **options: object) -> tuple[list[Document], ReadStats]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        tally = ReadStats()
        [source] = find_sources([str(path)])
        documents = list(read_documents(source, stats=tally, **options))  # type: ignore[arg-type]
        for document in documents:  # names, not the folder they happen to be in
            document.source = document.source.removeprefix(f"{tmp_path}/")
        return documents, tally

    return run
