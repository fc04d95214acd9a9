"""`nextword chat`: a conversation in the terminal, or through a pipe."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.cli.options import MODEL, command
from nextword.cli.use import say_sampling, write
from nextword.errors import UserError, nearest
from nextword.settings import ChatSettings
from nextword.terminal import say

if TYPE_CHECKING:
    from nextword.verbs.conversation import Conversation

HELP = """  /retry        another answer in place of the last one
  /undo         take back what you said last, and its answer
  /system TEXT  what the model is told before the conversation; without TEXT, nothing
  /save FILE    write the conversation to a file
  /new [SEED]   begin again; the same seed and words get the same answers
  /seed         show the seed of this conversation
  /quit         leave; so does Ctrl-D. Ctrl-C stops an answer
  \\ at the end of a line goes on in the next; // at the beginning is a /"""


@command(ChatSettings, MODEL)
def chat(parsed: argparse.Namespace, settings: ChatSettings) -> dict[str, Any] | None:
    from nextword.verbs.conversation import Conversation

    conversation = Conversation.open(parsed.model, settings)
    say_sampling(conversation.model, settings)
    if settings.quantize != "none":
        say(f"weights: {conversation.engine.setup.products}")
    try:
        Terminal(conversation, quiet=parsed.json).run()
    finally:
        conversation.close()
    if not parsed.json:
        return None
    seed, messages = conversation.seed, messages_of(conversation)
    return {"model": conversation.model.name, "seed": seed, "messages": messages}


def messages_of(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in conversation.messages]


class Terminal:
    """Reads what a person types, and writes what the model says; with `quiet`, not."""

    def __init__(self, conversation: Conversation, quiet: bool = False) -> None:
        self.conversation, self.quiet = conversation, quiet
        self.is_interactive = sys.stdin.isatty()
        self._left_out = 0
        self._commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: say(HELP),
            "retry": lambda _: self._show(self.conversation.retry()),
            "undo": self._undo,
            "system": lambda text: self.conversation.tell(text),
            "save": self._save,
            "new": self._new,
            "seed": lambda _: say(f"seed {self.conversation.seed}"),
        }

    def run(self) -> None:
        """Go on until the person leaves."""
        if self.is_interactive:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  # lets `input` edit lines and remember them
            kind = (
                "goes on with what you write" if self.conversation.template is None else "listens"
            )
            say(f"{self.conversation.model.name} {kind}; /help says what else there is")
        for text in self._lines():
            if text in ("/quit", "/exit"):
                return
            try:
                self._do(text)
            except UserError as error:
                if not self.is_interactive:
                    raise  # a program that asks must not take silence for an answer
                say(str(error), style="yellow")

    def _do(self, text: str) -> None:
        if not text.startswith("/") or text.startswith("//"):
            self._show(self.conversation.say(text.removeprefix("/")))
            return
        name, _, rest = text[1:].partition(" ")
        if name not in self._commands:
            hint = nearest(name, self._commands, "/help lists what there is")
            raise UserError(f"there is no /{name}", mend=f"{hint}; begin a text with // for a /")
        self._commands[name](rest.strip())

    def _lines(self) -> Iterator[str]:
        """Yield what is typed, up to the end of the input; lines that end with \\ are joined."""
        whole = ""
        while True:
            try:
                line = input(("... " if whole else "> ") if self.is_interactive else "")
            except EOFError:
                if self.is_interactive:
                    write("\n")
                if whole:
                    yield whole
                return
            except UnicodeDecodeError as error:
                what = f"what was typed is not UTF-8 at byte {error.start}"
                raise UserError(what, where="standard input") from None
            except KeyboardInterrupt:
                if not self.is_interactive:
                    raise
                whole = ""
                say("\n/quit or Ctrl-D leaves")
                continue
            if line.endswith("\\"):
                whole += line[:-1] + "\n"
                continue
            whole += line
            if whole.strip():
                yield whole
            whole = ""

    def _show(self, pieces: Iterator[str]) -> None:
        try:
            for number, piece in enumerate(pieces):
                if not number:
                    self._tell_what_is_left_out()
                if not self.quiet:
                    write(piece)
        except KeyboardInterrupt:
            pieces.close()  # type: ignore[attr-defined]
            if not self.is_interactive:
                raise
        if not self.quiet:
            write("\n")

    def _tell_what_is_left_out(self) -> None:
        left_out = self.conversation.left_out
        if left_out > self._left_out:
            what = "tokens of the text" if self._is_text else "messages"
            say(f"the model no longer sees the first {left_out:,} {what}", style="yellow")
        self._left_out = left_out

    def _undo(self, _: str) -> None:
        say(f"taken back: {self.conversation.undo()}")

    def _new(self, seed: str) -> None:
        if seed and not (seed.isascii() and seed.isdigit() and int(seed) < 2**63):
            raise UserError(f"{seed[:30]!r} is no seed", mend="/new, or /new and a number")
        self.conversation.begin(int(seed) if seed else None)

    def _save(self, name: str) -> None:
        from nextword.files import write_atomically, write_errors

        path = Path(name).expanduser()
        if not name or path.exists():
            what = "exists" if name else "/save needs the name of a file"
            raise UserError(what, where=path if name else None, mend="/save another_file.json")
        told = {"messages": messages_of(self.conversation)}
        text = json.dumps(told, ensure_ascii=False)
        with write_errors(path, mend="/save another_file.json"):
            write_atomically(path, (self.conversation.text if self._is_text else text) + "\n")
        say(f"saved: {path}")

    @property
    def _is_text(self) -> bool:
        return self.conversation.template is None
