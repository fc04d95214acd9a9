"""An encoder and its tokenizer together: a text with gaps in, candidates for the gaps out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.inference.loading import Precision, open_model
from nextword.models.transformer import Transformer
from nextword.settings import FillSettings, resolve, with_overrides
from nextword.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Candidate:
    """A token for a gap: `word` is its text without the space around it."""

    word: str
    probability: float
    id: int


@dataclass(frozen=True)
class FilledText:
    """A text with the likeliest token in each gap; `gaps` are the candidates for each, likeliest
    first."""

    text: str
    gaps: list[list[Candidate]]


@dataclass
class MaskedLanguageModel:
    """A masked language model: it fills gaps in a text."""

    name: str
    transformer: Transformer
    tokenizer: Tokenizer

    @torch.no_grad()
    def fill(self, text: str, top_k: int = 5) -> FilledText:
        """Return the likeliest tokens for each gap of a text; a gap is the mask token's name.

        Each gap is filled given the rest of the text, in which the other gaps stay gaps. Raises
        UserError for a text without a gap or longer than the model's context, and for a `top_k`
        below 1.
        """
        top_k = resolve(FillSettings, {"top_k": top_k}).top_k
        mask_id = self.tokenizer.role_id("mask_token")
        mask = None if mask_id is None else self.tokenizer.id_to_token(mask_id)
        if mask is None:
            raise UserError(
                "the tokenizer has no mask_token",
                where=self.name,
                mend="name it in its tokenizer_config.json",
            )
        ids = self.tokenizer.encode_masked(text)
        masked = [index for index, id in enumerate(ids) if id == mask_id]
        if not masked:
            raise UserError(f"the text has no {mask}", mend=f"write {mask} where a word is missing")
        limit = self.transformer.config.context_length
        if len(ids) > limit:
            raise UserError(
                f"the text is {len(ids):,} tokens long, and the model sees {limit:,} at once",
                mend="give a shorter text",
            )
        device = self.transformer.embedding.weight.device
        hidden = self.transformer.eval()(torch.tensor([ids], device=device))[0, masked]
        scores = self.transformer.logits(hidden).float()[:, : self.tokenizer.vocab_size]
        likeliest = scores.softmax(-1).topk(min(top_k, scores.shape[1]))
        gaps = [
            [
                Candidate(self.tokenizer.decode([id], skip_special=False).strip(), probability, id)
                for id, probability in zip(*gap, strict=True)
            ]
            for gap in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        ]
        for index, candidates in zip(masked, gaps, strict=True):
            ids[index] = candidates[0].id
        return FilledText(self.tokenizer.decode(ids), gaps)


def load_masked_model(
    name: str | Path, *, precision: Precision = "fp32", device: str | torch.device | None = None
) -> MaskedLanguageModel:
    """Load an encoder to fill gaps with. Raises UserError for a model of another kind, and where
    anything is missing or damaged."""
    _, transformer, tokenizer = open_model(name, precision, device)
    if not isinstance(transformer, Transformer) or transformer.config.causal:
        kind, verb = "a decoder", "generate"
        does = "goes on with a text, and cannot see what comes after a gap"
        if transformer.config.decoder_layers:
            kind, verb, does = "an encoder–decoder", "predict", "writes one text of another"
        raise UserError(
            f"is {kind} ({transformer.config.family}): it {does}",
            where=name,
            mend=f"use `nextword {verb}`, or train an encoder: `pretrain --objective masked`",
        )
    return MaskedLanguageModel(str(name), transformer, tokenizer)


def fill(
    model: str | Path | MaskedLanguageModel,
    text: str,
    settings: FillSettings | None = None,
    **overrides: Any,
) -> FilledText:
    """Fill the gaps of a text, as `MaskedLanguageModel.fill` does.

    To fill more than one text, `load` the model and keep it.
    """
    settings = with_overrides(FillSettings, settings, overrides)
    if not isinstance(model, MaskedLanguageModel):
        model = load_masked_model(model, precision=settings.precision)
    return model.fill(text, settings.top_k)
