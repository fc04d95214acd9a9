"""Learn from preferences: make the chosen one of two answers likelier (Rafailov et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.metrics import Direction, Floats, Metric, accuracy
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load, load_model
from nextword.hub.writing import save
from nextword.inference.loading import eval_mode, require_generative
from nextword.models.transformer import Transformer
from nextword.objectives import preference as objective
from nextword.objectives.preference import PreferenceBatch
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.base import CONVERGED, Opening, Outputs, Task, TaskFile
from nextword.tasks.dataset import Dataset, Encoded
from nextword.tasks.generate.chat_template import (
    ChatTemplate,
    choose_template,
    has_template,
    with_template,
)
from nextword.tasks.generate.encoding import MOST_DROPPED, mark_targets
from nextword.tasks.generate.prompts import main_language
from nextword.tasks.generate.task import start_id_of
from nextword.tasks.generate.writing import write_answers
from nextword.tasks.opening import read_format
from nextword.tasks.prefer.data import Preference, PreferenceReader, find_columns
from nextword.tasks.prefer.encoding import EncodedPair, PairEncoder
from nextword.tasks.records import Columns, Record
from nextword.tokens.loader import Batch
from nextword.tokens.packing import pack

ANSWER_TOKENS = 256  # written at most where no answers are known


@dataclass(frozen=True)
class PreferenceFormat:
    """How pairs are read: by a chat `template`, "" for plain text. The `reference` is the model
    that training began from; `beta` says how strongly the trained one is kept near it."""

    template: str
    beta: float
    reference: str
    answer_tokens: int


@dataclass(frozen=True)
class PreferenceOutputs(Outputs):
    """`margins` [pairs] are reward margins: by how much more the model than its reference prefers
    the chosen answers, times beta."""

    margins: Floats


Preferences = Dataset[Preference]
Pairs = Encoded[EncodedPair]


@dataclass
class Prefer(Task[Preference, EncodedPair, PreferenceOutputs]):
    name: ClassVar[str] = "prefer"
    unit: ClassVar[str] = "pairs"
    rate_scale: ClassVar[float] = 0.1  # preferences take a tenth of the usual learning rate
    settings_used: ClassVar[frozenset[str]] = frozenset({"target_column", "beta"})
    DIRECTIONS: ClassVar[Mapping[str, Direction]] = {
        **{"preference accuracy": "higher", "loss": "lower", "reward margin": "higher"}
    }

    model: Transformer
    format: PreferenceFormat | None = field(default=None, kw_only=True)
    reference: Transformer | None = field(default=None, kw_only=True)  # None: the model itself

    @classmethod
    def reader(
        cls, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> PreferenceReader:
        return PreferenceReader(find_columns(records, settings, labelled=labelled))

    @classmethod
    def start(cls, place: str, train: Preferences, settings: FinetuneSettings) -> Self:
        model, tokenizer = load(place)
        require_generative(model, place, cls.name)
        start_id = start_id_of(model, tokenizer, find_directory(place))
        if not isinstance(model, Transformer) or start_id is None:
            raise UserError(
                "an encoder–decoder cannot learn the task prefer", mend="choose a decoder"
            )
        if settings.from_scratch:
            raise UserError(
                "--from-scratch leaves no model to compare with",
                mend="leave it out: preferences are learned by a model that can write",
            )
        template, talks = "", [e.prompt for e in train.examples if not isinstance(e.prompt, str)]
        if talks or has_template(tokenizer):
            language = main_language(example.chosen for example in train.examples)
            template = choose_template(tokenizer, start_id, language)
        longest = max(len(tokenizer.encode(example.chosen)) for example in train.examples) + 1
        reference = str(Path(place).resolve()) if Path(place).is_dir() else place
        format = PreferenceFormat(template, settings.beta, reference, longest)
        return cls(place, model, tokenizer, settings, start_id=start_id, format=format)

    @classmethod
    def open(cls, directory: Path, saved: TaskFile | None, base: Opening) -> Self:
        model, tokenizer = load(directory)
        start_id = start_id_of(model, tokenizer, directory)
        format, reference = None, None
        if saved is not None and saved.task == cls.name:
            format = read_format(PreferenceFormat, saved, base.place)
        if format is not None:
            try:
                found = load_model(find_directory(format.reference))
            except UserError as error:
                raise UserError(
                    f"was compared with {format.reference}, which cannot be opened ({error})",
                    where=base.place,
                    mend="put that model back: preferences are measured against it",
                ) from None
            assert isinstance(found, Transformer)
            reference = found
        assert isinstance(model, Transformer)
        fields = vars(base) | {"tokenizer": tokenizer, "start_id": start_id}
        return cls(model=model, format=format, reference=reference, **fields)

    def save(self, directory: Path, card: str) -> None:
        tokenizer = self.tokenizer
        if self.format is not None and self.format.template:
            tokenizer = with_template(tokenizer, self.format.template)
        save(directory, self.model, tokenizer, card=card, start_id=self.start_id)

    def task_file(self, columns: Columns) -> TaskFile:
        format = asdict(self.format) if self.format else None
        return TaskFile(self.name, columns.settings, max_length=self.max_length, format=format)

    def encode(self, dataset: Preferences, *, training: bool = False) -> Pairs:
        """Encode pairs of answers, with what the reference model makes of them.

        A prompt that is too long loses its beginning, a conversation its oldest exchanges; a pair
        whose answers do not fit is left out in training, and counted. Raises UserError where more
        than one in twenty does not fit.
        """
        assert self.start_id is not None
        encoder = PairEncoder(self.tokenizer, self._chat, self.start_id, self.max_length)
        encoder.prepare(dataset.examples)
        items, cut, dropped = [], 0, 0
        for example, place in zip(dataset.examples, dataset.places, strict=True):
            pair, is_cut = encoder.encode(example, place)
            longest = max(len(pair.chosen.ids), len(pair.rejected.ids))
            if training and longest > self.max_length:
                dropped += 1
                continue
            cut += is_cut
            items.append(pair)
        if dropped > MOST_DROPPED * len(dataset):
            raise UserError(
                f"{dropped:,} of {len(dataset):,} pairs hold an answer of more than "
                f"{self.max_length:,} tokens",
                mend="raise --max-length, take a model with a longer context, or shorten them",
            )
        notes = [f"{dropped:,} pairs are left out: with an answer that is too long"]
        notes = notes if dropped else []
        if cut:
            notes.append(f"{cut:,} prompts are cut to {self.max_length:,} tokens (--max-length)")
        if dataset.columns.targets:
            reference = (self.reference or self.model).to(self.model.embedding.weight.device)
            found = self._margins(items, reference).tolist()
            items = [
                replace(item, reference_margin=margin)
                for item, margin in zip(items, found, strict=True)
            ]
        lengths = [item.chosen.inputs + item.rejected.inputs for item in items]
        sources = [item.chosen.source for item in items]
        return Encoded(items, lengths, sources, len(items), notes)

    def collate(
        self, items: Sequence[EncodedPair], samples: list[tuple[int, int]]
    ) -> PreferenceBatch:
        examples = [example for item in items for example in (item.chosen, item.rejected)]
        packed = pack(examples, self.row_length)
        owners = torch.zeros_like(packed.tokens)
        for number, ((row, begin), example) in enumerate(zip(packed.places, examples, strict=True)):
            owners[row, begin : begin + example.inputs] = number
        batch = Batch(packed.tokens, packed.targets, packed.documents, packed.positions, samples)
        margins = torch.tensor([item.reference_margin for item in items], dtype=torch.float32)
        return PreferenceBatch(batch, owners, margins)

    def loss(self, model: Any, batch: PreferenceBatch) -> Tensor:
        assert self.format is not None
        return objective.loss(model, batch, self.format.beta)

    @classmethod
    def present(cls, dataset: Preferences, index: int) -> str:
        pair = dataset.examples[index]
        return f"{dataset.inputs[index]}  ⟦{pair.chosen}⟧  rather than  ⟦{pair.rejected}⟧"

    def shown(self, encoded: Pairs, dataset: Preferences, number: int) -> str:
        pair = encoded.items[number]
        chosen, rejected = (mark_targets(e, self.tokenizer) for e in (pair.chosen, pair.rejected))
        return f"{chosen}  rather than  {rejected[rejected.find('⟦') :]}"

    @torch.no_grad()
    def _margins(self, items: Sequence[EncodedPair], model: Transformer) -> Floats:
        """log p(chosen) - log p(rejected) of each pair, [pairs]."""
        device, parts = model.embedding.weight.device, [torch.empty(0)]
        pairs = max(self.batch_size // 2, 1)
        with eval_mode(model):
            for first in range(0, len(items), pairs):
                batch = self.collate(items[first : first + pairs], []).to(device)
                parts.append(objective.margins(model, batch))
        return torch.cat([part.to(parts[-1]) for part in parts]).cpu().double().numpy()

    def predict(self, encoded: Pairs, dataset: Preferences) -> PreferenceOutputs:
        """Write an answer to each prompt; measure the pairs where they are known."""
        room = self.format.answer_tokens if self.format else ANSWER_TOKENS
        chat = self._chat
        ends = chat.end_ids() if chat else frozenset({self.tokenizer.end_id})
        answers: list[str] = []
        for first in range(0, len(encoded.items), self.batch_size):
            prompts = [item.prompt for item in encoded.items[first : first + self.batch_size]]
            answers += write_answers(self.model, self.tokenizer, prompts, room, ends)
        outputs = self.measure(encoded, dataset)
        return replace(outputs, predictions=[{"answer": answer} for answer in answers])

    @cached_property
    def _chat(self) -> ChatTemplate | None:
        """How conversations are written; None where prompts are plain text."""
        template = self.format.template if self.format else ""
        return ChatTemplate(self.tokenizer, template) if template else None

    def measure(self, encoded: Pairs, dataset: Preferences) -> PreferenceOutputs:
        if not dataset.columns.targets:
            nothing = np.array([])
            return PreferenceOutputs([], nothing, nothing, nothing)
        if self.format is None:
            raise UserError(
                "was not fine-tuned on preferences: there is no model to compare it with",
                where=self.place,
                mend="nextword finetune MODEL DATA --task prefer --out RUN",
            )
        margins = torch.from_numpy(self._margins(encoded.items, self.model))
        references = torch.tensor([item.reference_margin for item in encoded.items]).double()
        losses = objective.losses(margins, references, self.format.beta).numpy()
        rewards = (self.format.beta * (margins - references)).numpy()
        return PreferenceOutputs([], losses, np.ones(len(losses), np.int64), rewards)

    def metrics(self, outputs: PreferenceOutputs, dataset: Preferences) -> dict[str, Metric]:
        margins = outputs.margins
        return {
            "preference accuracy": accuracy(margins > 0),
            "reward margin": Metric(len(margins), lambda chosen: float(margins[chosen].mean())),
        }

    def converged(self, outputs: PreferenceOutputs, dataset: Preferences) -> float | None:
        return CONVERGED if bool((outputs.margins > 0).all()) else None

    def truth(self, dataset: Preferences) -> list[Any]:
        return [(example.chosen, example.rejected) for example in dataset.examples]

    def held_out_rows(
        self, outputs: PreferenceOutputs, encoded: Pairs, dataset: Preferences
    ) -> list[dict[str, Any]]:
        return [
            {
                "place": place,
                "text": text,
                "references": [example.chosen],
                "prediction": predicted["answer"],
                "loss": loss,
                "score": {"reward margin": margin},
            }
            for place, text, example, predicted, loss, margin in zip(
                dataset.places,
                dataset.inputs,
                dataset.examples,
                outputs.predictions,
                outputs.losses.tolist(),
                outputs.margins.tolist(),
                strict=True,
            )
        ]
