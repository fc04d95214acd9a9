"""GGUF files as llama.cpp wants them; what it would read otherwise is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf_models import TEXT, tokenizer, transformer, written

from nextword.errors import UserError
from nextword.hub.gguf.fields import read_header
from nextword.hub.gguf.tokenizer_fields import SPLITTERS
from nextword.hub.gguf.tokenizer_writing import NAMES, TextEnds, splitter_name, tokenizer_fields
from nextword.hub.gguf.writing import write_gguf
from nextword.models.config import Family
from nextword.tokens.control_tokens import MASKED
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, train_bpe

NORMAL, CONTROL, USER_DEFINED, UNUSED = (
    gguf.TokenType.NORMAL,
    gguf.TokenType.CONTROL,
    gguf.TokenType.USER_DEFINED,
    gguf.TokenType.UNUSED,
)


def with_parts(**parts: Any) -> Tokenizer:
    own = tokenizer()
    return Tokenizer(json.dumps(json.loads(own.definition) | parts), own.config)


def test_the_fields_are_those_that_llama_cpp_reads(tmp_path: Path) -> None:
    own, model = tokenizer(), transformer("qwen3")
    fields, _ = read_header(written(tmp_path / "model.gguf", model))
    values = fields.values
    assert values["general.architecture"] == "qwen3"
    assert values["qwen3.attention.key_length"] == model.config.head_width
    assert values["qwen3.rope.freq_base"] == model.config.rope_theta
    assert values["tokenizer.ggml.pre"] == "qwen2" and values["tokenizer.ggml.model"] == "gpt2"
    assert values["tokenizer.ggml.add_bos_token"] is False
    assert values["tokenizer.ggml.padding_token_id"] == own.pad_id
    names, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    assert len(names) == len(types) == model.config.vocab_size
    assert {id for id, kind in enumerate(types) if kind == CONTROL} == set(own.special_ids)
    assert all(types[id] == UNUSED for id in range(own.vocab_size, len(names)))
    merges = json.loads(own.definition)["model"]["merges"]
    assert values["tokenizer.ggml.merges"] == [" ".join(merge) for merge in merges]


def test_words_that_people_add_are_found_in_text_and_markup_is_not() -> None:
    own = json.loads(tokenizer().definition)
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    for number, name in enumerate(("covid", "<think>")):
        own["model"]["vocab"][name] = 500 + number
        own["added_tokens"].append({"id": 500 + number, "content": name, **plain})
    added = Tokenizer(json.dumps(own), tokenizer().config)
    types = tokenizer_fields(added, 502, TextEnds(0, [0]))["token_type"]
    assert (types[500], types[501]) == (USER_DEFINED, CONTROL)
    assert types[450] == UNUSED


def test_bytes_need_a_merge_that_never_happens(tmp_path: Path) -> None:
    own = byte_tokenizer()
    fields = tokenizer_fields(own, 264, TextEnds(own.end_id, [own.end_id]))
    assert fields["pre"] == "qwen2"
    (merge,) = fields["merges"]
    left, _ = merge.split()
    assert left not in fields["tokens"]


@pytest.mark.parametrize("name", NAMES)
def test_each_way_of_cutting_text_has_its_name(name: str) -> None:
    splitter = SPLITTERS[name]
    definition = json.loads(tokenizer().definition)
    definition["pre_tokenizer"] = splitter.definition
    definition["model"]["ignore_merges"] = splitter.whole_words
    assert splitter_name(Tokenizer(json.dumps(definition))) == name


def test_our_own_tokenizer_cuts_text_as_qwen2() -> None:
    assert splitter_name(tokenizer()) == "qwen2"


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (character_tokenizer([TEXT]), "is a WordLevel tokenizer without bytes"),
        (train_bpe([TEXT * 9], 400, 9000, MASKED), "puts other tokens around a text"),
        (with_parts(normalizer={"type": "Lowercase"}), "has the normalizer Lowercase"),
        (with_parts(pre_tokenizer={"type": "Whitespace"}), "by a pattern of its own"),
        (with_parts(pre_tokenizer=None), "by a pattern of its own"),
        (
            with_parts(
                pre_tokenizer={
                    "type": "ByteLevel",
                    "add_prefix_space": True,
                    "trim_offsets": True,
                    "use_regex": True,
                }
            ),
            "by a pattern of its own",
        ),
    ],
)
def test_other_tokenizers_are_refused_by_name(refused: Tokenizer, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tokenizer_fields(refused, 600, TextEnds(0, [0]))


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("modernbert", {"kv_heads": 4}, "is an encoder .modernbert.: only decoders"),
        ("qwen2", {"window": 8, "windowed_layers": (1,)}, "a sliding window of 8 tokens"),
        ("gpt2", {"mlp": "relu"}, "the activation relu"),
        ("llama", {"mlp": "geglu_tanh"}, "the activation geglu_tanh"),
        ("qwen3", {"attention_bias": True}, "biases in attention"),
        ("gemma3_text", {"windowed_layers": (0, 2, 4, 6)}, "windows in other layers"),
        ("gemma3_text", {"attention_scale": 0.1}, "attention scores of another scale"),
        ("gemma3_text", {"local_rope_theta": 500.0}, "other rotary positions in layers with"),
        ("smollm3", {"unrotated_layers": (0,)}, "positions in other layers"),
        ("smollm3", {"window": 9, "windowed_layers": (3,)}, "a sliding window of 9 tokens"),
    ],
)
def test_models_that_llama_cpp_computes_otherwise_are_refused(
    family: Family, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        written(tmp_path / "model.gguf", transformer(family, **changes))
    assert not list(tmp_path.iterdir())


def test_a_window_as_long_as_the_context_changes_nothing(tmp_path: Path) -> None:
    model = transformer("mistral", window=64, windowed_layers=(0, 1))
    assert written(tmp_path / "model.gguf", model).is_file()


def test_types_are_those_asked_for(tmp_path: Path) -> None:
    own, model = tokenizer(), transformer("qwen3", mlp_width=72)
    ends = TextEnds(own.end_id, [own.end_id])
    kinds = {}
    for quantization in ("f32", "f16", "bf16", "q8_0", "q4_0"):
        path = tmp_path / f"{quantization}.gguf"
        counted = write_gguf(path, model, own, ends, quantization)
        _, places = read_header(path)
        kinds[quantization] = {place.name: place.type for place in places}
        types = list(kinds[quantization].values())
        assert counted == {kind: types.count(kind) for kind in set(types)}
    for types in kinds.values():
        assert types["output_norm.weight"] == types["blk.0.attn_q_norm.weight"] == "F32"
    for quantization in ("f32", "f16", "bf16"):
        assert kinds[quantization]["blk.0.ffn_up.weight"] == quantization.upper()
    assert kinds["q8_0"]["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["q4_0"]["blk.0.ffn_up.weight"] == "Q4_0"
    assert kinds["q4_0"]["token_embd.weight"] == "Q8_0"
    assert kinds["q4_0"]["blk.0.ffn_down.weight"] == "F16"  # 72 does not divide by 32


def test_weights_too_large_for_f16_are_refused(tmp_path: Path) -> None:
    model = transformer("llama")
    model.embedding.weight.data[3, 3] = 1e5
    own = tokenizer()
    with pytest.raises(UserError, match=r"'token_embd\.weight' holds 100000, too large for F16"):
        write_gguf(tmp_path / "m.gguf", model, own, TextEnds(own.end_id, []), "f16")
    assert not list(tmp_path.iterdir())
