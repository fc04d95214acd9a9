"""A model's directory read: config, tokenizer and weights, with a language model's head or another.

Weights are fp32 whatever float type they are stored in, and models in evaluation mode. Whatever is
missing, damaged, or of another model raises UserError, naming file and tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config import head_of, read_config
from nextword.hub.heads import HEADS, TAGS, Head, Model, Outputs, pad_token, with_pad
from nextword.hub.model_files import find_directory, locate_tensors
from nextword.hub.tensor_files import count_numbers, inside, open_tensors, read_tensor
from nextword.hub.weight_map import bias_names, full_names, head_names, match_tensors, weight_name
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import GenerativeModel, build_model
from nextword.models.heads import HEAD_PARAMETERS, headless_config
from nextword.models.initialization import initialize_linear
from nextword.models.transformer import Transformer
from nextword.terminal import warn
from nextword.tokens.tokenizer import Tokenizer

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
FLOATS = {"F64", "F32", "F16", "BF16"}


def load(
    name_or_path: str | PathLike[str], called: str | PathLike[str] | None = None
) -> tuple[GenerativeModel, Tokenizer]:
    """Load a language model and its tokenizer from a run, a Hugging Face directory or the Hub.

    A model of another kind is named as it was `called`, where its directory has been found before.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    return _read_model(directory, config, called or name_or_path), tokenizer


def load_model(directory: str | PathLike[str]) -> GenerativeModel:
    """Load a language model alone, from a Hugging Face directory."""
    directory = Path(directory)
    return _read_model(directory, read_config(inside(directory, "config.json")), directory)


def load_headed(
    name_or_path: str | PathLike[str], head: Head[Model]
) -> tuple[Model, Tokenizer, Outputs]:
    """Load a model with a head, its tokenizer and the meaning of its outputs.

    A classifier's tokenizer has the model's padding token as its `pad_id`, which is to be stripped
    from texts with `strip_padding`. Raises UserError for a model with another head, and as `load`.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    weights = _Weights(directory, config, locate_tensors(directory))
    count = weights.count_outputs(head)
    weights = weights.below_head(*head.modules)
    weights.check_size()
    model = head.build(Transformer(weights.config, seed=None), count, None)
    weights.fill(model)
    model.eval()
    where = directory / "config.json"
    values = read_json(where)
    if head.pads:
        pad = values.get("pad_token_id")
        is_token = type(pad) is int and 0 <= pad < tokenizer.vocab_size
        tokenizer = with_pad(tokenizer, pad if is_token else None)
    return model, tokenizer, head.read_outputs(values, count, where)


def start_headed(
    name_or_path: str | PathLike[str], head: Head[Model], outputs: Outputs, seed: int = 0
) -> tuple[Model, Tokenizer]:
    """Load any model as the start of one with this head, and its tokenizer.

    A head that the model has for the same outputs is kept, any other is left out and a new one
    initialised from the seed. What comes before an encoder's scores (a pooler, ModernBERT's
    transform) is the directory's where it has one, else new. A classifier's tokenizer has the
    padding token to train and to save with. Raises UserError as `load`, for an encoder–decoder, and
    where a classifier's tokenizer has no token to pad with.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    weights = _Weights(directory, config, locate_tensors(directory))
    if weights.has_head(head):
        model, its_tokenizer, its_outputs = load_headed(directory, head)
        if its_outputs == outputs:
            return model, its_tokenizer
    if head.pads:
        tokenizer = with_pad(tokenizer, pad_token(tokenizer))
    if config.decoder_layers:
        raise UserError(
            f"is an encoder–decoder ({config.family}): it writes answers and takes no other head",
            where=directory,
            mend="use --task qa, summarize or translate, or fine-tune an encoder or a decoder",
        )
    weights = weights.below_head()
    weights.check_size()
    body = Transformer(weights.config, seed=None)
    if body.transform is not None:
        initialize_linear(body.transform, config.init_std, seed)
    model = head.build(body, len(outputs.names), seed)
    weights.fill(model, optional=HEAD_PARAMETERS)
    model.eval()
    return model, tokenizer


def _open(directory: Path) -> tuple[Tokenizer, TransformerConfig]:
    """Load tokenizer and config, and check them against each other before weights are read."""
    for file in FILES:
        inside(directory, file)
    tokenizer = Tokenizer.load(directory)
    config = read_config(directory / "config.json")
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, the model only "
            f"{config.vocab_size:,}",
            where=directory,
            mend="they belong to different models",
        )
    return tokenizer, config


