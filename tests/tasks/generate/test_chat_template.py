from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.prompts import THINKING
from transformers import AutoTokenizer

from nextword.errors import UserError
from nextword.tasks.generate.chat_template import (
    CHATML,
    ChatTemplate,
    choose_template,
    plain_template,
    with_template,
)
from nextword.tasks.generate.messages import Message, read_messages
from nextword.tasks.generate.rendering import Renderer
from nextword.tasks.records import read_records
from nextword.tokens.tokenizer import Tokenizer

DATA = Path(__file__).parents[3] / "examples" / "data"
# In the manner of a well-known one, written for this test.
HEADERS = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] | upper }}]\n{{ m['content'] | trim }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[ASSISTANT]\n{% endif %}"
)


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
    if message == "too":  # the only one that never ends: the others have all the time there is
        monkeypatch.setattr("nextword.tasks.generate.rendering.SECONDS", 2)
    with pytest.raises(UserError, match=message):
        ChatTemplate(tokenizer, template).encode([Message("user", "a"), Message("assistant", "b")])


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
    template = plain_template(end, end, "zh")
    (text,) = Renderer(template).render([(("system", "user", "assistant"), False)])
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
