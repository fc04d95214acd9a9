"""Labelled data in the formats that people publish: small files of our own, sound and damaged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A format by the name that docs/data-formats.md gives it, and what is read of a file."""

    name: str
    task: str
    sound: dict[str, str]  # files
    shown: str  # the first example, in one line
    unused: tuple[str, ...]
    damaged: dict[str, str]
    says: str  # of the damaged files, as the page quotes it


def jsonl(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def squad(context: str, *questions: dict[str, Any]) -> str:
    article = {"title": "Towns", "paragraphs": [{"context": context, "qas": list(questions)}]}
    return json.dumps({"version": "1.1", "data": [article]}, ensure_ascii=False)


def question(text: str, answer: str, start: int, **more: Any) -> dict[str, Any]:
    answers = [{"text": answer, "answer_start": start}] if answer else []
    return {"id": text, "question": text, "answers": answers} | more


def tmx(*units: str) -> str:
    body = "\n".join(f"<tu>{unit}</tu>" for unit in units)
    return f'<tmx version="1.4"><header srclang="en"/><body>\n{body}\n</body></tmx>'


def segment(language: str, text: str) -> str:
    return f'<tuv xml:lang="{language}"><seg>{text}</seg></tuv>'


TOWN = "Marrow lies on the Elden."
GREETING = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello."}
WEIGHED = [GREETING, REPLY | {"weight": 0}, GREETING, REPLY]
SHARED = [
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello."},
    {"from": "human", "value": "More"},
]
UNANSWERED = question("Who founded it?", "", 0, is_impossible=True, plausible_answers=["Elden"])
CONTRADICTED = question("On which river?", "the Elden", 15, is_impossible=True)
ALPACA = {"instruction": "Name a colour.", "input": "", "output": "Blue."}
DOLLY = {"instruction": "How old is it?", "context": "It is new.", "response": "New."}
CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "add"}}]}
TREE = {
    "text": "Hi",
    "role": "prompter",
    "replies": [
        {"text": "Go.", "role": "assistant", "rank": 1, "replies": []},
        {"text": "Hello.", "role": "assistant", "rank": 0, "replies": []},
    ],
}
ROOT = {"message_id": "1", "parent_id": None, "text": "Hi", "role": "prompter"}
COMPARED = {"prompt": "What do cows eat?", "chosen": "Grass.", "rejected": "Stones."}
PAIR = {"sentence1": "A man runs.", "sentence2": "He is late."}

CHAT = [
    Published(
        "Alpaca",
        "chat",
        {"a.json": json.dumps([ALPACA | {"history": [["Hi.", "Hello."]]}])},
        "user: Hi. assistant: ⟦Hello.⟧ user: Name a colour. assistant: ⟦Blue.⟧",
        (),
        {"a.json": json.dumps([ALPACA, ALPACA | {"output": ""}])},
        "column 'output' is empty",
    ),
    Published(
        "Dolly",
        "chat",
        {"a.jsonl": jsonl(DOLLY | {"category": "closed_qa"})},
        "user: How old is it? It is new. assistant: ⟦New.⟧",
        ("category",),
        {"a.jsonl": jsonl(DOLLY, DOLLY | {"response": ""})},
        "column 'response' is empty",
    ),
    Published(
        "ShareGPT",
        "chat",
        {"a.jsonl": jsonl({"id": "1", "conversations": SHARED[:2]})},
        "user: Hi assistant: ⟦Hello.⟧",
        ("id",),
        {"a.jsonl": jsonl({"conversations": SHARED})},
        "messages after the last answer that is learned, not read: 1",
    ),
    Published(
        "OpenAI",
        "chat",
        {"a.jsonl": jsonl({"messages": WEIGHED, "tools": [{"type": "function"}]})},
        "user: Hi assistant: Hello. user: Hi assistant: ⟦Hello.⟧",
        ("tools",),
        {"a.jsonl": jsonl({"messages": [GREETING, REPLY]}, {"messages": [GREETING, CALL, REPLY]})},
        "message 2 calls a tool, which is not learned",
    ),
    Published(
        "OpenAssistant",
        "chat",
        {"a.jsonl": jsonl({"message_tree_id": "1", "prompt": TREE})},
        "user: Hi assistant: ⟦Hello.⟧",
        ("message_tree_id",),
        {"a.jsonl": jsonl(ROOT, {"message_id": "2", "parent_id": "1"} | REPLY)},
        "holds one message of a tree in each record (parent_id), and no conversations",
    ),
]

QUESTIONS = [
    Published(
        "SQuAD 1.1",
        "qa",
        {"a.json": squad(TOWN, question("On which river?", "the Elden", 15))},
        f"{TOWN} On which river? ⟦the Elden⟧",
        ("data.title", "id"),
        {"a.json": squad(TOWN, question("On which river?", "the Elden", 3))},
        "answers that do not stand quite where the data says: found in the text: 1",
    ),
    Published(
        "SQuAD 2.0",
        "qa",
        {"a.json": squad(TOWN, UNANSWERED)},
        f"{TOWN} Who founded it? ⟦(no answer)⟧",
        ("data.title", "id", "plausible_answers"),
        {"a.json": squad(TOWN, UNANSWERED, CONTRADICTED)},
        "contradicts itself: is_impossible is true, and the answer is 'the Elden'",
    ),
    *(
        Published(
            name,
            "qa",
            {"a.json": squad(context, question(asked, "柳河", 5))},
            f"{context} {asked} ⟦柳河⟧",
            ("data.title", "id"),
            {"a.json": squad(context, question(asked, "云河", 5))},
            "answers that the data gives a place for, and that do not stand in the text: 1",
        )
        for name, context, asked in (
            ("CMRC 2018", "青石镇位于柳河边。", "在哪条河边？"),
            ("DRCD", "青石鎮位於柳河邊。", "在哪條河邊？"),
        )
    ),
]

