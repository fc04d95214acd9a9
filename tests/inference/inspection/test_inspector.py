"""Everything that is shown equals what transformers computes of the same weights, to 1e-4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pairs import CONTEXT, HEADS, LAYERS, Pair
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.language_model import Windows, token_losses
from nextword.inference.inspection.inspector import Inspector, Question
from nextword.inference.language_model import LanguageModel
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings
from nextword.tokens.store import Split

TEXT = "The old lamp 床前 sat by the door; naïve 🙂 cat"
CLOSE = {"abs": 1e-4}


def answer_of(pair: Pair, **question: Any) -> dict[str, Any]:
    return Inspector(pair.ours).inspect(Question(**question))


@torch.no_grad()
def outputs_of(pair: Pair, answer: dict[str, Any], hide: bool = True) -> Any:
    """What transformers gives for the tokens of an answer."""
    ids = [token["id"] for token in answer["tokens"]]
    asked = {"output_attentions": True, "output_hidden_states": True}
    if "source_tokens" in answer:
        source = torch.tensor([[token["id"] for token in answer["source_tokens"]]])
        return pair.theirs(input_ids=source, decoder_input_ids=torch.tensor([ids]), **asked)
    if answer["model"]["kind"] == "encoder" and hide:
        ids[answer["position"]] = pair.ours.tokenizer.mask_id
    return pair.theirs(input_ids=torch.tensor([ids]), **asked)


def question_of(pair: Pair, **more: Any) -> dict[str, Any]:
    target = {"target": "It was a dark 月 night"} if "t5" in pair.name else {}
    return {"text": TEXT, **target, **more}


def test_tokens_joined_are_the_text(pair: Pair) -> None:
    for text in (TEXT, "  two  spaces\n\n", "🙂🙂", "", " ", "a\u0301 é 床"):
        target = {"target": text, "text": "x"} if "t5" in pair.name else {"text": text}
        answer = answer_of(pair, want=["tokens"], **target)
        assert "".join(token["text"] for token in answer["tokens"]) == text
        for name in ("tokens", "source_tokens"):
            written = target["text"] if name == "source_tokens" else text
            for token in answer.get(name, []):
                assert written[token["start"] : token["end"]] == token["text"]
        assert answer["count"] == len(answer["tokens"])


def test_bytes_of_tokens_joined_are_those_of_the_text(pair: Pair) -> None:
    answer = answer_of(pair, **question_of(pair), want=["tokens"])
    key = "source_tokens" if "t5" in pair.name else "tokens"
    assert bytes.fromhex("".join(token["bytes"] for token in answer[key])) == TEXT.encode()


def test_surprise_is_that_of_transformers(pair: Pair) -> None:
    answer = answer_of(pair, **question_of(pair), want=["tokens", "surprise"])
    found, ids = answer["surprise"], [token["id"] for token in answer["tokens"]]
    if answer["model"]["kind"] == "encoder":
        log_probs = _hidden_in_turn(pair, ids)
        asked = list(range(1, len(ids) - 1))
    else:
        log_probs = outputs_of(pair, answer).logits[0].log_softmax(-1).roll(1, 0)
        asked = list(range(1, len(ids)))
    for place, (bits, rank) in enumerate(zip(found["bits"], found["ranks"], strict=True)):
        assert (bits is None) == (rank is None) == (place not in asked)
        if bits is not None:
            own = log_probs[place, ids[place]]
            assert bits == pytest.approx(-float(own) / math.log(2), **CLOSE)
            assert rank == 1 + int((log_probs[place] > own).sum())
    total = sum(bits for bits in found["bits"] if bits is not None)
    text = question_of(pair).get("target", TEXT)
    assert found["text_bytes"] == len(text.encode())
    assert found["bits_per_byte"] == pytest.approx(total / len(text.encode()), **CLOSE)
    assert found["pseudo"] == (answer["model"]["kind"] == "encoder")


def _hidden_in_turn(pair: Pair, ids: list[int]) -> Tensor:
    rows = []
    for place in range(len(ids)):
        hidden = list(ids)
        hidden[place] = pair.ours.tokenizer.mask_id or 0
        with torch.no_grad():
            rows.append(pair.theirs(input_ids=torch.tensor([hidden])).logits[0, place])
    return torch.stack(rows).log_softmax(-1)


@pytest.mark.parametrize("position", [-1, 5, 2])
def test_odds_before_sampling_are_transformers_probabilities(pair: Pair, position: int) -> None:
    answer = answer_of(pair, **question_of(pair), position=position, top=20)
    place, found = answer["position"], answer["odds"]
    probabilities = outputs_of(pair, answer).logits[0, place].softmax(-1)
    for candidate in found["candidates"]:
        assert candidate["before"] == pytest.approx(float(probabilities[candidate["id"]]), **CLOSE)
    actual = answer["tokens"][place:][0 if answer["model"]["kind"] == "encoder" else 1 :]
    assert (found["actual"] or {}).get("id") == (actual[0]["id"] if actual else None)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 7},
        {"temperature": 0.9, "top_p": 0.6},
        {"temperature": 1.0, "min_p": 0.1},
        {"temperature": 0.8, "top_k": 30, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.3},
    ],
)
def test_odds_after_sampling_are_those_of_transformers_processors(
    decoder: Pair, settings: dict[str, float]
) -> None:
    from transformers import LogitsProcessorList
    from transformers.generation import logits_process as theirs

    answer = answer_of(decoder, text=TEXT, top=100, sampling=GenerateSettings(**settings))
    ids = torch.tensor([[token["id"] for token in answer["tokens"]]])
    made: Any = LogitsProcessorList()
    if "repetition_penalty" in settings:
        made.append(theirs.RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    made.append(theirs.TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        made.append(theirs.TopKLogitsWarper(int(settings["top_k"])))
    if "top_p" in settings:
        made.append(theirs.TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        made.append(theirs.MinPLogitsWarper(settings["min_p"]))
    after = made(ids, outputs_of(decoder, answer).logits[:, -1])[0].softmax(-1)
    found = answer["odds"]
    assert found["kept"] == int((after > 0).sum())
    for candidate in found["candidates"]:
        assert candidate["after"] == pytest.approx(float(after[candidate["id"]]), **CLOSE)
    drawn = [candidate["after"] for candidate in found["candidates"]]
    assert drawn == sorted(drawn, reverse=True)


def test_temperature_0_leaves_one_token(decoder: Pair) -> None:
    found = answer_of(decoder, text=TEXT, sampling=GenerateSettings(temperature=0))["odds"]
    assert found["kept"] == 1 and found["entropy_after"] == 0
    assert [candidate["after"] for candidate in found["candidates"][:2]] == [1, 0]
    assert found["candidates"][0]["rank"] == 1


@pytest.mark.parametrize("position", [-1, 4])
def test_the_lens_is_the_final_norm_and_head_on_transformers_hidden_states(
    pair: Pair, position: int
) -> None:
    answer = answer_of(pair, **question_of(pair), want=["tokens", "lens"], position=position)
    outputs, place = outputs_of(pair, answer), answer["position"]
    name = "decoder_hidden_states" if "t5" in pair.name else "hidden_states"
    states = outputs[name]
    assert len(answer["lens"]["layers"]) == len(states) == LAYERS + 1
    for layer, (found, state) in enumerate(zip(answer["lens"]["layers"], states, strict=True)):
        scores = _their_head(pair, state[:, place], is_last=layer == LAYERS)[0].log_softmax(-1)
        (at,) = found["at"]
        assert found["layer"] == layer and at["position"] == place
        for candidate in at["top"]:
            expected = float(scores[candidate["id"]].exp())
            assert candidate["probability"] == pytest.approx(expected, **CLOSE)
        follow = answer["lens"]["follow"]["id"]
        assert at["follow"]["probability"] == pytest.approx(float(scores[follow].exp()), **CLOSE)
        assert at["follow"]["rank"] == 1 + int((scores > scores[follow]).sum())
        entropy = -float((scores.exp() * scores).sum()) / math.log(2)
        assert at["entropy"] == pytest.approx(entropy, abs=1e-3)


@torch.no_grad()
def _their_head(pair: Pair, state: Tensor, is_last: bool) -> Tensor:
    """transformers' own modules on a hidden state; its last ones are normed already."""
    theirs: Any = pair.theirs
    if pair.name == "bert":
        return theirs.cls(state)
    if pair.name == "modernbert":
        # The only family whose last hidden state transformers gives without the final norm in some
        # versions: the norm of what is normed already is told from it below.
        state = state if is_last and _is_normed(theirs, state) else theirs.model.final_norm(state)
        return theirs.decoder(theirs.head(state))
    if "t5" in pair.name:
        state = state if is_last else theirs.decoder.final_layer_norm(state)
        return theirs.lm_head(state * WIDTH_SCALE if pair.name == "t5" else state)
    if pair.name == "gpt2":
        return theirs.lm_head(state if is_last else theirs.transformer.ln_f(state))
    return theirs.lm_head(state if is_last else theirs.model.norm(state))


