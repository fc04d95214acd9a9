"""Which words of an input made a fine-tuned model say what it says: each is left out in turn.

Leave-one-out, or occlusion (Zeiler and Fergus 2014; Li et al. 2016): a word's effect is how much
less probable the answer is without it. Nothing is assumed of the model; words that only matter
together show no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nextword.errors import UserError
from nextword.tasks.base import Prediction
from nextword.tasks.opening import AnyTask
from nextword.tasks.records import Record

METHOD = "leave-one-word-out"
MOST_WORDS = 512
AT_ONCE = 16  # inputs predicted together
# Words between spaces without their punctuation; of scripts without spaces each character.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:['’-][^\W_]+)*")


def explain(
    task: AnyTask,
    row: Mapping[str, Any],
    of: str | None = None,
    column: str | None = None,
    *,
    words: bool = True,
) -> Iterator[dict[str, Any] | None]:
    """Yield None after each piece of work; last the prediction for a row, and unless `words` are
    not wanted the effect of each word of a `column`, by default the longest text, on the answer
    `of`, by default the one given.

    The effect is the fall of its probability, of an amount the fall of the amount. Raises UserError
    for a row that cannot be read, an answer that has no probability, or too many words.
    """
    whole = _predict(task, [row])[0]
    yield None
    answer: dict[str, Any] = {"task": task.name, "prediction": whole}
    if words:
        for found in _effects(task, row, whole, of or _answer(whole), column):
            if found is None:
                yield None
            else:
                answer["words"] = found
    yield answer


def _effects(
    task: AnyTask, row: Mapping[str, Any], whole: Prediction, of: str, column: str | None
) -> Iterator[dict[str, Any] | None]:
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    column = column or max(texts, key=lambda name: len(texts[name]), default="")
    if column not in texts:
        raise UserError(f"the row has no text {column!r}", mend=f"it has {', '.join(texts)}")
    text, words = texts[column], list(WORD.finditer(texts[column]))
    if len(words) > MOST_WORDS:
        raise UserError(
            f"the text has {len(words):,} words, and {MOST_WORDS} are left out one by one at most",
            mend="give a shorter text",
        )
    probability = _probability(whole, of)
    left = [{**row, column: _without(text, word)} for word in words]
    told = [number for number, other in enumerate(left) if other[column].strip()]
    found: dict[int, float] = {}
    for start in range(0, len(told), AT_ONCE):
        some = told[start : start + AT_ONCE]
        predictions = _predict(task, [left[number] for number in some])
        found |= {n: _probability(p, of) for n, p in zip(some, predictions, strict=True)}
        yield None
    effects = []
    for number, word in enumerate(words):
        without = found.get(number)  # a text that would be empty is not asked about
        effect = None if without is None else round(probability - without, 6)
        place = {"text": word[0], "start": word.start(), "end": word.end()}
        effects.append(place | {"probability": without, "effect": effect})
    yield {
        "method": METHOD,
        "of": of,
        "probability": probability,
        "column": column,
        "words": effects,
    }


def _predict(task: AnyTask, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    records = [Record(row, "the row") for row in rows]
    dataset = task.read_more(records, labelled=False)
    return task.predict(task.encode(dataset), dataset).predictions


def _without(text: str, word: re.Match[str]) -> str:
    """Leave a word out, and a space before or after it."""
    before, after = text[: word.start()], text[word.end() :]
    if before.endswith(" "):
        return before[:-1] + after
    return before + (after.removeprefix(" ") if not before else after)


def _answer(prediction: Prediction) -> str:
    """What is explained of a prediction where nothing is named."""
    if "amount" in prediction:
        return "amount"
    if "labels" in prediction:
        probabilities = prediction["probabilities"]
        return str(max(probabilities, key=lambda name: probabilities[name]))
    if "label" in prediction:
        return str(prediction["label"])
    if (spans := _spans(prediction)) is not None:
        likeliest = max(spans, key=lambda one: float(one["probability"]), default=None)
        if likeliest is None:
            raise UserError("nothing was found in the text", mend="there is nothing to explain")
        return _named(likeliest)
    if "answer" in prediction and "probability" in prediction:
        return str(prediction["answer"])
    raise UserError(
        "what the model writes has no probability of its own",
        mend="look at the surprise of its tokens instead",
    )


def _probability(prediction: Prediction, answer: str) -> float:
    """Return how probable an answer is in a prediction; 0 where it is not among its answers."""
    if "amount" in prediction:
        return round(float(prediction["amount"]), 6)
    if "probabilities" in prediction:
        if answer not in prediction["probabilities"]:
            names = ", ".join(map(str, prediction["probabilities"]))
            raise UserError(
                f"there is no label {answer!r}", where="label", mend=f"there are {names}"
            )
        return round(float(prediction["probabilities"][answer]), 6)
    if (spans := _spans(prediction)) is not None:
        same = (one["probability"] for one in spans if _named(one) == answer)
        return round(max(map(float, same), default=0.0), 6)
    if "probability" in prediction:
        answers = [prediction, *prediction.get("others", [])]
        same = (one["probability"] for one in answers if one["answer"] == answer)
        return round(sum(map(float, same)), 6)
    raise UserError("the prediction has no probability")


def _spans(prediction: Prediction) -> Sequence[Mapping[str, Any]] | None:
    """The entities, or tagged words, that were found; None for other tasks."""
    found: Sequence[Mapping[str, Any]] | None
    found = prediction.get("entities", prediction.get("tagged"))
    return found


def _named(entity: Mapping[str, Any]) -> str:
    return f"{entity['text']} ({entity['label']})"
