"""Speed and memory of a training step, beside every peer that is at hand.

    make bench          or: python benchmarks/bench.py [--sizes 4x128 ...] [--kinds real ...]

Peers are installed as packages (transformers, litgpt) or found in the directories that NANOGPT and
NANOCHAT name; what is missing is named. Each runs in a process of its own, in turn, for some
rounds; of each the best round, type and number of threads counts. The machine is measured as it is,
and as one with AVX2 alone, without bf16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import peers
from common import publish, python
from peers import PEERS, Size

SIZES = {
    "4x128": Size(4, 128, 4, 65, 12, 64),
    "6x384": Size(6, 384, 6, 4096, 8, 256),
    "124M": Size(12, 768, 12, 50304, 1, 1024),
    "124M, 4 rows": Size(12, 768, 12, 50304, 4, 1024),
    # Steps as long as a run's: nextword's plan for ten minutes, nanoGPT's recipe for a GPU.
    "4x128, 16 rows": Size(4, 128, 4, 65, 16, 256),
    "6x384, 64 rows": Size(6, 384, 6, 4096, 64, 256),
}
USUAL = ["4x128", "6x384", "124M"]
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
MACHINES: dict[str, dict[str, str]] = {"real": {}, "avx2": AVX2}
TYPES: dict[str, list[peers.Kind]] = {"real": ["fp32", "bf16"], "avx2": ["fp32"]}
ALIKE = {"THP_MEM_ALLOC_ENABLE": "1", "GOMP_SPINCOUNT": "3000"}  # as nextword's command sets them
FEWEST = 2  # steps that are timed


def timed(step: peers.Step, seconds: float, clock: Callable[[], float]) -> float:
    """Return the seconds of the fastest of some steps, after one more."""
    step()
    best, began, taken = float("inf"), clock(), 0
    while taken < FEWEST or clock() - began < seconds:
        since = clock()
        step()
        best, taken = min(best, clock() - since), taken + 1
    return best


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(
    peer: str, size: Size, kind: peers.Kind, threads: int, seconds: float, clock: str = "wall"
) -> None:
    """Print a peer's tokens a second and the peak memory of this process, as JSON."""
    import resource

    import torch

    from nextword.resources import keep_freed

    torch.set_num_threads(threads)
    keep_freed()  # as nextword does while it trains: without it every peer is slower
    try:
        best = timed(PEERS[peer](size, kind), seconds, CLOCKS[clock])
    except ImportError as error:
        print(json.dumps({"missing": str(error).splitlines()[0]}))
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"tokens/s": size.tokens / best, "GiB": peak / 2**30}))


def compare(given: argparse.Namespace, machine: str, size: str) -> list[dict[str, Any]]:
    """Return a row for each peer, measured in turn."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(given.rounds):
        for peer in given.peers:
            for kind in TYPES[machine]:
                for threads in given.threads:
                    if found.get(peer, {}).get("missing"):
                        continue
                    asked = ["--one", peer, size, kind, str(threads)]
                    asked += ["--seconds", str(given.seconds), "--clock", given.clock]
                    new = one(machine, asked)
                    print(machine, size, peer, kind, threads, new, file=sys.stderr, flush=True)
                    found[peer] = better(found.get(peer), new, kind, threads)
    base = found.get("nanoGPT", {}).get("tokens/s")
    ours = found.get("nextword", {}).get("tokens/s")
    for row in found.values():
        speed = row.get("tokens/s")
        row["times nanoGPT"] = speed / base if speed and base else None
        row["nextword's, times"] = ours / speed if speed and ours else None
    return [
        {"machine": machine, "size": size, "": peer} | {key: row.get(key) for key in COLUMNS}
        for peer, row in found.items()
    ]


COLUMNS = ("tokens/s", "GiB", "type", "threads", "times nanoGPT", "nextword's, times", "missing")


def one(machine: str, asked: list[str]) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    environment = os.environ | ALIKE | MACHINES[machine]
    done = subprocess.run(
        [python(), __file__, *asked], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return {"missing": f"fails: {reason}"}
    return json.loads(done.stdout.splitlines()[-1])


def better(
    row: dict[str, Any] | None, new: dict[str, Any], kind: str, threads: int
) -> dict[str, Any]:
    """Return the faster of two measurements of a peer."""
    if row is None or new.get("tokens/s", 0.0) > row.get("tokens/s", 0.0):
        return new | {"type": kind, "threads": threads}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=USUAL)
    parser.add_argument("--kinds", nargs="+", choices=MACHINES, default=list(MACHINES))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu, with --threads 1, for a machine that is busy: seconds of this process alone",
    )
    cores = os.cpu_count() or 1
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores}))
    parser.add_argument("--one", nargs=4, metavar=("PEER", "SIZE", "TYPE", "THREADS"))
    given = parser.parse_args()
    if given.one:
        peer, size, kind, threads = given.one
        measure(peer, SIZES[size], kind, int(threads), given.seconds, given.clock)
        return
    rows = [
        row
        for machine in given.kinds
        for size in given.sizes
        for row in compare(given, machine, size)
    ]
    publish("bench", "A training step: the best of types and threads", rows)
    if missing := {row[""]: row["missing"] for row in rows if row["missing"]}:
        print("Missing:", "; ".join(f"{peer} ({why})" for peer, why in missing.items()))


if __name__ == "__main__":
    main()
