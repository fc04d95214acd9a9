"""Low-rank updates in peft's format (adapter_config.json, adapter_model.safetensors): written, and
opened as one model with their base.

Where our matrix is several of theirs along its rows (query, key and value; gate and input), each of
their B's is some rows of ours, and their A's are equal.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from nextword.errors import UserError
from nextword.files import read_json, whole_directory, write_json
from nextword.hub.config import read_config
from nextword.hub.config_reader import ConfigReader
from nextword.hub.families import FORMATS, HEAD_CLASSES
from nextword.hub.heads import HEADS
from nextword.hub.tensor_files import ADAPTER, inside, open_tensors
from nextword.hub.weight_map import full_names, model_config, model_tensors, weight_name
from nextword.hub.writing import refuse_other
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.heads import HEAD_PARAMETERS, ModelWithHead
from nextword.models.layers import Linear
from nextword.models.lora import (
    low_rank_modules,
)
from nextword.models.transformer import Transformer

WEIGHTS = "adapter_model.safetensors"
Model = GenerativeModel | ModelWithHead
TASKS: dict[type, str] = {
    EncoderDecoder: "SEQ_2_SEQ_LM",
    Transformer: "CAUSAL_LM",
    **{head.model: head.peft_task for head in HEADS.values()},
}
FACTORS = (".lora_A.weight", ".lora_B.weight")
LABELS = ("id2label", "label2id", "problem_type")
WRAPPED = "base_model.model."  # peft's name of the model that it wraps
# What peft can do beside plain LoRA is not supported: ignoring it would give wrong results.
PLAIN: dict[str, Any] = {
    "use_dora": False,
    "use_qalora": False,
    "lora_bias": False,
    "bias": "none",
    "alora_invocation_tokens": None,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "kasa_config": None,
    "use_bdlora": None,
}


def save_adapter(directory: str | PathLike[str], model: Model, base: str | None = None) -> None:
    """Write all of a model's updates, and a new head's weights, as peft does, or nothing.

    `base` names the model they belong to. Opens with `peft.PeftModel.from_pretrained(base, …)`.
    Raises UserError where there are no updates, or the directory holds something else.
    """
    directory, adapted, head = Path(directory), low_rank_modules(model), _head(model)
    if not adapted:
        raise UserError("the model has no low-rank updates to save")
    refuse_other(directory, {ADAPTER}, "an adapter")
    tensors: dict[str, Tensor] = {WRAPPED + name: tensor for name, tensor in head.items()}
    ranks: dict[str, tuple[int, float]] = {}  # rank and alpha by the module's name
    for name, module in adapted.items():
        for theirs, rows in _parts(model, name, module):
            tensors[f"{WRAPPED}{theirs}.lora_A.weight"] = module.lora_a
            tensors[f"{WRAPPED}{theirs}.lora_B.weight"] = module.lora_b[rows]
            rank = module.lora_a.shape[0]
            ranks[theirs] = rank, module.scale * rank
    rank, alpha = min(ranks.values())
    is_masked = isinstance(model, Transformer) and not model.config.causal
    values = {
        "peft_type": "LORA",
        "task_type": None if is_masked else TASKS[type(model)],
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: r for name, (r, _) in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, (_, a) in ranks.items() if a != alpha},
        "lora_dropout": next(iter(adapted.values())).dropout,
        "target_modules": sorted({re.sub(r"^.*\.\d+\.", "", name) for name in ranks}),
        "modules_to_save": sorted({_module(name) for name in head}) or None,
        "fan_in_fan_out": model_config(model).family == "gpt2",
        "bias": "none",
        "inference_mode": True,
    }
    with whole_directory(directory) as aside:
        write_json(aside / ADAPTER, values)
        stored = {name: t.detach().float().cpu().clone() for name, t in tensors.items()}
        save_file(stored, aside / WEIGHTS, metadata={"format": "pt"})


def _parts(model: Model, name: str, linear: Linear) -> Iterator[tuple[str, slice]]:
    """Yield the names of the modules that our matrix consists of, with the rows of each."""
    for tensor in model_tensors(model, {f"{name}.weight": tuple(linear.weight.shape)}):
        yield tensor.name.removesuffix(".weight"), tensor.rows


def _head(model: Model) -> dict[str, Tensor]:
    """Return the parameters of a new head by their names; they are stored whole."""
    own = {name: p for name, p in model.named_parameters() if name.startswith(HEAD_PARAMETERS)}
    shapes = {name: tuple(p.shape) for name, p in own.items()}
    return {t.name: own[t.parameter] for t in model_tensors(model, shapes)}


def _module(name: str) -> str:
    """Return the module that peft saves whole: a part beside the model's body, or BERT's pooler."""
    first, second, *_ = name.split(".")
    return second if first == "bert" else first


def read_adapter_config(directory: Path) -> ConfigReader:
    """Return an adapter's config. Raises UserError for anything but plain LoRA."""
    where = inside(directory, ADAPTER)
    values = read_json(where)
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        raise UserError("is not the config of a LoRA adapter", where=where)
    for key, plain in PLAIN.items():
        if (value := values.get(key, plain)) != plain and value:
            raise UserError(f"{key} = {reprlib.repr(value)} is not supported", where=where)
    return ConfigReader(values, where)


def update_scale(config: ConfigReader, theirs: str, rank: int) -> float:
    """Return the scale of a module's update: alpha / rank, or / √rank (Kalajdzievski 2023)."""
    alpha, patterns = config.positive("lora_alpha", 8), config.section("alpha_pattern")
    for pattern in patterns.values:
        if not re.fullmatch(r"[\w.]+", pattern):
            raise config.error(f"alpha_pattern {reprlib.repr(pattern)} is not a name")
        if f".{theirs}".endswith(f".{pattern}"):
            alpha = patterns.positive(pattern)
    return alpha / (math.sqrt(rank) if config.boolean("use_rslora", False) else rank)


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
