"""`plan --gpus 8xH100`: what a pretraining run would be on GPUs that are not here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.sizes import DEFAULT_CONTEXT, SIZES, config_for
from nextword.settings import PretrainSettings, with_overrides
from nextword.terminal import warn
from nextword.text.sources import list_items
from nextword.training import cluster_plan, planning
from nextword.training.workload import FAMILY, MOST_EPOCHS
from nextword.verbs.plan import open_or_prepare

DAY = 24 * 3600.0  # for a run whose length nobody says
LARGER = (
    (32, 2560),
    (32, 4096),
    (40, 5120),
    (48, 7168),
)  # layers and width, beyond the named sizes
SOURCES = {
    "tokens_per_second": "estimated: a formula that finds published speeds at larger scales within "
    "5%, and those of one node within 20%",
    "memory": "estimated: 16 bytes a parameter over the GPUs that share it, and activations by "
    "Korthikanti et al. 2022",
    "loss": "estimated: the scaling law of Hoffmann et al. 2022, repeats as Muennighoff et al. "
    "2023 measured them",
    "cost": "the price given, times GPUs and hours",
}


@dataclass(frozen=True)
class ClusterPlan:
    """What a run would be. `sharding` is what `--shard` would be, `memory` bytes a GPU,
    `gpu_memory` what one has; `loss` is in nats a token; `cost` is in the price's currency, None
    without one. `sources` say where figures come from."""

    gpus: str
    parameters: int
    layers: int
    width: int
    heads: int
    context_length: int
    text_tokens: int
    seen_tokens: int
    seconds: float
    tokens_per_second: float
    sharding: str
    micro_batch: int
    memory: float
    gpu_memory: float
    loss: float
    bits_per_byte: float | None
    cost: float | None
    sources: dict[str, str]


def plan_cluster(
    data: str | Path | Sequence[str | Path],
    gpus: str,
    price: float | None = None,
    settings: PretrainSettings | None = None,
    **overrides: Any,
) -> ClusterPlan:
    """Return what `pretrain` could do on `gpus` (`8xH100`), at a `price` of one GPU's hour.

    The size is the one asked for, or that of the lowest expected loss in the `budget`; a day where
    no length is given. Raises UserError for GPUs that are not known, or that hold no such model.
    """
    cluster = cluster_plan.parse_cluster(gpus)
    settings = with_overrides(PretrainSettings, settings, overrides)
    if settings.objective != "causal":
        raise UserError(
            f"--gpus plans no run for --objective {settings.objective}", mend="leave --gpus out"
        )
    planning.check(settings)
    with tempfile.TemporaryDirectory(prefix="nextword-plan-") as folder:
        store = open_or_prepare(list_items(data), Path(folder), settings)
        tokens, vocabulary = len(store.train), store.train.vocab_size
        counts = store.counts("train")
    outcome = _outcome(_candidates(settings, vocabulary), cluster, tokens, settings, price)
    config, found = outcome.config, outcome.prediction
    if (passes := outcome.tokens / tokens) > MOST_EPOCHS["causal"]:
        warn(
            f"the text is too little for this: it would be read {passes:,.0f} times, and more than "
            f"about {MOST_EPOCHS['causal']:.0f} passes teach hardly anything (Muennighoff et al. "
            "2023); give more text, a smaller --size or a shorter --budget"
        )
    spread = {1: "none", cluster.node: "node" if cluster.count > cluster.node else "all"}
    bytes_of_text = counts.get("bytes", 0)
    return ClusterPlan(
        gpus=f"{cluster.count}x{cluster.name}",
        parameters=parameter_count(config),
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        context_length=config.context_length,
        text_tokens=tokens,
        seen_tokens=round(outcome.tokens),
        seconds=outcome.seconds,
        tokens_per_second=found.tokens_per_second,
        sharding=spread.get(found.shards, "all"),
        micro_batch=found.rows,
        memory=found.memory,
        gpu_memory=cluster.gpu.memory,
        loss=outcome.loss,
        bits_per_byte=(
            outcome.bits_per_byte(counts["tokens"] / bytes_of_text) if bytes_of_text else None
        ),
        cost=outcome.cost,
        sources=SOURCES,
    )


def _candidates(settings: PretrainSettings, vocabulary: int) -> list[TransformerConfig]:
    """The model asked for, or all that there are to choose from."""
    family = settings.family or FAMILY.get(settings.objective)
    changes: dict[str, Any] = {
        "context_length": settings.context_length or DEFAULT_CONTEXT,
        "family": family,
    }
    settings = settings.model_copy(update=changes)
    if settings.size or settings.layers or settings.width:
        return [config_for(settings, vocabulary)]
    shapes: list[dict[str, Any]] = [{"size": name} for name in SIZES if not name.startswith("gpt2")]
    shapes += [
        {"layers": layers, "width": width, "heads": width // 128} for layers, width in LARGER
    ]
    return [config_for(settings.model_copy(update=shape), vocabulary) for shape in shapes]


def _outcome(
    configs: list[TransformerConfig],
    cluster: cluster_plan.Cluster,
    tokens: int,
    settings: PretrainSettings,
    price: float | None,
) -> cluster_plan.Outcome:
    """The best run of the length asked for: by time, or by how much is read."""
    rows, context = settings.batch_size, configs[0].context_length
    batch = None if rows is None else float(rows * context)
    run = cluster_plan.Run(cluster, tokens, price, batch)
    if not (settings.steps or settings.epochs):
        return run.best(configs, seconds=settings.budget or DAY)
    if len(configs) > 1:
        raise UserError(
            "without a time no size is the best: each larger one has a lower loss",
            mend="give --size with --steps or --epochs, or --budget instead",
        )
    batch = batch or cluster_plan.batch_tokens(configs[0], cluster)
    seen = settings.steps * batch if settings.steps else (settings.epochs or 0) * tokens
    return run.best(configs, tokens=seen)
