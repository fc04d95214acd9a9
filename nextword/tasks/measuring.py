"""How well a model does its task on examples held out: while it learns, and when it has learnt."""

from __future__ import annotations

from nextword.errors import UserError, nearest
from nextword.evaluation.perplexity import perplexity
from nextword.models.encoder_decoder import Writer
from nextword.settings import FinetuneSettings
from nextword.tasks.generate.examples import Completions
from nextword.tasks.generate.losses import example_losses
from nextword.tasks.generate.predictions import judge, write_answers
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Measured

WRITTEN = 200  # answers written at a validation, spread over the examples; all at the end
DECIDES = {
    "single": "accuracy",
    "several": "micro F1",
    "amount": "Spearman",
    "qa": "F1",
    "summarize": "ROUGE-L",
    "translate": "BLEU",
    "chat": "loss",
    "text": "loss",
    "tag": "F1",
}
METRICS = {
    "single": ("loss", "accuracy", "macro F1", "weighted F1", "calibration error"),
    "several": ("loss", "all labels right", "micro F1", "macro F1"),
    "amount": ("loss", "Pearson", "Spearman", "root mean squared error", "mean absolute error"),
    "qa": ("loss", "exact match", "F1"),
    "summarize": ("loss", "ROUGE-1", "ROUGE-2", "ROUGE-L"),
    "translate": ("loss", "BLEU", "chrF"),
    "chat": ("loss",),
    "text": ("loss",),
    "tag": ("loss", "precision", "recall", "F1", "strict F1", "accuracy"),
}
LOWER_IS_BETTER = {"loss", "calibration error", "root mean squared error", "mean absolute error"}
LEARNT = 0.05  # nats of training loss, when nothing is left to learn if all else is right


def deciding(metric: str | None, task: str) -> str:
    """The metric that decides which model is the best: the one asked for, in any spelling, else the
    usual one of the task, or of the kind of labels. Raises UserError where there is none such."""
    known = METRICS[task]
    if metric is None:
        return DECIDES[task]
    for name in known:
        if _plain(name) == _plain(metric):
            return name
    raise UserError(
        f"no metric {metric!r}",
        where="--metric",
        mend=f"{nearest(metric, known)}; known here are {', '.join(known)}",
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", " ").replace("_", " ")


def scored(
    loss: float, figures: dict[str, float], metric: str, enough: float | None = None
) -> Measured:
    """`metric` decides which model is the best."""
    value = ({"loss": loss} | figures)[metric]
    return Measured(loss, -value if metric in LOWER_IS_BETTER else value, figures, enough)


class AnswerValidator:
    """Measures a model on held-out prompts: the loss of the right answers, and what it writes."""

    def __init__(
        self, made: Completions, tokenizer: Tokenizer, room: int, settings: FinetuneSettings
    ) -> None:
        self._made, self._tokenizer, self._room = made, tokenizer, room
        self._settings = settings
        self._metric = deciding(settings.metric, settings.task)

    @property
    def is_empty(self) -> bool:
        return not self._made.examples

    def measure(self, model: Writer, group: Group, interrupt: Interrupt) -> Measured | None:
        if interrupt.requested and group.size == 1:
            return None
        wanted = [example.example for example in self._made.examples]
        loss = example_losses(model, wanted, self._room).mean
        count = len(self._made.examples)
        some = [self._made.examples[i * count // WRITTEN] for i in range(WRITTEN)]
        some = self._made.examples if count <= WRITTEN else some
        figures, enough = {"perplexity": perplexity(loss)}, None
        if self._settings.task in ("chat", "text"):
            enough = LEARNT if loss < LEARNT else None
        else:
            answers = write_answers(
                model,
                self._tokenizer,
                [example.prompt for example in some],
                self._made.format.answer_tokens,
                self._made.end_ids,
                beams=self._settings.beams,
            )
            found = judge(self._settings.task, answers, some, None, self._made.format.language)
            figures = {name: metric.value for name, metric in found.items()}
            right = all(
                answer in example.references or (not answer and not example.references)
                for answer, example in zip(answers, some, strict=True)
            )
            enough = LEARNT if right else None
        return scored(loss, figures, self._metric, enough)

    def sample(self, model: Writer) -> tuple[str, str]:
        """The first held-out prompt and what is written to it."""
        prompt = self._made.examples[0].prompt
        (answer,) = write_answers(
            model,
            self._tokenizer,
            [prompt],
            max(self._made.format.answer_tokens, 1),
            self._made.end_ids,
        )
        arrow = "" if model.config.start_id is None else " → "
        return self._tokenizer.decode(prompt) + arrow, answer
