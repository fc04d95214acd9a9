"""Models read from safetensors files, with a language model's head or another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.card import head_of
from nextword.hub.heads import HEADS, Head, Model
from nextword.hub.model_files import count_numbers, locate_tensors, open_tensors, read_tensor
from nextword.hub.weight_map import (
    BODY,
    IGNORED,
    LEFT_OUT,
    NAMES,
    StoredTensor,
    bias_names,
    head_names,
    stored_tensors,
    weight_name,
)
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.heads import HEAD_PARAMETERS, headless_config
from nextword.models.initialization import initialize_linear
from nextword.models.sizes import parameter_count
from nextword.models.transformer import Transformer
from nextword.terminal import warn

OLDER = {".gamma": ".weight", ".beta": ".bias"}  # of norms, in BERT's first checkpoints
FLOATS = {"F64", "F32", "F16", "BF16"}


def read_model(directory: Path, config: TransformerConfig) -> GenerativeModel:
    """Read a language model, in fp32 whatever float type its safetensors have.

    Raises UserError, naming file and tensor, for a damaged file, a tensor that is missing or that
    nothing needs, or one of another shape or type. A config that describes far more than the files
    hold is refused before memory is allocated for it.
    """
    weights = _Weights(directory, config, locate_tensors(directory))
    weights.refuse_heads()
    weights.check_size()
    own_head = weights.has_own_head()
    if config.family == "t5":  # whose config.json does not say it
        config = replace(config, tied=not own_head)
    elif config.tied and own_head:
        warn(
            f"{directory}: config.json ties the output head to the embedding, but the weights hold "
            "two that differ: both are used"
        )
        config = replace(config, tied=False)
    model = build_model(config, seed=None)
    replace(weights, config=config).fill(model)
    return model


def read_headed(directory: Path, config: TransformerConfig, head: Head[Model]) -> Model:
    """Read a model with a head, with as many outputs as the head has rows. Raises as read_model."""
    weights = _Weights(directory, config, locate_tensors(directory))
    name = weight_name(config.family, head.modules[0])
    if name not in weights.files:
        raise UserError(
            f"is not a model for this: it has no {name!r}",
            where=directory,
            mend=f"make one of it with `nextword finetune --task {head.task}`",
        )
    with open_tensors(weights.files[name]) as file:
        shape = tuple(file.get_slice(name).get_shape())
    if head.describes and (len(shape) != 2 or shape[0] < 1 or shape[1] != config.width):
        raise UserError(
            f"tensor {name!r} has shape {list(shape)}, not [{head.rows}, {config.width}]",
            where=weights.files[name],
        )
    weights = weights.below_head(*head.modules)
    weights.check_size()
    model = head.build(Transformer(weights.config, seed=None), shape[0] if shape else 0, 0)
    weights.fill(model)
    return model


def start_head(
    directory: Path, config: TransformerConfig, head: Head[Model], outputs: int, seed: int
) -> Model:
    """Return a model with a new head on the body that a directory has, under any head.

    What comes before an encoder's scores (a pooler, ModernBERT's transform) is the directory's
    where it has one, else new. Raises as read_model, and for an encoder–decoder.
    """
    if config.decoder_layers:
        raise UserError(
            f"is an encoder–decoder ({config.family}): it writes answers and takes no other head",
            where=directory,
            mend="use --task qa, summarize or translate, or fine-tune an encoder or a decoder",
        )
    weights = _Weights(directory, config, locate_tensors(directory)).below_head()
    weights.check_size()
    body = Transformer(weights.config, seed=None)
    if body.transform is not None:
        initialize_linear(body.transform, config.init_std, seed)
    model = head.build(body, outputs, seed)
    weights.fill(model, optional=HEAD_PARAMETERS)
    return model


@dataclass(frozen=True)
class _Weights:
    """A directory's tensors: `files` has the file of each, `config` is that of the model."""

    directory: Path
    config: TransformerConfig
    files: dict[str, Path]

    def refuse_heads(self) -> None:
        """Raise UserError for a model with another head than a language model's."""
        stored = {name: weight_name(self.config.family, h.modules[0]) for name, h in HEADS.items()}
        present = [name for name, weight in stored.items() if weight in self.files]
        if not present:
            return
        named = head_of(read_json(self.directory / "config.json").get("architectures"))
        name = named if named in present else present[0]
        can = "write" if self.config.is_generative else "fill in words"
        raise UserError(
            f"{HEADS[name].does} and cannot {can}: it has {stored[name]!r} where a language model "
            "has its head",
            where=self.directory,
            mend="use `nextword predict`, or the model it was made from",
        )

    def check_size(self) -> None:
        """Raise UserError where the config describes far more than the files hold."""
        described = parameter_count(self.config)
        held = sum(map(count_numbers, set(self.files.values())))
        if described > 4 * held + 10_000:
            raise UserError(
                f"describes {described:,} parameters, but the weights beside it are {held:,}",
                where=self.directory / "config.json",
            )

    def has_own_head(self) -> bool:
        """Whether there is an output head that differs from the embedding, whatever config.json
        says."""
        stored_as = {name: stored for stored, name in self._full_names().items()}
        tensors = []
        for module in ("embedding", "head"):
            stored = stored_as.get(weight_name(self.config.family, module))
            if stored is None:
                return False
            with open_tensors(self.files[stored]) as file:
                tensors.append(read_tensor(file, self.files[stored], stored))
        return not torch.equal(*tensors)

    def below_head(self, *modules: str) -> _Weights:
        """Return the tensors and the config of the body, with the tensors of a head's `modules`."""
        config, family = headless_config(self.config), self.config.family
        shared = ["transform.dense", "transform.norm"] * config.transform
        shared += ["head"] * self.config.tied
        included = head_names(family, *shared, *modules) if shared or modules else ()
        excluded, biases = head_names(family), bias_names(self.config)
        files = {
            name: path
            for name, path in self.files.items()
            if name not in biases and (name.startswith(included) or not name.startswith(excluded))
        }
        return _Weights(self.directory, config, files)

    @torch.no_grad()
    def fill(self, model: nn.Module, optional: tuple[str, ...] = ()) -> None:
        """Copy the tensors into a model's parameters; those that begin with one of the `optional`
        prefixes may have none and are left as they are."""
        parameters = dict(model.named_parameters())
        matched = self._match({name: tuple(p.shape) for name, p in parameters.items()}, optional)
        for path in dict.fromkeys(self.files[stored] for stored in matched):
            with open_tensors(path) as file:
                for stored, tensor in matched.items():
                    if self.files[stored] == path:
                        values = _read_checked(file, path, stored, tensor)
                        rows = parameters[tensor.parameter][tensor.rows]
                        rows.copy_(values.t() if tensor.transposed else values)

    def _match(
        self, shapes: dict[str, tuple[int, ...]], optional: tuple[str, ...]
    ) -> dict[str, StoredTensor]:
        """Return what each stored tensor is: each tensor of the model once, nothing left over."""
        expected = {tensor.name: tensor for tensor in stored_tensors(self.config, shapes)}
        full, bias = self._full_names(), bias_names(self.config)
        embedding, head = (weight_name(self.config.family, m) for m in ("embedding", "head"))
        matched, unexpected = {}, []
        for stored, name in full.items():
            if name in bias[1:]:  # a copy of the first bias, or in its place
                if bias[0] not in full.values() and bias[0] in expected:
                    matched[stored] = expected[bias[0]]
            elif name == head and self.config.tied:  # a copy of the embedding, or in its place
                if embedding not in full.values():
                    matched[stored] = expected[embedding]
            elif name in expected:
                matched[stored] = expected[name]
            elif not name.endswith(IGNORED) and not name.startswith(LEFT_OUT):
                unexpected.append(stored)
        present = {tensor.name for tensor in matched.values()}
        missing = [
            name
            for name, tensor in expected.items()
            if name not in present and not tensor.parameter.startswith(optional)
        ]
        if missing:
            raise UserError(f"{_listing(missing)} missing", where=self.directory)
        if unexpected:
            raise UserError(
                f"{_listing(unexpected)} not part of a {self.config.family} model as config.json "
                "describes it",
                where=self.files[unexpected[0]],
            )
        return matched

    def _full_names(self) -> dict[str, str]:
        """Return stored names, each with the one it has where a model is saved with its head."""
        prefix = NAMES[self.config.family].prefix
        heads = head_names(self.config.family) + bias_names(self.config)
        prefixes = (p for p in (prefix, BODY) if any(name.startswith(p) for name in self.files))
        stored_prefix = next(prefixes, "")
        full = {}
        for stored in self.files:
            name = stored
            for old, new in OLDER.items() if not self.config.causal else ():
                name = name.removesuffix(old) + new if name.endswith(old) else name
            if name.startswith(stored_prefix) and not name.startswith(heads):
                name = prefix + name.removeprefix(stored_prefix)
            full[stored] = name
        return full


def _listing(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3])) + f" and {len(names) - 3} more" * (len(names) > 3)
    return f"tensor {shown} is" if len(names) == 1 else f"tensors {shown} are"


def _read_checked(file: Any, path: Path, stored: str, tensor: StoredTensor) -> Tensor:
    """Read a tensor whose shape and type must be those of the model's."""
    header = file.get_slice(stored)
    shape, kind = tuple(header.get_shape()), header.get_dtype()
    if shape != tensor.shape:
        raise UserError(
            f"tensor {stored!r} has shape {list(shape)}, config.json says {list(tensor.shape)}",
            where=path,
        )
    if kind not in FLOATS:
        raise UserError(f"tensor {stored!r} is of type {kind}, which is no float", where=path)
    return read_tensor(file, path, stored)
