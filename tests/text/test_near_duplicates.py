from __future__ import annotations

import tracemalloc
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nextword.text.near_duplicates import DuplicateFinder

UNION_FIND = 24  # bytes a document: the first of each cluster, and twice that while joining


def documents(count: int, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Digests [documents, 2] and signatures [documents, 128]; a third repeats an earlier one."""
    rng = np.random.default_rng(seed)
    signatures = rng.integers(0, 2**16, (count, 128), dtype=np.uint16)
    digests = rng.integers(0, 2**63, (count, 2), dtype=np.int64).astype(np.uint64)
    digests[:, 0] %= 5 + count // 2  # so many that half a digest does not tell them apart
    signatures[::11] = 0  # texts without a letter are compared exactly
    for copy in range(2, count, 3):
        original = int(rng.integers(0, copy))
        signatures[copy] = signatures[original]
        changed = (rng.random(128) < rng.random() * 0.4) & signatures[original].any()
        signatures[copy, changed] = rng.integers(0, 2**16, int(changed.sum()))
        if copy % 2:
            digests[copy], signatures[copy] = digests[original], signatures[original]
    return digests, signatures


def finder(digests: NDArray[np.uint64], signatures: NDArray[np.uint16]) -> DuplicateFinder:
    found = DuplicateFinder(0.8)
    for start in range(0, len(digests), 500):
        found.add_all(digests[start : start + 500].tobytes(), signatures[start : start + 500])
    return found


def clusters_by_hand(digests: NDArray[np.uint64], signatures: NDArray[np.uint16]) -> list[int]:
    """Join every two documents of one text, or that agree in a band and are similar."""
    parent = list(range(len(digests)))

    def root(item: int) -> int:
        while parent[item] != item:
            item = parent[item]
        return item

    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for item, (digest, signature) in enumerate(zip(digests, signatures, strict=True)):
        buckets[-1, digest.tobytes()].append(item)
        if signature.any():
            for band in range(32):
                buckets[band, signature[4 * band : 4 * band + 4].tobytes()].append(item)
    for (band, _), items in buckets.items():
        for place, left in enumerate(items):
            for right in items[place + 1 :]:
                if band < 0 or (signatures[left] == signatures[right]).mean() >= 0.8:
                    low, high = sorted((root(left), root(right)))
                    parent[high] = low
    return [root(item) for item in range(len(digests))]


@pytest.mark.parametrize("count", [1, 2, 300, 1500])
def test_clusters_are_those_of_all_pairs_that_meet(count: int) -> None:
    digests, signatures = documents(count, count)
    found = finder(digests, signatures).clusters().tolist()
    assert found == clusters_by_hand(digests, signatures)
    if count > 100:
        assert len(set(found)) < 0.9 * count


def test_a_document_costs_at_most_64_bytes_of_memory_beside_the_union_find() -> None:
    peaks = []
    for count in (70_000, 140_000):
        found = finder(*documents(count, 0))
        tracemalloc.start()
        found.exact()
        found.clusters()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        found.close()
    assert (peaks[1] - peaks[0]) / 70_000 <= 64 + UNION_FIND


def test_its_files_are_gone_with_it(tmp_path: Path) -> None:
    digests, signatures = documents(2000, 1)
    found = DuplicateFinder(folder=tmp_path)
    found.add_all(digests.tobytes(), signatures)
    assert len(found.clusters()) == 2000
    assert not list(tmp_path.iterdir())
    found.close()
