"""An adapter (peft's LoRA) with its base model as one: which update belongs to which tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.adapter import WEIGHTS, WRAPPED, read_adapter_config, update_scale
from nextword.hub.config import read_config
from nextword.hub.families import FORMATS, HEAD_CLASSES
from nextword.hub.heads import HEADS
from nextword.hub.tensor_files import ADAPTER, inside, open_tensors
from nextword.hub.weight_map import full_names, weight_name

FACTORS = (".lora_A.weight", ".lora_B.weight")
LABELS = ("id2label", "label2id", "problem_type")


def base_of(adapter: Path) -> str:
    """Return the name of an adapter's base model. Raises UserError where it names none."""
    name = read_adapter_config(adapter).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise UserError(
            "does not name the model that the adapter belongs to",
            where=adapter / ADAPTER,
            mend="write it there as base_model_name_or_path",
        )
    return name


def merge_adapter(
    adapter: Path, base: Path, files: dict[str, Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json of the base model with an adapter, and the table of its tensors.

    `files` has the file of each of the base's tensors. Raises UserError for updates that are not
    supported, or do not fit the base.
    """
    settings, where = read_adapter_config(adapter), inside(adapter, WEIGHTS)
    config, values = read_config(base / "config.json"), read_json(base / "config.json")
    tensors: dict[str, Any] = {}
    for stored, full in full_names(config, files).items():
        with open_tensors(files[stored]) as file:
            header = file.get_slice(stored)
            shape, dtype = list(header.get_shape()), header.get_dtype()
        tensors[full] = {"file": str(files[stored]), "stored": stored} | {
            "shape": shape,
            "dtype": dtype,
        }
    with open_tensors(where) as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    plain = {name: name.removeprefix(WRAPPED) for name in shapes}
    modules = {name.removesuffix(FACTORS[0]) for name in plain.values() if name.endswith(FACTORS)}
    modules = {name.removesuffix(FACTORS[1]) for name in modules}
    updated = full_names(config, [f"{name}.weight" for name in sorted(modules)])
    for module in sorted(modules):
        name = updated[f"{module}.weight"]
        a, b = (f"{WRAPPED}{module}{factor}" for factor in FACTORS)
        if (missing := next((n for n in (a, b) if n not in shapes), None)) is not None:
            raise UserError(f"tensor {missing!r} is missing", where=where)
        rank = shapes[a][0]
        transposed = config.family == "gpt2" and ".c_" in name
        expected = [shapes[b][0], shapes[a][-1]]
        if name not in tensors or tensors[name]["shape"] != expected[:: -1 if transposed else 1]:
            raise UserError(
                f"updates {name!r} of shape {expected}, and the base model has "
                + (f"it of {tensors[name]['shape']}" if name in tensors else "no such tensor"),
                where=where,
                mend="it belongs to another model",
            )
        scale = update_scale(settings, module, rank)
        update = {"a": a, "b": b, "scale": scale, "transposed": transposed}
        tensors[name] = tensors[name] | {"update": update}
    whole = [name for name in plain.values() if not name.endswith(FACTORS)]
    for stored, name in full_names(config, whole).items():
        if ".lora_" in stored:
            raise UserError(f"holds {stored!r}, which is not supported", where=where)
        tensors[name] = {"file": str(where), "stored": f"{WRAPPED}{stored}"} | {
            "shape": shapes[f"{WRAPPED}{stored}"],
            "dtype": "F32",
        }
    return _config(values, settings.get("task_type"), tensors), tensors


def _config(values: dict[str, Any], task: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return config.json with the head of an adapter's task, and its vocabulary."""
    family = values["model_type"]
    if (embedding := tensors.get(weight_name(family, "embedding"))) is not None:
        values = values | {"vocab_size": embedding["shape"][0]}
    head = next((head for head in HEADS.values() if head.peft_task == task), None)
    if head is None:
        return values
    count = tensors.get(weight_name(family, head.modules[0]), {"shape": [0]})["shape"][0]
    if len(values.get("id2label") or {}) != count:
        values = {key: value for key, value in values.items() if key not in LABELS}
    return values | {"architectures": [FORMATS[family].name + HEAD_CLASSES[head.name]]}
