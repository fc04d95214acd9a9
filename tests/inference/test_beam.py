from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from nextword.errors import UserError
from nextword.hub.reading import load_model
from nextword.inference.beam import BeamSettings, beam_search
from nextword.inference.generate import generate
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings

VOCABULARY = 40  # so few that end tokens come up in time
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 12,
}
CONFIGS = {
    "gpt2": transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=48,
        n_layer=2,
        n_head=4,
        n_positions=64,
        tie_word_embeddings=False,  # or it repeats the prompt's last word for ever
    ),
    "llama": transformers.LlamaConfig(**SIZES),
    "qwen3": transformers.Qwen3Config(**SIZES),
}
LENGTHS = (5, 1, 17, 9, 9)


@pytest.fixture(scope="module", params=list(CONFIGS))
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(3)
    theirs = transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    theirs.save_pretrained(folder)
    return theirs, load_model(folder)


def prompts(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in LENGTHS]


def of_transformers(
    theirs: Any, rows: list[list[int]], beams: int, new: int, ends: list[int], **settings: Any
) -> list[list[int]]:
    """Its answers to prompts padded on the left, up to the end token."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    answers = theirs.generate(
        ids,
        attention_mask=mask,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=new,
        eos_token_id=ends or None,
        pad_token_id=0,
        **settings,
    )[:, longest:].tolist()
    return [_until(answer, ends) for answer in answers]


def _until(answer: list[int], ends: list[int]) -> list[int]:
    place = next((n for n, token in enumerate(answer) if token in ends), len(answer))
    return answer[:place]


@pytest.mark.parametrize(
    ("beams", "length_penalty", "ends"),
    [
        (4, 1.0, [1, 5, 9]),
        (4, 0.6, [1, 2]),
        (3, 2.0, list(range(12))),
        (2, -0.5, [2, 8, 21]),
        (5, 0.0, [1, 2]),
        (3, 1.0, []),
    ],
)
def test_answers_equal_those_of_transformers(
    both: tuple[Any, Transformer], beams: int, length_penalty: float, ends: list[int]
) -> None:
    theirs, ours = both
    finishes = set()
    for seed in range(3):
        rows = prompts(seed)
        results = beam_search(ours, rows, BeamSettings(beams, 20, length_penalty), ends)
        expected = of_transformers(theirs, rows, beams, 20, ends, length_penalty=length_penalty)
        assert [r.ids for r in results] == expected
        for result in results:
            assert result.finish == ("end" if len(result.ids) < 20 else "length")
            finishes.add(result.finish)
    assert finishes == {"length"} if not ends else "end" in finishes


def test_one_beam_is_greedy(both: tuple[Any, Transformer]) -> None:
    _, ours = both
    rows = prompts(9)
    greedy = generate(ours, rows, GenerateSettings(temperature=0, max_new_tokens=15), [1])
    assert [r.ids for r in beam_search(ours, rows, BeamSettings(1, 15), [1])] == [
        r.ids for r in greedy
    ]


def test_a_prompt_is_answered_the_same_alone_and_in_any_batch(
    both: tuple[Any, Transformer],
) -> None:
    _, ours = both
    rows = prompts(4)
    settings = BeamSettings(3, 20)
    together = [result.ids for result in beam_search(ours, rows, settings, [1, 2])]
    assert together == [beam_search(ours, [row], settings, [1, 2])[0].ids for row in rows]


def test_writing_stops_where_the_context_is_full_and_a_full_prompt_is_refused(
    both: tuple[Any, Transformer],
) -> None:
    theirs, ours = both
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in (60, 7, 63)]
    results = beam_search(ours, rows, BeamSettings(3, 500))
    assert [len(r.ids) for r in results] == [4, 57, 1]
    assert {r.finish for r in results} == {"context"}
    assert results[0].ids == of_transformers(theirs, rows[:1], 3, 4, [])[0]
    with pytest.raises(UserError, match="64 tokens long and the model sees 64"):
        beam_search(ours, [[3] * 64], BeamSettings(3, 5))


def test_ids_beyond_the_tokenizer_are_never_written(both: tuple[Any, Transformer]) -> None:
    _, ours = both
    results = beam_search(ours, prompts(2), BeamSettings(4, 20), vocab_size=12)
    assert max(token for result in results for token in result.ids) < 12
