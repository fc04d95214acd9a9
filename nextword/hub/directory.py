"""A model's directory: config.json, safetensors, tokenizer, generation_config.json, README.md."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import read_json, whole_directory, write_json
from nextword.hub.card import head_of, language_model_usage, render_card
from nextword.hub.config import read_config, write_config
from nextword.hub.heads import (
    TAGS,
    Head,
    Model,
    Outputs,
    head_of_model,
    pad_for_classifier,
    pad_token,
    with_pad,
)
from nextword.hub.model_files import (
    WeightFormat,
    find_directory,
    inside,
    locate_tensors,
    refuse_other,
    write_weights,
)
from nextword.hub.weight_map import weight_name
from nextword.hub.weights import read_headed, read_model, start_head
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.models.lora import merge_lora
from nextword.tokens.tokenizer import Tokenizer

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
REPLACEABLE = {"config.json", "model.safetensors"}  # mark a directory that a save may replace
FP32 = WeightFormat()


def load(name_or_path: str | PathLike[str]) -> tuple[GenerativeModel, Tokenizer]:
    """Load a language model and its tokenizer from a run, a Hugging Face directory or the Hub.

    Weights are fp32, and the model is in evaluation mode. Raises UserError where anything is
    missing or damaged.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    return read_model(directory, config).eval(), tokenizer


def load_model(directory: str | PathLike[str]) -> GenerativeModel:
    """Load a language model alone, in evaluation mode. Raises UserError as `load`."""
    directory = Path(directory)
    return read_model(directory, read_config(inside(directory, "config.json"))).eval()


def load_headed(
    name_or_path: str | PathLike[str], head: Head[Model]
) -> tuple[Model, Tokenizer, Outputs]:
    """Load a model with a head, its tokenizer and the meaning of its outputs.

    A classifier's tokenizer has the model's padding token as its `pad_id`, which is to be stripped
    from texts with `strip_padding`. Weights are fp32, and the model is in evaluation mode. Raises
    UserError for a model with another head, and as `load`.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    model = read_headed(directory, config, head)
    model.eval()
    count = len(model.get_parameter(f"{head.modules[0]}.weight"))
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
    initialised from the seed. A classifier's tokenizer has the padding token to train and to save
    with. Raises UserError as `load`, for an encoder–decoder, and where a classifier's tokenizer has
    no token to pad with.
    """
    directory = find_directory(name_or_path)
    tokenizer, config = _open(directory)
    if _has_head(directory, config, head):
        model, its_tokenizer, its_outputs = load_headed(directory, head)
        if its_outputs == outputs:
            return model, its_tokenizer
    if head.pads:
        tokenizer = with_pad(tokenizer, pad_token(tokenizer))
    model = start_head(directory, config, head, len(outputs.names), seed)
    model.eval()
    return model, tokenizer


def _has_head(directory: Path, config: TransformerConfig, head: Head[Any]) -> bool:
    """Whether a directory's weights have this head. Where heads share a weight's name, config.json
    says which it is."""
    if weight_name(config.family, head.modules[0]) not in locate_tensors(directory):
        return False
    name = head_of(read_json(directory / "config.json").get("architectures"))
    return name == head.name or (config.causal and TAGS.name not in (head.name, name))


def _open(directory: Path) -> tuple[Tokenizer, TransformerConfig]:
    """Load tokenizer and config, and check them against each other before weights are read."""
    for file in FILES:
        inside(directory, file)
    tokenizer = Tokenizer.load(directory)
    config = read_config(inside(directory, "config.json"))
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, the model only "
            f"{config.vocab_size:,}",
            where=directory,
            mend="they belong to different models",
        )
    return tokenizer, config


