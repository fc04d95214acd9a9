"""GGUF files read as transformers and sentencepiece read them; what is not known is refused."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from gguf_models import TEXT, logits, tokenizer, transformer, written
from tokenizers import pre_tokenizers

from nextword.errors import UserError
from nextword.hub.gguf.fields import Fields
from nextword.hub.gguf.tokenizer_fields import SPLITTERS, read_tokenizer
from nextword.hub.gguf.tokenizer_writing import TextEnds
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load
from nextword.inference.language_model import load_language_model
from nextword.models.config import Family
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer import Tokenizer

FAMILIES: list[Family] = ["gpt2", "llama", "qwen2", "qwen3", "gemma3_text"]
ROW = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))


def theirs(path: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name
    ).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_that_transformers_reads(family: Family, tmp_path: Path) -> None:
    model = transformer(family, tied=family != "llama")
    path = written(tmp_path / "model.gguf", model)
    ours, _ = load(path)
    reference = theirs(path)
    assert (logits(ours, ROW) - logits(reference, ROW)).abs().max() < 1e-4
    assert (logits(ours, ROW) - logits(model, ROW)).abs().max() < 1e-5
    for step in range(2, 12):
        ids = ROW[:1, :step]
        assert logits(ours, ids)[0, -1].argmax() == logits(reference, ids)[0, -1].argmax()


def test_a_mistral_is_a_llama_there(tmp_path: Path) -> None:
    model = transformer("mistral")
    ours, _ = load(written(tmp_path / "model.gguf", model))
    assert ours.config.family == "llama"
    assert (logits(ours, ROW) - logits(model, ROW)).abs().max() < 1e-5


def test_a_smollm3_comes_back_as_it_was(tmp_path: Path) -> None:
    """Which transformers reads from no GGUF file; tests/real asks llama.cpp."""
    model = transformer("smollm3", tied=False)
    ours, _ = load(written(tmp_path / "model.gguf", model))
    assert ours.config.unrotated_layers == model.config.unrotated_layers == (3,)
    assert (logits(ours, ROW) - logits(model, ROW)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_type_is_read_as_transformers_reads_it(
    family: Family, kind: str, tmp_path: Path
) -> None:
    path = requantized(written(tmp_path / "plain.gguf", transformer(family)), kind)
    ours, _ = load(path)
    assert (logits(ours, ROW) - logits(theirs(path), ROW)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"])
def test_k_quants_are_read_by_gguf(kind: str, tmp_path: Path) -> None:
    model = transformer("qwen3", width=256, heads=4, head_width=64, mlp_width=256)
    path = requantized(written(tmp_path / "plain.gguf", model), kind)
    ours, _ = load(path)
    reference = {t.name: t for t in gguf.GGUFReader(path).tensors}["blk.0.ffn_down.weight"]
    expected = gguf.dequantize(reference.data, reference.tensor_type)
    assert reference.tensor_type.name == kind and expected.shape == (256, 256)
    assert np.array_equal(ours.blocks[0].mlp.output.weight.detach().numpy(), expected)


def requantized(path: Path, kind: str) -> Path:
    """The same file with its matrices in another type; those that gguf cannot write are noise."""
    reader, new = gguf.GGUFReader(path), path.with_name(f"{kind}.gguf")
    writer = gguf.GGUFWriter(new, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "general.architecture")):
            types = field.types
            sub = types[-1] if types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), types[0], sub_type=sub)
    stored = gguf.GGMLQuantizationType[kind]
    generator = np.random.default_rng(0)
    for tensor in reader.tensors:
        data, type_ = tensor.data, tensor.tensor_type
        if len(tensor.shape) == 2 and tensor.name != "position_embd.weight":
            type_ = stored
            if kind.endswith("_K") or kind.startswith("IQ"):
                group, size = gguf.GGML_QUANT_SIZES[stored]
                shape = (data.shape[0], data.shape[1] // group * size)
                data = generator.integers(0, 40, shape, dtype=np.uint8)
            else:
                data = gguf.quantize(data, stored)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return new


def test_llama_3_positions_come_back_as_they_were(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = transformer("llama", rope_theta=500_000.0, rope_scaling=scaling)
    ours, _ = load(written(tmp_path / "model.gguf", model))
    assert ours.config.rope_scaling == scaling
    assert (logits(ours, ROW) - logits(model, ROW)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_stretched_positions_are_read_as_transformers_reads_them(kind: str, tmp_path: Path) -> None:
    scaling: dict[str, Any] = {"rope_type": kind, "factor": 4.0}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = 16
    model = transformer("qwen3", rope_scaling=scaling)
    path = written(tmp_path / "model.gguf", model)
    ours, _ = load(path)
    assert ours.config.rope_scaling == scaling
    assert (logits(ours, ROW) - logits(model, ROW)).abs().max() < 1e-5


def test_ids_and_control_tokens_are_those_of_the_tokenizer_written(tmp_path: Path) -> None:
    own = tokenizer()
    _, again = load(written(tmp_path / "model.gguf", transformer("qwen3")))
    for text in (TEXT, "<|endoftext|>", "  \n\n x'S 12 中文", "\0"):
        assert again.encode(text) == own.encode(text)
        assert again.decode(own.encode(text)) == text
    assert again.special_ids == own.special_ids
    assert (again.end_id, again.pad_id, again.vocab_size) == (
        own.end_id,
        own.pad_id,
        own.vocab_size,
    )


def test_ends_and_the_chat_template_come_from_the_file(tmp_path: Path) -> None:
    own = tokenizer()
    start, end = own.special_id("<|im_start|>"), own.special_id("<|im_end|>")
    assert start is not None and end is not None
    ends = TextEnds(own.end_id, [end, own.end_id], "{{ messages[0].content }}")
    path = written(tmp_path / "model.gguf", transformer("llama"), ends=ends)
    model = load_language_model(path)
    assert model.start_id == own.end_id and model.end_ids == {end, own.end_id}
    assert model.tokenizer.config["chat_template"] == "{{ messages[0].content }}"
    assert model.tokenizer.role_id("eos_token") == end


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_gives_the_same_ids(prefix: bool) -> None:
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines() * 30),
        model_writer=trained,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    count = pieces.vocab_size()
    kinds = [
        2
        if pieces.is_unknown(id)
        else 3
        if pieces.is_control(id)
        else 6
        if pieces.is_byte(id)
        else 1
        for id in range(count)
    ]
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(id) for id in range(count)],
        "tokenizer.ggml.scores": [pieces.get_score(id) for id in range(count)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_space_prefix": prefix,
    }
    definition, config = read_tokenizer(Fields(values, Path("pieces.gguf")))
    ours = Tokenizer(definition, config)
    for text in (TEXT, "clocks were  striking", " bright\n\nthirteen", "Größe 12 牀前 🙂", "x"):
        assert ours.encode(text) == pieces.encode(text)
        assert ours.encode(text, template=True) == [1, *pieces.encode(text)]
        assert ours.decode(pieces.encode(text)) == text


@pytest.mark.parametrize("name", sorted(SPLITTERS))
def test_every_known_splitter_makes_a_tokenizer(name: str) -> None:
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": sorted(pre_tokenizers.ByteLevel.alphabet()),
        "tokenizer.ggml.merges": [],
    }
    definition, config = read_tokenizer(Fields(values, Path("x.gguf")))
    assert Tokenizer(definition, config).decode(Tokenizer(definition).encode(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba', which is not supported"),
        ({"qwen3.expert_count": 8}, "qwen3.expert_count = 8 is not supported"),
        ({"qwen3.block_count": "many"}, "qwen3.block_count = 'many' is no int"),
        ({"qwen3.rope.dimension_count": 8}, "rotates only part of each head"),
        ({"qwen3.rope.scaling.type": "longrope"}, "scaled by 'longrope' are not supported"),
        ({"tokenizer.ggml.pre": "kimi-k2"}, "cuts text into words as 'kimi-k2' does"),
        ({"tokenizer.ggml.pre": ""}, "does not say how it cuts text"),
        ({"tokenizer.ggml.model": "t5"}, "a tokenizer of the kind 't5'"),
        ({"split.count": 3}, "is one of 3 parts of a model"),
        ({"qwen3.block_count": 3}, "tensors .* and 8 more are missing"),
        ({"qwen3.block_count": 1}, "not part of a qwen3 model"),
    ],
)
def test_what_cannot_be_read_is_named(
    values: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = changed(written(tmp_path / "model.gguf", transformer("qwen3")), values)
    with pytest.raises(UserError, match=sentence):
        load(path)


def changed(path: Path, values: dict[str, Any]) -> Path:
    """The same file with other fields."""
    reader, new = gguf.GGUFReader(path), path.with_name("changed.gguf")
    architecture = values.pop(
        "general.architecture", reader.fields["general.architecture"].contents()
    )
    writer = gguf.GGUFWriter(new, architecture)
    for name, field in reader.fields.items():
        if name not in values and not name.startswith(("GGUF.", "general.architecture")):
            types = field.types
            sub = types[-1] if types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), types[0], sub_type=sub)
    for name, value in values.items():
        if isinstance(value, str):
            writer.add_key_value(name, value, gguf.GGUFValueType.STRING)
        else:
            writer.add_uint32(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return new


@pytest.mark.parametrize("kept", [4, 20, 3000, 0.5, 0.99])
def test_a_file_cut_short_is_refused(kept: float, tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", transformer("qwen3"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(UserError, match="is not a whole GGUF file"):
        load(path)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", transformer("qwen3"))
    first = find_directory(path)
    assert find_directory(path) == first
    written(path, transformer("llama"))
    model, _ = load(path)
    assert isinstance(model, Transformer) and model.config.family == "llama"
    assert find_directory(path) != first


def test_who_opens_a_file_at_once_finds_one_directory_and_all_of_it(tmp_path: Path) -> None:
    path, everyone = written(tmp_path / "model.gguf", transformer("qwen3")), Barrier(8)

    def open_at_once(_: int) -> tuple[Path, set[str]]:
        everyone.wait()
        directory = find_directory(path)
        return directory, {file.name for file in directory.iterdir()}

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(open_at_once, range(8)))
    assert found == found[:1] * 8 and {"config.json", "weights.table.json"} <= found[0][1]
    assert list(found[0][0].parent.iterdir()) == [found[0][0]]  # nothing is left beside it


def test_a_directory_of_which_a_part_was_deleted_is_made_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", transformer("qwen3"))
    directory = find_directory(path)
    whole = {file.name: file.read_bytes() for file in directory.iterdir()}
    (directory / "config.json").unlink()
    assert find_directory(path) == directory
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == whole


def test_other_files_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("GGML, says this one")
    with pytest.raises(UserError, match="neither a model's directory nor GGUF"):
        load(tmp_path / "model.gguf")


def test_a_table_in_someone_elses_directory_is_not_followed(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", transformer("qwen3"))
    stand_in = find_directory(path)
    copy = tmp_path / "downloaded"
    stand_in.rename(copy)
    with pytest.raises(UserError, match="holds no weights"):
        load(copy)