CLASSES = [
    Published(
        "CLUE",
        "classify",
        {
            "a.json": jsonl(
                {"label": "108", "label_desc": "news_edu", "sentence": "青石中学开学"},
                {"label": "104", "label_desc": "news_money", "sentence": "柳河银行开业"},
            )
        },
        "青石中学开学 ⟦108⟧",
        ("label_desc",),
        {
            "a.json": jsonl(
                *(
                    {"label": label, "sentence": f"青石中学{label}"}
                    for label in ("108", "104", "-1")
                )
            )
        },
        "labels -1, read as a class like the others: 1",
    ),
    Published(
        "GLUE",
        "classify",
        {"a.tsv": 'sentence\tlabel\nhide it from the "old units\t0\na witty film\t1\n'},
        'hide it from the "old units ⟦0⟧',
        (),
        {"a.tsv": "sentence\tlabel\nno wit\t0\na witty film\t1\na gorgeous\twitty film\t1\n"},
        "has 3 fields, expected 2",
    ),
    Published(
        "SNLI",
        "classify",
        {
            "a.jsonl": jsonl(
                PAIR | {"gold_label": "neutral", "pairID": "1"},
                PAIR | {"gold_label": "entailment", "pairID": "2"},
            )
        },
        "A man runs. He is late. ⟦neutral⟧",
        ("pairID",),
        {"a.jsonl": jsonl(*(PAIR | {"gold_label": g} for g in ("neutral", "-", "entailment")))},
        "whose label - stands for an unknown one",
    ),
]

WRITTEN = [
    Published(
        "XSum",
        "summarize",
        {"a.jsonl": jsonl({"document": "Rain fell all day.", "summary": "Rain.", "id": "1"})},
        "Rain fell all day. ⟦Rain.⟧",
        ("id",),
        {
            "a.jsonl": jsonl(
                {"document": "Rain fell.", "summary": "Rain."}, {"document": "", "summary": "Rain."}
            )
        },
        "column 'document' is empty",
    ),
    Published(
        "CNN/DailyMail",
        "summarize",
        {"a.csv": 'id,article,highlights\n1,Rain fell all day.,"Rain .\nAll day ."\n'},
        "Rain fell all day. ⟦Rain . All day .⟧",
        ("id",),
        {"a.csv": "id,article,highlights\n1,Rain fell all day.,Rain .\n2,The sun shone.,\n"},
        "column 'highlights' is empty",
    ),
    Published(
        "WMT",
        "translate",
        {"a.jsonl": jsonl({"translation": {"de": "Die Katze.", "en": "The cat."}})},
        "Die Katze. ⟦The cat.⟧",
        (),
        {
            "a.jsonl": jsonl(
                {"translation": {"de": "Die Katze.", "en": "The cat."}},
                {"translation": {"de": "Der Hund.", "en": ""}},
            )
        },
        "column 'translation.en' is empty",
    ),
    Published(
        "two text files",
        "translate",
        {"a.en": "The cat.\nThe dog.\n", "a.de": "Die Katze.\nDer Hund.\n"},
        "The cat. ⟦Die Katze.⟧",
        (),
        {"a.en": "The cat.\n\nThe dog.\n", "a.de": "Die Katze.\nDer Hund.\n"},
        "line n of one file must be the translation of line n of the other",
    ),
    Published(
        "TMX",
        "translate",
        {"a.tmx": tmx(f"<note>old</note>{segment('de', 'Die Katze.')}{segment('en', 'The cat.')}")},
        "The cat. ⟦Die Katze.⟧",
        ("note",),
        {
            "a.tmx": tmx(
                segment("en", "The cat.") + segment("de", "Die Katze."),
                segment("en", "The dog.") + segment("en", "A dog."),
            )
        },
        "has two texts in 'en'",
    ),
    Published(
        "TRL",
        "prefer",
        {"a.jsonl": jsonl(COMPARED | {"score_chosen": 5.0, "score_rejected": 1.0})},
        "What do cows eat? ⟦Grass.⟧ rather than ⟦Stones.⟧",
        (),
        {"a.jsonl": jsonl(COMPARED, COMPARED | {"rejected": "Grass."})},
        "the chosen and the rejected answer are the same",
    ),
]

HEADER = """The Project Gutenberg eBook of The Mill
This ebook is for the use of anyone anywhere at no cost.

*** START OF THE PROJECT GUTENBERG EBOOK THE MILL ***
"""
LICENCE = """
*** END OF THE PROJECT GUTENBERG EBOOK THE MILL ***

Section 1. General Terms of Use and Redistributing Project Gutenberg works
"""
RAW = [
    Published(
        "Project Gutenberg",
        "text",
        {"a.txt": "The widow saw smoke above the wood."},
        "⟦The widow saw smoke above the wood.⟧",
        (),
        {"a.txt": f"{HEADER}\nThe widow saw smoke above the wood.\n{LICENCE}"},
        "with Project Gutenberg's licence",
    ),
]

FORMATS = [*CHAT, *QUESTIONS, *CLASSES, *WRITTEN, *RAW]
