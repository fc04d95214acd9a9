"""The control tokens that an objective needs, and what a tokenizer puts around a text for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from nextword.errors import UserError
from nextword.settings import PrepareSettings
from nextword.tokens.tokenizer import END, Tokenizer

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
    # These swallow the space written before them, where words carry theirs (byte pairs).
    strip_left: tuple[str, ...] = field(default=())

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


def check_controls(
    tokenizer: Tokenizer,
    objective: str,
    fim_rate: float = 0.0,
    mend: str = "",
    asked: str = "",
) -> None:
    """Raises UserError where a tokenizer lacks control tokens that an objective takes, or what is
    `asked` for."""
    lacking = ""
    if objective == "masked":
        roles = [f"{role}_token" for role in ("cls", "sep", "mask")]
        lacking = next((role for role in roles if tokenizer.id_of(role) is None), "")
    elif objective == "denoise":
        if tokenizer.pad_id is None or None in map(tokenizer.special_id, SENTINELS):
            lacking = f"{SENTINELS[0]} … {SENTINELS[-1]} or no pad_token"
    elif fim_rate:
        lacking = next((name for name in FIM if tokenizer.special_id(name) is None), "")
        asked = asked or "--fim-rate"
    asked = asked or f"--objective {objective}"
    if lacking:
        raise UserError(
            f"the tokenizer has no {lacking}, which {asked} needs",
            where=tokenizer.where,
            mend=mend or f"prepare the text again with {asked}, or choose another --tokenizer",
        )
