"""A table of the heads beside a language model's own, and what directories say of their outputs."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from nextword.errors import UserError
from nextword.hub.families import HeadName
from nextword.models.config import DECODERS, ENCODER_DECODERS, Family
from nextword.models.heads import (
    ModelWithHead,
    QuestionAnsweringModel,
    SequenceClassificationModel,
    TokenClassificationModel,
)
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer import Tokenizer

OutputKind = Literal["single", "several", "amount"]
PROBLEM_TYPES: dict[OutputKind, str] = {
    "single": "single_label_classification",
    "several": "multi_label_classification",
    "amount": "regression",
}
PAD_TOKENS = ("<|pad|>", "<pad>", "[PAD]", "<|endoftext|>")
Model = TypeVar("Model", bound=ModelWithHead, covariant=True)


@dataclass(frozen=True)
class Outputs:
    """The meaning of a head's outputs: one of the classes in `names`, any number of them at once
    ("several"), or an amount, which has one name."""

    kind: OutputKind
    names: tuple[str, ...]


SPAN_ENDS = Outputs("single", ("start", "end"))  # the outputs of every question-answering head


@dataclass(frozen=True)
class Head(Generic[Model]):
    """A kind of head: how its model is built, what it is called on disk, and how it is used.

    `modules` are the parts of ours that it consists of, first the one with a row for each output;
    `weight` is Hugging Face's name of that one, `weights` where a family has another. Of the
    outputs, config.json holds the keys in `describes`. With `pads`, a text is scored at the last
    token before the padding, so the tokenizer's padding token matters.
    """

    name: HeadName
    model: type[Model]
    build: Callable[[Transformer, int, int | None], Model]  # of a body, so many outputs and a seed
    task: str  # of `nextword finetune`, that makes such a model
    peft_task: str
    does: str
    modules: tuple[str, ...]
    weight: str
    weights: dict[Family, str] = field(default_factory=dict)
    describes: tuple[str, ...] = ("id2label", "label2id")
    rows: str = "outputs"
    pads: bool = False

    def write_outputs(self, outputs: Outputs) -> dict[str, Any]:
        """Return what config.json holds of the outputs."""
        values = {
            "id2label": {str(number): name for number, name in enumerate(outputs.names)},
            "label2id": {name: number for number, name in enumerate(outputs.names)},
            "problem_type": PROBLEM_TYPES[outputs.kind],
        }
        return {key: values[key] for key in self.describes}

    def read_outputs(self, values: dict[str, Any], count: int, where: Path) -> Outputs:
        """Return what config.json says of a head with `count` outputs.

        As in transformers, they are LABEL_0 and so on where it names none, and one output is an
        amount, several are classes, where it has no problem_type. Raises UserError where names and
        outputs do not fit.
        """
        if "id2label" not in self.describes:
            return SPAN_ENDS
        names = _read_names(values.get("id2label"), where)
        names = names or tuple(f"LABEL_{number}" for number in range(count))
        if len(names) != count:
            raise UserError(f"id2label names {len(names)} labels for {count} outputs", where=where)
        if "problem_type" not in self.describes:
            return Outputs("single", names)
        return Outputs(_read_kind(values.get("problem_type"), count, where), names)


CLASSIFIER = Head(
    name="classifier",
    model=SequenceClassificationModel,
    build=SequenceClassificationModel,
    task="classify",
    peft_task="SEQ_CLS",
    does="classifies texts",
    modules=("score", "pooler"),
    weight="score",
    weights={
        **dict.fromkeys(("bert", "distilbert", "modernbert"), "classifier"),
        **dict.fromkeys(("roberta", "xlm-roberta"), "classifier.out_proj"),
        **dict.fromkeys(ENCODER_DECODERS, "classification_head.out_proj"),
    },
    describes=("id2label", "label2id", "problem_type"),
    rows="labels",
    pads=True,
)
SPANS = Head(
    name="spans",
    model=QuestionAnsweringModel,
    build=lambda body, _, seed: QuestionAnsweringModel(body, seed),
    task="qa",
    peft_task="QUESTION_ANS",
    does="finds answers in texts",
    modules=("span",),
    weight="qa_outputs",
    weights={"modernbert": "classifier"},
    describes=(),
)
TAGS = Head(
    name="tags",
    model=TokenClassificationModel,
    build=TokenClassificationModel,
    task="tag",
    peft_task="TOKEN_CLS",
    does="tags words",
    modules=("tag",),
    weight="classifier",
    weights=dict.fromkeys(DECODERS[1:], "score"),  # all but GPT-2
    rows="tags",
)
HEADS: dict[HeadName, Head[Any]] = {head.name: head for head in (CLASSIFIER, SPANS, TAGS)}


def head_of_model(model: ModelWithHead) -> Head[Any]:
    """Return the table's row for a model."""
    return next(head for head in HEADS.values() if isinstance(model, head.model))


