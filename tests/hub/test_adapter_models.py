"""An adapter's directory is a model: with its base, as peft runs them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

import nextword as nw
from nextword.errors import UserError
from nextword.hub.gguf.tokenizer_writing import TextEnds
from nextword.hub.gguf.writing import write_gguf
from nextword.hub.heads import CLASSIFIER, TAGS, Outputs
from nextword.hub.reading import load, load_headed
from nextword.hub.writing import save, save_headed
from nextword.inference.loading import open_model
from nextword.models.config import Family, TransformerConfig
from nextword.models.heads import SequenceClassificationModel, TokenClassificationModel
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.tokens.control_tokens import MASKED
from nextword.tokens.tokenizer_training import byte_tokenizer

ROW = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))
TARGETS: dict[Family, Any] = {
    "gpt2": {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    "llama": {"target_modules": ["q_proj", "v_proj", "up_proj"], "use_rslora": True},
    "qwen3": {
        "target_modules": ["q_proj", "k_proj", "down_proj"],
        "rank_pattern": {"q_proj": 5},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 20},
    },
    "bert": {"target_modules": ["query", "value", "dense"]},
}


def body(family: Family) -> Transformer:
    shape: dict[str, Any] = {
        "vocab_size": 260,
        "context_length": 64,
        "layers": 2,
        "width": 48,
        "heads": 6,
        "kv_heads": 6 if family in ("gpt2", "bert") else 2,
        "head_width": 8,
        "mlp_width": 80,
        "init_std": 0.2,
    }
    return Transformer(TransformerConfig(family=family, **shape | STYLES[family])).eval()


def adapted(base: Path, out: Path, auto: Any, task: str, family: Family, **settings: Any) -> Any:
    """peft's model of a base with random updates, saved as peft saves an adapter."""
    config = peft.LoraConfig(
        r=3,
        lora_alpha=7,
        init_lora_weights=False,  # random A and B
        task_type=task,  # type: ignore[arg-type]
        **TARGETS[family] | settings,
    )
    torch.manual_seed(5)
    model = peft.get_peft_model(auto.from_pretrained(base), config).eval()
    model.save_pretrained(out)
    return model


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_decoder_with_an_adapter_writes_what_peft_writes(family: Family, tmp_path: Path) -> None:
    save(tmp_path / "base", body(family), byte_tokenizer())
    auto = transformers.AutoModelForCausalLM
    theirs = adapted(tmp_path / "base", tmp_path / "adapter", auto, "CAUSAL_LM", family)
    ours, tokenizer = load(tmp_path / "adapter")
    before, _ = load(tmp_path / "base")
    with torch.no_grad():
        expected = theirs(ROW).logits
        assert (ours.logits(ours(ROW)) - expected).abs().max() < 1e-4
        assert (before.logits(before(ROW)) - expected).abs().max() > 0.01
    assert tokenizer.encode("a") == [97]
    model = nw.load(tmp_path / "adapter", precision="fp32")
    written = theirs.generate(ROW[:1, :5], max_new_tokens=12, do_sample=False)[0, 5:].tolist()
    prompt = bytes(ROW[0, :5].tolist()).decode("latin-1")
    ids = list(prompt.encode("latin-1"))
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(ours.logits(ours(torch.tensor([ids])))[0, -1].argmax()))
    assert len(written) > 4 and ids[5 : 5 + len(written)] == written  # theirs may end it there
    assert isinstance(model.generate("ab", temperature=0, max_new_tokens=4), str)


