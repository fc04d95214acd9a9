"""What is logged of pretraining, said of its model, and saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nextword.hub.writing import save as save_directory
from nextword.models.encoder_decoder import GenerativeModel
from nextword.terminal import duration, quantity
from nextword.tokens.store import Store
from nextword.training.objective import Objective
from nextword.training.planning import PretrainPlan
from nextword.training.state import State, Validator
from nextword.training.trainer import LogValues
from nextword.training.validators import TextValidator


@dataclass(frozen=True)
class PretrainHooks:
    """What is logged of pretraining, said of its model, and saved. `top_speed`, in tokens a second,
    is that of matrix products alone, `source` what the model learns from, in words."""

    model: GenerativeModel
    store: Store
    objective: Objective
    plan: PretrainPlan
    validator: Validator
    top_speed: float
    source: str

    def log_values(self, state: State, loss: float, targets_per_second: float) -> LogValues:
        """Return tokens a second, whether they are targets or not, and the share of the peak."""
        share = self.objective.target_share
        speed = targets_per_second / share
        of_peak = speed / self.top_speed  # more than 1 where the peak was measured in a busy moment
        values = {
            "tokens": round(state.tokens / share),
            "tokens_per_second": speed,
            "matmul_share": min(of_peak, 1.0),
        }
        text = quantity(speed, "tokens/s")
        text += f"  {of_peak:.0%} of matmul peak" if of_peak <= 1 else ""
        if isinstance(self.validator, TextValidator):
            bits = self.validator.bits_per_byte(loss)
            return LogValues({"bits_per_byte": bits} | values, f"{bits:.3f} bits/byte  {text}")
        return LogValues(values, text)

    def describe(self, state: State) -> str:
        """Say what the model learned from, how long, and how good it is."""
        context = self.plan.config.context_length
        read = state.step * self.plan.batch_size * context
        story = (
            f"Trained by nextword from random weights on {self.source}: "
            f"{state.step:,} steps of {self.plan.batch_size} × {context} tokens, "
            f"{quantity(state.tokens, self.objective.unit)} in {duration(state.seconds)}, "
            f"{read / len(self.store.train):.3g} passes over the text."
        )
        if state.best_loss is None:
            return f"{story} No text was held out to measure it on."
        metrics, unit = state.best_metrics, "a token to write"
        if "masked accuracy" in metrics:
            unit = f"a hidden token; it finds {metrics['masked accuracy']:.1%} of them"
        elif "bits per byte" in metrics:
            unit = f"a token, {metrics['bits per byte']:.4f} bits a byte"
        return (
            f"{story} At step {state.best_step:,} its loss on held-out text was "
            f"{state.best_loss:.4f} nats {unit}, perplexity {metrics['perplexity']:.4g}."
        )

    def save_model(self, directory: Path, card: str) -> None:
        """Write the model as a Hugging Face directory."""
        save_directory(directory, self.model, self.store.tokenizer, card=card, only_pretrained=True)

    def give_up(self, state: State) -> str:
        """Never: pretraining goes on to its end."""
        return ""


def describe_source(data: list[str], store: Store) -> str:
    """What a model learns from: `novels and 2 more (18.2 M tokens, 2.1 M more held out)`."""
    names = [name if "://" in name else Path(name).resolve().name for name in data]
    named = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"
    held_out = f", {quantity(len(store.val.tokens))} more held out" if len(store.val.tokens) else ""
    return f"{named} ({quantity(len(store.train.tokens), 'tokens')}{held_out})"