WIDTH_SCALE = 32**-0.5  # of a tied T5's states


def _is_normed(theirs: Any, state: Tensor) -> bool:
    plain = (state - (theirs.model.final_norm.bias or 0)) / theirs.model.final_norm.weight
    return bool(abs(float(plain.pow(2).mean()) - 1) < 1e-3)


def test_a_grid_of_positions_equals_one_position_after_another(pair: Pair) -> None:
    question = question_of(pair, want=["lens"], follow=40, hide=False)
    grid = answer_of(pair, **question, positions=[1, 3, 4])["lens"]
    assert grid["positions"] == [1, 3, 4]
    for column, position in enumerate(grid["positions"]):
        alone = answer_of(pair, **question, position=position)["lens"]
        for many, one in zip(grid["layers"], alone["layers"], strict=True):
            assert many["at"][column]["follow"]["probability"] == pytest.approx(
                one["at"][0]["follow"]["probability"], abs=2e-6
            )


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("position", [-1, 9])
def test_attention_is_transformers(pair: Pair, layer: int, position: int) -> None:
    question = question_of(pair, want=["tokens", "attention"], layer=layer)
    kinds = {"attentions": (None, position)}
    if "t5" in pair.name:
        kinds = {
            "decoder_attentions": ("decoder", -1),
            "cross_attentions": ("cross", 3),
            "encoder_attentions": ("encoder", position),
        }
    for name, (stack, place) in kinds.items():
        answer = answer_of(pair, **question, position=place, stack=stack)
        found = answer["attention"]
        expected = outputs_of(pair, answer)[name][layer][0, :, found["query"]]
        assert len(found["heads"]) == HEADS
        for row, right in zip(found["heads"], expected, strict=True):
            assert len(row) == len(answer[found["keys"]])
            assert row == pytest.approx(right.tolist(), **CLOSE)
            assert sum(row) == pytest.approx(1, abs=1e-4)


