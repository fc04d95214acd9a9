"""A model and its tokenizer together: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from nextword.errors import UserError
from nextword.inference.generate import (
    Decoder,
    Finish,
    batches,
    check_prompts,
    sample_numbers,
)
from nextword.inference.precision import choose_dtype, compute_in
from nextword.inference.stops import StopFilter
from nextword.models.transformer import Transformer
from nextword.settings import GenerateSettings, resolve
from nextword.tokens.tokenizer import Tokenizer

PRECISIONS = {torch.bfloat16: "bf16", torch.float32: "fp32"}


@dataclass
class Completion:
    """`text` continues the prompt; `tokens` counts what was written for it, `finish` says why it
    ended: "end", "stop", "length" or "context"."""

    prompt: str
    text: str
    tokens: int
    finish: Finish


@dataclass
class LanguageModel:
    """What `load` returns. `end_ids` are the tokens that end a text."""

    name: str
    transformer: Transformer
    tokenizer: Tokenizer
    end_ids: frozenset[int] = field(default_factory=frozenset)

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        settings: GenerateSettings | None = None,
        **overrides: Any,
    ) -> str | list[Any]:
        """Continue a prompt, or each of several; without one the model begins a new text.

        Returns what was written, a string for each prompt; with `num_samples` above 1 a list of
        that many in its place. Settings are GenerateSettings' names: `temperature=0`, `stop=[...]`.
        """
        settings = _settings(settings, overrides)
        several = prompt is not None and not isinstance(prompt, str)
        prompts = list(prompt) if prompt is not None and several else [_one(prompt)]
        texts = [completion.text for completion in self.complete(prompts, settings)]
        count = settings.num_samples
        grouped = [texts[start : start + count] for start in range(0, len(texts), count)]
        answers = grouped if count > 1 else texts
        return answers if several else answers[0]

    def stream(
        self, prompt: str | None = None, settings: GenerateSettings | None = None, **overrides: Any
    ) -> Iterator[str]:
        """Continue one prompt, a piece of text at a time; joined they are what `generate` gives."""
        settings = _settings(settings, overrides)
        if settings.num_samples != 1:
            raise UserError("only one continuation can be streamed", mend="leave num_samples at 1")
        for _, piece in self._write([_one(prompt)], settings):
            if isinstance(piece, str):
                yield piece

    def complete(self, prompts: Sequence[str], settings: GenerateSettings) -> list[Completion]:
        """`num_samples` continuations of each prompt, those of the first prompt first."""
        wanted = [prompt for prompt in prompts for _ in range(settings.num_samples)]
        completions = {
            row: piece for row, piece in self._write(wanted, settings) if not isinstance(piece, str)
        }
        return [completions[row] for row in range(len(wanted))]

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt's ids, begun as the tokenizer's template says; a start token if it is empty.

        Names of special tokens in the prompt are read as the characters they are.
        """
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"the prompt is not text: character {error.start + 1} is half of a pair",
                mend="give it in UTF-8",
            ) from None
        return self.tokenizer.encode(prompt, template=True) or [self.start_id]

    @property
    def start_id(self) -> int:
        """What a text begins with: the tokenizer's own start token, else its end token."""
        bos = self.tokenizer.bos_id
        return self.tokenizer.end_id if bos is None else bos

    def _write(
        self, prompts: Sequence[str], settings: GenerateSettings
    ) -> Iterator[tuple[int, str | Completion]]:
        """(row, piece of text) as it is written, and (row, completion) when a row is done."""
        self._check_precision(settings)
        known = {prompt: self.encode_prompt(prompt) for prompt in dict.fromkeys(prompts)}
        check_prompts(self.transformer, list(known.values()))
        encoded = [known[prompt] for prompt in prompts]
        numbers = sample_numbers(encoded)
        self.transformer.eval()
        for rows in batches(encoded):
            decoder = Decoder(
                self.transformer,
                [encoded[row] for row in rows],
                settings,
                self.end_ids,
                samples=[numbers[row] for row in rows],
                vocab_size=self.tokenizer.vocab_size,
            )
            writers = [_Writer(self.tokenizer, settings.stop) for _ in rows]
            open_rows = set(range(len(rows)))
            while open_rows:
                for index, token in decoder.step():
                    if piece := writers[index].write(token):
                        yield rows[index], piece
                    if writers[index].stops.stopped:
                        decoder.stop(index)
                for index in sorted(open_rows):
                    result = decoder.results[index]
                    if result.finish is None:
                        continue
                    open_rows.discard(index)
                    if piece := writers[index].finish():
                        yield rows[index], piece
                    finish = "stop" if writers[index].stops.stopped else result.finish
                    text = "".join(writers[index].pieces)
                    yield rows[index], Completion(prompts[rows[index]], text, len(result.ids), finish)

    def _check_precision(self, settings: GenerateSettings) -> None:
        present = PRECISIONS[self.transformer.activation_dtype]
        if settings.precision not in ("auto", present):
            raise UserError(
                f"the model was loaded in {present}, not {settings.precision}",
                mend=f"load it with precision={settings.precision!r}",
            )


class _Writer:
    """One row's text: whole characters, up to the first stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self.stops = StopFilter(stops)
        self.pieces: list[str] = []
        self._characters = tokenizer.stream()

    def write(self, token: int) -> str:
        return self._keep(self.stops.feed(self._characters.feed(token)))

    def finish(self) -> str:
        last = self.stops.feed(self._characters.flush())
        return self._keep(last + self.stops.flush())

    def _keep(self, piece: str) -> str:
        if piece:
            self.pieces.append(piece)
        return piece


def load(
    name: str | Path,
    *,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    device: str | torch.device | None = None,
) -> LanguageModel:
    """Open a run directory, a Hugging Face directory or a Hub name, to generate with.

    `device` is a GPU where there is one, if not given.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    transformer, tokenizer = load_pretrained(str(name))
    compute_in(transformer, choose_dtype(precision, transformer, torch.device(device)))
    transformer.to(device).eval().requires_grad_(False)
    return LanguageModel(str(name), transformer, tokenizer, _end_ids(name, tokenizer))


def _settings(given: GenerateSettings | None, overrides: dict[str, Any]) -> GenerateSettings:
    values = given.model_dump() if given else {}
    return resolve(GenerateSettings, values | overrides)


def _one(prompt: str | None) -> str:
    return prompt or ""
