"""Everything a loop needs, placed, typed, compiled and replicated before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nextword.hub.directory import save as save_directory
from nextword.models.sizes import flops_per_token
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import PretrainSettings
from nextword.terminal import duration, quantity, warn
from nextword.tokens.loader import BlockLoader
from nextword.tokens.store import Store
from nextword.training import optimizers
from nextword.training.interrupt import Interrupt
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
    settings: PretrainSettings,
    plan: Plan,
    measured: Precision,
    group: Group,
    interrupt: Interrupt,
    metrics: Metrics,
) -> Job:
    """Everything a loop needs, placed, typed, compiled and replicated."""
    config = replace(plan.config, dropout=settings.dropout)
    model = Transformer(config, seed=settings.seed).to(group.device)
    model.activation_dtype = measured.dtype
    if plan.compile:
        for block in model.blocks:
            block.compile()
    context = config.context_length
    held_out = store.val if len(store.val.tokens) else None
    if held_out is None and group.leads:
        warn("no text is held out: the model is not validated (--val-fraction 0)")
    counts = store.counts("val" if held_out else "train")
    loader = BlockLoader(store.train, context, settings.seed)
    validator = TextValidator(
        store.val,
        store.tokenizer,
        context_length=context,
        tokens_per_byte=counts["tokens"] / max(1, counts["bytes"]),
        batch_size=plan.micro_batch,
        max_tokens=plan.eval_tokens,
        seed=settings.seed,
    )
    work = flops_per_token(config, context) / (measured.peak * group.size)

    def figures(state: State, loss: float, speed: float) -> Figures:
        bits, share = validator.bits_per_byte(loss), speed * work
        return Figures(
            {
                "bits_per_byte": bits,
                "tokens": state.tokens,
                "tokens_per_second": speed,
                "matmul_share": share,
            },
            f"{bits:.3f} bits/byte  {quantity(speed, 'tokens/s')}  {share:.0%} of matmul peak",
        )

    def describe(state: State) -> str:
        """What the model learned from, how long, and how well it does."""
        read = state.step * plan.batch_size * context
        learned = (
            f"Trained by nextword from random weights on {_described(data, store)}: "
            f"{state.step:,} steps of {plan.batch_size} × {context} tokens, "
            f"{quantity(state.tokens, 'tokens')} in {duration(state.seconds)}, "
            f"{read / len(store.train):.3g} passes over the text."
        )
        if state.best_loss is None:
            return f"{learned} No text was held out to measure it on."
        return (
            f"{learned} At step {state.best_step:,} its loss on held-out text was "
            f"{state.best_loss:.4f} nats a token, {state.best_figures['bits per byte']:.4f} bits "
            f"a byte, perplexity {state.best_figures['perplexity']:.4g}."
        )

    return Job(
        run=run,
        model=model,
        objective=replicate(Objective(model, causal.loss), group),
        optimizers=optimizers.build(
            model,
            settings.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            momentum=plan.momentum,
            betas=(settings.beta1, settings.beta2),
            row_blocks=model.row_blocks(),
        ),
        loader=loader,
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
        sample_every=plan.sample_every,
        save_every=plan.save_every,
        log_every=plan.log_every,
        keep_checkpoints=settings.keep_checkpoints,
        patience=settings.patience,
        decay=settings.decay,
        figures=figures,
        describe=describe,
        save_model=lambda folder, card: save_directory(folder, model, store.tokenizer, card=card),
        average={n: p.detach().clone() for n, p in model.named_parameters()}
        if settings.ema
        else {},
        average_decay=settings.ema,
    )


def _described(data: list[str], store: Store) -> str:
    """What a model learns from, in words: `novels and 2 more (18.2 M tokens, 2.1 M held out)`."""
    names = [name if "://" in name else Path(name).resolve().name for name in data]
    named = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"
    held_out = f", {quantity(len(store.val.tokens))} more held out" if len(store.val.tokens) else ""
    return f"{named} ({quantity(len(store.train.tokens), 'tokens')}{held_out})"
