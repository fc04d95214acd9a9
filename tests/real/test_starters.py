"""SmolLM2 and MiniLM, by the names that they have here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import nextword as nw
from nextword.errors import UserError
from nextword.hub.reading import load
from nextword.inference.language_model import load_language_model
from nextword.tasks.generate.chat_template import ChatTemplate, own_template
from nextword.tasks.generate.messages import Message

NAME = "smollm2-135m-instruct"
QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about the sea.",
    "What is 7 times 8?",
    "Who wrote Romeo and Juliet?",
    "Translate 'good morning' into Spanish.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "How do I sort a list in Python?",
    "Tell me a joke about cats.",
]


def theirs(path: Path) -> transformers.PreTrainedModel:
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    found: transformers.PreTrainedModel = model.eval()
    return found


def test_logits_and_ids_are_those_of_transformers(smollm: Path) -> None:
    ours, tokenizer = load(NAME)
    reference = theirs(smollm)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(
        smollm.parent, gguf_file=smollm.name
    )
    text = "The capital of France is Paris, isn't it? 12345 words…\n\n  def f(x): return x"
    ids = tokenizer.encode(text)
    assert ids == their_tokenizer(text)["input_ids"]
    with torch.no_grad():
        difference = ours.logits(ours(torch.tensor([ids]))) - reference(torch.tensor([ids])).logits
    assert difference.abs().max() < 1e-4


@pytest.mark.slow
def test_ten_conversations_go_on_as_in_transformers(smollm: Path) -> None:
    model = load_language_model(NAME, precision="fp32")
    reference = theirs(smollm)
    template = ChatTemplate(model.tokenizer, own_template(model.tokenizer))
    for question in QUESTIONS:
        ids = template.encode([Message("user", question)], asks=True).ids
        expected = reference.generate(
            torch.tensor([ids]), max_new_tokens=128, do_sample=False, eos_token_id=2
        )[0, len(ids) :].tolist()
        assert written(model.transformer, ids, len(expected)) == expected, question


@torch.no_grad()
def written(model: torch.nn.Module, prompt: list[int], count: int) -> list[int]:
    from nextword.inference.generate import generate
    from nextword.settings import GenerateSettings

    settings = GenerateSettings(max_new_tokens=count, temperature=0)
    (result,) = generate(model, [prompt], settings, {2})  # type: ignore[arg-type]
    ids = result.ids
    return [*ids, 2] if len(ids) < count else ids


def test_it_knows_the_capital_of_france(smollm: Path) -> None:
    task = nw.load_task(NAME, task="chat")
    assert task.chat("What is the capital of France?") == "The capital of France is Paris."


def test_minilm_fills_no_gaps_but_learns_to_classify(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an encoder without a masked language model's head"):
        nw.load("minilm-l6")
    rows = ["good film\tyes", "bad film\tno", "a joy\tyes", "a bore\tno"] * 4
    (tmp_path / "data.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    nw.finetune("minilm-l6", str(tmp_path / "data.tsv"), tmp_path / "run", task="classify", steps=8)
    assert nw.load_task(tmp_path / "run").classify("good film")["label"] in ("yes", "no")


@pytest.mark.slow
def test_minilm_on_sst2_is_right_in_85_of_100(
    minilm: Path, shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "sst2"
    nw.finetune("minilm-l6", str(data / "train.tsv"), tmp_path / "run", task="classify", epochs=2)
    found = nw.evaluate_task(tmp_path / "run", str(data / "test.tsv"))
    assert found.metrics["accuracy"].value >= 0.85


@pytest.mark.slow
def test_a_novel_is_foretold_better_after_reading_its_first_nine_tenths(
    smollm: Path, shared_data: Path, tmp_path: Path
) -> None:
    text = (shared_data / "novels" / "Burnett_Garden_1911.txt").read_text(encoding="utf-8")
    cut = text.index("\n", len(text) * 9 // 10)
    (tmp_path / "read.txt").write_text(text[:cut], encoding="utf-8")
    (tmp_path / "rest.txt").write_text(text[cut:], encoding="utf-8")
    read, rest = str(tmp_path / "read.txt"), str(tmp_path / "rest.txt")
    nw.finetune(NAME, read, tmp_path / "run", task="text", epochs=1, max_length=512)
    before, after = (nw.evaluate(model, rest) for model in (NAME, tmp_path / "run"))
    # Measured: 1.160 [1.134, 1.187] bits per byte, then 1.075 [1.052, 1.099].
    assert after.bits_per_byte < before.bits_per_byte_interval[0]  # type: ignore[union-attr, operator]
