"""`pretrain`: text or a store in, a run directory out; or a run directory that goes on.

RUN/config.yaml   the data and every setting, to repeat the run with `--config RUN/config.yaml`
RUN/run.json      what was decided for it: store, model, plan, precision, environment
RUN/store/        the prepared text, unless the data was a store already
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import nextword
from nextword.errors import UserError
from nextword.files import read_json, write_atomically, write_json
from nextword.hub.directory import save as save_directory
from nextword.models.config import TransformerConfig
from nextword.models.sizes import flops_per_token
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import PrepareSettings, PretrainSettings, resolve
from nextword.terminal import duration, say, warn
from nextword.tokens.loader import Batch, BlockLoader
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.training import checkpoint, milestones, optimizers, planning, precision
from nextword.training.interrupt import Interrupt, interruptible
from nextword.training.loop import train
from nextword.training.metrics import Metrics, trackers
from nextword.training.parallel import Group, processes, replicate
from nextword.training.planning import Plan
from nextword.training.state import Job, State
from nextword.training.validation import Validator

HORIZON = ("steps", "epochs", "budget")
FREE_ON_RESUME = {"resume", "new_horizon", "workers", "keep_checkpoints", "log_to", *HORIZON}


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `loss` is the best held-out one, nats a token, None if none is."""

    run: str
    steps: int
    tokens: int
    seconds: float
    loss: float | None
    bits_per_byte: float | None
    finished: str  # why it ended; "" if a signal stopped it before


