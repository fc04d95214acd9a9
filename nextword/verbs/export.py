"""`export`: a model written for other programs, and read back to see that it is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import torch

from nextword.errors import UserError
from nextword.files import is_replaced, write_atomically, write_errors
from nextword.hub.gguf.tokenizer_writing import TextEnds, normalizes
from nextword.hub.gguf.writing import architecture_of, write_gguf
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load as load_directory
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.models.encoder_decoder import GenerativeModel
from nextword.settings import ExportSettings, with_overrides
from nextword.tasks.generate.chat_template import ChatTemplate, own_template
from nextword.terminal import say, warn
from nextword.tokens.tokenizer import Tokenizer
from nextword.verbs.modelfile import modelfile

# Texts whose ids must be the same in the file: what tokenizers most often differ in.
PROBES = (
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "He'd said we'RE 12,345.678 times—“don't!”",
    "def f(x):\n\treturn x**2  # squared\r\n\n\n    if not x:",
    "牀前看月光，疑是地上霜。舉頭望山月，低頭思故鄉。2024年3月15日",
    "Größe naïve Ångström ελληνικά русский עברית العربية हिन्दी ไทย 한국어 🙂👩‍👩‍👧",
    "<|endoftext|></s><s>[SEP]<|im_start|>user\nplain characters<|im_end|>",
    "  leading, trailing, \t\t tabs and    runs of spaces   ",
    "\0\x01 ᠎\u00a0\u200b\ufeff\u3000",
)
SAMPLED = 256  # tokens that the model itself writes, on which its file is compared with it
# The files that are written, and how one that was written before is known.
KINDS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("GGUF file", lambda start: start.startswith(b"GGUF")),
    ("Modelfile", lambda start: start.startswith(b"FROM ")),
    ("page of this command", lambda start: b"was written by `nextword export" in start),
)
WRONG = 0.5  # nats: a file that differs by as much is another model


@dataclass(frozen=True)
class Parity:
    """How a file read back compares: `texts` of which the ids are the same, and on so many `tokens`
    that the model wrote itself the mean KL divergence, in nats, and how often both hold the same
    token for the likeliest."""

    texts: int
    tokens: int
    kl: float
    same_choice: float


@dataclass(frozen=True)
class Exported:
    """The files written, how many tensors have which type, and how the model reads back."""

    path: str
    modelfile: str
    readme: str
    name: str
    types: dict[str, int]
    parity: Parity
    warnings: list[str] = field(default_factory=list)


def export(
    model: str | Path, out: str | Path, settings: ExportSettings | None = None, **overrides: Any
) -> Exported:
    """Write a decoder to OUT.gguf, with a Modelfile for Ollama and a page of commands beside it.

    The file is read back: every probe must have the same ids, and the distributions of the next
    token are compared. Raises UserError for what llama.cpp would read otherwise,
    and where other files than such stand under these names.
    """
    settings = with_overrides(ExportSettings, settings, overrides)
    path = Path(out).expanduser()
    if path.suffix != ".gguf":
        raise UserError("is no name of a GGUF file", where=path, mend=f"say --out {path}.gguf")
    beside = path.with_suffix(".Modelfile"), path.with_suffix(".md")
    written = dict(zip((path, *beside), KINDS, strict=True))
    replaced = [
        file.name for file, (kind, known) in written.items() if is_replaced(file, kind, known)
    ]
    loaded = load_language_model(model, precision="fp32", device="cpu")
    architecture_of(loaded.transformer.config)
    tokenizer, template = loaded.tokenizer, own_template(loaded.tokenizer)
    ends = TextEnds(loaded.start_id, _ends(loaded, template), template)
    with write_errors(path):
        types = write_gguf(
            path, loaded.transformer, tokenizer, ends, settings.quantize, Path(str(model)).name
        )
    warnings = []
    if normalizes(tokenizer):
        warnings.append("llama.cpp does not compose characters (NFC): it gives é in two other ids")
    if types.get("F16") and settings.quantize.startswith("q"):
        warnings.append(
            f"{types['F16']} matrices are f16: their rows do not divide into groups of 32"
        )
    parity = compare(loaded, path)
    context = loaded.transformer.config.context_length
    ollama, problem = modelfile(path, tokenizer, ends.end_ids, context, template)
    warnings += [problem] if problem else []
    for line in warnings:
        warn(line)
    pages = ollama, _page(path, str(find_directory(model)), template, context)
    for file, page in zip(beside, pages, strict=True):
        with write_errors(file):
            write_atomically(file, page)
    if replaced:
        say(f"{path.parent}: {', '.join(replaced)}, which were there, are replaced")
    return Exported(str(path), str(beside[0]), str(beside[1]), path.stem, types, parity, warnings)


@torch.no_grad()
def compare(model: LanguageModel, path: Path) -> Parity:
    """Compare a model with its GGUF file. Raises UserError where ids differ, or the file is another
    model."""
    again, tokenizer = load_directory(path)
    for text in PROBES:
        _check_ids(model.tokenizer, tokenizer, text)
    start = model.encode_prompt("")
    room = model.transformer.config.context_limit - len(start)
    said = model.generate(max_new_tokens=min(SAMPLED, room), temperature=1.0, seed=1)
    ids = (start + model.tokenizer.encode(str(said)))[: model.transformer.config.context_length]
    before, after = (_log_probabilities(m, ids) for m in (model.transformer, again))
    kl = (before.exp() * (before - after)).sum(-1).mean().item()
    same = (before.argmax(-1) == after.argmax(-1)).float().mean().item()
    if not kl < WRONG:
        raise UserError(
            f"read back, the file gives another distribution of the next token (KL {kl:.2f})",
            where=path,
            mend="choose another --quantize, such as q8_0 or f16",
        )
    return Parity(len(PROBES), len(ids), max(kl, 0.0), same)


def _check_ids(ours: Tokenizer, theirs: Tokenizer, text: str) -> None:
    if ours.encode(text, template=True) != theirs.encode(text, template=True):
        raise UserError(f"read back, the tokenizer of the file gives {text[:40]!r} other ids")


def _log_probabilities(model: GenerativeModel, ids: list[int]) -> torch.Tensor:
    logits = model.logits(model(torch.tensor([ids]))[0]).float()  # [time, vocabulary]
    return logits.log_softmax(-1)


def _ends(model: LanguageModel, template: str) -> list[int]:
    """Return the tokens that end a text or a turn, those of conversations first."""
    turn = ChatTemplate(model.tokenizer, template).end_ids() if template else frozenset[int]()
    first = sorted(turn - {model.tokenizer.end_id})
    return list(dict.fromkeys([*first, model.tokenizer.end_id, *sorted(model.end_ids)]))


def _page(path: Path, model: str, template: str, context: int) -> str:
    """Return export.md filled in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    page = environment.get_template("export.md")
    return page.render(
        file=path.name, name=path.stem, model=model, chats=bool(template), context=context
    )
