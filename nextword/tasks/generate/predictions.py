"""Answers written by a model, and how good they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Metric
from nextword.evaluation.generated_text import (
    judge_summaries,
    judge_translations,
    rouge,
    translation_scores,
)
from nextword.evaluation.question_answering import cmrc, judge_answers, squad
from nextword.inference.beam import beam_search
from nextword.inference.evaluating import evaluating
from nextword.inference.generate import generate
from nextword.models.encoder_decoder import Writer
from nextword.settings import GenerateSettings
from nextword.tasks.extractive_qa.data import Question
from nextword.tasks.generate.examples import TaskExample
from nextword.tokens.tokenizer import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
Answered = TaskExample | Question
JUDGES = {"qa": judge_answers, "summarize": judge_summaries, "translate": judge_translations}


def write_answers(
    model: Writer,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    end_ids: Collection[int],
    *,
    beams: int = 1,
) -> list[str]:
    """What a model writes to each prompt: the likeliest word each time, or of several beams the
    best. A model that was being trained goes on being so."""
    with evaluating(model):
        if beams > 1:
            written = beam_search(
                model, prompts, beams, max_new_tokens, end_ids, vocab_size=tokenizer.vocab_size
            )
        else:
            settings = GenerateSettings(temperature=0, max_new_tokens=max_new_tokens)
            written = generate(model, prompts, settings, end_ids, vocab_size=tokenizer.vocab_size)
    return [tokenizer.decode(result.ids).rstrip(UNFINISHED).strip() for result in written]


def judge(
    task: str,
    answers: Sequence[str],
    examples: Sequence[TaskExample],
    draws: Resampler | None,
    language: str,
) -> dict[str, Metric]:
    """The task's metrics, of answers beside the examples' references; none for conversations and
    texts, whose answers can only be read."""
    if task not in JUDGES or not answers:
        return {}
    return JUDGES[task](answers, [example.references for example in examples], language, draws)


def score_each(
    task: str, answers: Sequence[str], examples: Sequence[Answered], language: str
) -> list[dict[str, float]]:
    """Of each answer by itself the task's score, by name: F1, ROUGE-L or chrF; none for what can
    only be read."""
    references = [example.references for example in examples]
    if task == "qa":
        score = cmrc if language == "zh" else squad
        pairs = zip(answers, references, strict=True)
        return [{"F1": score(answer, wanted)[1]} for answer, wanted in pairs]
    if task == "summarize":
        return [{"ROUGE-L": x} for x in rouge(answers, references, language)["ROUGE-L"].tolist()]
    if task == "translate":
        chrf = translation_scores(answers, references, language)["chrF"]
        return [{"chrF": chrf.of(np.array([n]))} for n in range(len(answers))]
    return [{} for _ in answers]
