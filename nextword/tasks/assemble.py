"""Everything the training loop needs to fine-tune a model, placed, typed and replicated."""

from __future__ import annotations

from pathlib import Path

from nextword.hub.adapter import save_adapter
from nextword.hub.resolve import resolve as find_directory
from nextword.models.sizes import flops_per_pair, flops_per_token
from nextword.settings import FinetuneSettings
from nextword.tasks.learnable import Learnable
from nextword.tasks.planning import DECAY, Plan
from nextword.terminal import duration, quantity
from nextword.training import groups, optimizers
from nextword.training.interrupt import Interrupt
from nextword.training.metrics import Metrics
from nextword.training.parallel import Group, Objective, replicate
from nextword.training.planning import MOMENTUM
from nextword.training.precision import Precision
from nextword.training.state import Figures, Job, State


def assemble(
    run: Path,
    model: str,
    made: Learnable,
    settings: FinetuneSettings,
    plan: Plan,
    measured: Precision,
    group: Group,
    interrupt: Interrupt,
    metrics: Metrics,
) -> Job:
    network = made.model.to(group.device).train()
    made.body.activation_dtype = measured.dtype
    made.body.set_dropout(settings.dropout)
    work = work_per_target(made)

    def figures(state: State, loss: float, speed: float) -> Figures:
        return Figures(
            {
                f"{made.unit}_per_second": speed,
                "matmul_share": speed * work / (measured.peak * group.size),
            },
            quantity(speed, f"{made.unit}/s"),
        )

    def describe(state: State) -> str:
        began = f"{model}, fine-tuned"
        if settings.random_weights:
            began = (
                f"The architecture and tokenizer of {model}, its weights drawn anew from seed "
                f"{settings.seed} and trained"
            )
        learnt = (
            f"{began} by nextword for the task {settings.task} on "
            f"{len(made.sources):,} examples: {state.step:,} steps of {plan.batch_size} in "
            f"{duration(state.seconds)}."
        )
        if state.best_loss is None:
            return f"{learnt} No examples were held out to measure it on."
        figures = {"loss": state.best_loss} | state.best_figures
        found = ", ".join(f"{label} {value:.4f}" for label, value in figures.items())
        return f"{learnt} Of step {state.best_step:,}; on examples held out: {found}."

    def save_model(folder: Path, card: str) -> None:
        if settings.lora:  # first: a model stands for both being there
            save_adapter(run / "adapter", made.model, _place(model))
        made.save(folder, card)

    writes = made.unit == "tokens" and not made.validator.is_empty
    return Job(
        run=run,
        model=network,
        objective=replicate(Objective(network, made.loss), group),
        optimizers=optimizers.build(
            network,
            settings.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=settings.weight_decay,
            momentum=MOMENTUM[settings.optimizer],
            betas=(0.9, 0.999),
            row_blocks=made.body.row_blocks(),
            dtype=measured.dtype,
            rate_shares=groups.layer_rates(made.model, settings.layer_decay)
            if settings.layer_decay < 1
            else None,
        ),
        loader=made.loader(settings.seed),
        validator=made.validator,
        metrics=metrics,
        interrupt=interrupt,
        group=group,
        seed=settings.seed,
        batch_size=plan.batch_size,
        micro_batch=plan.micro_batch,
        clip=settings.clip,
        learning_rate=plan.learning_rate,
        skip_nonfinite=settings.on_nonfinite == "skip",
        eval_every=0 if made.validator.is_empty else plan.eval_every,
        sample_every=plan.eval_every if writes else 0,
        save_every=plan.save_every,
        log_every=max(1, plan.schedule.steps // 200),
        keep_checkpoints=settings.keep_checkpoints,
        patience=settings.patience,
        decay=DECAY,
        figures=figures,
        describe=describe,
        save_model=save_model,
    )


def work_per_target(made: Learnable) -> float:
    """Multiplications and additions for each token or example of the loss."""
    config, count, read = made.body.config, len(made.lengths), sum(made.lengths)
    if config.decoder_layers:
        source, target = (read - made.targets) / count, made.targets / count
        return flops_per_pair(config, source, target) / target
    return flops_per_token(config, read // count) * read / made.targets


def _place(model: str) -> str:
    """Where others find the model: its directory, or its name on the Hub."""
    return str(find_directory(model)) if Path(model).is_dir() else model
