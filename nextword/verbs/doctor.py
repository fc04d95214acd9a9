"""`doctor`: the facts about this machine and this installation that a bug report needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import nextword
from nextword.resources import available_cores, memory
from nextword.training.machine import TYPES, WORTHWHILE, product_rate
from nextword.training.planning import REFERENCE_WIDTH

Facts = dict[str, Any]
PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "gigatoken",
    "pydantic",
    "transformers",
    "peft",
    "datasets",
)
# What changes how a program computes, or where it looks for models and writes files.
VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "GOMP_SPINCOUNT",
    "THP_MEM_ALLOC_ENABLE",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
)
LITTLE_DISK = 5e9  # bytes: a few checkpoints of a small model
LITTLE_MEMORY = 2e9  # bytes: PyTorch, a tokenizer's training and a small model
PROC = Path("/proc")


def doctor(folder: str | Path = ".", *, measure: bool = True) -> Facts:
    """Return the facts about this machine, by group, and under `remarks` what may cause trouble.

    Sizes are in bytes, rates in FLOP/s; a fact that the system does not tell is None. `folder` is
    where runs are to be written. Nothing in it names a user, a host or a file of theirs. With
    `measure` the rates of matrix products are measured, which takes about half a second.
    """
    facts: Facts = {
        "software": _software(),
        "processor": _processor(),
        "memory": asdict(memory()),
        "disk": _disk(Path(folder)),
        "accelerators": _accelerators(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if measure:
        cpu = torch.device("cpu")
        rates = {kind: product_rate(dtype, cpu, REFERENCE_WIDTH) for kind, dtype in TYPES.items()}
        facts["speed"] = {f"{kind} matmul": rate for kind, rate in rates.items()}
    return facts | {"remarks": remarks(facts)}


def remarks(facts: Facts) -> list[str]:
    """Return what may cause trouble, one sentence each."""
    found = []
    processor, memory, disk = facts["processor"], facts["memory"], facts["disk"]
    asked = facts["environment"].get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > processor["cores usable"]:
        found.append(
            f"OMP_NUM_THREADS asks for {asked} threads, but only {processor['cores usable']} "
            "processors may be used: the threads wait for each other (unset it, or lower it)"
        )
    if memory["free"] is not None and memory["free"] < LITTLE_MEMORY:
        found.append("little memory is free: close other programs, or choose a small --size")
    if disk["free"] < LITTLE_DISK:
        found.append("little space is free on the disk where runs would be written")
    if not disk["writable"]:
        found.append("the folder where runs would be written cannot be written to")
    if facts["software"]["text encoding"].lower().replace("-", "") != "utf8":
        found.append(
            f"the terminal's encoding is {facts['software']['text encoding']}: some characters are "
            "shown as `?` (set PYTHONUTF8=1)"
        )
    speed = facts.get("speed")
    if speed and speed["bf16 matmul"] < WORTHWHILE * speed["fp32 matmul"]:
        found.append("bf16 is no faster than fp32 on this processor: models train in fp32")
    return found


def _software() -> Facts:
    found: Facts = {
        "nextword": nextword.__version__,
        "Python": platform.python_version(),
        "system": platform.platform(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | {"text encoding": sys.stdout.encoding or "unknown"}


def _processor() -> Facts:
    return {
        "name": _line("model name", PROC / "cpuinfo") or platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "cores usable": available_cores(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _disk(folder: Path) -> Facts:
    existing = next(
        place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir()
    )
    try:
        with tempfile.TemporaryFile(dir=existing):
            writable = True
    except OSError:
        writable = False
    usage = shutil.disk_usage(existing)
    return {"total": usage.total, "free": usage.free, "writable": writable}


def _accelerators() -> list[Facts]:
    found: list[Facts] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        kind = "ROCm" if torch.version.hip else "CUDA"
        version = torch.version.hip or torch.version.cuda
        found.append(
            {
                "kind": f"{kind} {version}, {index}",
                "name": properties.name,
                "memory": properties.total_memory,
            }
        )
    if torch.backends.mps.is_available():
        found.append({"kind": "MPS", "name": platform.processor(), "memory": None})
    return found


def _line(name: str, file: Path) -> str | None:
    """Return what a line `name: value` of the system says; None where there is no such line."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), None)
