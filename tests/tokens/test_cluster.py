"""`prepare` on a Ray cluster of two nodes, which are real processes of this machine."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpora import content_of, put, write_books

from nextword.errors import UserError
from nextword.files import read_json
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.tokens.workers import work_path

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def network_is_off() -> None:
    """Nodes find each other by this machine's own address."""


@pytest.fixture(scope="module")
def cluster(s3_settings: dict[str, str]) -> Iterator[Any]:
    """Two nodes with a processor each; the head has none, so that either may go."""
    before = os.environ.copy()  # which the nodes' workers inherit
    os.environ.update(s3_settings, PYTHONPATH=str(Path(__file__).parents[2]))
    memory = {"object_store_memory": 80_000_000}
    head = {"num_cpus": 0, "include_dashboard": False, **memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **memory)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files, and one so large that it is carved into shards, with a line that is no JSON."""
    folder = write_books(tmp_path_factory.mktemp("text") / "books", 12, 60_000)
    rng = random.Random(1)

    def words(count: int) -> str:
        return " ".join("".join(rng.choices(LETTERS, k=rng.randrange(2, 9))) for _ in range(count))

    lines = [json.dumps({"text": words(200)}) for _ in range(4300)]
    lines[100] = "{broken"
    lines[2000] = lines[7]
    with gzip.open(folder / "large.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def alone(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that one process makes."""
    return made(text, tmp_path_factory.mktemp("alone") / "store", workers=1).path


def made(text: Path | str, out: Path | str, **settings: Any) -> Store:
    return prepare(text, out, skip_bad=True, vocab_size=600, **settings)


def test_every_file_of_a_cluster_s_store_equals_one_process_s(
    cluster: Any, text: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = made(text, tmp_path / "store", cluster=cluster.address)
    assert content_of(store.path) == content_of(alone)
    assert "On 2 nodes of a Ray cluster, 2 tasks at once" in capsys.readouterr().err
    assert not work_path(store.path).exists()
    assert read_json(store.path / "manifest.json")["summary"]["rejected"] == 1


def test_errors_in_a_task_keep_their_words(cluster: Any, text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"large\.jsonl\.gz:101: is not valid JSON.*--skip-bad"):
        prepare(text, tmp_path / "store", cluster=cluster.address)
    assert not (tmp_path / "store").exists()


def test_a_cluster_that_is_not_there_is_named(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the Ray cluster 127\.0\.0\.1:9: cannot be reached"):
        prepare(text, tmp_path / "store", cluster="127.0.0.1:9")


def test_what_is_missing_for_a_cluster_is_named(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs the package ray; pip install nextword\[cluster\]"):
        prepare(text, tmp_path / "store", cluster="auto")


@pytest.mark.slow
def test_text_and_store_on_s3_change_nothing(
    cluster: Any, bucket: str, text: Path, tmp_path: Path
) -> None:
    address = put(text, f"{bucket}/text")
    expected = made(address, tmp_path / "alone", workers=1)
    store = made(address, f"{bucket}/store", cluster=cluster.address)
    assert content_of(store.path) == content_of(expected.path)


@pytest.mark.slow(cases=2)
def test_killed_workers_change_nothing(
    cluster: Any, text: Path, alone: Path, tmp_path: Path
) -> None:
    killed, is_done = list[int](), threading.Event()

    def kill() -> None:
        while len(killed) < 4 and not is_done.wait(0.5):
            if busy := [pid for pid in descendants(os.getpid()) if is_busy(pid)]:
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        store = made(text, tmp_path / "store", cluster=cluster.address)
    finally:
        is_done.set()
        thread.join()
    assert len(killed) > 1
    assert content_of(store.path) == content_of(alone)


@pytest.mark.slow
def test_a_node_that_goes_changes_nothing(
    cluster: Any, text: Path, alone: Path, tmp_path: Path
) -> None:
    out, is_done = tmp_path / "store", threading.Event()

    def remove() -> None:
        while not any(work_path(out).glob("*/text/*.safetensors")):
            if is_done.wait(0.05):
                return
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        store = made(text, out, cluster=cluster.address)
    finally:
        is_done.set()
        thread.join()
    assert len(cluster.list_all_nodes()) == 2  # the head, which computes nothing, and one
    assert content_of(store.path) == content_of(alone)


def descendants(parent: int) -> list[int]:
    """Return the processes that a process started, and that those did."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            above = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(above, []).append(int(entry.parent.name))
    found = list(children.get(parent, []))
    for pid in found:
        found += children.get(pid, [])
    return found


def is_busy(pid: int) -> bool:
    try:
        return b"ray::_run_on_node" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
