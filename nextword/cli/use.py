"""`nextword generate`, `fill`, `trace`, `predict`, `serve` and `export`: a model at work."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from nextword.cli.options import LABELLED, MODEL, Argument, command
from nextword.errors import UserError
from nextword.settings import (
    ExportSettings,
    FillSettings,
    GenerateSettings,
    PredictSettings,
    ServeSettings,
    TraceSettings,
    WritingSettings,
)
from nextword.terminal import say, table

if TYPE_CHECKING:
    from nextword.inference.language_model import LanguageModel
    from nextword.inference.masked_model import Candidate
    from nextword.tokens.tokenizer import Tokenizer

PROMPT = Argument("prompt", "PROMPT", "text; - reads it from standard input", required=False)
RUN = Argument("run", "RUN", "a run, or a token store")
TRACED = Argument("text", "TEXT", "text to look for; - reads it from standard input")
GAPPED = Argument("text", "TEXT", "text with [MASK] in it; - reads it from standard input")


@command(GenerateSettings, MODEL, PROMPT)
def generate(parsed: argparse.Namespace, settings: GenerateSettings) -> dict[str, Any] | None:
    prompt = read_standard_input() if parsed.prompt == "-" else parsed.prompt or ""
    suffix = settings.suffix or ""

    from nextword.inference.language_model import load_language_model

    model = load_language_model(parsed.model, precision=settings.precision)
    say_sampling(model, settings)
    if not suffix and (blanks := joined_blanks(prompt, model.tokenizer)):
        prompt = prompt[:-blanks]
        say("the blank at the prompt's end is left to the model, whose words begin with theirs")
    if settings.num_samples == 1 and not parsed.json:
        pieces = model.stream(prompt, settings)
        write(prompt)
        for piece in pieces:
            write(piece)
        write(f"{suffix}\n")
        return None
    samples = model.complete([prompt], settings)
    if parsed.json:
        texts = {"prompt": prompt} | ({"suffix": suffix} if suffix else {})
        keys = ("text", "tokens", "finish")
        named = [{key: getattr(sample, key) for key in keys} for sample in samples]
        return {"model": model.name, **texts, "samples": named}
    for number, sample in enumerate(samples, 1):
        write(f"--- {number} of {settings.num_samples}\n{prompt}{sample.text}{suffix}\n")
    return None


@command(FillSettings, MODEL, GAPPED)
def fill(parsed: argparse.Namespace, settings: FillSettings) -> dict[str, Any] | None:
    text = read_standard_input() if parsed.text == "-" else parsed.text

    from nextword.inference.masked_model import load_masked_model

    model = load_masked_model(parsed.model, precision=settings.precision)
    filled = model.fill(text, settings.top_k)
    if parsed.json:
        return {"model": model.name, "prompt": text} | dataclasses.asdict(filled)
    write(f"{filled.text}\n")
    write_candidates(filled.gaps, model.tokenizer)
    return None


@command(TraceSettings, RUN, TRACED)
def trace(parsed: argparse.Namespace, settings: TraceSettings) -> dict[str, Any] | None:
    text = read_standard_input() if parsed.text == "-" else parsed.text

    from nextword.verbs.trace import trace

    found = trace(parsed.run, text, settings)
    if parsed.json:
        return found
    write_passages(found)
    return None


@command(
    PredictSettings,
    dataclasses.replace(MODEL, help="a run of `nextword finetune`, or a model"),
    LABELLED,
    Argument("--out", "FILE", "file for the predictions, as JSON lines"),
)
def predict(parsed: argparse.Namespace, settings: PredictSettings) -> dict[str, Any]:
    from nextword.verbs.predict import predict

    predictions = predict(parsed.model, parsed.data, parsed.out, settings)
    read = sum("error" not in prediction for prediction in predictions)
    say(f"{read:,} predictions: {parsed.out}")
    return {"out": parsed.out, "predictions": predictions}


def joined_blanks(prompt: str, tokenizer: Tokenizer) -> int:
    """Return how many blanks at a prompt's end become one token with a word that follows them.

    After blanks that are a token of their own a model has seen more blanks, hardly ever a word.
    """
    text = prompt.rstrip(" \t")
    if not text or text == prompt:
        return 0
    ids = tokenizer.encode(prompt)
    followed = tokenizer.encode(prompt + text.split()[-1])
    return 0 if followed[: len(ids)] == ids else len(prompt) - len(text)


def say_sampling(model: LanguageModel, settings: WritingSettings) -> None:
    """Say which settings nobody gave are the model's own."""
    own = {name: v for name, v in model.sampling.items() if name not in settings.model_fields_set}
    if own:
        named = ", ".join(f"{name.replace('_', '-')} {value:g}" for name, value in own.items())
        say(f"{named}: as the model's makers have it write")


