"""Low-rank updates in peft's format: adapter_config.json and adapter_model.safetensors.

Where our matrix is several of theirs along its rows (query, key and value; gate and input), each of
their B's is some rows of ours, and their A's are equal.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from nextword.errors import UserError
from nextword.files import read_json, whole_directory, write_json
from nextword.hub.config_reader import ConfigReader
from nextword.hub.heads import HEADS
from nextword.hub.tensor_files import ADAPTER, inside, open_tensors, read_tensor
from nextword.hub.weight_map import model_config, model_tensors
from nextword.hub.writing import refuse_other
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.heads import HEAD_PARAMETERS, ModelWithHead
from nextword.models.layers import Linear
from nextword.models.lora import (
    LowRankLinear,
    block_matrices,
    freeze_all_but_updates,
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


def load_adapter(directory: str | PathLike[str], model: Model) -> None:
    """Add the updates in a directory to the model they belong to, in place, for use or training.

    Where their matrices have A's or ranks of their own, our matrix's rank is the sum of the ranks.
    Raises UserError for updates that are not supported or do not fit the model.
    """
    directory = Path(directory)
    if low_rank_modules(model):
        raise UserError("the model has low-rank updates already", mend="merge them first")
    config, where = read_adapter_config(directory), inside(directory, WEIGHTS)
    dropout, stored = config.fraction("lora_dropout", 0.0), _read_tensors(where)
    modules: dict[str, LowRankLinear] = {}
    for name, linear in block_matrices(model):
        factors = []
        for theirs, rows in _parts(model, name, linear):
            if factor := _take(stored, theirs, rows.stop - rows.start, linear, where):
                factors.append(Factor(rows, *factor, update_scale(config, theirs, len(factor[0]))))
        if factors:
            modules[name] = _join(linear, factors, dropout)
    heads = []
    for name, parameter in _head(model).items():
        if (tensor := stored.pop(WRAPPED + name, None)) is None:
            continue
        if tensor.shape != parameter.shape:
            raise UserError(
                f"its {name} has shape {list(tensor.shape)}, the model's {list(parameter.shape)}",
                where=where,
            )
        heads.append((parameter, tensor))
    if stored or not modules:
        what = f"holds {min(stored)!r}, which is no part of the model" if stored else "is empty"
        raise UserError(what, where=where, mend="it belongs to another model")
    for name, module in modules.items():
        model.set_submodule(name, module)
    with torch.no_grad():
        for parameter, tensor in heads:
            parameter.copy_(tensor)
    freeze_all_but_updates(model)


@dataclass(frozen=True)
class Factor:
    """The update of some rows of a matrix: scale · b a."""

    rows: slice
    a: Tensor  # [rank, inputs]
    b: Tensor  # [rows, rank]
    scale: float


@torch.no_grad()
def _join(linear: Linear, factors: list[Factor], dropout: float) -> LowRankLinear:
    """Join the updates of a matrix's rows to one: equal A's are shared, others are stacked."""
    first = factors[0]
    shared = all(torch.equal(factor.a, first.a) for factor in factors)
    rank = len(first.a) if shared else sum(len(factor.a) for factor in factors)
    one_scale = all(factor.scale == first.scale for factor in factors)
    module = LowRankLinear(linear, rank, first.scale if one_scale else 1.0, dropout)
    begin = 0
    for factor in factors:
        columns = slice(begin, begin + len(factor.a))
        module.lora_a[columns] = factor.a
        module.lora_b[factor.rows, columns] = factor.b * (1.0 if one_scale else factor.scale)
        begin += 0 if shared else len(factor.a)
    return module


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


def _read_tensors(where: Path) -> dict[str, Tensor]:
    tensors = {}
    with open_tensors(where) as file:
        for name in file.keys():  # noqa: SIM118
            tensors[name] = read_tensor(file, where, name)
            if not tensors[name].is_floating_point():
                raise UserError(f"tensor {name!r} is no float", where=where)
    return tensors


def _take(
    stored: dict[str, Tensor], theirs: str, rows: int, linear: Linear, where: Path
) -> tuple[Tensor, Tensor] | None:
    """Take a module's A [rank, inputs] and B [rows, rank] out of `stored`; return them in fp32."""
    names = [f"{WRAPPED}{theirs}.lora_{factor}.weight" for factor in "AB"]
    a, b = (stored.pop(name, None) for name in names)
    if a is None and b is None:
        return None
    if a is None or b is None:
        raise UserError(f"tensor {names[a is not None]!r} is missing", where=where)
    inputs = linear.weight.shape[1]
    if a.ndim != 2 or a.shape[1] != inputs or len(a) < 1 or b.shape != (rows, len(a)):
        raise UserError(
            f"the update of {theirs} is {list(b.shape)} by {list(a.shape)}, its matrix "
            f"{rows} by {inputs}",
            where=where,
            mend="it belongs to another model",
        )
    return a.float(), b.float()
