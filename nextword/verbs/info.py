"""What a store, a run or a model is, in plain values: for `info`. Opens no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.hub.config import head_of
from nextword.hub.families import FORMATS
from nextword.models.config import (
    DECODERS,
    ENCODER_DECODERS,
    ENCODERS,
    FAMILIES,
    parameter_count,
)
from nextword.runs.record import Record, Run, Weights, is_run, read_object, read_run, read_weights

NUMBERS = ("layers", "width", "heads", "kv_heads", "mlp_width", "context_length", "vocab_size")
SHAPES = {"decoder": DECODERS, "encoder": ENCODERS, "encoder–decoder": ENCODER_DECODERS}


def info(path: str | Path) -> Record:
    """A JSON object whose "kind" is "store", "run", "model", or "sizes" for that word.

    Raises UserError where the path is none of them, or is damaged.
    """
    from nextword.tokens.remote_store import local_place
    from nextword.tokens.store import Store

    if str(path) == "sizes":
        return describe_sizes()
    path = local_place(path)
    is_adapter = (path / "adapter_config.json").is_file()
    is_other = is_adapter and not (path / "config.json").is_file()
    if path.is_file():
        from nextword.hub.gguf.reading import is_gguf

        is_other = is_gguf(path)
    if is_other:
        from nextword.hub.model_files import find_directory

        stand_in = find_directory(path)
        config = read_object(stand_in / "config.json")
        return describe_model(stand_in, config, read_weights(stand_in)) | {"path": str(path)}
    if (path / "manifest.json").is_file():
        return describe_store(path, Store.open(path).manifest)
    if (path / "config.json").is_file():
        return describe_model(path, read_object(path / "config.json"), read_weights(path))
    if is_run(path):
        return describe_run(read_run(path))
    if not path.exists():
        raise UserError(
            "no such file or folder",
            where=path,
            mend="name a store, run or model; or the word sizes",
        )
    raise UserError(
        "is not a store (manifest.json), a run (run.json) or a model (config.json, GGUF)",
        where=path,
        mend="name what `nextword prepare` or `nextword pretrain` wrote to its --out; labelled "
        "data is shown with --task",
    )


def describe_store(path: Path, manifest: Record) -> Record:
    """From a store's manifest; one made elsewhere may lack its summary."""
    summary = manifest.get("summary") or {}
    counted = ("total", "accepted", "skipped", "rejected")
    reasons = {name: entry["count"] for name, entry in (summary.get("reasons") or {}).items()}
    return {
        "kind": "store",
        "path": str(path),
        "data": manifest.get("data"),
        "splits": manifest["splits"],
        "tokenizer": manifest["tokenizer"],
        "documents": {name: summary[name] for name in counted if name in summary},
        "left_out": reasons,
        "languages": summary.get("languages"),
        "overlap": summary.get("overlap"),
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
    }


def describe_run(run: Run) -> Record:
    model = run.path / "model"
    return {
        "kind": "run",
        "path": str(run.path),
        "task": run.task or None,
        "data": run.data,
        "finished": run.finished,
        "steps": {"taken": run.step, "planned": run.planned_steps},
        "train": run.train[-1] if run.train else None,
        "best": run.best,
        "last_validation": run.validations[-1] if run.validations else None,
        "evaluation": run.evaluation or None,
        "events": run.events,
        "sample": run.samples[-1] if run.samples else None,
        "checkpoints": run.checkpoints,
        "precision": run.precision,
        "environment": run.environment,
        "store": describe_store(run.store, run.manifest) if run.store else None,
        "model": describe_model(model, run.model, run.weights) if run.has_model else None,
    }


def describe_model(path: Path, config: Record, weights: Weights | None) -> Record:
    """From the config.json of a Hugging Face directory and the headers of its weights."""
    if weights is None:
        raise UserError("holds no .safetensors weights", where=path)
    family = config.get("model_type")
    form = FORMATS[family if family in FAMILIES else "llama"]  # whose words most models use
    found = dict.fromkeys(NUMBERS)
    for field in form.fields:
        if field.ours in found:
            value = config.get(field.key)
            found[field.ours] = field.default if value is None else value
    return {
        "kind": "model",
        "path": str(path),
        "family": family,
        "shape": next((shape for shape, known in SHAPES.items() if family in known), None),
        "head": head_of(config.get("architectures")) or "language",
        "parameters": weights.parameters,
        "weights": weights.types,
        "bytes": weights.bytes,
        **found,
        "kv_heads": found["kv_heads"] or found["heads"],
        "tied": config.get("tie_word_embeddings", True),
        "tokenizer": (path / "tokenizer.json").is_file(),
    }


def describe_sizes() -> Record:
    """The named sizes, with the vocabulary they are named by."""
    from nextword.models.sizes import SIZES, config_for
    from nextword.settings import ModelSettings, resolve

    sizes = []
    for name in SIZES:
        config = config_for(resolve(ModelSettings, {"size": name}), SIZES[name].vocab_size)
        numbers: dict[str, Any] = {field: getattr(config, field) for field in NUMBERS}
        sizes.append({"name": name, **numbers, "parameters": parameter_count(config)})
    return {"kind": "sizes", "sizes": sizes}
