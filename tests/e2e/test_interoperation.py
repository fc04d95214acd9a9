"""Models of transformers open here and ours there: the same logits, the same greedy text.

For each family, tied and untied, with and without shared keys, in one file and in shards, in fp32
and bf16; and for each way of stretching positions, of windows, biases and head widths. Encoders
also read padded batches and two kinds of tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from nextword.hub.reading import load_model
from nextword.hub.writing import WeightFormat, save
from nextword.inference.generate import generate
from nextword.models.config import DECODERS
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings

TOLERANCE = 1e-4  # of logits in fp32, largest absolute difference
VOCABULARY, CONTEXT = 131, 128
GPT2: dict[str, Any] = {"n_positions": CONTEXT, "n_embd": 64, "n_layer": 3, "n_head": 4}
LLAMA: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
}
BERT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 1,
}
GEMMA3 = LLAMA | {
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 9,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": LLAMA | {"sliding_window": None},
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 16},
    "smollm3": LLAMA | {"no_rope_layers": [1, 0, 1], "pad_token_id": None},
    "gemma3_text": GEMMA3,
    "modernbert": BERT | {"local_attention": 16, "classifier_activation": "gelu"},
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "distilbert": {
        "dim": 64,
        "hidden_dim": 96,
        "n_layers": 3,
        "n_heads": 4,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": 1,
    },
}
WRITERS = [family for family in SHAPES if family in DECODERS]
KEY_HEADS = [(family, heads) for family in WRITERS if family != "gpt2" for heads in (4, 2, 1)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
YARN_TUNED = YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"n_inner": 40, "activation_function": "gelu"}),
    ("gpt2", {"activation_function": "relu", "layer_norm_epsilon": 1e-3}),
    *((family, {"head_dim": 32}) for family in ("llama", "mistral", "qwen2", "qwen3")),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("llama", {"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-3}),
    ("qwen3", {"attention_bias": True}),
    *((family, {"rope_parameters": LLAMA3}) for family in ("llama", "qwen3")),
    *((family, {"rope_parameters": LINEAR}) for family in ("llama", "qwen3")),
    *((family, {"rope_parameters": YARN}) for family in ("llama", "qwen2", "qwen3")),
    ("qwen3", {"rope_parameters": YARN_TUNED}),
    ("qwen2", WINDOW),
    ("qwen3", WINDOW),
    (
        "qwen3",
        {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]} | WINDOW,
    ),
    ("mistral", {"sliding_window": 9}),
    ("smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 3}),
    ("smollm3", {"attention_bias": True, "mlp_bias": True}),
    ("smollm3", {"use_sliding_window": True, "sliding_window": 9}),
    *(("smollm3", {"rope_parameters": rope}) for rope in (LLAMA3, YARN)),
    ("gemma3_text", {"query_pre_attn_scalar": 16, "attention_bias": True}),
    ("gemma3_text", {"head_dim": 32, "hidden_activation": "silu"}),
    ("gemma3_text", {"layer_types": ["full_attention"] * 3}),
    ("gemma3_text", {"rope_parameters": GEMMA3["rope_parameters"] | {"full_attention": LINEAR}}),
    ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    ("bert", {"hidden_act": "relu", "type_vocab_size": 3}),
    *((f, {"pad_token_id": 7, "type_vocab_size": 1}) for f in ("roberta", "xlm-roberta")),
    ("distilbert", {"activation": "relu", "sinusoidal_pos_embds": True}),
    ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    ("modernbert", {"classifier_bias": True, "decoder_bias": False, "norm_eps": 1e-3}),
    ("modernbert", {"layer_types": ["sliding_attention"] * 2 + ["full_attention"]}),
    ("modernbert", {"local_attention": 7}),
    ("modernbert", {"hidden_activation": "silu", "classifier_activation": "silu"}),
    (
        "modernbert",
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            }
        },
    ),
    (
        "modernbert",
        {
            "rope_parameters": {
                "full_attention": LINEAR,
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            }
        },
    ),
]
WRITING = [variant for variant in VARIANTS if variant[0] in WRITERS]


def named(case: Any) -> str | None:
    return (
        "-".join(f"{key}={value}" for key, value in case.items())
        if isinstance(case, dict)
        else None
    )


def theirs(family: str, **changes: Any) -> transformers.PreTrainedModel:
    """With attention and logits far from flat, and biases and norms that are not 0 and 1."""
    values = {"vocab_size": VOCABULARY, "initializer_range": 0.15} | SHAPES[family] | changes
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **values)
    model = auto_class(family).from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def auto_class(family: str) -> Any:
    writes = family in DECODERS
    return transformers.AutoModelForCausalLM if writes else transformers.AutoModelForMaskedLM


def opened_there(directory: Path) -> transformers.PreTrainedModel:
    """Opened as it is meant to be, with nothing missing and nothing left over."""
    family = json.loads((directory / "config.json").read_text())["model_type"]
    model, loading = auto_class(family).from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(loading.values()), loading
    return model.eval()


@torch.no_grad()
def difference(ours: Transformer, model: transformers.PreTrainedModel) -> float:
    generator = torch.Generator().manual_seed(1)
    row = torch.randint(10, VOCABULARY, (3, 100), generator=generator)
    if ours.config.causal:
        return float((ours.logits(ours(row)) - model(row).logits).abs().max())
    held = torch.arange(100) < torch.tensor([[100], [61], [7]])
    row[~held] = model.config.pad_token_id or 0
    types, given = None, {}
    if (kinds := ours.config.token_types) > 1:
        types = torch.arange(100).expand(3, -1) * kinds // 100
        given = {"token_type_ids": types}
    hidden = ours(row, mask=held[:, None, None].expand(-1, 1, 100, 100), types=types)
    expected = model(row, attention_mask=held.long(), **given).logits
    return float((ours.logits(hidden) - expected)[held].abs().max())


def compare(directory: Path, record: Callable[[str, object], None], **saving: Any) -> Transformer:
    """What transformers wrote in a directory, opened by both; then what we write of it."""
    ours = load_model(directory)
    read = difference(ours, opened_there(directory))
    save(directory / "ours", ours, **saving)
    written = difference(ours, opened_there(directory / "ours"))
    record("largest difference", max(read, written))
    assert read < TOLERANCE and written < TOLERANCE
    assert load_model(directory / "ours").config == ours.config
    return ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shards", ["one file", "shards"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", SHAPES)
def test_logits_are_the_same_both_ways(
    family: str,
    tied: bool,
    shards: str,
    dtype: torch.dtype,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    model = theirs(family, tie_word_embeddings=tied).to(dtype)
    limit = 50_000 if shards == "shards" else 10**9
    model.save_pretrained(tmp_path, max_shard_size=limit)
    compare(tmp_path, record_property, weights=WeightFormat(dtype, limit))
    for folder in (tmp_path, tmp_path / "ours"):
        assert (len(list(folder.glob("*.safetensors"))) > 1) == (shards == "shards")
    back = auto_class(family).from_pretrained(tmp_path / "ours", dtype="auto")
    for (name, was), (_, now) in zip(
        model.named_parameters(), back.named_parameters(), strict=True
    ):
        if tied or name not in ("cls.predictions.bias", "lm_head.bias"):  # unused there
            assert now.dtype == dtype and torch.equal(was, now), name


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(("family", "key_heads"), KEY_HEADS)
def test_logits_are_the_same_however_keys_are_shared(
    family: str,
    key_heads: int,
    tied: bool,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    model = theirs(family, tie_word_embeddings=tied, num_key_value_heads=key_heads)
    model.save_pretrained(tmp_path)
    ours = compare(tmp_path, record_property)
    assert ours.config.kv_heads == key_heads


@pytest.mark.parametrize(("family", "changes"), VARIANTS, ids=named)
def test_logits_are_the_same_in_every_variant(
    family: str,
    changes: dict[str, Any],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    model, plain = theirs(family, **changes), theirs(family)
    model.save_pretrained(tmp_path)
    ours = compare(tmp_path, record_property)
    if model.num_parameters() == plain.num_parameters():  # else it could not have opened
        assert difference(ours, plain) > 100 * TOLERANCE, "the variant changes nothing"


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", WRITERS)
def test_greedy_text_is_the_same_for_prompts_of_different_length(
    family: str, tied: bool, tmp_path: Path
) -> None:
    same_greedy_text(theirs(family, tie_word_embeddings=tied), tmp_path)


@pytest.mark.parametrize(("family", "changes"), WRITING, ids=named)
def test_greedy_text_is_the_same_in_every_variant(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    same_greedy_text(theirs(family, **changes), tmp_path)


def same_greedy_text(model: transformers.PreTrainedModel, tmp_path: Path) -> None:
    """64 tokens for each prompt of a batch; transformers pads it on the left."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and ("layers." in name or ".h." in name):
                parameter.mul_(3)  # so that what it has read counts, not the last token alone
        if model.config.model_type == "gemma3_text":  # which norms what layers add
            model.get_input_embeddings().weight.mul_(0.1)
    model.save_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(5)
    prompts = [
        torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()
        for length in (1, 17, 40, 17, 63)
    ]
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    held = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    answer = model.generate(
        padded,
        attention_mask=held,
        do_sample=False,
        max_new_tokens=64,
        eos_token_id=None,
        pad_token_id=0,
    )
    settings = GenerateSettings(temperature=0, max_new_tokens=64)
    written = [result.ids for result in generate(load_model(tmp_path), prompts, settings)]
    assert written == answer[:, longest:].tolist()
    assert len({token for ids in written for token in ids}) > 8, "it only repeats itself"