def _read_names(id2label: Any, where: Path) -> tuple[str, ...]:
    if id2label is None or id2label == {}:
        return ()
    keys = [str(number) for number in range(len(id2label))] if isinstance(id2label, dict) else []
    if not keys or set(id2label) != set(keys):
        raise UserError("id2label does not number its labels from 0", where=where)
    names = tuple(id2label[key] for key in keys)
    if not all(isinstance(name, str) for name in names):
        raise UserError("id2label holds a name that is not text", where=where)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"id2label holds {reprlib.repr(twice)} twice", where=where)
    return names


def _read_kind(problem_type: Any, count: int, where: Path) -> OutputKind:
    if problem_type is None:
        return "amount" if count == 1 else "single"
    for kind, theirs in PROBLEM_TYPES.items():
        if problem_type == theirs:
            if kind == "amount" and count != 1:
                what = f"a regression of {count} amounts at once is not supported"
                raise UserError(what, where=where)
            return kind
    raise UserError(
        f"problem_type {reprlib.repr(problem_type)} is not known",
        where=where,
        mend="known are " + ", ".join(PROBLEM_TYPES.values()),
    )


def pad_token(tokenizer: Tokenizer) -> int:
    """Return a token to pad with that ends no text, though many models pad with the end of a text.

    transformers' classifiers take the last token whose id is not that of padding: with a token that
    ends texts, the token before. Raises UserError where no such token is left.
    """
    end = _text_end(tokenizer)
    specials = sorted(tokenizer.special_ids)
    usual = [id for id in specials if tokenizer.id_to_token(id) in PAD_TOKENS]
    for id in (tokenizer.pad_id, *usual, tokenizer.end_id, *specials):
        if id is not None and id != end:
            return id
    raise UserError(
        "the tokenizer has no token to pad with: its only special token ends every text",
        where=tokenizer.where,
        mend='add one, such as "<|pad|>", to its tokenizer.json',
    )


def pad_for_classifier(tokenizer: Tokenizer, context_length: int) -> Tokenizer:
    """Return the tokenizer set to pad on the right and to cut texts at the model's context.

    Padding on the left would move GPT-2's positions. A padding token that it has is kept, because
    the model has learned to read the token before it. Raises UserError as `pad_token`.
    """
    id = pad_token(tokenizer) if tokenizer.pad_id is None else tokenizer.pad_id
    tokenizer = cut_at_context(tokenizer, context_length)
    return with_pad(tokenizer, id, {"padding_side": "right"})


def cut_at_context(tokenizer: Tokenizer, context_length: int) -> Tokenizer:
    """Return the tokenizer so that `truncation=True` cuts at the model's context, where it would
    not cut before."""
    length = tokenizer.config.get("model_max_length")
    if isinstance(length, int) and 0 < length <= context_length:
        return tokenizer
    config = tokenizer.config | {"model_max_length": context_length}
    return Tokenizer(tokenizer.definition, config, where=tokenizer.where)


def with_pad(
    tokenizer: Tokenizer, id: int | None, changes: dict[str, Any] | None = None
) -> Tokenizer:
    """Return the tokenizer with this padding token, or none, and other changes of its config."""
    name = None if id is None else tokenizer.id_to_token(id)
    config = tokenizer.config | {"pad_token": name} | (changes or {})
    return Tokenizer(tokenizer.definition, config, where=tokenizer.where)


def _text_end(tokenizer: Tokenizer) -> int | None:
    """Return the control token that the tokenizer's template puts after a text."""
    for id in range(tokenizer.vocab_size):
        text = "" if id in tokenizer.special_ids else tokenizer.decode([id])
        if text.isprintable() and text.strip() and "\N{REPLACEMENT CHARACTER}" not in text:
            last = tokenizer.encode(text, template=True)[-1]
            return last if last in tokenizer.special_ids else None
    return None