def test_control_tokens_among_the_candidates_are_marked(pair: Pair) -> None:
    found = answer_of(pair, **question_of(pair), want=["odds", "lens"], top=100)
    controls = pair.ours.tokenizer.special_ids
    shown = [*found["odds"]["candidates"], *found["lens"]["layers"][0]["at"][0]["top"]]
    assert {one["id"] for one in shown if one["special"]} <= controls
    assert not controls & {one["id"] for one in shown if not one["special"]}


def test_heads_of_a_layer_differ(pair: Pair) -> None:
    heads = answer_of(pair, **question_of(pair), want=["attention"])["attention"]["heads"]
    assert max(abs(a - b) for a, b in zip(heads[0], heads[1], strict=True)) > 0.01


def test_a_window_hides_what_lies_before_it(written: dict[str, Pair]) -> None:
    found = answer_of(written["mistral"], text=TEXT, want=["attention"])["attention"]
    assert found["window"] == 6
    for row in found["heads"]:
        assert not any(row[:-6]) and all(row[-6:])


def test_nothing_is_left_on_the_model(pair: Pair) -> None:
    answer_of(pair, **question_of(pair), want=["lens", "attention"])
    for module in pair.ours.transformer.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_text_longer_than_the_context_is_read_in_windows(decoder: Pair) -> None:
    text = TEXT * 9
    answer = answer_of(decoder, text=text, want=["tokens", "surprise", "odds", "attention"])
    found, ids = answer["surprise"], [token["id"] for token in answer["tokens"]]
    assert len(ids) > 2 * CONTEXT and (found["context"], found["stride"]) == (CONTEXT, 24)
    assert found["bits"][0] is None and None not in found["bits"][1:]
    stop = CONTEXT + 24  # the second window scores its last 24
    with torch.no_grad():
        logits = decoder.theirs(input_ids=torch.tensor([ids[24:stop]])).logits[0]
    log_probs = logits.log_softmax(-1)[23:-1]
    for bits, row, id in zip(
        found["bits"][CONTEXT:stop], log_probs, ids[CONTEXT:stop], strict=True
    ):
        assert bits == pytest.approx(-float(row[id]) / math.log(2), **CLOSE)
    with torch.no_grad():
        logits = decoder.theirs(input_ids=torch.tensor([ids[-CONTEXT:]])).logits[0, -1]
    best = answer["odds"]["candidates"][0]
    assert best["before"] == pytest.approx(float(logits.softmax(-1)[best["id"]]), **CLOSE)
    (first, *_), seen = answer["attention"]["heads"], len(ids) - CONTEXT
    assert len(first) == len(ids) and not any(first[:seen])


