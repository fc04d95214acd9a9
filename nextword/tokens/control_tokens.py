"""Control tokens: those that an objective needs, and keeping text from becoming one.

A tokenizer.json is searched for its control tokens, and can be made blind to them, so that their
names in a text are encoded as the characters they are made of.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from typing import Any

from nextword.settings import PrepareSettings

END_OF_TEXT = "<|endoftext|>"
FIM_TOKENS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))  # as T5's tokenizer names them
# The elements of which Gemma has tokens.
HTML = {"blockquote", "strong", "em", "b", "i", "u", "s", "sub", "sup", "code"}
HTML |= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
HTML |= {f"h{level}" for level in range(1, 7)}
_UNTYPABLE = "\ufdd0"  # a noncharacter, in the names that hide control tokens from the model


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of a new tokenizer.

    `names` are in the order of their ids, `roles` are what tokenizer_config.json says of them. A
    text stands between `before` and `after`. Those in `strip_left` swallow the space before them,
    where words carry theirs (byte pairs).
    """

    names: tuple[str, ...]
    roles: dict[str, Any]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    strip_left: tuple[str, ...] = ()

    def template(self, vocabulary: dict[str, int]) -> dict[str, Any] | None:
        """Return the post-processor of a tokenizer.json; None where a text stands alone."""
        around = sorted({*self.before, *self.after})
        if not around:
            return None
        before, after = (
            [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]
            for names in (self.before, self.after)
        )
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        return {
            "type": "TemplateProcessing",
            "single": [*before, first, *after],
            "pair": [*before, first, *after, second, *after],
            "special_tokens": {
                name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in around
            },
        }


CAUSAL = ControlTokens(
    (END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<|pad|>"),
    {"eos_token": END_OF_TEXT, "pad_token": "<|pad|>"},
)
CAUSAL_WITH_FIM = replace(CAUSAL, names=CAUSAL.names + FIM_TOKENS)
_INPUTS = {"model_input_names": ["input_ids", "attention_mask"]}
MASKED = ControlTokens(
    ("[CLS]", "[SEP]", "[MASK]", "[PAD]"),
    {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "mask", "pad")} | _INPUTS,
    before=("[CLS]",),
    after=("[SEP]",),
    strip_left=("[MASK]",),  # it stands for a word, and words begin with their space
)
DENOISE = ControlTokens(
    ("<pad>", "</s>", *SENTINELS),
    {"eos_token": "</s>", "pad_token": "<pad>"} | _INPUTS,
    after=("</s>",),
)


def control_tokens_for(settings: PrepareSettings) -> ControlTokens:
    """Return those of a tokenizer that is made for an objective."""
    if settings.objective == "causal":
        return CAUSAL_WITH_FIM if settings.fim_rate else CAUSAL
    return {"masked": MASKED, "denoise": DENOISE}[settings.objective]


def control_tokens(definition: dict[str, Any]) -> dict[int, str]:
    """Return ids and names of a tokenizer.json's special tokens, and of markup such as <think>.

    Added words ("covid"), runs of spaces and HTML's elements (Gemma's) are text.
    """
    return {
        token["id"]: token["content"]
        for token in definition.get("added_tokens") or []
        if token.get("special") or _is_markup(token["content"])
    }


def _is_markup(name: str) -> bool:
    is_html = name.strip("<>").removeprefix("/") in HTML
    return len(name) > 2 and (name[0], name[-1]) in {("<", ">"), ("[", "]")} and not is_html


def hide_control_tokens(definition: dict[str, Any], visible: str | None = None) -> dict[str, Any]:
    """Return a tokenizer.json that encodes names of control tokens, but `visible`, as characters.

    They are taken from the list searched for in text, and renamed in the model's vocabulary,
    where a Unigram or whole-word model would find them too. Nor does it add, cut or pad.
    """
    names = {id: name for id, name in control_tokens(definition).items() if name != visible}
    hidden = {name: f"{_UNTYPABLE}{id}{_UNTYPABLE}" for id, name in names.items()}
    plain = copy.copy(definition)
    plain["added_tokens"] = [
        token for token in definition.get("added_tokens") or [] if token["content"] not in hidden
    ]
    plain["post_processor"] = plain["truncation"] = plain["padding"] = None
    model = plain["model"] = dict(definition["model"])
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {hidden.get(name, name): id for name, id in vocabulary.items()}
    elif vocabulary:  # Unigram: [[name, score], ...]
        model["vocab"] = [[hidden.get(name, name), score] for name, score in vocabulary]
    if model.get("unk_token") in hidden and model["unk_token"] in (definition["model"]["vocab"]):
        model["unk_token"] = hidden[model["unk_token"]]
    return plain


def to_json(definition: dict[str, Any]) -> str:
    """Return the text of a tokenizer.json."""
    return json.dumps(definition, ensure_ascii=False)
