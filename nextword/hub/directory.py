"""A model's directory: config.json, safetensors, tokenizer, generation_config.json, README.md."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.files import read_json, whole_directory, write_json
from nextword.hub.card import classifier_card, model_card, span_card, tag_card
from nextword.hub.config import Head, head_of, read_config, write_config
from nextword.hub.labels import Outputs, label_names, read_labels, write_labels
from nextword.hub.names import weight_name
from nextword.hub.padding import for_classifier, pad_token, with_pad
from nextword.hub.resolve import inside, resolve
from nextword.hub.tensors import locations
from nextword.hub.weights import begin, read_classifier, read_model, read_span_finder, read_tagger
from nextword.hub.writing import SHARD_BYTES, write_weights
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import Writer
from nextword.models.heads import Classifier, Headed, SpanFinder, Tagger
from nextword.models.lora import merge
from nextword.tokens.tokenizer import Tokenizer

FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS_OF: dict[Head, str] = {
    "language": "head",
    "classifier": "score",
    "spans": "span",
    "tags": "tag",
}
MARKS = {"config.json", "model.safetensors"}  # of a directory that a save may replace


def load(name_or_path: str | PathLike[str]) -> tuple[Writer, Tokenizer]:
    """A model and its tokenizer from a run, a Hugging Face directory or the Hub.

    Weights are fp32 and dropout is off. Raises UserError where anything is missing or damaged.
    """
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    return read_model(directory, config).eval(), tokenizer


def load_model(directory: str | PathLike[str]) -> Writer:
    """The model alone, in evaluation mode."""
    directory = Path(directory)
    return read_model(directory, read_config(inside(directory, "config.json"))).eval()


def load_classifier(
    name_or_path: str | PathLike[str],
) -> tuple[Classifier, Tokenizer, Outputs]:
    """A classifier, its tokenizer and what its outputs mean, from a run, a directory or the Hub.

    The tokenizer's `pad_id` is the model's: texts are to be read `without_padding` of it. Weights
    are fp32 and dropout is off. Raises UserError for a model that is no classifier, and as `load`.
    """
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    model = read_classifier(directory, config)
    values = read_json(directory / "config.json")
    outputs = read_labels(values, model.score.weight.shape[0], directory / "config.json")
    pad = values.get("pad_token_id")
    occurs = type(pad) is int and 0 <= pad < tokenizer.vocab_size
    return model.eval(), with_pad(tokenizer, pad if occurs else None), outputs


def start_classifier(
    name_or_path: str | PathLike[str], outputs: Outputs, seed: int = 0
) -> tuple[Classifier, Tokenizer]:
    """A classifier to be trained, from any model: the head that it has is left out, and one for
    `outputs` drawn, unless it classifies into the same ones already.

    The tokenizer's `pad_id` is the one to train and save with. Raises UserError as `load`, and
    where the tokenizer has no token to pad with.
    """
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    if has_head(directory, config, "classifier"):
        there, its_tokenizer, held = load_classifier(directory)
        if held == outputs:
            return there, its_tokenizer
    tokenizer = with_pad(tokenizer, pad_token(tokenizer))
    count = len(outputs.names)
    model = begin(directory, config, lambda body: Classifier(body, count, seed), seed)
    return model.eval(), tokenizer


def load_span_finder(name_or_path: str | PathLike[str]) -> tuple[SpanFinder, Tokenizer]:
    """A model that finds answers in texts, and its tokenizer. Raises UserError as `load`."""
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    return read_span_finder(directory, config).eval(), tokenizer


def start_span_finder(
    name_or_path: str | PathLike[str], seed: int = 0
) -> tuple[SpanFinder, Tokenizer]:
    """A model that is to learn to find answers, from any model; a head for it is kept."""
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    if has_head(directory, config, "spans"):
        return read_span_finder(directory, config).eval(), tokenizer
    model = begin(directory, config, lambda body: SpanFinder(body, seed), seed)
    return model.eval(), tokenizer


def load_tagger(name_or_path: str | PathLike[str]) -> tuple[Tagger, Tokenizer, tuple[str, ...]]:
    """A model that tags words, its tokenizer and its tags. Raises UserError as `load`."""
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    model, where = read_tagger(directory, config), directory / "config.json"
    values = read_json(where) | {"problem_type": None}
    return model.eval(), tokenizer, read_labels(values, model.tag.weight.shape[0], where).names


def start_tagger(
    name_or_path: str | PathLike[str], tags: tuple[str, ...], seed: int = 0
) -> tuple[Tagger, Tokenizer]:
    """A model that is to learn to tag words, from any model; a head for the same tags is kept."""
    directory = resolve(name_or_path)
    tokenizer, config = _open(directory)
    if has_head(directory, config, "tags"):
        there, _, held = load_tagger(directory)
        if held == tags:
            return there, tokenizer
    model = begin(directory, config, lambda body: Tagger(body, len(tags), seed), seed)
    return model.eval(), tokenizer


def has_head(directory: Path, config: TransformerConfig, head: Head) -> bool:
    """Whether a directory's weights have this head; some call several by one name, and their
    config.json says which it is."""
    if weight_name(config.family, WEIGHTS_OF[head]) not in locations(directory):
        return False
    named = head_of(read_json(directory / "config.json").get("architectures"))
    return named == head or (config.causal and "tags" not in (head, named))


def _open(directory: Path) -> tuple[Tokenizer, TransformerConfig]:
    """Tokenizer and config, checked against each other before any weights are read."""
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
    model: Writer,
    tokenizer: Tokenizer | None = None,
    generation: dict[str, Any] | None = None,
    card: str | None = None,
    *,
    start_id: int | None = None,
    only_pretrained: bool = False,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write all of a model's directory, or nothing: an older model there is replaced in one step.

    `generation` is added to generation_config.json, `card` is what the README says about the
    model, `start_id` what a text begins with where the tokenizer does not say it. An
    encoder–decoder that is `only_pretrained` knows no task that the README could name. Opens in
    transformers with AutoModelForCausalLM, ...ForMaskedLM or ...ForSeq2SeqLM, and AutoTokenizer.
    Low-rank updates are merged into what is written. Raises UserError where the directory holds
    something else than a model.
    """
    config = model.config
    ids = _special_ids(tokenizer, config)
    if start_id is not None and not config.decoder_layers:
        ids["bos_token_id"] = start_id
    values = write_config(config, _name(dtype)) | ids
    mask = None
    if tokenizer is not None and tokenizer.mask_id is not None:
        mask = tokenizer.id_to_token(tokenizer.mask_id)
    readme = model_card(config, card, mask=mask, only_pretrained=only_pretrained)
    with _written(Path(directory), model, values, tokenizer, readme, dtype, shard_bytes) as aside:
        if config.writes:
            write_json(aside / "generation_config.json", ids | (generation or {}))


