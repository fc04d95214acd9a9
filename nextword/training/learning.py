"""What an objective reads and what its loss is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nextword.errors import UserError
from nextword.objectives import causal, masked
from nextword.settings import PretrainSettings
from nextword.tokens.corruption import DenoisingLoader, corruption_of, target_share
from nextword.tokens.infilling import InfillingLoader, infilling_of
from nextword.tokens.loader import BlockLoader
from nextword.tokens.masking import MaskedLoader, masking_of
from nextword.tokens.store import Split, Store
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.state import Loader


@dataclass(frozen=True)
class Learning:
    """`loss` takes a model and a batch, `loader` a split and a context length; `target_share` of
    the tokens read are targets."""

    loss: Callable[[Any, Any], Tensor]
    loader: Callable[[Split, int], Loader]
    target_share: float = 1.0
    unit: str = "tokens"  # what is predicted
    start_id: int | None = None  # that an encoder–decoder begins to write with


def check_objective(store: Store, settings: PretrainSettings) -> None:
    """Raises UserError for a decoder on a store of another objective: its tokenizer closes every
    text, and so would close every prompt. What the others lack, `learning` says."""
    made_for = store.manifest.get("settings", {}).get("objective", "causal")
    if settings.objective == "causal" and made_for != "causal":
        raise UserError(
            f"is a store for --objective {made_for}, not for causal",
            where=store.path,
            mend=f"give --objective {made_for}, or prepare the text again without it",
        )


def learning(settings: PretrainSettings, tokenizer: Tokenizer) -> Learning:
    """Raises UserError where the tokenizer lacks the control tokens that the objective takes."""
    seed = settings.seed
    if settings.objective == "denoise":
        corruption = corruption_of(tokenizer, settings)
        return Learning(
            causal.loss,
            lambda split, context: DenoisingLoader(split, context, seed, corruption),
            target_share(corruption),
            "tokens to write",
            corruption.start_id,
        )
    if settings.objective == "masked":
        masking = masking_of(tokenizer, settings)
        return Learning(
            masked.loss,
            lambda split, context: MaskedLoader(split, context, seed, masking),
            masking.rate,
            "hidden tokens",
        )
    if settings.fim_rate:
        infilling = infilling_of(tokenizer, settings.fim_rate)
        return Learning(
            causal.loss, lambda split, context: InfillingLoader(split, context, seed, infilling)
        )
    return Learning(causal.loss, lambda split, context: BlockLoader(split, context, seed))
