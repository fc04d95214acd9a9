"""The objectives of pretraining: what each reads and how it is validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nextword.errors import UserError
from nextword.settings import PretrainSettings
from nextword.tokens.fill_in_the_middle import FillInTheMiddleLoader, fill_in_the_middle_for
from nextword.tokens.loader import BlockLoader
from nextword.tokens.masking import MaskedLoader, masking_for
from nextword.tokens.span_corruption import DenoisingLoader, span_corruption_for, target_ratio
from nextword.tokens.store import Split, Store
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.masked_validator import MaskedValidator
from nextword.training.planning import PretrainPlan
from nextword.training.state import Loader
from nextword.training.validators import DenoisingValidator, TextValidator

PretrainValidator = TextValidator | MaskedValidator | DenoisingValidator


@dataclass(frozen=True)
class Objective:
    """`loader` takes a split and a context length, `validator` a store and the validator's limits;
    `target_share` of the tokens read are targets."""

    loader: Callable[[Split, int], Loader]
    validator: Callable[..., PretrainValidator]
    target_share: float = 1.0
    unit: str = "tokens"  # what is predicted
    start_id: int | None = None  # that an encoder–decoder begins to write with

    def validator_for(self, store: Store, plan: PretrainPlan, seed: int) -> PretrainValidator:
        """Return what measures a model on a store's held-out text while it is trained."""
        return self.validator(
            store,
            context_length=plan.config.context_length,
            batch_size=plan.micro_batch,
            max_tokens=plan.eval_tokens,
            seed=seed,
        )


def check_objective(store: Store, settings: PretrainSettings) -> None:
    """Raise UserError for a decoder on a store of another objective: its tokenizer closes every
    text, and so would close every prompt. What the others lack, `objective_of` says."""
    made_for = store.manifest.get("settings", {}).get("objective", "causal")
    if settings.objective == "causal" and made_for != "causal":
        raise UserError(
            f"is a store for --objective {made_for}, not for causal",
            where=store.path,
            mend=f"give --objective {made_for}, or prepare the text again without it",
        )


def objective_of(settings: PretrainSettings, tokenizer: Tokenizer) -> Objective:
    """Return the objective that settings name. Raises UserError where the tokenizer lacks the
    control tokens that it takes."""
    seed = settings.seed
    if settings.objective == "denoise":
        corruption = span_corruption_for(tokenizer, settings)
        return Objective(
            partial(DenoisingLoader, seed=seed, corruption=corruption),
            lambda store, **limits: DenoisingValidator(
                store.val, store.tokenizer, corruption, **limits
            ),
            target_ratio(corruption),
            "tokens to write",
            corruption.start_id,
        )
    if settings.objective == "masked":
        masking = masking_for(tokenizer, settings)
        return Objective(
            partial(MaskedLoader, seed=seed, masking=masking),
            lambda store, **limits: MaskedValidator(store.val, store.tokenizer, masking, **limits),
            masking.rate,
            "hidden tokens",
        )
    if settings.fim_rate:
        infilling = fill_in_the_middle_for(tokenizer, settings.fim_rate)
        loader = partial(FillInTheMiddleLoader, seed=seed, infilling=infilling)
        return Objective(loader, _text_validator)
    return Objective(partial(BlockLoader, seed=seed), _text_validator)


def _text_validator(store: Store, **limits: int) -> TextValidator:
    counts = store.counts("val" if len(store.val.tokens) else "train")
    tokens_per_byte = counts["tokens"] / max(1, counts["bytes"])
    return TextValidator(store.val, store.tokenizer, tokens_per_byte=tokens_per_byte, **limits)