def save_classifier(
    directory: str | PathLike[str],
    model: Classifier,
    tokenizer: Tokenizer,
    outputs: Outputs,
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a classifier as `save` does a language model.

    Opens in transformers with AutoModelForSequenceClassification, labels and padding token
    included. The tokenizer is the one that was trained with: texts are read up to its padding
    token. Raises UserError also where it has none and no token is left to be one.
    """
    config = model.transformer.config
    tokenizer = for_classifier(tokenizer, config.context_length)
    named = {"pad_token_id": tokenizer.pad_id} | write_labels(outputs)
    readme = classifier_card(config, outputs, card)
    _save_head(directory, model, "classifier", named, tokenizer, readme, dtype, shard_bytes)


def save_span_finder(
    directory: str | PathLike[str],
    model: SpanFinder,
    tokenizer: Tokenizer,
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model that finds answers; opens with AutoModelForQuestionAnswering."""
    readme = span_card(model.transformer.config, card)
    _save_head(directory, model, "spans", {}, tokenizer, readme, dtype, shard_bytes)


def save_tagger(
    directory: str | PathLike[str],
    model: Tagger,
    tokenizer: Tokenizer,
    tags: tuple[str, ...],
    card: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model that tags words; opens with AutoModelForTokenClassification, tags included."""
    readme = tag_card(model.transformer.config, tags, card)
    named = label_names(tags)
    _save_head(directory, model, "tags", named, tokenizer, readme, dtype, shard_bytes)


def _save_head(
    directory: str | PathLike[str],
    model: Headed,
    head: Head,
    named: dict[str, Any],
    tokenizer: Tokenizer,
    readme: str,
    dtype: torch.dtype,
    shard_bytes: int,
) -> None:
    """`named` is what config.json says of the head's outputs."""
    config = model.transformer.config
    values = write_config(config, _name(dtype), head) | _special_ids(tokenizer, config) | named
    with _written(Path(directory), model, values, tokenizer, readme, dtype, shard_bytes):
        pass


@contextlib.contextmanager
def _written(
    directory: Path,
    model: Writer | Headed,
    values: dict[str, Any],
    tokenizer: Tokenizer | None,
    readme: str,
    dtype: torch.dtype,
    shard_bytes: int,
) -> Iterator[Path]:
    """A directory with config, weights, tokenizer and card, to which the block adds."""
    if directory.exists():
        present = {path.name for path in directory.iterdir()} if directory.is_dir() else {"a file"}
        if present and not present & MARKS:
            raise UserError(
                "holds something else than a model",
                where=directory,
                mend="choose another directory",
            )
    with whole_directory(directory) as aside:
        write_json(aside / "config.json", values)
        write_weights(aside, merge(model), dtype, shard_bytes)
        if tokenizer is not None:
            tokenizer.save(aside)
        (aside / "README.md").write_text(readme, encoding="utf-8")
        yield aside


def _special_ids(tokenizer: Tokenizer | None, config: TransformerConfig) -> dict[str, int | None]:
    """What config.json says of control tokens. Raises UserError where a RoBERTa and its tokenizer
    differ in the padding token, from whose id transformers counts positions."""
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
    kept = roles if config.family == "modernbert" else ("pad", "bos", "eos")
    return {f"{name}_token_id": tokenizer.role_id(f"{roles[name]}_token") for name in kept}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