def _read_model(
    directory: Path, config: TransformerConfig, called: str | PathLike[str]
) -> GenerativeModel:
    weights = _Weights(directory, config, locate_tensors(directory))
    weights.refuse_heads(called)
    weights.require_language_head(called)
    weights.check_size()
    own_head = weights.has_own_head()
    if config.decoder_layers:  # T5's config.json does not say it
        config = replace(config, tied=not own_head)
    elif config.tied and own_head:
        warn(
            f"{directory}: config.json ties the output head to the embedding, but the weights hold "
            "two that differ: both are used"
        )
        config = replace(config, tied=False)
    model = build_model(config, seed=None)
    replace(weights, config=config).fill(model)
    return model.eval()


@dataclass(frozen=True)
class _Weights:
    """A directory's tensors: `files` has the file of each, `config` is that of the model."""

    directory: Path
    config: TransformerConfig
    files: dict[str, Path]

    def named_head(self) -> str | None:
        """Return the head that config.json names."""
        return head_of(read_json(self.directory / "config.json").get("architectures"))

    def has_head(self, head: Head[Any]) -> bool:
        """Whether the weights have this head. Where heads share a weight's name, config.json says
        which it is."""
        if weight_name(self.config.family, head.modules[0]) not in self.files:
            return False
        name = self.named_head()
        return name == head.name or (self.config.causal and TAGS.name not in (head.name, name))

    def refuse_heads(self, called: str | PathLike[str]) -> None:
        """Raise UserError for a model with another head than a language model's."""
        stored = {name: weight_name(self.config.family, h.modules[0]) for name, h in HEADS.items()}
        present = [name for name, weight in stored.items() if weight in self.files]
        if not present:
            return
        named = self.named_head()
        name = next((name for name in present if name == named), present[0])
        can = "write" if self.config.is_generative else "write or fill in words"
        raise UserError(
            f"{HEADS[name].does} and cannot {can}: it has {stored[name]!r} where a language model "
            "has its head",
            where=called,
            mend="use `nextword predict`, or the model it was made from",
        )

    def require_language_head(self, called: str | PathLike[str]) -> None:
        """Raise UserError for an encoder without the head that fills in words."""
        if self.config.is_generative:
            return
        parts = ("transform.dense", "transform.norm", "head")
        names = head_names(self.config.family, *parts) + bias_names(self.config)
        if not any(n.startswith(names) for n in full_names(self.config, self.files).values()):
            raise UserError(
                "is an encoder without a masked language model's head: it can neither write "
                "nor fill in words",
                where=called,
                mend="fine-tune it with --task classify, tag, or qa and --extract",
            )

    def count_outputs(self, head: Head[Any]) -> int:
        """Return how many rows a head has. Raises UserError where there is no such head."""
        name, width = weight_name(self.config.family, head.modules[0]), self.config.width
        if name not in self.files:
            raise UserError(
                f"is not a model for this: it has no {name!r}",
                where=self.directory,
                mend=f"make one of it with `nextword finetune --task {head.task}`",
            )
        with open_tensors(self.files[name]) as file:
            shape = list(file.get_slice(name).get_shape())
        if head.describes and (len(shape) != 2 or shape[0] < 1 or shape[1] != width):
            raise UserError(
                f"tensor {name!r} has shape {shape}, not [{head.rows}, {width}]",
                where=self.files[name],
            )
        return shape[0] if shape else 0

    def check_size(self) -> None:
        """Raise UserError where the config describes far more than the files hold, before memory is
        allocated for it."""
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
        stored_as = {name: stored for stored, name in full_names(self.config, self.files).items()}
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
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        matched, absent, unexpected = match_tensors(self.config, shapes, self.files)
        if missing := [t.name for t in absent if not t.parameter.startswith(optional)]:
            raise UserError(f"{_listing(missing)} missing", where=self.directory)
        if unexpected:
            raise UserError(
                f"{_listing(unexpected)} not part of a {self.config.family} model as config.json "
                "describes it",
                where=self.files[unexpected[0]],
            )
        for path in dict.fromkeys(self.files[stored] for stored in matched):
            with open_tensors(path) as file:
                for stored, tensor in matched.items():
                    if self.files[stored] == path:
                        _check(file, path, stored, tensor.shape)
                        values = read_tensor(file, path, stored)
                        rows = parameters[tensor.parameter][tensor.rows]
                        rows.copy_(values.t() if tensor.transposed else values)


def _listing(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3])) + f" and {len(names) - 3} more" * (len(names) > 3)
    return f"tensor {shown} is" if len(names) == 1 else f"tensors {shown} are"


def _check(file: Any, path: Path, stored: str, expected: tuple[int, ...]) -> None:
    """Raise UserError for a tensor of another shape than the model's, or of no float type."""
    header = file.get_slice(stored)
    shape, kind = tuple(header.get_shape()), header.get_dtype()
    if shape != expected:
        raise UserError(
            f"tensor {stored!r} has shape {list(shape)}, config.json says {list(expected)}",
            where=path,
        )
    if kind not in FLOATS:
        raise UserError(f"tensor {stored!r} is of type {kind}, which is no float", where=path)
