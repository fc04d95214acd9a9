"""Adapters of ours open in peft and peft's here; merged, they are the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import nextword
from nextword.errors import UserError
from nextword.hub import writing
from nextword.hub.adapter import TASKS, Model, save_adapter
from nextword.hub.heads import CLASSIFIER, SPAN_ENDS, SPANS, Outputs
from nextword.hub.reading import load, load_headed
from nextword.models.config import DECODERS, ENCODERS, Family, TransformerConfig
from nextword.models.heads import (
    HEAD_PARAMETERS,
    QuestionAnsweringModel,
    SequenceClassificationModel,
)
from nextword.models.lora import Targets, add_lora, low_rank_modules, merge_lora
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer_training import byte_tokenizer

TOLERANCE = 1e-4  # of logits in fp32, largest absolute difference
ROW = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))
KINDS = ["writes", "classifies", "finds"]
YES_NO = Outputs("single", ("yes", "no"))


def transformer(family: Family, **changes: Any) -> Transformer:
    shape: dict[str, Any] = {
        "vocab_size": 260,
        "context_length": 64,
        "layers": 2,
        "width": 48,
        "heads": 6,
        "kv_heads": 6 if family in ("gpt2", *ENCODERS) else 2,
        "head_width": 8,
        "mlp_width": 80,
        "init_std": 0.2,
    }
    if family in ("roberta", "xlm-roberta"):  # whose positions begin after the padding token's id
        changes = {"position_offset": 260} | changes
    model = Transformer(TransformerConfig(family=family, **shape | STYLES[family] | changes)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases as training leaves them
                parameter += torch.empty(parameter.shape).normal_(0, 0.1, generator=generator)
    return model


def make(family: Family, kind: str, **changes: Any) -> Model:
    if (family, kind) == ("gemma3_text", "finds"):
        pytest.skip("transformers has no Gemma 3 that finds answers")
    body = transformer(family, **changes)
    if kind == "writes":
        return body
    return (
        SequenceClassificationModel(body, 2, seed=1)
        if kind == "classifies"
        else QuestionAnsweringModel(body, 1)
    ).eval()


def trained(model: nn.Module, targets: Targets = "all", alpha: float = 6.0) -> None:
    """Updates whose B is no longer zero."""
    add_lora(model, rank=4, alpha=alpha, dropout=0.1, targets=targets, seed=7)
    generator = torch.Generator().manual_seed(8)
    for module in low_rank_modules(model).values():
        with torch.no_grad():
            module.lora_b.normal_(0.0, 0.1, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(HEAD_PARAMETERS):
                parameter += 0.1
    model.eval()


def scores(model: Model) -> Tensor:
    with torch.no_grad():
        if isinstance(model, Transformer):
            return model.logits(model(ROW))
        hidden = model.transformer(ROW)
        read = hidden[:, -1 if model.transformer.config.causal else 0]
        return model(read if isinstance(model, SequenceClassificationModel) else hidden)


def their_model(directory: Path, model: Model) -> Any:
    writes = isinstance(model, Transformer) and model.config.causal
    auto = {
        Transformer: transformers.AutoModelForCausalLM
        if writes
        else transformers.AutoModelForMaskedLM,
        SequenceClassificationModel: transformers.AutoModelForSequenceClassification,
        QuestionAnsweringModel: transformers.AutoModelForQuestionAnswering,
    }
    return auto[type(model)].from_pretrained(directory).eval()


def their_scores(model: Any) -> Tensor:
    with torch.no_grad():
        answer = model(ROW)
    if "start_logits" in answer:
        return torch.stack((answer.start_logits, answer.end_logits), -1)
    logits: Tensor = answer.logits
    return logits


def written(directory: Path, model: Model) -> Path:
    if isinstance(model, Transformer):
        writing.save(directory, model, byte_tokenizer())
    elif isinstance(model, QuestionAnsweringModel):
        writing.save_headed(directory, model, byte_tokenizer(), SPAN_ENDS)
    else:
        writing.save_headed(directory, model, byte_tokenizer(), YES_NO)
    return directory


def test_nothing_here_imports_peft() -> None:
    root = Path(nextword.__file__).parent
    for path in root.rglob("*.py"):
        assert "import peft" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["attention", "mlp", "all"])
@pytest.mark.parametrize("family", DECODERS + ENCODERS)
def test_ours_opens_in_peft_and_merged_in_transformers(
    family: Family, targets: Targets, kind: str, tmp_path: Path
) -> None:
    model = make(family, kind, tied=family != "llama")
    base, before = written(tmp_path / "base", model), scores(model)
    trained(model, targets)
    after = scores(model)
    assert (after - before).abs().max() > 100 * TOLERANCE
    save_adapter(tmp_path / "adapter", model, str(base))
    theirs = peft.PeftModel.from_pretrained(their_model(base, model), tmp_path / "adapter").eval()
    assert (their_scores(theirs) - after).abs().max() < TOLERANCE
    merged = merge_lora(model)
    assert not low_rank_modules(merged) and (scores(merged) - after).abs().max() < TOLERANCE
    assert torch.equal(scores(model), after)  # and itself stays as it is
    there = their_model(written(tmp_path / "merged", model), model)
    assert (their_scores(there) - after).abs().max() < TOLERANCE


def opened(adapter: Path, kind: str) -> Any:
    """The model that an adapter and its base are together."""
    if kind == "writes":
        return load(adapter)[0]
    return load_headed(adapter, CLASSIFIER if kind == "classifies" else SPANS)[0].eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", DECODERS + ENCODERS)
def test_ours_opens_here_with_its_base(family: Family, kind: str, tmp_path: Path) -> None:
    model = make(family, kind)
    base = written(tmp_path / "base", model)
    trained(model)
    save_adapter(tmp_path / "adapter", model, str(base))
    assert (scores(opened(tmp_path / "adapter", kind)) - scores(model)).abs().max() < TOLERANCE


PEFTS: list[tuple[Family, dict[str, Any]]] = [
    ("llama", {"target_modules": ["q_proj", "v_proj"]}),
    ("qwen3", {"target_modules": r".*\.layers\..*_proj", "use_rslora": True}),
    ("mistral", {"target_modules": ["k_proj", "gate_proj", "up_proj", "down_proj"]}),
    (
        "qwen2",
        {
            "target_modules": ["q_proj", "o_proj", "up_proj"],
            "rank_pattern": {"q_proj": 5},
            "alpha_pattern": {"layers.1.self_attn.q_proj": 20, "up_proj": 3},
        },
    ),
    ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("family", "settings"), PEFTS)
def test_adapters_of_peft_open_here(
    family: Family, settings: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    model = make(family, kind)
    base = written(tmp_path / "base", model)
    config = peft.LoraConfig(
        r=3,
        lora_alpha=7,
        init_lora_weights=False,  # random A and B
        task_type=TASKS[type(model)],
        **settings,
    )
    torch.manual_seed(5)
    theirs = peft.get_peft_model(their_model(base, model), config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    expected = their_scores(theirs)
    assert (scores(model) - expected).abs().max() > 100 * TOLERANCE
    ours = opened(tmp_path / "adapter", kind)
    assert (scores(ours) - expected).abs().max() < TOLERANCE


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    model = transformer("qwen3")
    base = written(tmp_path / "base", model)
    trained(model)
    save_adapter(tmp_path / "adapter", model, str(base))
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "IA3"}, "is not the config of a LoRA adapter"),
        ({"use_dora": True}, "use_dora = True is not supported"),
        ({"bias": "all"}, "bias = 'all' is not supported"),
        ({"lora_alpha": "many"}, "lora_alpha = 'many' is not a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha = nan is not a finite number above 0"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "is not a name"),
    ],
)
def test_what_is_not_plain_lora_is_refused(
    changes: dict[str, Any], sentence: str, adapter: Path
) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=sentence.replace("(", r"\(").replace("+", r"\+")):
        opened(adapter, "writes")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"width": 96, "head_width": 16}, "the base model has it of"),
        ({"layers": 1}, "layers.1.*no such tensor"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    other: dict[str, Any], sentence: str, adapter: Path
) -> None:
    shutil.rmtree(adapter.parent / "base")
    written(adapter.parent / "base", transformer("qwen3", **other))
    with pytest.raises(UserError, match=sentence):
        opened(adapter, "writes")


def test_an_adapter_of_which_a_tensor_is_missing_is_refused(adapter: Path) -> None:
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"
    del tensors[name]
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match=f"tensor '{name}' is missing"):
        opened(adapter, "writes")


def test_pickled_updates_are_never_opened(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UserError, match="pickled"):
        opened(adapter, "writes")


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    model = transformer("gpt2")
    with pytest.raises(UserError, match="no low-rank updates to save"):
        save_adapter(tmp_path / "new", model)
    trained(model)
    (tmp_path / "letters.txt").write_text("Dear mother")
    with pytest.raises(UserError, match="holds something else than an adapter"):
        save_adapter(tmp_path, model)
    assert (tmp_path / "letters.txt").read_text() == "Dear mother"