def write_candidates(gaps: list[list[Candidate]], tokenizer: Tokenizer) -> None:
    """Write each gap's candidates with their probabilities, in columns; number several gaps."""
    from rich.cells import cell_len

    # A candidate of space alone is shown as Python writes it.
    words = [
        [one.word or repr(tokenizer.decode([one.id], skip_special=False)) for one in gap]
        for gap in gaps
    ]
    width = max(cell_len(word) for gap in words for word in gap)
    for number, (gap, names) in enumerate(zip(gaps, words, strict=True), 1):
        write("\n" if len(gaps) == 1 else f"\n{number}\n")
        for candidate, word in zip(gap, names, strict=True):
            padding = " " * (width - cell_len(word))
            write(f"  {word}{padding}  {candidate.probability:6.1%}\n")


def write_passages(found: dict[str, Any]) -> None:
    """Write the passages of a text that stand in the training text, and where."""
    if not found["passages"]:
        longest = found["longest"]
        write(f"Not in the training text: the longest match has {longest:,} tokens.\n")
        return
    share, size = found["verbatim_share"], found["text_bytes"]
    write(f"{share:.1%} of these {size:,} bytes stand word for word in the training text.\n")
    for passage in found["passages"]:
        count = passage["occurrences"]
        times = "once" if count == 1 else f"{count:,} times"
        write(f"\n“{passage['text']}”\n  {passage['tokens']:,} tokens, {times}\n")
        for place in passage["places"]:
            line = "" if place["line"] is None else f", line {place['line']:,}"
            around = " ".join(f"{place['before']}⟦…⟧{place['after']}".split())
            write(f"  {place['source']}{line}: …{around}…\n")


def read_standard_input() -> str:
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        what = f"the prompt is not UTF-8 at byte {error.start}"
        raise UserError(what, where="standard input") from None


def write(text: str) -> None:
    """Write to standard output; what the terminal cannot show is replaced there, and only there."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


@command(ServeSettings, MODEL)
def serve(parsed: argparse.Namespace, settings: ServeSettings) -> None:
    from nextword.serving.server import serve

    serve(parsed.model, settings)


@command(ExportSettings, MODEL, Argument("--out", "FILE", "file to write, such as my.gguf"))
def export(parsed: argparse.Namespace, settings: ExportSettings) -> dict[str, Any]:
    from nextword.verbs.export import export

    exported = export(parsed.model, parsed.out, settings)
    checked = exported.parity
    facts = [
        ("weights", ", ".join(f"{count} {kind}" for kind, count in exported.types.items())),
        ("read back", f"{checked.texts} texts have the same ids"),
        ("next token's distribution", f"KL {checked.kl:.2g} from the original's (mean)"),
        ("the likeliest token is the same", f"{checked.same_choice:.1%} of {checked.tokens:,}"),
        ("for Ollama", f"ollama create {exported.name} -f {exported.modelfile}"),
        ("for llama.cpp, vLLM, lm-eval", f"see {exported.readme}"),
    ]
    table(f"Written: {exported.path}", ["", ""], facts)
    return dataclasses.asdict(exported)