def test_gpt2_as_it_is_on_the_hub_opens(tmp_path: Path) -> None:
    """Without its head and prefix, with masks among the weights and other formats beside them."""
    model = theirs("gpt2")
    model.save_pretrained(tmp_path)
    tensors = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
        if name != "lm_head.weight"
    }
    for layer in range(3):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for name in ("pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "rust_model.ot"):
        (tmp_path / name).write_bytes(b"never opened")
    assert difference(load_model(tmp_path), model) < TOLERANCE


@pytest.mark.parametrize("twice", [False, True])
def test_bert_as_it_is_on_the_hub_opens(twice: bool, tmp_path: Path) -> None:
    """With its norms' first names, heads that are not used, numbers of positions, and its output
    matrix once or twice, its bias under either name."""
    model = theirs("bert")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in list(tensors):
        if "LayerNorm" in name:
            older = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[older.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name)
    tensors["bert.pooler.dense.weight"] = torch.ones(64, 64)
    tensors["bert.pooler.dense.bias"] = torch.ones(64)
    tensors["cls.seq_relationship.weight"] = torch.ones(2, 64)
    tensors["cls.seq_relationship.bias"] = torch.ones(2)
    tensors["bert.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    if twice:
        matrix = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.weight"] = matrix.clone()
        tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert difference(load_model(tmp_path), model) < TOLERANCE


def test_older_words_for_modernbert_mean_the_same(tmp_path: Path) -> None:
    model = theirs("modernbert", local_attention=10)
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for newer in ("rope_parameters", "layer_types"):
        del values[newer]
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 900.0, "local_rope_theta": 30.0}
    (tmp_path / "config.json").write_text(json.dumps(values | older))
    ours = load_model(tmp_path)
    assert ours.config.windowed_layers == (1,)
    assert difference(ours, opened_there(tmp_path)) < TOLERANCE
    assert difference(ours, model) > 100 * TOLERANCE


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 500.0},
        {"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_theta": 500.0, "rope_scaling": LLAMA3 | {"rope_theta": None}},
        {"rope_theta": 500.0, "rope_scaling": YARN},
    ],
    ids=["theta", "linear", "llama3", "yarn"],
)
def test_older_words_for_rotary_positions_mean_the_same(
    family: str, rope: dict[str, Any], tmp_path: Path
) -> None:
    theirs(family).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["rope_parameters"]
    if scaling := rope.get("rope_scaling"):
        rope = rope | {"rope_scaling": {k: v for k, v in scaling.items() if v is not None}}
    (tmp_path / "config.json").write_text(json.dumps(values | rope))
    assert difference(load_model(tmp_path), opened_there(tmp_path)) < TOLERANCE


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_head_that_is_not_the_embedding_is_used_whatever_the_config_says(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs(family, tie_word_embeddings=False).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"tie_word_embeddings": True}))
    ours = load_model(tmp_path)
    assert difference(ours, opened_there(tmp_path)) < TOLERANCE
    assert not ours.config.tied and "both are used" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_tied_model_may_hold_its_matrix_once_under_either_name_or_twice(
    family: str, tmp_path: Path
) -> None:
    model = theirs(family, tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith(("wte.weight", "embed_tokens.weight")))
    for names in ([name], ["lm_head.weight"], [name, "lm_head.weight"]):
        matrix = tensors.pop(name, None)
        matrix = tensors.pop("lm_head.weight", matrix) if matrix is None else matrix
        assert matrix is not None
        tensors.pop("lm_head.weight", None)
        tensors.update({other: matrix.clone() for other in names})
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        ours = load_model(tmp_path)
        assert ours.config.tied and difference(ours, model) < TOLERANCE


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_model_saved_without_its_head_opens(family: str, tmp_path: Path) -> None:
    model = theirs(family, tie_word_embeddings=True)
    getattr(model, model.base_model_prefix).save_pretrained(tmp_path)
    assert difference(load_model(tmp_path), model) < TOLERANCE
