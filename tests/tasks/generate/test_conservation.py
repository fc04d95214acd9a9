"""Nothing of a record is lost: it stands in the example, is named as unused, or the record is
refused. Records are made up in every format, each with one damage."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.prompts import as_records, read

from nextword.errors import UserError
from nextword.tasks.dataset import Dataset
from nextword.tasks.generate.conversations import BESIDE_PATH, UNANSWERED

Row = dict[str, Any]
WORD = re.compile(r"w\d+x")
QUICK, LONG = 400, 10_000


class Words:
    """Texts of which no two share a word."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._count = 0

    def text(self, most: int = 4) -> str:
        words = []
        for _ in range(self.random.randint(1, most)):
            self._count += 1
            words.append(f"w{self._count}x")
        return " ".join(words)

    def maybe(self) -> bool:
        return self.random.random() < 0.5


def openai_messages(words: Words) -> Row:
    turns = [{"role": "system", "content": words.text()}] if words.maybe() else []
    for _ in range(words.random.randint(1, 3)):
        turns.append({"role": "user", "content": words.text()})
        turns.append({"role": "assistant", "content": words.text()})
    for turn in turns:
        if words.random.random() < 0.2:
            turn["content"] = [{"type": "text", "text": turn["content"]}]
        if words.random.random() < 0.2:
            turn["name"] = words.text()
        if turn["role"] == "assistant" and turn is not turns[-1] and words.maybe():
            turn["weight"] = 0
    return {"messages": turns} | ({"id": words.text()} if words.maybe() else {})


def sharegpt(words: Words) -> Row:
    turns = []
    for _ in range(words.random.randint(1, 3)):
        turns.append({"from": "human", "value": words.text()})
        turns.append({"from": words.random.choice(["gpt", "assistant"]), "value": words.text()})
    return {"conversations": turns} | ({"system": words.text()} if words.maybe() else {})


def exchanges(words: Words) -> Row:
    turns = [{"human": words.text(), "assistant": words.text()} for _ in range(2)]
    return {"conversation": turns, "category": words.text()}


def alpaca(words: Words) -> Row:
    row: Row = {"instruction": words.text(), "output": words.text()}
    row |= {"input": words.text()} if words.maybe() else {}
    row |= {"history": [[words.text(), words.text()]]} if words.maybe() else {}
    return row | ({"system": words.text()} if words.maybe() else {})


def dolly(words: Words) -> Row:
    names = ("instruction", "context", "response", "category")
    return {name: words.text() for name in names}


def orca(words: Words) -> Row:
    return {name: words.text() for name in ("id", "system_prompt", "question", "response")}


def tree(words: Words) -> Row:
    replies = [
        {"text": words.text(), "role": "assistant", "rank": rank, "lang": words.text()}
        for rank in (1, 0)
    ]
    root = {"text": words.text(), "role": "prompter", "replies": replies}
    return {"message_tree_id": words.text(), "prompt": root}


def flat_question(words: Words) -> Row:
    before, answer = words.text(), words.text(2)
    row: Row = {"context": f"{before} {answer} {words.text()}", "question": words.text()}
    form = words.random.randrange(5)
    place = len(before) + 1
    if form == 0:
        row |= {"answer": answer, "answer_start": place}
    elif form == 1:
        row["answers"] = [answer, words.text()]
    elif form == 2:
        row["answers"] = {"text": [answer], "answer_start": [place]}
    elif form == 3:
        row |= {"answers": repr({"text": [answer], "answer_start": [place]}), "title": words.text()}
    else:
        row |= {"answer_text": "", "is_impossible": words.random.choice([True, "True", "true", 1])}
        row |= {"plausible_answers": [{"text": words.text(), "answer_start": 0}]}
    return row


def summary(words: Words) -> Row:
    document = words.random.choice(["document", "article", "dialogue"])
    form = words.random.randrange(4)
    row: Row = {document: words.text(9)}
    if form == 0:
        row["summary"] = words.text()
    elif form == 1:
        row["highlights"] = f"{words.text()}\n{words.text()}"
    elif form == 2:
        row |= {"summary1": words.text(), "summary2": words.text()}
    else:
        row["summary"] = repr([words.text(), words.text()])
    return row | ({"id": words.text()} if words.maybe() else {})


def translation(words: Words) -> Row:
    form = words.random.randrange(4)
    if form == 0:
        return {"translation": {"de": words.text(), "en": words.text()}, "id": words.text(1)}
    if form == 1:
        return {"translation": repr({"de": words.text(), "en": words.text()})}
    if form == 2:
        return {"id": words.random.randrange(99), "english": words.text(), "fr": words.text()}
    return {"source": words.text(), "target": words.text(), "note": words.text()}


