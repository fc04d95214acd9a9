"""What a store, a run or a model is, in plain values: for `info`. Opens no weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json

# What the families of Hugging Face call the same numbers.
NAMES = {
    "layers": ("num_hidden_layers", "n_layer"),
    "width": ("hidden_size", "n_embd"),
    "heads": ("num_attention_heads", "n_head"),
    "kv_heads": ("num_key_value_heads",),
    "mlp_width": ("intermediate_size", "n_inner"),
    "context_length": ("max_position_embeddings", "n_positions"),
    "vocab_size": ("vocab_size",),
}


def describe(path: str | Path) -> dict[str, Any]:
    """A JSON object whose "kind" is "store", "run" or "model".

    Raises UserError where the path is none of them, or is damaged.
    """
    path = Path(path)
    if (path / "run.json").is_file():
        return describe_run(path)
    if (path / "manifest.json").is_file() or (path / "work" / "job.json").is_file():
        return describe_store(path)
    if (path / "config.json").is_file():
        return describe_model(path)
    if not path.exists():
        raise UserError("no such file or folder", where=path)
    raise UserError(
        "is not a store (manifest.json), a run (run.json) or a model (config.json)", where=path
    )


def describe_store(path: Path) -> dict[str, Any]:
    from nextword.tokens.store import Store

    manifest = Store.open(path).manifest
    names = ("data", "splits", "tokenizer", "languages", "overlap", "documents")
    return {
        "kind": "store",
        "path": str(path),
        **{name: manifest[name] for name in names if name in manifest},
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
    }


def describe_run(path: Path) -> dict[str, Any]:
    saved = _object(path / "run.json")
    validations = [r for r in records(path) if r.get("kind") == "validation"]
    finite = [r for r in validations if isinstance(r.get("loss"), int | float)]
    events = [r for r in records(path) if r.get("kind") == "event"]
    trained = _last(r for r in records(path) if r.get("kind") == "train")
    newest = _last(r for r in records(path) if "step" in r)
    sample = _last(r for r in records(path) if r.get("kind") == "sample")
    model = path / "model"
    return {
        "kind": "run",
        "path": str(path),
        "data": saved.get("data"),
        "steps": {"taken": (newest or {}).get("step", 0), "planned": _planned(saved)},
        "train": trained,
        "best": min(finite, key=lambda record: float(record["loss"]), default=None),
        "last_validation": validations[-1] if validations else None,
        "events": events,
        "sample": sample,
        "checkpoints": _checkpoints(path / "checkpoints"),
        "precision": (saved.get("precision") or {}).get("name"),
        "environment": saved.get("environment"),
        "store": _relative(path, saved.get("store")),
        "model": describe_model(model) if (model / "config.json").is_file() else None,
    }


def describe_model(path: Path) -> dict[str, Any]:
    config = _object(path / "config.json")
    weights = _weights(path)
    found = {
        name: next((config[alias] for alias in aliases if config.get(alias) is not None), None)
        for name, aliases in NAMES.items()
    }
    return {
        "kind": "model",
        "path": str(path),
        "family": config.get("model_type"),
        **weights,
        **found,
        "kv_heads": found["kv_heads"] or found["heads"],
        "tied": config.get("tie_word_embeddings", True),
        "tokenizer": (path / "tokenizer.json").is_file(),
    }


def describe_sizes() -> dict[str, Any]:
    """The named sizes, with the vocabulary they are named by."""
    from nextword.models.sizes import SIZES, config_for, parameter_count
    from nextword.settings import ModelSettings, resolve

    sizes = []
    for name in SIZES:
        config = config_for(resolve(ModelSettings, {"size": name}), SIZES[name].vocab_size)
        numbers = {field: getattr(config, field) for field in NAMES}
        sizes.append({"name": name, **numbers, "parameters": parameter_count(config)})
    return {"kind": "sizes", "sizes": sizes}


def records(run: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; one cut off by a crash is passed over."""
    file = run / "metrics.jsonl"
    if not file.is_file():
        return
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _weights(path: Path) -> dict[str, Any]:
    """Parameters, their type and bytes, from the headers of the safetensors files."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError("holds no .safetensors weights", where=path)
    parameters, types = 0, set()
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    tensor = tensors.get_slice(name)
                    parameters += prod(tensor.get_shape())
                    types.add(str(tensor.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise UserError(f"is not a sound safetensors file ({error})", where=file) from None
    return {
        "parameters": parameters,
        "weights": ", ".join(sorted(types)),
        "bytes": sum(file.stat().st_size for file in files),
    }


def _checkpoints(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("step-"))


def _planned(saved: dict[str, Any]) -> int | None:
    plan = saved.get("plan")
    schedule = plan.get("schedule") if isinstance(plan, dict) else None
    return schedule.get("steps") if isinstance(schedule, dict) else None


def _relative(run: Path, store: Any) -> dict[str, Any] | None:
    if not isinstance(store, str) or not (run / store / "manifest.json").is_file():
        return None
    return describe_store((run / store).resolve())


def _last(items: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    last = None
    for last in items:  # noqa: B007
        pass
    return last


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("expected a JSON object", where=path)
    return value
