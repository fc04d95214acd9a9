"""Speed and memory of `nextword prepare`, on a folder of text and on the same text twenty times.

    python benchmarks/prepare.py FOLDER

In each copy every name (a capitalised word within a sentence) is another one. Memory is the peak of
what all processes hold together (their proportional set sizes, Linux only), with and without
dropping near duplicates, which most of the copies are.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import publish, python

COPIES = 20
POLL = 0.03  # seconds
NAME = re.compile(r"(?<=[a-z] )[A-Z][a-z]{2,}")


def with_other_names(text: str, draw: random.Random) -> str:
    names: dict[str, str] = {}

    def other(match: re.Match[str]) -> str:
        name = match.group()
        if name not in names:
            names[name] = name[0] + "".join(draw.choice("aeiourtnls") for _ in name[1:])
        return names[name]

    return NAME.sub(other, text)


def copies(folder: Path, target: Path) -> None:
    for copy in range(COPIES):
        for file in sorted(folder.glob("*.txt")):
            text = file.read_text(encoding="utf-8-sig")
            renamed = with_other_names(text, random.Random(f"{copy}/{file.name}"))
            (target / f"{copy:02d}-{file.name}").write_text(renamed, encoding="utf-8")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:
        pass
    return found


def held(pid: int) -> int:
    """Bytes a process holds, what it shares counted in part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def prepared(name: str, data: Path, *flags: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [python(), "-m", "nextword.cli.main", "prepare", str(data), *flags]
        command += ["--out", str(Path(folder) / "store")]
        started, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, sum(map(held, family(process.pid))))
            time.sleep(POLL)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    size = sum(file.stat().st_size for file in data.glob("*.txt")) / 1e6
    row = {"": name, "flags": " ".join(flags), "MB": size, "seconds": seconds}
    return row | {"MB/s": size / seconds, "peak MiB": peak / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copies(given.folder, Path(folder))
        rows = []
        for flags in ((), ("--deduplicate", "none")):
            one = prepared("the text", given.folder, *flags)
            many = prepared(f"{COPIES} times", Path(folder), *flags)
            base = one["peak MiB"]
            rows += [row | {"times the memory": row["peak MiB"] / base} for row in (one, many)]
    publish("prepare", "Preparing text, tokenizer training included", rows)


if __name__ == "__main__":
    main()
