"""The control tokens that an objective needs, and what a tokenizer puts around a text for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from nextword.settings import PrepareSettings
from nextword.tokens.tokenizer import END

FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))  # as T5's tokenizer names them


@dataclass(frozen=True)
class Specials:
    """`names` are the control tokens in the order of their ids, `roles` what
    tokenizer_config.json says of them; a text stands between `before` and `after`."""

    names: tuple[str, ...]
    roles: dict[str, Any]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    strip_left: tuple[str, ...] = field(default=())  # swallow the space written before them

    def template(self, vocabulary: dict[str, int]) -> dict[str, Any] | None:
        """The post-processor of a tokenizer.json; None where nothing is put around a text."""
        around = (*self.before, *self.after)
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
                name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]}
                for name in sorted(set(around))
            },
        }


CAUSAL = Specials(
    (END, "<|im_start|>", "<|im_end|>", "<|pad|>"), {"eos_token": END, "pad_token": "<|pad|>"}
)
INFILLING = replace(CAUSAL, names=CAUSAL.names + FIM)
_INPUTS = {"model_input_names": ["input_ids", "attention_mask"]}
MASKED = Specials(
    ("[CLS]", "[SEP]", "[MASK]", "[PAD]"),
    {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "mask", "pad")} | _INPUTS,
    before=("[CLS]",),
    after=("[SEP]",),
    strip_left=("[MASK]",),  # it stands for a word, and words begin with their space
)
DENOISE = Specials(
    ("<pad>", "</s>", *SENTINELS),
    {"eos_token": "</s>", "pad_token": "<pad>"} | _INPUTS,
    after=("</s>",),
)


def specials_for(settings: PrepareSettings) -> Specials:
    """Those of a tokenizer made for an objective."""
    if settings.objective == "causal":
        return INFILLING if settings.fim_rate else CAUSAL
    return {"masked": MASKED, "denoise": DENOISE}[settings.objective]
