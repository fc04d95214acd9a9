from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from nextword.tasks.generate.examples import Completions, read_examples
from transformers import AutoTokenizer

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.generate.chat_template import (
    CHATML,
    ChatTemplate,
    Message,
    choose_template,
    plain_template,
    read_messages,
    render,
    with_template,
)
from nextword.tasks.generate.encoding import mark_targets
from nextword.tasks.records import Record, read_records
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

DATA = Path(__file__).parents[2] / "examples" / "data"
# Templates in the manner of well-known ones, written for this test.
THINKING = (
    "{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- set said = m.content.strip() %}{% generation %}{{- said }}{% endgeneration %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] | upper }}]\n{{ m['content'] | trim }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[ASSISTANT]\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir())]
    return train_bpe(texts, 1200, 10**6)


@pytest.fixture(scope="module")
def without_turns(tokenizer: Tokenizer) -> Tokenizer:
    """As GPT-2's: the end token alone steers, and words are cut as GPT-2 cuts them."""
    definition = json.loads(tokenizer.definition)
    kept = definition["added_tokens"][0]
    assert kept["content"] == "<|endoftext|>"
    definition["added_tokens"] = [kept]
    for name in ("<|im_start|>", "<|im_end|>", "<|pad|>"):
        definition["model"]["vocab"].pop(name)
    definition["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    config = {k: v for k, v in tokenizer.config.items() if k != "pad_token"}
    return Tokenizer(json.dumps(definition), config)


def chat(tokenizer: Tokenizer, found: list[Record], length: int = 512, **more: Any) -> Completions:
    settings = TaskSettings(task="chat", **{k: v for k, v in more.items() if k.endswith("column")})
    more = {k: v for k, v in more.items() if not k.endswith("column")} or {"training": True}
    return read_examples(found, settings, tokenizer, tokenizer.end_id, length, **more)


def talk(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(contents)
    said = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return ([{"role": "system", "content": system}] if system else []) + said


def test_all_that_the_assistant_says_is_learnt_with_the_end_of_each_turn(
    tokenizer: Tokenizer,
) -> None:
    row = {"messages": talk("Hi", "Hello.", "And?", "Bye.", system="Be brief.")}
    (example,) = chat(tokenizer, [Record(row, "x:1")]).examples
    assert mark_targets(example.example, tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n⟦Hello.<|im_end|>⟧\n<|im_start|>user\nAnd?<|im_end|>\n"
        "<|im_start|>assistant\n⟦Bye.<|im_end|>⟧\n"
    )
    assert example.references == ("Bye.",)
    assert tokenizer.decode(example.prompt, skip_special=False).endswith(
        "And?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("kind", ["chatml", "plain", "plain zh", "thinking", "headers"])
def test_ids_equal_those_of_transformers_from_the_template_that_is_saved(
    tokenizer: Tokenizer, without_turns: Tokenizer, kind: str, tmp_path: Path
) -> None:
    ours = without_turns if kind.startswith(("plain", "headers")) else tokenizer
    if kind == "headers":
        ours = Tokenizer(ours.definition, ours.config | {"bos_token": "<|endoftext|>"})
    own = {"thinking": THINKING, "headers": HEADERS}.get(kind)
    if own:
        ours = with_template(ours, own)
    template = choose_template(ours, ours.end_id, "zh" if kind.endswith("zh") else "en")
    with_template(ours, template).save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    format = ChatTemplate(Tokenizer.load(tmp_path), theirs.chat_template)
    for record in read_records([str(DATA / "chat.jsonl")]):
        said = read_messages(record["messages"], record.place)
        for messages, asks in ((said, False), (said[:-1], True)):
            expected = theirs.apply_chat_template(
                [vars(message) for message in messages],
                add_generation_prompt=asks,
                enable_thinking=False,
                return_dict=False,
            )
            assert format.encode(messages, asks=asks).ids == expected
    known = {
        "chatml": {"<|im_end|>", "<|endoftext|>"},
        "thinking": {"<|im_end|>", "<|endoftext|>"},
    }
    names = {ours.decode([id], skip_special=False) for id in format.end_ids()}
    assert names == known.get(kind, {"<|endoftext|>"})


def test_a_model_is_taught_to_go_on_from_exactly_the_prompt_it_will_be_given(
    tokenizer: Tokenizer,
) -> None:
    ours = with_template(tokenizer, THINKING)
    row = {"messages": talk("Hi", "Hello.", "And?", "Bye.")}
    (example,) = chat(ours, [Record(row, "x:1")]).examples
    assert example.example.ids[: len(example.prompt)].tolist() == example.prompt
    assert mark_targets(example.example, ours).endswith("</think>\n\n⟦Bye.<|im_end|>⟧\n")


def test_instructions_are_read_without_their_answers(tokenizer: Tokenizer) -> None:
    row = Record({"instruction": "Write backwards.", "input": "abc"}, "new.jsonl:1")
    settings = TaskSettings(task="chat", text_column="instruction")
    read = read_examples(
        [row], settings, tokenizer, tokenizer.end_id, 256, training=False, answered=False
    )
    asked = tokenizer.decode(read.examples[0].prompt)
    assert "Write backwards.\n\nabc" in asked and read.examples[0].references == ()


def test_instructions_and_prompts_are_conversations_too(tokenizer: Tokenizer) -> None:
    found = read_records([str(DATA / "instructions.jsonl")])
    completions = chat(tokenizer, found)
    assert len(completions.examples) == len(found)
    row = {"instruction": "Write it in capitals.", "input": "tulip", "output": "TULIP"}
    (example,) = chat(tokenizer, [Record(row, "x:1")]).examples
    assert mark_targets(example.example, tokenizer) == (
        "<|im_start|>user\nWrite it in capitals.\n\ntulip<|im_end|>\n"
        "<|im_start|>assistant\n⟦TULIP<|im_end|>⟧\n"
    )
    for names in (("prompt", "response"), ("prompt", "completion"), ("ask", "reply")):
        columns = {}
        if names[0] == "ask":
            columns = {"text_column": "ask", "target_column": "reply"}
        row = dict(zip(names, ("Hi", "Hello"), strict=True))
        (example,) = chat(tokenizer, [Record(row, "x:1")], training=True, **columns).examples
        assert example.references == ("Hello",)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "x:1: messages are not a list"),
        ([{"role": "user"}], "x:1: message 1 has no text"),
        (talk("Hi"), "x:1: holds nothing that the assistant says"),
        (talk("Hi", ""), "x:1: message 2 is empty"),
        ([{"role": "asistant", "content": "x"}], "message 1 has the role 'asistant'; did you mean"),
        ([{"content": "x"}], "x:1: message 1 has no role"),
    ],
)
def test_a_conversation_that_cannot_be_learnt_is_refused_with_its_place(
    tokenizer: Tokenizer, messages: Any, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        chat(tokenizer, [Record({"messages": messages}, "x:1")])
    assert message in str(raised.value)


def test_a_conversation_that_is_too_long_loses_its_oldest_exchanges(tokenizer: Tokenizer) -> None:
    said = [f"{word} {n}" for n in range(12) for word in ("question", "answer")]
    found = [Record({"messages": talk(*said, system="Be brief.")}, f"x:{n}") for n in range(3)]
    completions = chat(tokenizer, found, 100)
    text = mark_targets(completions.examples[0].example, tokenizer)
    assert completions.cut == 3 and len(completions.examples[0].example.ids) <= 100
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nquestion")
    assert text.endswith("⟦answer 11<|im_end|>⟧\n") and "question 0" not in text
    judged = chat(tokenizer, found, 100, training=False, format=completions.format)
    assert len(judged.examples[0].prompt) <= 100 - completions.format.answer_tokens
    long = Record({"messages": talk("word " * 200, "answer")}, "x:9")
    short = [Record({"messages": talk(f"q {n}", f"a {n}")}, f"x:{n}") for n in range(30)]
    completions = chat(tokenizer, [*short, long], 100)
    assert completions.dropped == {"with a last exchange that is too long": 1}
    with pytest.raises(UserError, match=r"1 of 1 examples cannot be learnt from .* 100 tokens"):
        chat(tokenizer, [long], 100)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "chat template cannot be used"),
        ("{{ raise_exception('no system messages') }}", r"cannot be used \(no system messages\)"),
        ("{{ messages.__class__.__mro__ }}", "cannot be used"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "cannot be used"),
        ("{% for a in range(99999) %}{{ 'x' * 100 }}{% endfor %}", "writes more than 1,048,576"),
        ("{{ ('x' * 1200000000) | length }}", "takes too much time or memory"),
        (
            "{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
            "too",
        ),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "leaves out message 2, an answer"),
    ],
)
def test_a_wrong_or_hostile_template_is_refused_within_its_bounds(
    tokenizer: Tokenizer, template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.tasks.generate.chat_template.SECONDS", 2)
    began = time.monotonic()
    with pytest.raises(UserError, match=message):
        ChatTemplate(tokenizer, template).encode([Message("user", "a"), Message("assistant", "b")])
    assert time.monotonic() - began < 10


def test_a_template_never_sees_what_people_wrote(tokenizer: Tokenizer) -> None:
    spy = "{% for m in messages %}{{ 'secret' in m.content }}{{ m.content }}<|im_end|>{% endfor %}"
    ids = ChatTemplate(tokenizer, spy).encode([Message("assistant", "secret")]).ids
    assert tokenizer.decode(ids, skip_special=False) == "Falsesecret<|im_end|>"


def test_a_tokenizer_without_tokens_for_turns_gets_names_in_its_language(
    without_turns: Tokenizer,
) -> None:
    end = "<|endoftext|>"
    assert choose_template(without_turns, without_turns.end_id, "en") == plain_template(
        end, end, "en"
    )
    (text,) = render(plain_template(end, end, "zh"), [(("system", "user", "assistant"), False)])
    assert text.startswith(f"{end}系统：\n") and text.endswith(end)
    assert "用户：\n" in text and "助手：\n" in text


def test_a_template_kept_in_a_file_or_by_name_is_found(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    assert choose_template(tokenizer, tokenizer.end_id, "en") == CHATML
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": HEADERS}]
    several = Tokenizer(tokenizer.definition, tokenizer.config | {"chat_template": named})
    assert choose_template(several, 0, "en") == HEADERS
    tokenizer.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(THINKING)
    assert choose_template(Tokenizer.load(tmp_path), 0, "en") == THINKING
    several.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path).chat_template
    assert (theirs["default"] if isinstance(theirs, dict) else theirs) == THINKING
    assert choose_template(Tokenizer.load(tmp_path), 0, "en") == THINKING, "the file is preferred"


def test_a_tokenizer_that_transformers_saved_keeps_its_template(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "ours")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.chat_template = THINKING
    theirs.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "chat_template.jinja").is_file()
    again = Tokenizer.load(tmp_path / "theirs")
    assert choose_template(again, again.end_id, "en") == THINKING
    (tmp_path / "theirs" / "chat_template.jinja").write_bytes(b"{{ \xff }}")
    with pytest.raises(UserError, match=r"chat_template.jinja: is not UTF-8 at byte 3"):
        choose_template(again, again.end_id, "en")
