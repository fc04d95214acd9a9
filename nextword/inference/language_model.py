"""A model and its tokenizer together: text in, text out, and how they are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nextword.errors import UserError
from nextword.hub.config import read_config
from nextword.hub.model_files import find_directory
from nextword.inference.cache import check_prompts, decoder_prompts
from nextword.inference.engine.request import Finished, Token
from nextword.inference.engine.tuning import Served, as_it_is, prepare
from nextword.inference.engine.writing import Writing
from nextword.inference.generate import Finish, requests
from nextword.inference.loading import (
    Precision,
    boundary_ids,
    open_model,
    require_generative,
    sampling_of,
)
from nextword.inference.masked_model import MaskedLanguageModel, load_masked_model
from nextword.inference.text_stream import StopFilter, TextStream
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.resources import memory
from nextword.settings import GenerateSettings, with_defaults, with_overrides
from nextword.terminal import say
from nextword.tokens.fill_in_the_middle import fill_in_the_middle_for, infilling_prompt
from nextword.tokens.tokenizer import Tokenizer

PRECISIONS = {torch.bfloat16: "bf16", torch.float32: "fp32"}


@dataclass
class Completion:
    """The continuation of a prompt: its text, its number of tokens, and why it ended ("end",
    "stop", "length" or "context")."""

    prompt: str
    text: str
    tokens: int
    finish: Finish


@dataclass
class LanguageModel:
    """A generative model. A text begins with `start_id` and ends with any of `end_ids`; `sampling`
    has settings of writing that its makers recommend, for those that nobody sets."""

    name: str
    transformer: GenerativeModel
    tokenizer: Tokenizer
    start_id: int
    end_ids: frozenset[int]
    sampling: dict[str, Any] = field(default_factory=dict)

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        settings: GenerateSettings | None = None,
        **overrides: Any,
    ) -> str | list[Any]:
        """Continue a prompt, or each of several; without one begin a new text. With a `suffix`,
        generate the text between the prompt and the suffix.

        Returns the generated text, a string for each prompt; with `num_samples` above 1 a list of
        that many in its place. Overrides are named as in GenerateSettings: `temperature=0`,
        `stop=[...]`. Raises UserError for a setting or a prompt that does not fit.
        """
        settings = _settings(settings, overrides)
        is_single = prompt is None or isinstance(prompt, str)
        prompts = [str(prompt or "")] if is_single else list(prompt or [])
        texts = [completion.text for completion in self.complete(prompts, settings)]
        count = settings.num_samples
        grouped = [texts[start : start + count] for start in range(0, len(texts), count)]
        answers = grouped if count > 1 else texts
        return answers[0] if is_single else answers

    def stream(
        self, prompt: str | None = None, settings: GenerateSettings | None = None, **overrides: Any
    ) -> Iterator[str]:
        """Continue one prompt and yield its text in pieces; joined they are that of `generate`."""
        settings = _settings(settings, overrides)
        if settings.num_samples != 1:
            raise UserError("only one continuation can be streamed", mend="leave num_samples at 1")
        pieces = self._stream_rows([prompt or ""], settings)
        return (piece for _, piece in pieces if isinstance(piece, str))

    def complete(self, prompts: Sequence[str], settings: GenerateSettings) -> list[Completion]:
        """Return `num_samples` continuations of each prompt, those of the first prompt first."""
        rows = [prompt for prompt in prompts for _ in range(settings.num_samples)]
        pieces = dict(self._stream_rows(rows, settings))  # the last piece is the completion
        return [piece for _, piece in sorted(pieces.items()) if isinstance(piece, Completion)]

    def encode_prompt(self, prompt: str, suffix: str | None = None) -> list[int]:
        """Return a prompt's ids, begun as the tokenizer's template begins a text; a start token
        where it is empty.

        With a `suffix` they are those of both, so that the text between them comes next. Names of
        special tokens in a text are encoded as plain characters. Raises UserError for a suffix
        where the tokenizer has no tokens for infilling.
        """
        if suffix is not None:
            mend = "leave the suffix out, or train with `pretrain --fim-rate`"
            infilling = fill_in_the_middle_for(self.tokenizer, 1.0, mend, asked="a suffix")
            texts = (self.tokenizer.encode(text) for text in (prompt, suffix))
            return infilling_prompt(infilling, *texts)
        return self.tokenizer.encode(prompt, template=True) or [self.start_id]

    def _stream_rows(
        self, prompts: Sequence[str], settings: GenerateSettings
    ) -> Iterator[tuple[int, str | Completion]]:
        """Yield (row, piece of text) as text is generated and (row, completion) when a row is done.

        Prompts and settings are checked at once, not at the first piece.
        """
        settings = with_defaults(settings, self.sampling)
        loaded = PRECISIONS[self.transformer.activation_dtype]
        if settings.precision not in ("auto", loaded):
            raise UserError(
                f"the model was loaded in {loaded}, not {settings.precision}",
                mend=f"load it with precision={settings.precision!r}",
            )
        StopFilter(settings.stop)
        encoded = {p: self.encode_prompt(p, settings.suffix) for p in dict.fromkeys(prompts)}
        unique, context = list(encoded.values()), self.transformer.config.context_limit
        check_prompts(self.transformer, unique)
        room = context - max(map(len, decoder_prompts(self.transformer, unique)), default=0)
        if "max_new_tokens" in settings.model_fields_set and settings.max_new_tokens > room:
            say(f"the model sees {context:,} tokens at once, prompt included: it writes {room:,}")
        return self._generate_rows(prompts, [encoded[prompt] for prompt in prompts], settings)

    def _generate_rows(
        self, prompts: Sequence[str], encoded: list[list[int]], settings: GenerateSettings
    ) -> Iterator[tuple[int, str | Completion]]:
        writing = Writing(self.served, requests(encoded, settings, self.end_ids))
        texts = decoder_prompts(self.transformer, encoded)
        streams = [TextStream(self.tokenizer, text, settings.stop) for text in texts]
        counts = [0] * len(prompts)
        for row, event in writing.events():
            stream = streams[row]
            if stream.stops.stopped:
                continue
            finish: Any = "stop"
            if isinstance(event, Token):
                counts[row] += 1
                if piece := stream.feed(event.id):
                    yield row, piece
                if not stream.stops.stopped:
                    continue
                writing.stop(row)
            elif isinstance(event, Finished):
                finish = event.reason
            if piece := stream.flush():
                yield row, piece
            yield row, Completion(prompts[row], "".join(stream.pieces), counts[row], finish)

    @cached_property
    def served(self) -> Served:
        """The model as it writes: on a CPU with weights arranged anew, where they fit twice."""
        model, free = self.transformer.eval(), memory().free
        size = sum(parameter.nbytes for parameter in model.parameters())
        if (
            isinstance(model, EncoderDecoder)
            or model.embedding.weight.device.type != "cpu"
            or (free is not None and size > free // 2)
        ):
            return as_it_is(model, self.tokenizer.vocab_size)
        with torch.inference_mode():
            return prepare(model, self.tokenizer, "none", torch.get_num_threads(), exact=True)


def load(
    name: str | Path,
    *,
    precision: Precision | None = None,
    device: str | torch.device | None = None,
) -> LanguageModel | MaskedLanguageModel:
    """Load a model from a run directory, a Hugging Face directory or the Hub: one to `generate`
    with, or an encoder to `fill` gaps with.

    `precision` defaults to "auto", for an encoder to "fp32"; `device` to a GPU where there is one.
    Raises UserError where anything is missing or damaged.
    """
    if read_config(find_directory(name) / "config.json").is_generative:
        return load_language_model(name, precision=precision or "auto", device=device)
    return load_masked_model(name, precision=precision or "fp32", device=device)


def load_language_model(
    name: str | Path, *, precision: Precision = "auto", device: str | torch.device | None = None
) -> LanguageModel:
    """Load a generative model from a run directory, a Hugging Face directory or the Hub.

    `device` defaults to a GPU where there is one. Raises UserError for an encoder, and as `load`.
    """
    directory, transformer, tokenizer = open_model(name, precision, device)
    require_generative(transformer, name)
    start_id, end_ids = boundary_ids(directory, tokenizer)
    sampling = sampling_of(name, directory)
    return LanguageModel(str(name), transformer, tokenizer, start_id, end_ids, sampling)


def generate(
    model: str | Path | LanguageModel,
    prompt: str | Sequence[str] | None = None,
    settings: GenerateSettings | None = None,
    **overrides: Any,
) -> str | list[Any]:
    """Continue a prompt, or each of several, as `LanguageModel.generate` does.

    To generate more than once, `load` the model and keep it.
    """
    settings = _settings(settings, overrides)
    if not isinstance(model, LanguageModel):
        model = load_language_model(model, precision=settings.precision)
    return model.generate(prompt, settings)


def _settings(settings: GenerateSettings | None, overrides: dict[str, Any]) -> GenerateSettings:
    return with_overrides(GenerateSettings, settings, overrides)
