from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from nextword.settings import PrepareSettings
from nextword.text.sources import Source, find_sources
from nextword.tokens import stages
from nextword.tokens.select import Shard
from nextword.tokens.workers import WorkerPool


@pytest.fixture
def work(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    for stage in ("text", "quarantine"):
        (place / stage).mkdir(parents=True)
    return place


def texts(shards: list[Path]) -> list[str]:
    return [text for shard in shards for text in Shard(shard).strings("text")]


def test_a_shard_under_way_when_the_run_was_killed_is_read_again(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count of a large file is written when its last documents are handed out, not done."""
    monkeypatch.setattr(stages, "LARGE_FILE", 1000)
    monkeypatch.setattr(stages, "SHARD_SIZE", 500)
    lines = [json.dumps({"text": f"line {n} " + "word " * 20}) for n in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    sources, settings = find_sources([str(tmp_path / "a.jsonl")]), PrepareSettings()
    with WorkerPool(1) as workers:
        shards = stages.read_shards(sources, settings, work, workers)
        whole = texts(shards)
        assert len(shards) > 10 and len(whole) == 100
        shards[-1].unlink()
        shards[3].unlink()
        assert texts(stages.read_shards(sources, settings, work, workers)) == whole


def test_a_finished_large_file_is_not_read_again(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "LARGE_FILE", 10)
    (tmp_path / "a.txt").write_text("some words " * 30)
    sources, settings = find_sources([str(tmp_path / "a.txt")]), PrepareSettings()
    with WorkerPool(1) as workers:
        first = stages.read_shards(sources, settings, work, workers)
        monkeypatch.setattr(
            stages, "read_documents", lambda *_, **__: pytest.fail("it is read again")
        )
        assert stages.read_shards(sources, settings, work, workers) == first


def test_very_many_small_files_are_grouped_in_a_time_that_grows_as_they_do(work: Path) -> None:
    sources = [Source(f"{number}.txt", "text", None, 7) for number in range(200_000)]
    seconds = []
    for count in (20_000, 200_000):
        begin = time.process_time()
        units = list(stages.shard_inputs(sources[:count], PrepareSettings(), work, WorkerPool(1)))
        seconds.append(time.process_time() - begin)
    assert [source for _, found, _ in units for source in found] == sources
    assert len({name for name, _, _ in units}) == len(units) > 1
    assert sum(size for _, _, size in units) == 7 * 200_000
    assert seconds[1] < 10 * 4 * seconds[0], "with its square it would grow a hundredfold"


def test_progress_of_a_large_file_adds_up_to_its_size(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "LARGE_FILE", 1000)
    monkeypatch.setattr(stages, "SHARD_SIZE", 500)
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": "é" * 90}) for _ in range(60)))
    [source] = find_sources([str(tmp_path / "a.jsonl")])
    units = stages.shard_inputs([source], PrepareSettings(), work, WorkerPool(1))
    sizes = [size for _, _, size in units]
    assert sum(sizes) == source.size and len(sizes) > 5 and max(sizes[:-1]) < source.size / 5