def preference(words: Words) -> Row:
    form = words.random.randrange(4)
    asked, chosen, rejected = words.text(), words.text(), words.text()
    row: Row = {"chosen": chosen, "rejected": rejected, "score": words.text()}
    if form == 0:
        return row | {"prompt": asked} | ({"system": words.text()} if words.maybe() else {})
    if form == 1:
        return row | {"instruction": asked, "input": words.text(), "history": []}
    before = [{"role": "user", "content": asked}]
    answers = {
        name: [{"role": "assistant", "content": text}]
        for name, text in (("chosen", chosen), ("rejected", rejected))
    }
    if form == 2:
        return {name: before + answer for name, answer in answers.items()}
    return answers | {"prompt": before, "source": words.text()}


FORMATS: dict[str, list[Callable[[Words], Row]]] = {
    "chat": [openai_messages, sharegpt, exchanges, alpaca, dolly, orca, tree],
    "qa": [flat_question],
    "summarize": [summary],
    "translate": [translation],
    "prefer": [preference],
    "text": [lambda words: {"text": words.text(9), "url": words.text()}],
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the path of keys of all that is no list or object, with what holds it and under what
    key or number."""
    keys = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(keys):
        longer = (*path, key) if isinstance(value, dict) else path
        if isinstance(inner, dict | list):
            yield from leaves(inner, longer)
        else:
            yield longer, value, key


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from objects(inner)


def damage(row: Row, words: Words) -> None:
    """Change one thing in a record as programs and people do."""
    chance = words.random
    _, holder, key = chance.choice(list(leaves(row)))
    column = chance.choice(list(row))
    kind = chance.randrange(6)
    if kind == 0:
        other = words.text()
        nothing = [None, "", " ", float("nan")]
        holder[key] = chance.choice([*nothing, True, 7, other, [other], {"k": other}])
    elif kind == 1:
        inside = chance.choice(list(objects(row)))
        inside[chance.choice(["note", "train", "tool_calls", "value"])] = words.text()
    elif kind == 2:
        row[chance.choice(["system", "history", "input", "context", "meta"])] = words.text()
    elif kind == 3:
        row[column] = repr(row[column])  # a list or object held as text
    elif kind == 4:
        row[column] = json.dumps(row[column])[:-1]  # and cut off
    else:
        row[column] = None


def example_text(task: str, dataset: Dataset[Any]) -> str:
    (example,) = dataset.examples
    if task == "text":
        return str(example)
    if task == "chat":
        return "\n".join(message.content for message in example)
    if task == "prefer":
        asked = example.prompt
        prompt = asked if isinstance(asked, str) else " ".join(m.content for m in asked)
        return f"{prompt}\n{example.chosen}\n{example.rejected}"
    inputs = [str(example.record[name]) for name in dataset.columns.inputs.values()]
    return "\n".join([*inputs, *example.references])


def parsed(value: Any) -> Any:
    """Return a value with the lists and objects in it that are held as text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) and value[:1] in "[{" else value
    except (ValueError, SyntaxError):
        return value


def lost(task: str, row: Row, dataset: Dataset[Any]) -> list[str]:
    """Return the words of a record that neither stand in its example nor are named as unused."""
    unused, notes = dataset.report.unused, dataset.report.notes
    text = example_text(task, dataset)
    missing = []
    for path, holder, key in leaves({name: parsed(value) for name, value in row.items()}):
        names = {path[0], ".".join(path), *(f"{path[0]}.{name}" for name in path[1:])}
        is_counted = notes[UNANSWERED] or (notes[BESIDE_PATH] and "replies" in path)
        if not is_counted and not names & set(unused):
            missing += [word for word in WORD.findall(str(holder[key])) if word not in text]
    return missing


def check(task: str, cases: int) -> tuple[int, int]:
    refused = kept = 0
    for seed in range(cases):
        words = Words(seed)
        row = words.random.choice(FORMATS[task])(words)
        dataset = read(task, as_records(row))
        assert lost(task, row, dataset) == [], row
        damage(row, words)
        try:
            dataset = read(task, as_records(row))
        except UserError as error:
            assert str(error.where).startswith("rows.jsonl:1"), (row, error)
            refused += 1
            continue
        if dataset.examples:
            assert lost(task, row, dataset) == [], (row, dataset.report)
        kept += 1
    return refused, kept


@pytest.mark.parametrize("task", FORMATS)
def test_nothing_of_a_record_is_lost_whatever_its_format_and_damage(task: str) -> None:
    refused, kept = check(task, QUICK)
    # Where a text is damaged, the record's other field is its text.
    assert refused > (0 if task == "text" else QUICK // 20) and kept > QUICK // 20


@pytest.mark.slow(cases=LONG)
@pytest.mark.parametrize("task", FORMATS)
def test_nothing_is_lost_of_ten_thousand_records(task: str) -> None:
    check(task, LONG)
