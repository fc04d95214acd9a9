"""A model's directory written, as transformers does: config, safetensors, tokenizer, model card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import jinja2
import torch
from safetensors.torch import save_file

from nextword.errors import UserError
from nextword.files import whole_directory, write_json
from nextword.hub.config import write_config
from nextword.hub.heads import (
    Head,
    Outputs,
    cut_at_context,
    head_of_model,
    pad_for_classifier,
)
from nextword.hub.tensor_files import INDEX, SINGLE
from nextword.hub.weight_map import (
    StoredTensor,
    bias_names,
    model_config,
    model_tensors,
    weight_name,
)
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.models.lora import merge_lora
from nextword.tokens.tokenizer import Tokenizer

REPLACEABLE = {"config.json", "model.safetensors"}  # mark a directory that a save may replace
LISTED_NAMES = 20  # of outputs in a card
KINDS = {"single": "one of", "several": "any of", "amount": "a number:"}


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored: their float type, and how many bytes a file may have at most before
    the weights are split into several."""

    dtype: torch.dtype = torch.float32
    shard_bytes: int = 5_000_000_000

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


FP32 = WeightFormat()


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
    json_files = {"config.json": write_config(config, weights.dtype_name) | ids}
    if config.is_generative:
        json_files["generation_config.json"] = ids
    kind = "decoder" if config.causal else "encoder"
    if config.decoder_layers:
        kind = "pretrained" if only_pretrained else "encoder-decoder"
    readme = _render_card(kind, config, card, mask=mask)
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
    values = write_config(config, weights.dtype_name, head.name) | _special_ids(tokenizer, config)
    json_files = {"config.json": values | named | head.write_outputs(outputs)}
    readme = _render_card(head.name, config, card, outputs=_describe_outputs(head, outputs))
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
        _write_weights(aside, merge_lora(model), weights)
        if tokenizer is not None:
            body = model.transformer if isinstance(model, ModelWithHead) else model
            cut_at_context(tokenizer, body.config.context_length).save(aside)
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
        ids: dict[str, int | None] = {"bos_token_id": begin, "eos_token_id": tokenizer.end_id}
        return ids if tokenizer.pad_id is None else ids | {"pad_token_id": tokenizer.pad_id}
    if config.position_offset and tokenizer.pad_id != config.position_offset - 1:
        raise UserError(
            f"a RoBERTa whose positions begin at {config.position_offset} pads with token "
            f"{config.position_offset - 1}, its tokenizer with {tokenizer.pad_id}",
            mend="use the tokenizer that it was made with, or another family",
        )
    roles = {"pad": "pad", "bos": "cls", "eos": "sep", "cls": "cls", "sep": "sep"}
    names = roles if config.family == "modernbert" else ("pad", "bos", "eos")
    return {f"{name}_token_id": tokenizer.role_id(f"{roles[name]}_token") for name in names}


def _render_card(
    kind: str,
    config: TransformerConfig,
    about: str | None,
    *,
    outputs: str = "",
    mask: str | None = None,
) -> str:
    """Return card.md filled in for a model of this `kind`, or with the head of that name.

    `about` says what the model was trained on and how well it does, `outputs` what its outputs are,
    and `mask` is the text of a gap for an encoder.
    """
    parameters = parameter_count(config)
    millions = f"{parameters / 1e6:.3g}M" if parameters < 1e9 else f"{parameters / 1e9:.3g}B"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    return environment.get_template("card.md").render(
        **vars(config),
        kind=kind,
        about=about or "Trained with nextword.",
        outputs=outputs,
        mask=mask or "[MASK]",
        parameters=parameters,
        millions=millions,
    )


def _describe_outputs(head: Head[Any], outputs: Outputs) -> str:
    """Return what a head's outputs are, as a cell of a Markdown table; "" for those of spans."""
    if not head.describes:
        return ""
    listed = ", ".join(outputs.names[:LISTED_NAMES]).replace("|", "\\|").replace("\n", " ")
    more = len(outputs.names) - LISTED_NAMES
    kind = KINDS[outputs.kind] if "problem_type" in head.describes else "of each word one of"
    return f"{kind} {listed}" + (f" and {more} more" if more > 0 else "")


def _write_weights(
    directory: Path, model: GenerativeModel | ModelWithHead, form: WeightFormat
) -> None:
    """Write a model's parameters to safetensors files, several with an index if they are large."""
    parameters = dict(model.named_parameters())
    pieces, copies = _stored_pieces(model)
    shards = list(_shards(pieces, form))
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors" if shards[1:] else SINGLE
        tensors = {}
        for piece in shard:
            rows = parameters[piece.parameter].detach()[piece.rows].to("cpu", form.dtype)
            tensors[piece.name] = (rows.t() if piece.transposed else rows).contiguous()
        tensors |= {name: tensors[name].clone() for name in copies if name in tensors}
        save_file(tensors, directory / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, file))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _stored_pieces(model: GenerativeModel | ModelWithHead) -> tuple[list[StoredTensor], list[str]]:
    """Return a model's tensors as they are stored, and the names of those that are another's copy.

    safetensors stores no tensor under two names, so that a copy needs memory of its own.
    """
    config, members = model_config(model), list(model_tensors(model))
    bias, *copies = bias_names(config) or ("",)
    if not config.tied:  # both names are parameters of theirs, though only one counts
        members += [replace(p, name=copy) for p in members if p.name == bias for copy in copies]
    if config.decoder_layers and config.tied and config.vocabulary_scale == 1:
        # Older versions of transformers tie only models whose states are scaled.
        embedding, head = (weight_name(config.family, module) for module in ("embedding", "head"))
        members += [replace(p, name=head) for p in members if p.name == embedding]
        copies.append(head)
    return members, copies


def _shards(members: Iterable[StoredTensor], form: WeightFormat) -> Iterator[list[StoredTensor]]:
    """Yield the tensors of each file."""
    shard: list[StoredTensor] = []
    size = 0
    for piece in members:
        piece_bytes = form.dtype.itemsize * math.prod(piece.shape)
        if shard and size + piece_bytes > form.shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(piece)
        size += piece_bytes
    yield shard


def refuse_other(directory: Path, replaceable: set[str], kind: str) -> None:
    """Raise UserError where a directory holds files, but none that a save may replace."""
    if directory.exists():
        present = {path.name for path in directory.iterdir()} if directory.is_dir() else {"a file"}
        if present and not present & replaceable:
            what, mend = f"holds something else than {kind}", "choose another directory"
            raise UserError(what, where=directory, mend=mend)
