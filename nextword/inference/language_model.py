"""A model and its tokenizer together: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from nextword.errors import UserError
from nextword.files import read_json
from nextword.inference.generate import Decoder, Finish, batches, sample_numbers
from nextword.inference.opening import open_model
from nextword.inference.reading import begun, check_prompts
from nextword.inference.stops import StopFilter
from nextword.models.encoder_decoder import Writer
from nextword.settings import GenerateSettings, resolve
from nextword.terminal import say
from nextword.tokens.fill_in_the_middle import fill_in_the_middle_for, infilling_prompt
from nextword.tokens.tokenizer import Tokenizer

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
JOINED = 4  # tokens that are there already, with which what follows is decoded
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
    """What `load` returns. A text begins with `start_id` and ends at any of `end_ids`."""

    name: str
    transformer: Writer
    tokenizer: Tokenizer
    start_id: int
    end_ids: frozenset[int]

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        settings: GenerateSettings | None = None,
        **overrides: Any,
    ) -> str | list[Any]:
        """Continue a prompt, or each of several; without one the model begins a new text. With a
        `suffix`, write what stands between the prompt and that.

        Returns what was written, a string for each prompt; with `num_samples` above 1 a list of
        that many in its place. Settings are GenerateSettings' names: `temperature=0`, `stop=[...]`.
        """
        settings = _settings(settings, overrides)
        several = None if prompt is None or isinstance(prompt, str) else list(prompt)
        prompts = several if several is not None else [str(prompt or "")]
        texts = [completion.text for completion in self.complete(prompts, settings)]
        count = settings.num_samples
        grouped = [texts[start : start + count] for start in range(0, len(texts), count)]
        answers = grouped if count > 1 else texts
        return answers[0] if several is None else answers

    def stream(
        self, prompt: str | None = None, settings: GenerateSettings | None = None, **overrides: Any
    ) -> Iterator[str]:
        """Continue one prompt, a piece of text at a time; joined they are what `generate` gives."""
        settings = _settings(settings, overrides)
        if settings.num_samples != 1:
            raise UserError("only one continuation can be streamed", mend="leave num_samples at 1")
        written = self._write([prompt or ""], settings)
        return (piece for _, piece in written if isinstance(piece, str))

    def complete(self, prompts: Sequence[str], settings: GenerateSettings) -> list[Completion]:
        """`num_samples` continuations of each prompt, those of the first prompt first."""
        wanted = [prompt for prompt in prompts for _ in range(settings.num_samples)]
        completions = {
            row: piece for row, piece in self._write(wanted, settings) if not isinstance(piece, str)
        }
        return [completions[row] for row in range(len(wanted))]

    def encode_prompt(self, prompt: str, suffix: str | None = None) -> list[int]:
        """A prompt's ids, begun as the tokenizer's template says; a start token if it is empty.

        With a `suffix` they are of both, so that what stands between follows. Names of special
        tokens in a text are read as the characters they are. Raises UserError for a suffix where
        the tokenizer has no tokens that say where it stands.
        """
        if suffix is not None:
            mend = "leave the suffix out, or train with `pretrain --fim-rate`"
            infilling = fill_in_the_middle_for(self.tokenizer, 1.0, mend, asked="a suffix")
            texts = (self.tokenizer.encode(text) for text in (prompt, suffix))
            return infilling_prompt(infilling, *texts)
        return self.tokenizer.encode(prompt, template=True) or [self.start_id]

    def _write(
        self, prompts: Sequence[str], settings: GenerateSettings
    ) -> Iterator[tuple[int, str | Completion]]:
        """(row, piece of text) as it is written, and (row, completion) when a row is done.

        What is wrong with the prompts or settings is raised at once, before anything is written.
        """
        self._check_precision(settings)
        StopFilter(settings.stop)
        known = {p: self.encode_prompt(p, settings.suffix) for p in dict.fromkeys(prompts)}
        check_prompts(self.transformer, list(known.values()))
        context = self.transformer.config.most_tokens
        texts = begun(self.transformer, list(known.values()))
        room = context - max(map(len, texts), default=0)
        if "max_new_tokens" in settings.model_fields_set and settings.max_new_tokens > room:
            say(f"the model sees {context:,} tokens at once, prompt included: it writes {room:,}")
        return self._written(prompts, [known[prompt] for prompt in prompts], settings)

    def _written(
        self, prompts: Sequence[str], encoded: list[list[int]], settings: GenerateSettings
    ) -> Iterator[tuple[int, str | Completion]]:
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
            texts = begun(self.transformer, [encoded[row] for row in rows])
            writers = [_Writer(self.tokenizer, text, settings.stop) for text in texts]
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
                    yield (
                        rows[index],
                        Completion(prompts[rows[index]], text, len(result.ids), finish),
                    )

    def _check_precision(self, settings: GenerateSettings) -> None:
        present = PRECISIONS[self.transformer.activation_dtype]
        if settings.precision not in ("auto", present):
            raise UserError(
                f"the model was loaded in {present}, not {settings.precision}",
                mend=f"load it with precision={settings.precision!r}",
            )


class _Writer:
    """One row's text: whole characters, up to the first stop string."""

    def __init__(self, tokenizer: Tokenizer, begun: Sequence[int], stops: Sequence[str]) -> None:
        self.stops = StopFilter(stops)
        self.pieces: list[str] = []
        self._characters = tokenizer.stream()
        for token in begun[-JOINED:]:  # some tokenizers drop the space a text begins with
            self._characters.feed(token)
        self._characters.flush()

    def write(self, token: int) -> str:
        return self._keep(self.stops.feed(self._characters.feed(token)))

    def finish(self) -> str:
        """The rest, without a character that was left unfinished."""
        rest = self._characters.flush().rstrip(UNFINISHED)
        return self._keep(self.stops.feed(rest) + self.stops.flush())

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
    directory, transformer, tokenizer = open_model(name, precision, device)
    check_writes(transformer, name)
    start_id, end_ids = boundaries(directory, tokenizer)
    return LanguageModel(str(name), transformer, tokenizer, start_id, end_ids)


