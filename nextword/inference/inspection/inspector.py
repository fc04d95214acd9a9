"""One text, one place in it, and what a model makes of them: what `POST /inspect` answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from nextword.errors import UserError
from nextword.inference.inspection.heads import Stack, attention
from nextword.inference.inspection.lens import lens
from nextword.inference.inspection.odds import odds, sampled
from nextword.inference.inspection.reading import (
    AnyModel,
    Reading,
    kind_of,
    read_ids,
    read_text,
    stack_of,
)
from nextword.inference.inspection.surprise import surprise
from nextword.inference.inspection.window import window
from nextword.inference.masked_model import MaskedLanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.settings import GenerateSettings
from nextword.tokens.pieces import Piece

WANTED = ("tokens", "surprise", "odds", "lens", "attention", "fill")
USUAL = ("tokens", "surprise", "odds")
MOST_CANDIDATES = 100
MOST_LOOKS = 4096  # places × layers of one lens
MOST_SHOWN = 1 << 16  # ... × candidates
MOST_WEIGHTS = 1 << 18  # heads × tokens of one look at attention
KEPT = 8  # texts whose last scores are kept


@dataclass(frozen=True)
class Question:
    """What is asked of a text: `text` or the ids `tokens`; of an encoder–decoder they are the
    source, and `target` or `target_tokens` what it has written.

    `position` is a token's number, by default the last one's; a decoder is asked what follows it,
    an encoder what stands there, which it does not see if `hide`. `start` puts a decoder's start
    token before a text. The first `prompt_tokens` tokens, by default all, are no generated ones
    (for penalties). `follow`, `positions` are of the lens; `layer`, `stack` of attention.
    """

    text: str | None = None
    tokens: Sequence[int] | None = None
    target: str = ""
    target_tokens: Sequence[int] | None = None
    start: bool = True
    position: int = -1
    hide: bool = True
    want: Sequence[str] = USUAL
    top: int = 10
    sampling: GenerateSettings = field(default_factory=GenerateSettings)
    prompt_tokens: int | None = None
    follow: int | None = None
    positions: Sequence[int] | None = None
    layer: int = -1
    stack: Stack | None = None


class Inspector:
    """A model that can be looked into. The scores of the last texts asked about are kept, so that
    other sampling settings cost no further pass."""

    def __init__(self, model: AnyModel) -> None:
        self.model = model
        self._scores: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()

    def inspect(self, question: Question) -> dict[str, Any]:
        """Return the answer to a question, plain values for JSON. Raises UserError for a question
        that does not fit the model, or is too much at once."""
        for answer in self.steps(question):
            if answer is not None:
                return answer
        raise AssertionError("a question without an answer")

    def steps(self, question: Question) -> Iterator[dict[str, Any] | None]:
        """Yield None after each piece of work, and the answer last: a caller may do something else
        in between, or stop. Raises UserError as `inspect`."""
        _check(question)
        model, reading = self.model, self._read(question)
        place = reading.place(question.position) if reading.pieces else 0
        answer: dict[str, Any] = {
            "model": describe(model),
            "position": place,
            "count": len(reading.pieces),
        }
        if "tokens" in question.want:
            answer["tokens"] = [piece_to_json(piece) for piece in reading.pieces]
            if reading.source is not None:
                answer["source_tokens"] = [piece_to_json(piece) for piece in reading.source]
        if "surprise" in question.want:
            for found in surprise(model, reading):
                if found is None:
                    yield None
                else:
                    answer["surprise"] = asdict(found)
        if "odds" in question.want:
            answer["odds"] = self._odds(question, reading, place)
            yield None
        if "lens" in question.want:
            yield from self._lens(question, reading, place, answer)
        if "attention" in question.want:
            answer["attention"] = self._attention(question, reading, place)
            yield None
        if "fill" in question.want:
            answer["fill"] = self._fill(question, reading)
            yield None
        yield answer

    def _read(self, question: Question) -> Reading:
        if question.tokens is not None:
            return read_ids(self.model, question.tokens, question.target_tokens)
        text = question.text or ""
        if question.target_tokens is not None and kind_of(self.model) == "encoder–decoder":
            source = self.model.tokenizer.encode(text, template=True)
            return read_ids(self.model, source, question.target_tokens)
        return read_text(self.model, text, start=question.start, target=question.target)

    def _odds(self, question: Question, reading: Reading, place: int) -> dict[str, Any]:
        settings = question.sampling
        if reading.kind == "encoder":  # nothing is drawn of it
            settings = GenerateSettings(temperature=1.0)
        ids = reading.ids[: place + 1]
        first = len(ids) if question.prompt_tokens is None else question.prompt_tokens
        scores = self._scores_at(question, reading, place)
        after = sampled(scores, settings, ids[:first], ids[first:])
        actual = _stands_there(reading, place)
        found = odds(self.model.tokenizer, scores, after, actual, question.top)
        return {"position": place, **found}

    def _scores_at(self, question: Question, reading: Reading, place: int) -> Tensor:
        seen = window(self.model, reading, [place], hide=question.hide)
        key = (*seen.ids.tolist(), -1, *seen.source_ids, -1, int(seen.places[0]))
        if key not in self._scores:
            self._scores[key] = seen.logits()[0]
            if len(self._scores) > KEPT:
                self._scores.popitem(last=False)
        self._scores.move_to_end(key)
        return self._scores[key]

    def _lens(
        self, question: Question, reading: Reading, place: int, answer: dict[str, Any]
    ) -> Iterator[None]:
        places = list(question.positions) if question.positions else [place]
        layers = stack_of(self.model).config.layers + 1
        if len(places) * layers > MOST_LOOKS:
            raise UserError(
                f"{len(places):,} positions of {layers} layers are more than {MOST_LOOKS:,}",
                where="positions",
                mend="ask about fewer positions",
            )
        if (shown := len(places) * layers * question.top) > MOST_SHOWN:
            raise UserError(
                f"{shown:,} candidates are more than {MOST_SHOWN:,}",
                where="top",
                mend="ask for fewer at each position",
            )
        vocabulary = self.model.tokenizer.vocab_size
        follow = _stands_there(reading, place) if question.follow is None else question.follow
        if question.follow is not None and not 0 <= question.follow < vocabulary:
            raise UserError(f"token {question.follow} is not in the vocabulary", where="follow")
        if follow is not None and follow >= vocabulary:
            follow = None
        seen = window(self.model, reading, places, hide=question.hide)
        for found in lens(seen, follow, question.top):
            if found is None:
                yield None
            else:
                answer["lens"] = found

    def _attention(self, question: Question, reading: Reading, place: int) -> dict[str, Any]:
        config = stack_of(self.model).config
        columns = max(len(reading.pieces), len(reading.source or []))
        if config.heads * columns > MOST_WEIGHTS:
            raise UserError(
                f"{config.heads} heads over {columns:,} tokens are more weights than "
                f"{MOST_WEIGHTS:,}",
                where="text",
                mend="give a shorter text",
            )
        position = question.position if question.stack == "encoder" else place
        return attention(
            self.model, reading, position, question.layer, question.stack, hide=question.hide
        )

    def _fill(self, question: Question, reading: Reading) -> dict[str, Any]:
        if not isinstance(self.model, MaskedLanguageModel):
            raise UserError(
                f"the model is a {kind_of(self.model)}, and fills no gaps",
                where="want",
                mend="ask for its odds",
            )
        filled = self.model.fill(reading.text, question.top)
        masks = [n for n, piece in enumerate(reading.pieces) if piece.id == self._mask_id]
        gaps = [
            {"position": place, "candidates": [asdict(candidate) for candidate in candidates]}
            for place, candidates in zip(masks, filled.gaps, strict=True)
        ]
        return {"text": filled.text, "gaps": gaps}

    @property
    def _mask_id(self) -> int | None:
        return self.model.tokenizer.mask_id


def describe(model: AnyModel) -> dict[str, Any]:
    """Return what a model is: its kind, and how many layers and heads can be looked at."""
    config, mask = model.transformer.config, model.tokenizer.mask_id
    is_pair = isinstance(model.transformer, EncoderDecoder)
    return {
        "name": model.name,
        "family": config.family,
        "kind": kind_of(model),
        "layers": config.layers,
        "decoder_layers": config.decoder_layers if is_pair else 0,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "vocab_size": model.tokenizer.vocab_size,
        "context_length": config.context_length,
        "mask": None if mask is None else model.tokenizer.id_to_token(mask),
    }


def piece_to_json(piece: Piece) -> dict[str, Any]:
    return {**asdict(piece), "bytes": "" if piece.bytes is None else piece.bytes.hex()}


def _stands_there(reading: Reading, place: int) -> int | None:
    """The token that a question about a place is about: an encoder's own, a decoder's next one."""
    at = place if reading.kind == "encoder" else place + 1
    return reading.pieces[at].id if at < len(reading.pieces) else None


def _check(question: Question) -> None:
    if (question.text is None) == (question.tokens is None):
        raise UserError("give either a text or tokens", where="text")
    unknown = [name for name in question.want if name not in WANTED]
    if unknown:
        raise UserError(
            f"nothing is known of {unknown[0]!r}", where="want", mend=f"known: {', '.join(WANTED)}"
        )
    if not 1 <= question.top <= MOST_CANDIDATES:
        raise UserError(f"{question.top}: expected 1 to {MOST_CANDIDATES}", where="top")
    if question.prompt_tokens is not None and question.prompt_tokens < 0:
        raise UserError(f"{question.prompt_tokens}: expected at least 0", where="prompt_tokens")
