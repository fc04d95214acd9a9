from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.hub.reading import load_model
from nextword.inference.generate import generate
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import GenerateSettings, ModelSettings
from nextword.tokens.loader import evaluation_windows
from nextword.tokens.store import Split

VOCABULARY = 300
GREEDY = GenerateSettings(temperature=0, max_new_tokens=64)
SIZES: dict[str, dict[str, Any]] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 12,
}  # type: ignore[assignment]
CONFIGS = {
    "gpt2": transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=48, n_layer=3, n_head=4, n_positions=128
    ),
    "llama": transformers.LlamaConfig(vocab_size=VOCABULARY, **SIZES),
    "qwen3": transformers.Qwen3Config(vocab_size=VOCABULARY, **SIZES),
}


def written_by_transformers(name: str, folder: Path) -> tuple[Any, Transformer]:
    """A model with random weights, large enough that its greedy answer does not repeat itself."""
    torch.manual_seed(len(name))
    theirs = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    theirs.save_pretrained(folder)
    return theirs, load_model(folder)


def greedy_of_transformers(theirs: Any, prompt: list[int], **settings: Any) -> list[int]:
    ids = torch.tensor([prompt])
    answer = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        **({"max_new_tokens": 64} | settings),
    )
    return answer[0, len(prompt) :].tolist()


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    return written_by_transformers("llama", tmp_path_factory.mktemp("llama"))


def test_repetition_penalty_in_generation_equals_transformers(
    llama: tuple[Any, Transformer],
) -> None:
    theirs, ours = llama
    rows = prompts(9, 3, 21)
    settings = GREEDY.model_copy(update={"repetition_penalty": 1.4})
    answers = [result.ids for result in generate(ours, rows, settings)]
    assert answers == [greedy_of_transformers(theirs, r, repetition_penalty=1.4) for r in rows]


@pytest.mark.parametrize("penalty", ["none", "all"])
def test_a_row_is_answered_the_same_alone_and_in_any_batch(
    llama: tuple[Any, Transformer], penalty: str
) -> None:
    _, ours = llama
    rows = prompts(3, 30, 12, 1, 12, 50)
    settings = GenerateSettings(max_new_tokens=40, temperature=1.3, top_p=0.95, seed=11)
    if penalty == "all":
        changed = {"repetition_penalty": 1.2, "presence_penalty": 0.4, "frequency_penalty": 0.2}
        settings = settings.model_copy(update=changed)
    together = [result.ids for result in generate(ours, rows, settings, {7, 9})]
    alone = [generate(ours, [row], settings, {7, 9})[0].ids for row in rows]
    assert together == alone
    assert [result.ids for result in generate(ours, rows[::-1], settings, {7, 9})] == together[::-1]


def test_samples_of_one_prompt_differ_and_come_again_with_the_seed(
    llama: tuple[Any, Transformer],
) -> None:
    _, ours = llama
    row = prompts(8)[0]
    settings = GenerateSettings(max_new_tokens=12, temperature=1.0, seed=3)
    first = [result.ids for result in generate(ours, [row] * 50, settings)]
    assert first == [result.ids for result in generate(ours, [row] * 50, settings)]
    assert len({tuple(ids) for ids in first}) == 50
    other = settings.model_copy(update={"seed": 4})
    assert generate(ours, [row], other)[0].ids != first[0]


def test_a_row_ends_at_an_end_token_which_is_left_out(llama: tuple[Any, Transformer]) -> None:
    _, ours = llama
    rows = prompts(5, 14, 9)
    free = [result.ids for result in generate(ours, rows, GREEDY)]
    end = free[1][10]
    cut = generate(ours, rows, GREEDY, [end])
    for whole, result in zip(free, cut, strict=True):
        expected = whole[: whole.index(end)] if end in whole else whole
        assert result.ids == expected
        assert result.finish == ("end" if end in whole else "length")


def test_a_prompt_may_hold_end_and_padding_ids_anywhere(llama: tuple[Any, Transformer]) -> None:
    theirs, ours = llama
    rows = [[0, 0, 5, 0], [0], [5, 7, 0, 0, 0, 0, 9, 0, 0]]
    settings = GREEDY.model_copy(update={"max_new_tokens": 20})
    answers = [result.ids for result in generate(ours, rows, settings)]
    expected = [greedy_of_transformers(theirs, row, max_new_tokens=20) for row in rows]
    assert answers == expected


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_writing_stops_where_the_context_is_full(name: str, tmp_path: Path) -> None:
    theirs, ours = written_by_transformers(name, tmp_path)
    rows = prompts(100, 127, 4)
    results = generate(ours, rows, GenerateSettings(temperature=0, max_new_tokens=500))
    assert [len(row) + len(r.ids) for row, r in zip(rows, results, strict=True)] == [128] * 3
    assert {result.finish for result in results} == {"context"}
    assert results[2].ids == greedy_of_transformers(theirs, rows[2], max_new_tokens=124)


def test_a_prompt_that_fills_the_context_is_refused_with_its_length(
    llama: tuple[Any, Transformer],
) -> None:
    _, ours = llama
    with pytest.raises(UserError, match="128 tokens long and the model sees 128"):
        generate(ours, prompts(128), GREEDY)
    with pytest.raises(UserError, match="prompt 2 is empty"):
        generate(ours, [[1], []], GREEDY)
    with pytest.raises(UserError, match="ids outside"):
        generate(ours, [[VOCABULARY]], GREEDY)


def test_ids_beyond_the_tokenizer_are_never_written(llama: tuple[Any, Transformer]) -> None:
    _, ours = llama
    settings = GenerateSettings(max_new_tokens=60, temperature=5.0, repetition_penalty=1.1)
    (result,) = generate(ours, [[299, 3]], settings, vocab_size=50)
    assert max(result.ids) < 50 and len(set(result.ids)) > 10


def test_a_model_that_learned_short_answers_stops_after_them_every_time() -> None:
    end = 0
    answers = [[10 + n, *range(20, 21 + n % 5), end] for n in range(8)]
    config = config_for(ModelSettings(layers=2, width=32, heads=2, context_length=64), 40)
    model = Transformer(config, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    split = Split(
        "train",
        np.concatenate(answers).astype(np.uint16),
        np.cumsum([0, *map(len, answers)]),
        end,
        40,
    )
    for _ in range(250):
        for batch in evaluation_windows(split, 64):  # packed, with end tokens between documents
            optimizer.zero_grad()
            language_modeling.loss(model, batch).backward()
            optimizer.step()
    model.eval()
    settings = GenerateSettings(temperature=0.5, max_new_tokens=20)
    rows = [[end, answer[0]] for answer in answers] * 20
    for prompt, result in zip(rows, generate(model, rows, settings, [end]), strict=True):
        assert (result.ids, result.finish) == (answers[prompt[1] - 10][1:-1], "end")


def test_scores_that_are_not_numbers_are_refused(llama: tuple[Any, Transformer]) -> None:
    ours = copy.deepcopy(llama[1])
    with torch.no_grad():
        ours.embedding.weight[5] = math.nan
    with pytest.raises(UserError, match="not finite"):
        generate(ours, [[1, 2]], GREEDY)