def save(
    directory: str | PathLike[str],
    model: GenerativeModel,
    tokenizer: Tokenizer | None = None,
    card: str | None = None,
    *,
    start_id: int | None = None,
    only_pretrained: bool = False,
    weights: WeightFormat = FP32,
) -> None:
    """Write all of a language model's directory, or nothing; replace an older model in one step.

    `card` is what the README says about the model, `start_id` the token that texts begin with where
    the tokenizer does not say it. The README of an encoder–decoder that is `only_pretrained` names
    no task. Low-rank updates are merged into the weights. Opens in transformers with
    AutoModelForCausalLM, ...ForMaskedLM or ...ForSeq2SeqLM, and AutoTokenizer. Raises UserError
    where the directory holds anything but a model.
    """
    config = model.config
    ids = _special_ids(tokenizer, config)
    if start_id is not None and not config.decoder_layers:
        ids["bos_token_id"] = start_id
    mask = None
    if tokenizer is not None and tokenizer.mask_id is not None:
        mask = tokenizer.id_to_token(tokenizer.mask_id)
    json_files = {"config.json": write_config(config, _name(weights.dtype)) | ids}
    if config.is_generative:
        json_files["generation_config.json"] = ids
    readme = render_card(language_model_usage(config, only_pretrained), config, card, mask=mask)
    _write(Path(directory), model, tokenizer, json_files, readme, weights)


def save_headed(
    directory: str | PathLike[str],
    model: ModelWithHead,
    tokenizer: Tokenizer,
    outputs: Outputs,
    card: str | None = None,
    *,
    weights: WeightFormat = FP32,
) -> None:
    """Write a model with a head as `save` does a language model.

    Opens in transformers with the AutoModel class of its head, names of outputs included. A
    classifier's tokenizer is the one that it was trained with: texts are scored before its padding
    token. Raises UserError also where it has none and no token is left to pad with.
    """
    config, head = model.transformer.config, head_of_model(model)
    named: dict[str, Any] = {}
    if head.pads:
        tokenizer = pad_for_classifier(tokenizer, config.context_length)
        named = {"pad_token_id": tokenizer.pad_id}
    values = write_config(config, _name(weights.dtype), head) | _special_ids(tokenizer, config)
    json_files = {"config.json": values | named | head.write_outputs(outputs)}
    readme = render_card(head.usage, config, card, outputs=head.outputs_text(outputs))
    _write(Path(directory), model, tokenizer, json_files, readme, weights)


def _write(
    directory: Path,
    model: GenerativeModel | ModelWithHead,
    tokenizer: Tokenizer | None,
    json_files: dict[str, dict[str, Any]],
    readme: str,
    weights: WeightFormat,
) -> None:
    refuse_other(directory, REPLACEABLE, "a model")
    with whole_directory(directory) as aside:
        for file, values in json_files.items():
            write_json(aside / file, values)
        write_weights(aside, merge_lora(model), weights)
        if tokenizer is not None:
            tokenizer.save(aside)
        (aside / "README.md").write_text(readme, encoding="utf-8")


def _special_ids(tokenizer: Tokenizer | None, config: TransformerConfig) -> dict[str, int | None]:
    """Return what config.json says of control tokens.

    Raises UserError where a RoBERTa's padding token is not its tokenizer's: transformers counts
    positions from that token's id.
    """
    if tokenizer is None:
        return {}
    if config.decoder_layers:
        pad = config.start_id if tokenizer.pad_id is None else tokenizer.pad_id
        start = {"decoder_start_token_id": config.start_id, "pad_token_id": pad}
        return start | {"eos_token_id": tokenizer.end_id}
    if config.causal:
        begin = tokenizer.end_id if tokenizer.bos_id is None else tokenizer.bos_id
        return {"bos_token_id": begin, "eos_token_id": tokenizer.end_id}
    if config.family == "roberta" and tokenizer.pad_id != config.position_offset - 1:
        raise UserError(
            f"a RoBERTa whose positions begin at {config.position_offset} pads with token "
            f"{config.position_offset - 1}, its tokenizer with {tokenizer.pad_id}",
            mend="use the tokenizer that it was made with, or another family",
        )
    roles = {"pad": "pad", "bos": "cls", "eos": "sep", "cls": "cls", "sep": "sep"}
    names = roles if config.family == "modernbert" else ("pad", "bos", "eos")
    return {f"{name}_token_id": tokenizer.role_id(f"{roles[name]}_token") for name in names}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
