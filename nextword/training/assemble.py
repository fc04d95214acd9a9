"""Everything a loop needs, placed, typed, compiled and replicated before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextword.hub.directory import save as save_directory
from nextword.models.encoder_decoder import writer
from nextword.models.sizes import flops_per_token
from nextword.models.transformer import Block
from nextword.settings import PretrainSettings
from nextword.terminal import duration, quantity, warn
from nextword.tokens.corruption import corruption_of
from nextword.tokens.masking import masking_of
from nextword.tokens.store import Store
from nextword.training import optimizers
from nextword.training.denoising_validation import DenoisingValidator
from nextword.training.interrupt import Interrupt
from nextword.training.learning import Learning
from nextword.training.masked_validation import MaskedValidator
from nextword.training.metrics import Metrics
from nextword.training.parallel import Group, Objective, replicate
from nextword.training.planning import Plan
from nextword.training.precision import Precision
from nextword.training.state import Figures, Job, State
from nextword.training.validation import TextValidator


def assemble(
    run: Path,
    data: list[str],
    store: Store,
    learned: Learning,
    settings: PretrainSettings,
    plan: Plan,
    measured: Precision,
    group: Group,
    interrupt: Interrupt,
    metrics: Metrics,
) -> Job:
    """Everything a loop needs, placed, typed, compiled and replicated."""
    config = replace(plan.config, dropout=settings.dropout, start_id=learned.start_id)
    model = writer(config, seed=settings.seed).to(group.device)
    model.activation_dtype = measured.dtype
    if plan.compile:
        for module in model.modules():
            if isinstance(module, Block):
                module.compile()
    context = config.context_length
    held_out = store.val if len(store.val.tokens) else None
    if held_out is None and group.leads:
        warn("no text is held out: the model is not validated (--val-fraction 0)")
    validator = _validator(store, settings, plan)
    work = flops_per_token(config, context, learned.target_share) / (measured.peak * group.size)

    def figures(state: State, loss: float, speed: float) -> Figures:
        read = speed / learned.target_share  # tokens a second, whether they are targets or not
        values = {
            "tokens": round(state.tokens / learned.target_share),
            "tokens_per_second": read,
            "matmul_share": read * work,
        }
        words = f"{quantity(read, 'tokens/s')}  {read * work:.0%} of matmul peak"
        if isinstance(validator, TextValidator):
            bits = validator.bits_per_byte(loss)
            return Figures({"bits_per_byte": bits} | values, f"{bits:.3f} bits/byte  {words}")
        return Figures(values, words)

    def describe(state: State) -> str:
        """What the model learned from, how long, and how well it does."""
        read = state.step * plan.batch_size * context
        story = (
            f"Trained by nextword from random weights on {_described(data, store)}: "
            f"{state.step:,} steps of {plan.batch_size} × {context} tokens, "
            f"{quantity(state.tokens, learned.unit)} in {duration(state.seconds)}, "
            f"{read / len(store.train):.3g} passes over the text."
        )
        if state.best_loss is None:
            return f"{story} No text was held out to measure it on."
        found, perplexity = state.best_figures, state.best_figures["perplexity"]
        if "masked accuracy" in found:
            measured_as = f"a hidden token; it finds {found['masked accuracy']:.1%} of them"
        elif settings.objective == "denoise":
            measured_as = "a token to write"
        else:
            measured_as = f"a token, {found['bits per byte']:.4f} bits a byte"
        return (
            f"{story} At step {state.best_step:,} its loss on held-out text was "
            f"{state.best_loss:.4f} nats {measured_as}, perplexity {perplexity:.4g}."
        )

    return Job(
        run=run,
        model=model,
        objective=replicate(Objective(model, learned.loss), group),
        optimizers=optimizers.build(
            model,
            settings.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            momentum=plan.momentum,
            betas=(settings.beta1, settings.beta2),
            row_blocks=model.row_blocks(),
            dtype=measured.dtype,
        ),
        loader=learned.loader(store.train, context),
        validator=validator,
        metrics=metrics,
        interrupt=interrupt,
        group=group,
        seed=settings.seed,
        batch_size=plan.batch_size,
        micro_batch=plan.micro_batch,
        clip=settings.clip,
        learning_rate=plan.learning_rate,
        skip_nonfinite=settings.on_nonfinite == "skip",
        eval_every=plan.eval_every if held_out else 0,
        sample_every=plan.sample_every if held_out or settings.objective == "causal" else 0,
        save_every=plan.save_every,
        log_every=plan.log_every,
        keep_checkpoints=settings.keep_checkpoints,
        patience=settings.patience,
        decay=settings.decay,
        figures=figures,
        describe=describe,
        save_model=lambda folder, card: save_directory(
            folder, model, store.tokenizer, card=card, only_pretrained=True
        ),
        average={n: p.detach().clone() for n, p in model.named_parameters()}
        if settings.ema
        else {},
        average_decay=settings.ema,
    )


def _validator(
    store: Store, settings: PretrainSettings, plan: Plan
) -> TextValidator | MaskedValidator | DenoisingValidator:
    limits: dict[str, int] = {
        "context_length": plan.config.context_length,
        "batch_size": plan.micro_batch,
        "max_tokens": plan.eval_tokens,
        "seed": settings.seed,
    }
    if settings.objective == "masked":
        masking = masking_of(store.tokenizer, settings)
        return MaskedValidator(store.val, store.tokenizer, masking, **limits)
    if settings.objective == "denoise":
        corruption = corruption_of(store.tokenizer, settings)
        return DenoisingValidator(store.val, store.tokenizer, corruption, **limits)
    counts = store.counts("val" if len(store.val.tokens) else "train")
    tokens_per_byte = counts["tokens"] / max(1, counts["bytes"])
    return TextValidator(store.val, store.tokenizer, tokens_per_byte=tokens_per_byte, **limits)


def _described(data: list[str], store: Store) -> str:
    """What a model learns from, in words: `novels and 2 more (18.2 M tokens, 2.1 M held out)`."""
    names = [name if "://" in name else Path(name).resolve().name for name in data]
    named = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"
    held_out = f", {quantity(len(store.val.tokens))} more held out" if len(store.val.tokens) else ""
    return f"{named} ({quantity(len(store.train.tokens), 'tokens')}{held_out})"