def test_a_second_look_with_other_sampling_reads_nothing_again(
    decoder: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector = Inspector(decoder.ours)
    first = inspector.inspect(Question(text=TEXT, want=["odds"]))["odds"]
    monkeypatch.setattr(decoder.ours.transformer, "forward", None)
    again = Question(text=TEXT, want=["odds"], sampling=GenerateSettings(temperature=2.0))
    second = inspector.inspect(again)["odds"]
    assert first["entropy_before"] == second["entropy_before"]
    assert first["entropy_after"] < second["entropy_after"]
    with pytest.raises(TypeError):
        inspector.inspect(Question(text=TEXT + " more", want=["odds"]))


def test_a_gaps_candidates_are_those_of_fill(encoder: Pair) -> None:
    answer = answer_of(
        encoder, text="The [MASK] sat on the [MASK].", want=["tokens", "fill"], top=4
    )
    filled = encoder.ours.fill("The [MASK] sat on the [MASK].", 4)  # type: ignore[union-attr]
    assert answer["fill"]["text"] == filled.text
    for gap, candidates in zip(answer["fill"]["gaps"], filled.gaps, strict=True):
        assert answer["tokens"][gap["position"]]["name"] == "[MASK]"
        assert [c["id"] for c in gap["candidates"]] == [c.id for c in candidates]


def test_ids_are_taken_as_they_are(decoder: Pair) -> None:
    ids = decoder.ours.tokenizer.encode(TEXT)
    answer = answer_of(decoder, tokens=ids)
    assert [token["id"] for token in answer["tokens"]] == ids
    assert "".join(token["text"] for token in answer["tokens"]) == TEXT
    prompt = answer_of(decoder, text=TEXT, start=False)
    assert prompt["odds"] == answer["odds"] and prompt["surprise"] == answer["surprise"]
    assert answer["surprise"]["bits"][0] is None


def test_work_is_cut_into_pieces(decoder: Pair) -> None:
    want = ["surprise", "odds", "lens", "attention"]
    steps = list(Inspector(decoder.ours).steps(Question(text=TEXT * 9, want=want)))
    assert steps[-1] is not None and steps.count(None) == len(steps) - 1 > 5 + LAYERS


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "give either a text or tokens"),
        ({"text": "a", "tokens": [1]}, "give either a text or tokens"),
        ({"tokens": []}, "there are no tokens"),
        ({"tokens": [10**6]}, "token 1000000 is not in the vocabulary"),
        ({"tokens": [-1]}, "token -1 is not in the vocabulary"),
        ({"text": "a", "position": 9}, "position 9: the text has 2 tokens"),
        ({"text": "a", "position": -9}, "position -9"),
        ({"text": "a", "want": ["mood"]}, "nothing is known of 'mood'"),
        ({"text": "a", "top": 0}, "top: 0: expected 1 to 100"),
        ({"text": "a", "top": 101}, "101: expected 1 to 100"),
        ({"text": "a", "prompt_tokens": -1}, "expected at least 0"),
        ({"text": "a", "want": ["attention"], "layer": 4}, "layer 4: the model has 4"),
        ({"text": "a", "want": ["attention"], "stack": "cross"}, "attends to no source"),
        ({"text": "a", "want": ["lens"], "follow": -2}, "token -2 is not in the vocabulary"),
        ({"text": "a", "want": ["lens"], "positions": [0, 7]}, "position 7"),
        ({"text": "a", "want": ["lens"], "positions": [0] * 900}, "more than 4,096"),
        ({"text": "a", "want": ["lens"], "positions": [0] * 200, "top": 99}, "more than 65,536"),
        ({"text": "a" * 100, "want": ["lens"], "positions": [0, 99]}, "further apart"),
        ({"text": "a", "want": ["fill"]}, "fills no gaps"),
        ({"text": "lone \ud800"}, "lone surrogate"),
    ],
)
def test_what_does_not_fit_is_refused(
    written: dict[str, Pair], question: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        answer_of(written["qwen3"], **question)
    assert message in str(caught.value)


def test_surprise_is_that_of_evaluate(decoder: Pair) -> None:
    """A document alone, its end token apart."""
    model = decoder.ours
    assert isinstance(model, LanguageModel) and isinstance(model.transformer, Transformer)
    tokenizer = model.tokenizer
    ids = np.array([*tokenizer.encode(TEXT), tokenizer.end_id])
    split = Split("val", ids, np.array([0, len(ids)]), tokenizer.end_id, tokenizer.vocab_size)
    nats = token_losses(model.transformer, split, Windows(CONTEXT, CONTEXT, 1), model.start_id)
    found = answer_of(decoder, text=TEXT)["surprise"]
    assert found["bits"][1:] == pytest.approx((nats[:-1] / math.log(2)).tolist(), **CLOSE)