@pytest.mark.parametrize(("head", "task"), [(CLASSIFIER, "SEQ_CLS"), (TAGS, "TOKEN_CLS")])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_head_comes_with_the_adapter(
    family: Family, head: Any, task: str, tmp_path: Path
) -> None:
    outputs = Outputs("single", ("no", "yes", "perhaps"))
    tokenizer = byte_tokenizer(MASKED) if family == "bert" else byte_tokenizer()
    kind = SequenceClassificationModel if head is CLASSIFIER else TokenClassificationModel
    save_headed(tmp_path / "base", kind(body(family), 3, seed=1), tokenizer, outputs)
    auto = getattr(
        transformers,
        "AutoModelFor" + ("Sequence" if head is CLASSIFIER else "Token") + "Classification",
    )
    theirs = adapted(tmp_path / "base", tmp_path / "adapter", auto, task, family)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "modules_to_save" in name:
                parameter += 0.5
    theirs.save_pretrained(tmp_path / "adapter")
    ours, _, known = load_headed(tmp_path / "adapter", head)
    assert known == outputs
    with torch.no_grad():
        hidden = ours.transformer(ROW)
        if head is CLASSIFIER:
            hidden = hidden[:, -1 if family == "gpt2" else 0]
        assert (ours(hidden) - theirs(ROW).logits).abs().max() < 1e-4


def test_the_base_may_be_a_gguf_file_or_lie_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "base").mkdir(parents=True)  # what is not meant by "../base"
    (tmp_path / "elsewhere" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere" / "here")
    own = byte_tokenizer()
    save(tmp_path / "base", body("llama"), own)
    auto = transformers.AutoModelForCausalLM
    theirs = adapted(tmp_path / "base", tmp_path / "adapter", auto, "CAUSAL_LM", "llama")
    write_gguf(tmp_path / "b.gguf", body("llama"), own, TextEnds(own.end_id, [own.end_id]), "f32")
    base, _ = load(tmp_path / "b.gguf")
    plain, _ = load(tmp_path / "base")
    with torch.no_grad():
        same = (base.logits(base(ROW)) - plain.logits(plain(ROW))).abs().max() < 1e-5
    assert same
    for name in (str(tmp_path / "b.gguf"), "../base"):
        change(tmp_path / "adapter", base_model_name_or_path=name)
        ours, _ = load(tmp_path / "adapter")
        with torch.no_grad():
            assert (ours.logits(ours(ROW)) - theirs(ROW).logits).abs().max() < 1e-4


def test_an_adapter_can_be_described(tmp_path: Path) -> None:
    save(tmp_path / "base", body("qwen3"), byte_tokenizer())
    auto = transformers.AutoModelForCausalLM
    adapted(tmp_path / "base", tmp_path / "adapter", auto, "CAUSAL_LM", "qwen3")
    found = nw.info(tmp_path / "adapter")
    assert (found["kind"], found["family"], found["path"]) == (
        "model",
        "qwen3",
        str(tmp_path / "adapter"),
    )


def change(adapter: Path, **values: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"base_model_name_or_path": None}, "does not name the model that the adapter belongs to"),
        ({"base_model_name_or_path": "./gone"}, "no such directory"),
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"peft_type": "IA3"}, "is not the config of a LoRA adapter"),
    ],
)
def test_what_cannot_be_merged_is_named(
    values: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    save(tmp_path / "base", body("llama"), byte_tokenizer())
    auto = transformers.AutoModelForCausalLM
    adapted(tmp_path / "base", tmp_path / "adapter", auto, "CAUSAL_LM", "llama")
    change(tmp_path / "adapter", **values)
    with pytest.raises(UserError, match=sentence):
        load(tmp_path / "adapter")


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "base", body("llama"), byte_tokenizer())
    save(tmp_path / "other", body("gpt2"), byte_tokenizer())
    auto = transformers.AutoModelForCausalLM
    adapted(tmp_path / "base", tmp_path / "adapter", auto, "CAUSAL_LM", "llama")
    change(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"no such tensor; it belongs to another model"):
        load(tmp_path / "adapter")


def test_an_encoder_without_its_head_cannot_fill_in_words(tmp_path: Path) -> None:
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=260,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
        )
    )
    model.save_pretrained(tmp_path / "encoder" / "model")
    byte_tokenizer(MASKED).save(tmp_path / "encoder" / "model")
    for opened in (load, open_model):
        with pytest.raises(
            UserError, match="/encoder: is an encoder without a masked language model's head"
        ):
            opened(tmp_path / "encoder")