class Causal(nn.Module):
    """The objective as a module, so that DDP sees one forward pass: a batch in, a loss out."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return causal.loss(self.model, batch)


def pretrain(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> RunSummary:
    """Train a new model on raw text or a store; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on from its last checkpoint, bit for bit as if
    it had not been. Raises UserError where settings and data do not fit.
    """
    started = time.monotonic()
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(PretrainSettings, given | overrides)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    with processes() as group, interruptible() as interrupt:
        resumed = settings.resume and (run / "run.json").is_file()
        if resumed:
            items, settings = _settings_of(run, items, settings)
        else:
            _refuse_to_overwrite(run, settings)
        store = _store(items, run, settings, group)
        if resumed:
            plan, measured = _plan_of(run, store, settings, group)
        else:
            plan, measured = _decide(store, settings, group, started)
            if group.leads:
                _write_down(run, items, settings, store, plan, measured)
        group.wait()
        return _train(run, store, settings, plan, measured, group, interrupt, resumed, started)


def _train(
    run: Path,
    store: Store,
    settings: PretrainSettings,
    plan: Plan,
    measured: precision.Precision,
    group: Group,
    interrupt: Interrupt,
    resumed: bool,
    started: float,
) -> RunSummary:
    saved = checkpoint.load_newest(run / "checkpoints") if resumed else None
    kept = int(saved.state["metrics_bytes"]) if saved else 0
    sinks = trackers(settings.log_to, run, settings.model_dump()) if group.leads else []
    metrics = Metrics(run / "metrics.jsonl" if group.leads else Path(os.devnull), kept, sinks)
    job = assemble(run, store, settings, plan, measured, group, interrupt, metrics)
    if saved is None:
        state = State(schedule=plan.schedule, seconds=time.monotonic() - started)
    else:
        state = milestones.restore(job, saved)
        if settings.new_horizon:
            state.schedule, state.horizon_fixed, state.finished = plan.schedule, False, ""
        if group.leads and not state.finished:
            metrics.event(state.step, "resume", f"resumed from the checkpoint of step {state.step}")
        say(f"Going on from step {state.step:,} of {state.schedule.steps:,}")
    if state.finished:
        say(f"This run is finished: {state.finished}")
    else:
        state = train(job, state)
    metrics.close()
    if interrupt.requested and not state.finished:
        say(f"Stopped at step {state.step:,}, saved. Go on with: --out {run} --resume")
    best = state.best_loss
    return RunSummary(
        run=str(run),
        steps=state.step,
        tokens=state.tokens,
        seconds=round(state.seconds, 2),
        loss=best,
        bits_per_byte=None
        if best is None
        else best / 0.6931471805599453 * job.validator.tokens_per_byte,
        finished=state.finished,
    )


def assemble(
    run: Path,
    store: Store,
    settings: PretrainSettings,
    plan: Plan,
    measured: precision.Precision,
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
    if held_out is None:
        warn("no text is held out: the model is not validated (--val-fraction 0)")
    counts = store.counts("val" if held_out else "train")
    return Job(
        run=run,
        model=model,
        objective=replicate(Causal(model), group),
        optimizers=optimizers.build(
            model,
            settings.optimizer,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            momentum=plan.momentum,
            betas=(settings.beta1, settings.beta2),
            row_blocks=model.row_blocks(),
        ),
        loader=BlockLoader(store.train, context, settings.seed),
        validator=Validator(
            store.val,
            store.tokenizer,
            context_length=context,
            tokens_per_byte=counts["tokens"] / max(1, counts["bytes"]),
            batch_size=plan.micro_batch,
            max_tokens=plan.eval_tokens,
            seed=settings.seed,
        ),
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
        budget=settings.budget if settings.steps is None and settings.epochs is None else None,
        flops_per_token=flops_per_token(config, context),
        peak=measured.peak,
        save_model=lambda folder: save_directory(folder, model, store.tokenizer),
        average={n: p.detach().clone() for n, p in model.named_parameters()}
        if settings.ema
        else {},
        average_decay=settings.ema,
    )


def _refuse_to_overwrite(run: Path, settings: PretrainSettings) -> None:
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    if (run / "run.json").exists() or (run.is_dir() and any(run.iterdir()) and not settings.resume):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )


def _store(data: list[str], run: Path, settings: PretrainSettings, group: Group) -> Store:
    """The store given as data, or one prepared from it under the run."""
    if len(data) == 1 and (Path(data[0]) / "manifest.json").is_file():
        return Store.open(Path(data[0]))
    if not data:
        raise UserError("no data was given", mend="nextword pretrain DATA... --out RUN")
    if group.leads and not (run / "store" / "manifest.json").is_file():
        own = settings.model_dump(include=set(PrepareSettings.model_fields))
        prepare(data, run / "store", PrepareSettings(**own))
    group.wait()
    return Store.open(run / "store")


def _decide(
    store: Store, settings: PretrainSettings, group: Group, started: float
) -> tuple[Plan, precision.Precision]:
    measured = precision.choose(settings.precision, group.device)

    def speed(config: TransformerConfig, batch: int, micro: int) -> float:
        return _tokens_per_second(store, config, settings, batch, micro, measured, group)

    plan = planning.plan(
        settings,
        store.train,
        store.tokenizer.vocab_size,
        peak=measured.peak * group.size,
        measure=speed,
        spent=time.monotonic() - started,
        gpu=group.device.type == "cuda",
    )
    for reason in [f"activations in {measured.name}: {measured.reason}", *plan.reasons]:
        say(f"  {reason}")
    return plan, measured


def _tokens_per_second(
    store: Store,
    config: TransformerConfig,
    settings: PretrainSettings,
    batch: int,
    micro: int,
    measured: precision.Precision,
    group: Group,
) -> float:
    """How fast a model of this shape trains here: the best of a few whole steps."""
    model = Transformer(config, seed=settings.seed).to(group.device)
    model.activation_dtype = measured.dtype
    parts = optimizers.build(
        model,
        settings.optimizer,
        learning_rate=0.0,
        weight_decay=0.0,
        momentum=0.9,
        betas=(0.9, 0.95),
        row_blocks=model.row_blocks(),
    )
    if len(store.train.tokens) <= config.context_length:
        return 1.0  # refused by the plan, which says what is missing
    loader = BlockLoader(store.train, config.context_length, settings.seed)
    rows = group.share(batch)
    best, began = 0.0, time.perf_counter()
    for trial in range(4):
        since = time.perf_counter()
        for row in range(0, rows.stop - rows.start, micro):
            count = min(micro, rows.stop - rows.start - row)
            causal.loss(model, loader.batch(row, count).to(group.device)).backward()
        parts.step(1.0)
        if group.device.type == "cuda":
            torch.cuda.synchronize(group.device)
        now = time.perf_counter()
        if trial:  # the first one also allocates
            best = max(best, batch * config.context_length / (now - since))
        if now - began > 8 and best:
            break
    return group.total(best) / group.size


def _write_down(
    run: Path,
    data: list[str],
    settings: PretrainSettings,
    store: Store,
    plan: Plan,
    measured: precision.Precision,
) -> None:
    import yaml

    run.mkdir(parents=True, exist_ok=True)
    resolved = _resolved(settings, plan, measured)
    text = yaml.safe_dump({"data": data} | resolved, sort_keys=False, allow_unicode=True)
    header = f"# Repeat this run: nextword pretrain --config {run}/config.yaml --out ANOTHER_RUN\n"
    write_atomically(run / "config.yaml", (header + text).encode())
    write_json(
        run / "run.json",
        {
            "data": data,
            "settings": settings.model_dump(exclude_unset=True),
            "store": os.path.relpath(store.path, run),
            "store_tokenizer": store.manifest["tokenizer"]["sha256"],
            "store_sums": store.manifest["files"],
            "plan": plan.to_json(),
            "precision": asdict(measured),
            "environment": _environment(),
        },
    )


def _resolved(
    settings: PretrainSettings, plan: Plan, measured: precision.Precision
) -> dict[str, Any]:
    """Every setting with the value it took, so that the file alone repeats the run."""
    model = plan.model
    chosen = {
        "layers": model["layers"],
        "width": model["width"],
        "heads": model["heads"],
        "kv_heads": model["kv_heads"],
        "mlp_width": model["mlp_width"],
        "context_length": model["context_length"],
        "tied": model["tied"],
        "batch_size": plan.batch_size,
        "micro_batch": plan.micro_batch,
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "momentum": plan.momentum,
        "warmup": float(plan.schedule.warmup),
        "eval_every": plan.eval_every,
        "eval_tokens": plan.eval_tokens,
        "sample_every": plan.sample_every,
        "save_every": plan.save_every,
        "precision": measured.name,
        "compile": "yes" if plan.compile else "no",
    }
    if settings.budget is None or settings.steps or settings.epochs:
        chosen["steps"] = plan.schedule.steps
    everything = settings.model_dump(exclude={"resume", "new_horizon", "size", "epochs"})
    if "steps" in chosen:
        everything.pop("budget")
    return {name: value for name, value in (everything | chosen).items() if value is not None}


def _environment() -> dict[str, Any]:
    return {
        "nextword": nextword.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "command": " ".join(["nextword", *sys.argv[1:]]),
    }


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _settings_of(
    run: Path, data: list[str], asked: PretrainSettings
) -> tuple[list[str], PretrainSettings]:
    """A run's own data and settings; UserError where what is asked for differs from them."""
    saved = read_json(run / "run.json")
    if data and data != saved["data"]:
        raise UserError(
            f"this run was started on {' '.join(saved['data'])}, not {' '.join(data)}",
            where=run,
            mend="give the same data or none, or choose another --out",
        )
    own = resolve(PretrainSettings, saved["settings"])
    given = asked.model_dump(exclude_unset=True)
    plan = Plan.from_json(saved["plan"])
    decided = _resolved(own, plan, precision.Precision(**saved["precision"]))
    for name, value in given.items():
        known = {own.model_dump()[name], decided.get(name)} if _hashable(value) else None
        same = value in known if known is not None else value == own.model_dump()[name]
        if name in HORIZON and not same and not asked.new_horizon:
            raise UserError(
                f"--{name} {value} is another horizon than the run's own, and would bend its "
                "learning-rate schedule",
                where=run,
                mend="add --new-horizon if that is meant, or leave the flag out",
            )
        if name not in FREE_ON_RESUME and not same:
            raise UserError(
                f"{name} is {own.model_dump()[name]!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    changed = {name: value for name, value in given.items() if name in FREE_ON_RESUME}
    if asked.new_horizon:
        changed |= {name: given.get(name) for name in HORIZON}
    return list(saved["data"]), resolve(PretrainSettings, saved["settings"] | changed)


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _plan_of(
    run: Path, store: Store, settings: PretrainSettings, group: Group
) -> tuple[Plan, precision.Precision]:
    saved = read_json(run / "run.json")
    if saved["store_sums"] != store.manifest["files"]:
        raise UserError(
            "the store is not the one this run was started on",
            where=store.path,
            mend="put the old store back, or start another run",
        )
    threads = saved["environment"]["threads"]
    if threads != torch.get_num_threads():
        warn(
            f"this run was started with {threads} threads, now it is {torch.get_num_threads()}: "
            "sums may be rounded in another order, so weights will differ in their last bits"
        )
    plan = Plan.from_json(saved["plan"])
    measured = precision.Precision(**saved["precision"])
    if settings.new_horizon:
        speed = _tokens_per_second(
            store, plan.config, settings, plan.batch_size, plan.micro_batch, measured, group
        )
        plan = planning.with_new_horizon(plan, settings, len(store.train.tokens), speed)
        say(
            f"  new horizon: {plan.schedule.steps:,} steps, about {duration(plan.expected_seconds)}"
        )
    return plan, measured