def generate(
    model: str | Path | LanguageModel,
    prompt: str | Sequence[str] | None = None,
    settings: GenerateSettings | None = None,
    **overrides: Any,
) -> str | list[Any]:
    """Continue a prompt, or each of several, as `LanguageModel.generate` does.

    To write more than once, `load` the model and keep it.
    """
    settings = _settings(settings, overrides)
    if not isinstance(model, LanguageModel):
        model = load(model, precision=settings.precision)
    return model.generate(prompt, settings)


def check_writes(transformer: Writer, name: str | Path, task: str = "") -> None:
    """Raises UserError for an encoder, with what it can do of a task."""
    if not transformer.config.writes:
        other = "use `nextword fill`, or finetune it with --task classify, tag, or qa and --extract"
        raise UserError(
            f"is an encoder ({transformer.config.family}): it fills in words that are masked, and "
            "cannot go on with a text",
            where=name,
            mend="add --extract: it points at the answer in the text" if task == "qa" else other,
        )


def boundaries(directory: Path, tokenizer: Tokenizer) -> tuple[int, frozenset[int]]:
    """What a text begins with, and what ends it: as the model's files say, else its tokenizer."""
    said: dict[str, Any] = {}
    for file in (directory / "config.json", directory / "generation_config.json"):
        values = read_json(file) if file.is_file() else None
        if isinstance(values, dict):
            said |= {name: value for name, value in values.items() if value is not None}
    start = said.get("bos_token_id", tokenizer.bos_id)
    if not isinstance(start, int) or not 0 <= start < tokenizer.vocab_size:
        start = tokenizer.end_id
    ends = said.get("eos_token_id", [])
    ends = ends if isinstance(ends, list) else [ends]
    end_ids = frozenset(number for number in ends if isinstance(number, int))
    return start, end_ids | {tokenizer.end_id}


def _settings(given: GenerateSettings | None, overrides: dict[str, Any]) -> GenerateSettings:
    values = given.model_dump(exclude_unset=True) if given else {}
    return resolve(GenerateSettings, values | overrides)
