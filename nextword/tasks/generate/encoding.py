"""Prompts and their answers in tokens.

What people wrote is encoded apart from the template around it, and ids are joined. Only the answer
and the token that ends it are learned.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset, Encoded, input_text, leading_spaces
from nextword.tasks.generate.data import PromptedExample
from nextword.tasks.generate.prompts import default_template, main_language, parse_template
from nextword.tasks.records import columns_of
from nextword.terminal import count_of
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer import Tokenizer

MOST_DROPPED = 0.05  # of the examples, that may be too long to learn from
MOST_ANSWERS = 98  # percent of the answers, that have to have room
LEAST_CONTEXT = 8  # tokens of a document that are worth asking about
LONG_FIELD = {"qa": "context", "summarize": "document"}  # the one that may be cut


@dataclass(frozen=True)
class PromptFormat:
    """How records become prompts: chosen once, from the training data, and kept with the model.

    `template` has {fields}, or is Jinja for conversations; `answer_tokens` is the room left for an
    answer and its end; `language` is the one that is written, by which answers are scored.
    """

    task: str
    template: str
    answer_tokens: int
    language: str


@dataclass(frozen=True)
class GenerationExample:
    """`prompt` is what the model is given to write an answer to; `index` is the number of the
    example in its data set."""

    example: Example
    prompt: list[int]
    index: int


@dataclass(frozen=True)
class EncodedPrompts(Encoded[GenerationExample]):
    """Any of `end_ids` ends an answer, which has at most so many tokens as `format` says."""

    format: PromptFormat = field(default_factory=lambda: PromptFormat("", "", 0, ""))
    end_ids: frozenset[int] = frozenset()


@dataclass
class Draft:
    """An example before it is made to fit: `parts` of the prompt, the `long` one of which may be
    cut; `answer_span` says which of its tokens, from and to, should stay when it is. `problem` is
    why it cannot be learned from."""

    parts: list[list[int]]
    long: int | None
    answer_span: tuple[int, int]
    answer: list[int]
    problem: str = ""


@dataclass(frozen=True)
class ExampleEncoder:
    """Encodes examples of at most `max_length` tokens for a model that begins with `start_id`.

    An encoder–decoder has no `start_id`: its prompt is a source, which ends as the tokenizer's
    template says, and as many tokens as that may have, its answer may.
    """

    tokenizer: Tokenizer
    start_id: int | None
    max_length: int
    settings: TaskSettings

    @property
    def apart(self) -> bool:
        """Whether prompt and answer are read and written by two stacks."""
        return self.start_id is None

    def encode(
        self,
        dataset: Dataset[PromptedExample],
        format: PromptFormat | None,
        *,
        training: bool,
    ) -> EncodedPrompts:
        """Encode prompts and answers; without a `format` one is chosen from the data set.

        In training, what cannot fit is left out and counted, and a document that is too long is cut
        to a part that holds the answer, where its place is known. Otherwise nothing is left out,
        and a document is cut at its end, whatever the answer. Raises UserError where more than one
        in twenty does not fit.
        """
        format = format or self._format(dataset)
        drafts = self._drafts(dataset, format)
        if not format.answer_tokens:
            lengths = [len(draft.answer) for draft in drafts]
            lengths = lengths if dataset.columns.targets else [self.max_length]
            room = (
                min(max(lengths), self.max_length)
                if self.apart
                else room_for_answers(lengths, self.max_length)
            )
            format = replace(format, answer_tokens=room)
        most = self.max_length if self.apart else self.max_length // 2
        answer_room = min(format.answer_tokens, most)
        items: list[GenerationExample] = []
        dropped: Counter[str] = Counter()
        cut = 0
        for index, draft in enumerate(drafts):
            place = dataset.places[index]
            beside = 0 if self.apart else len(draft.answer) if training else answer_room
            chance = random.Random(f"{self.settings.seed}/{place}") if training else None
            prompt, problem = self._prompt(draft, max(self.max_length - beside, 1), chance)
            if len(draft.answer) > answer_room:
                problem = "with an answer that is too long"
            problem = draft.problem or problem
            if training and problem:
                dropped[problem] += 1
                continue
            cut += len(prompt) < sum(map(len, draft.parts))
            ids = prompt + (draft.answer[: self.max_length] if self.apart else draft.answer)
            ids = ids if self.apart else ids[: self.max_length]
            scored = np.arange(len(ids)) >= len(prompt)
            example = Example(np.array(ids, np.int64), scored, place)
            items.append(GenerationExample(example, prompt, index))
        ends = frozenset({self.tokenizer.end_id})
        return self.finish(items, format, ends, dropped, cut)

    def finish(
        self,
        items: list[GenerationExample],
        format: PromptFormat,
        end_ids: frozenset[int],
        dropped: Counter[str],
        cut: int,
    ) -> EncodedPrompts:
        """Return the items with what people should know of them. Raises UserError where nothing, or
        too little, is left."""
        count = len(items) + dropped.total()
        if dropped.total() > MOST_DROPPED * count:
            reasons = "; ".join(f"{number:,} {what}" for what, number in dropped.most_common())
            raise UserError(
                f"{dropped.total():,} of {count:,} examples cannot be learned from with at most "
                f"{self.max_length:,} tokens each ({reasons})",
                mend="raise --max-length, take a model with a longer context, or shorten them",
            )
        notes = [
            f"{count_of(number, 'example')} left out: {what}" for what, number in dropped.items()
        ]
        if cut:
            notes.append(
                f"{cut:,} of {count:,} examples are cut to {self.max_length:,} tokens "
                "(--max-length)"
            )
        return EncodedPrompts(
            items,
            [item.example.inputs for item in items],
            [item.example.source for item in items],
            sum(int(item.example.scored[1:].sum()) for item in items),
            notes,
            format,
            end_ids,
        )

    def _format(self, dataset: Dataset[PromptedExample]) -> PromptFormat:
        task, records = self.settings.task, dataset.records
        column = next(iter(dataset.columns.inputs.values()), None) or columns_of(records)[0]
        language = main_language(str(record[column]) for record in records)
        template = self.settings.prompt or default_template(task, language, apart=self.apart)
        if dataset.columns.targets:
            texts = (text for example in dataset.examples for text in example.references[:1])
            language = main_language(texts)
        return PromptFormat(task, template, 0, language)

    def _drafts(self, dataset: Dataset[PromptedExample], format: PromptFormat) -> list[Draft]:
        tokenizer, of_role = self.tokenizer, dict(dataset.columns.inputs)
        pieces = parse_template(format.template, [*of_role, *columns_of(dataset.records)])
        long_column = of_role.get(LONG_FIELD.get(format.task, ""))
        literals = {piece: tokenizer.encode(piece) for piece in pieces if isinstance(piece, str)}
        before = [] if self.start_id is None else [self.start_id]
        after = tokenizer.encode("", template=True) if self.apart else []
        drafts = []
        for example in dataset.examples:
            record, references = example.record, example.references
            draft = Draft([before], None, (0, 0), [])
            for piece in pieces:
                if isinstance(piece, str):
                    draft.parts.append(literals[piece])
                    continue
                column = of_role.get(piece.name, piece.name)
                is_question = column == of_role.get("question")
                text = input_text(record, column, may_be_empty=is_question)
                draft.problem = draft.problem if text else "with an empty question"
                if column == long_column:
                    draft.long = len(draft.parts)
                    if example.answer_start is not None and references:
                        start = example.answer_start - leading_spaces(record, column)
                        draft.answer_span = self._tokens_of(text, start, references[0])
                draft.parts.append(tokenizer.encode(text))
            draft.parts.append(after)
            draft.answer = tokenizer.encode(references[0]) if references else []
            if dataset.columns.targets:
                draft.answer.append(tokenizer.end_id)
            drafts.append(draft)
        return drafts

    def _tokens_of(self, text: str, start: int, answer: str) -> tuple[int, int]:
        """About which tokens of a text an answer in it is; (0, 0) where it is not in it.

        The place nearest to the one that the data names is taken: some data counts otherwise.
        """
        places = [match.start() for match in re.finditer(re.escape(answer), text)]
        if not places:
            return 0, 0
        nearest = min(places, key=lambda place: abs(place - start))
        begin = len(self.tokenizer.encode(text[:nearest]))
        return max(begin - 1, 0), begin + len(self.tokenizer.encode(answer)) + 1

    def _prompt(
        self, draft: Draft, limit: int, chance: random.Random | None
    ) -> tuple[list[int], str]:
        """The ids of a prompt of at most `limit` tokens, and the problem if more than its document
        is cut.

        With `chance`, for training, a document that is cut keeps the place of the answer, somewhere
        in what is left of it; otherwise its beginning.
        """
        whole = [id for part in draft.parts for id in part]
        if len(whole) <= limit:
            return whole, ""
        if draft.long is not None:
            document = draft.parts[draft.long]
            room = limit - (len(whole) - len(document))
            begin, end = (min(place, len(document)) for place in draft.answer_span)
            if room >= max(LEAST_CONTEXT, end - begin):
                first = 0
                if chance is not None and end > room:
                    first = chance.randint(end - room, min(begin, len(document) - room))
                part = whole_characters(document[first : first + room], self.tokenizer)
                parts = [*draft.parts[: draft.long], part, *draft.parts[draft.long + 1 :]]
                return [id for part in parts for id in part], ""
        if self.apart:
            return whole[: limit - 1] + whole[-1:], "that are too long"
        return whole[:1] + whole[len(whole) - limit + 1 :], "without room for the answer"


def room_for_answers(lengths: Sequence[int], max_length: int) -> int:
    """Return how many tokens are kept free for an answer and its end: the longest one's, but where
    that is more than a quarter of all no more than nearly all answers need, and never more than
    half."""
    longest, quarter = max(lengths), max_length // 4
    if longest <= quarter:
        return longest
    return min(max(quarter, int(np.percentile(lengths, MOST_ANSWERS))), max_length // 2)


def whole_characters(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Return ids without the halves of characters that a cut has left at either end."""
    for _ in range(8):  # some tokens are the end of one character and the beginning of another
        if ids and tokenizer.decode(ids[:4]).startswith("\ufffd"):
            ids = ids[1:]
        if ids and tokenizer.decode(ids[-4:]).endswith("\ufffd"):
            ids = ids[:-1]
    return ids


def mark_targets(example: Example, tokenizer: Tokenizer) -> str:
    """Return an example's text for people, with what is learned of it between ⟦ and ⟧."""
    edges: Any = np.flatnonzero(np.diff(example.scored)) + 1
    text = ""
    for ids, scored in zip(
        np.split(example.ids, edges), np.split(example.scored, edges), strict=True
    ):
        part = tokenizer.decode(ids.tolist(), skip_special=False)
        text += f"⟦{part}⟧" if scored.any() else part
    return text
