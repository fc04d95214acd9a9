"""What the machine is, and how fast it moves and multiplies numbers."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu.models import PADDED, VOCABULARY
from gpu.section import NO_CUDA, Section

PACKAGES = ("torch", "triton", "numpy", "transformers", "safetensors", "tokenizers", "pydantic")
BACKENDS = {
    name: getattr(SDPBackend, name)
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
}
WIDTHS = {"124M": 768, "350M": 1024, "1.3B": 2048}


def versions(section: Section) -> None:
    """Note versions, the card, and which kernels of attention take which calls."""
    section.note("python", platform.python_version())
    for package in PACKAGES:
        section.note(package, _version(package))
    if section.on_gpu:
        section.note("cuda", torch.version.cuda)
        section.note("cudnn", torch.backends.cudnn.version())
        section.note("nccl", ".".join(map(str, torch.cuda.nccl.version())))
        section.note("nvidia-smi", _nvidia_smi())
        found = torch.cuda.get_device_properties(section.device)
        names = ("name", "total_memory", "multi_processor_count", "major", "minor", "L2_cache_size")
        section.note("device", {name: getattr(found, name, None) for name in names})
    else:
        section.note("device", NO_CUDA)
    order = getattr(torch._C, "_get_sdp_priority_order", None)
    if order is not None:
        numbers = {int(backend): name for name, backend in BACKENDS.items()}
        section.note("SDPA order", [numbers.get(number, number) for number in order()])
    for name, call in _attention_calls(section).items():
        section.note(f"SDPA takes {name}", [b for b in BACKENDS if _takes(section, b, call)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not there"


def _nvidia_smi() -> str:
    query = "name,driver_version,memory.total,clocks.max.sm,power.limit,mig.mode.current"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def _attention_calls(section: Section) -> dict[str, Callable[[], Any]]:
    """Attention as a model calls it: with and without a mask, and with shared keys."""
    device, time = section.device, 64 if section.small else 1024

    def heads(count: int) -> torch.Tensor:
        return torch.randn(2, count, time, 64, device=device, dtype=torch.bfloat16).requires_grad_()

    query, key, shared = heads(12), heads(12), heads(4)
    mask = torch.zeros(2, 1, time, time, device=device, dtype=torch.bfloat16)
    attend = F.scaled_dot_product_attention
    return {
        "is_causal": lambda: attend(query, key, key, is_causal=True),
        "is_causal, shared keys": lambda: attend(
            query, shared, shared, is_causal=True, enable_gqa=True
        ),
        "a mask": lambda: attend(query, key, key, attn_mask=mask),
        "a mask, shared keys": lambda: attend(
            query, shared, shared, attn_mask=mask, enable_gqa=True
        ),
    }


def _takes(section: Section, backend: str, call: Callable[[], Any]) -> bool:
    try:
        with sdpa_kernel([BACKENDS[backend]]):
            call().sum().backward()
        section.synchronize()
    except RuntimeError:
        return False
    return True


def rates(section: Section) -> None:
    """Note the bandwidth of memory, and the rate of the products of each size of model."""
    elements = 2**16 if section.small else 2**29
    source = torch.empty(elements, device=section.device)
    target = torch.empty_like(source)
    milliseconds = section.time(lambda: target.copy_(source))
    section.note("copy TB/s, read and written", 2 * source.nbytes / milliseconds / 1e9)
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for size, shape in _products(section.small).items():
            with section.part(f"{name} {size}"):
                section.note(f"{name} {size}: TFLOP/s", product_rate(section, shape, dtype) / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False


def _products(small: bool) -> dict[str, tuple[int, int, int]]:
    """The products of a model, (rows, inner, columns), and a large square."""
    if small:
        return {"square": (128, 128, 128), "124M mlp": (128, 64, 256)}
    products = {"square": (8192, 8192, 8192)}
    for size, width in WIDTHS.items():
        products[f"{size} mlp"] = (16384, width, 4 * width)
        products[f"{size} logits"] = (16384, width, VOCABULARY)
        products[f"{size} logits, padded"] = (16384, width, PADDED)
    return products


def product_rate(section: Section, shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    """Return FLOP/s of a product of random matrices, the second one transposed as weights are."""
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=section.device).to(dtype)
    b = torch.randn(columns, inner, device=section.device).to(dtype)
    return 2e3 * rows * inner * columns / section.time(lambda: F.linear(a, b))
