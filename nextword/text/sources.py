"""What a person names as data → a list of sources → their documents."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nextword.errors import UserError
from nextword.terminal import warn
from nextword.text.compression import SUFFIXES, open_stream
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.readers.conll import conll_records
from nextword.text.readers.delimited import delimited_records, read_delimited
from nextword.text.readers.epub import read_epub
from nextword.text.readers.html import read_html
from nextword.text.readers.hub import SCHEME, hub_records, parse, read_hub
from nextword.text.readers.parquet import parquet_records, read_parquet
from nextword.text.readers.pdf import read_pdf
from nextword.text.readers.plain import read_plain
from nextword.text.readers.records import Found, json_records, jsonl_records, read_json, read_jsonl

__all__ = ["READERS", "Source", "expand", "fingerprint", "read", "records"]

Reader = Callable[[Source, str | None, Tally], Iterator[Document | Bad]]
READERS: dict[str, Reader] = {
    "text": read_plain,
    "html": read_html,
    "json": read_json,
    "jsonl": read_jsonl,
    "csv": read_delimited,
    "tsv": read_delimited,
    "parquet": read_parquet,
    "epub": read_epub,
    "pdf": read_pdf,
    "hub": read_hub,
}
RECORDS: dict[str, Callable[[Source, Tally], Iterator[Found]]] = {
    "json": json_records,
    "jsonl": jsonl_records,
    "csv": delimited_records,
    "tsv": delimited_records,
    "parquet": parquet_records,
    "hub": hub_records,
    "conll": conll_records,
}
_KINDS = {
    ".txt": "text",
    ".md": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".epub": "epub",
    ".pdf": "pdf",
}
_UNREADABLE = "the file, or the rest of it, cannot be read"
_SNIFFED = 4096  # bytes that tell whether a file of an unknown kind is text


def expand(data: Sequence[str]) -> list[Source]:
    """The sources that files, folders (with all inside), patterns and hf:// names stand for.

    In the order given, sorted within a folder or pattern, each once. In folders hidden files and
    files that are not text are passed over. Raises UserError where there is nothing to read.
    """
    found: dict[str, Source] = {}
    passed_over: dict[str, None] = {}
    for name in map(str, data):
        if name.startswith(SCHEME):
            parse(name)
            found.setdefault(name, Source(name, "hub"))
            continue
        for path in _files(name, passed_over):
            found.setdefault(os.path.realpath(path), _source(path))
    if not found:
        raise UserError("no data given", mend="name files, folders, patterns or hf:// data sets")
    if passed_over:
        names = ", ".join(os.path.basename(path) for path in list(passed_over)[:5])  # noqa: PTH119
        more = ", ..." if len(passed_over) > 5 else ""
        warn(f"passed over as no text: {len(passed_over):,} files ({names}{more})")
    return list(found.values())


def _refuse(error: OSError) -> None:
    """A folder that cannot be looked into: `os.walk` would pass it over without a word."""
    raise UserError(f"cannot be looked into ({error.strerror})", where=error.filename)


def _files(name: str, passed_over: dict[str, None]) -> list[str]:
    """`passed_over` gathers those that are no text, in folders and among what patterns match."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            files = sorted(_inside(path, passed_over))
            if not files:
                raise UserError("has no file of text in it", where=name)
            return files
        if path.is_file():
            return [str(path)]
        if not path.exists() and glob.has_magic(name):
            files = []
            for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207
                if Path(match).is_dir():
                    files += sorted(_inside(Path(match), passed_over))
                elif Path(match).is_file() and _is_readable(match, passed_over):
                    files.append(match)
            if not files:
                raise UserError("no file of text matches", where=name)
            return files
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be looked up ({error})", where=repr(name)) from None
    if path.exists():
        raise UserError("is neither a file nor a folder", where=name)
    raise UserError("no such file or folder", where=name, mend=_similar(path))


def _similar(path: Path) -> str:
    import difflib

    try:
        names = [file.name for file in path.parent.iterdir()]
        match = difflib.get_close_matches(path.name, names, n=1)
    except OSError:
        return ""
    return f"did you mean {str(path.parent / match[0])!r}?" if match else ""


def _inside(folder: Path, passed_over: dict[str, None]) -> Iterator[str]:
    """The readable files under a folder; links that lead out of it are not followed."""
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):  # noqa: PTH114, PTH118
                warn(f"{os.path.join(parent, name)} is passed over: it links to a folder")  # noqa: PTH118
        for name in files:
            path = os.path.join(parent, name)  # noqa: PTH118
            if name.startswith(".") or not os.path.isfile(path):  # noqa: PTH113
                continue
            if os.path.commonpath([root, os.path.realpath(path)]) != root:
                warn(f"{path} is passed over: it links to a file outside {folder}")
                continue
            if _is_readable(path, passed_over):
                yield path


def _is_readable(path: str, passed_over: dict[str, None]) -> bool:
    if _suffixes(path)[0] in _KINDS or _is_text(path):
        return True
    if Path(path).stat().st_size:
        passed_over[path] = None
    return False


def _suffixes(path: str) -> tuple[str, str | None]:
    """(suffix of the format, compression) of a name such as "a.jsonl.gz"."""
    stem, suffix = os.path.splitext(path.lower())  # noqa: PTH122
    if suffix in SUFFIXES:
        return os.path.splitext(stem)[1], SUFFIXES[suffix]  # noqa: PTH122
    return suffix, None


def _source(path: str) -> Source:
    suffix, compression = _suffixes(path)
    return Source(path, _KINDS.get(suffix, "text"), compression, Path(path).stat().st_size)


def _is_text(path: str) -> bool:
    try:
        with open_stream(path, _suffixes(path)[1]) as file:
            start = file.read(_SNIFFED)
    except (UserError, OSError):
        return False
    printable = len(start) - len(start.translate(None, bytes(range(9)) + bytes(range(14, 27))))
    return bool(start) and b"\0" not in start and printable == 0


def fingerprint(sources: Iterable[Source]) -> str:
    """SHA-256 of names, sizes and times of change: another value means other data."""
    digest = hashlib.sha256()
    for source in sources:
        changed = 0 if source.kind == "hub" else Path(source.path).stat().st_mtime_ns
        line = f"{source.path}\0{source.kind}\0{source.size}\0{changed}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def read(
    source: Source, *, text_column: str | None = None, skip_bad: bool = False, tally: Tally
) -> Iterator[Document]:
    """The documents of a source as they are found, none held longer than needed.

    What cannot be read raises UserError, or with `skip_bad` is counted as rejected and left out;
    `tally` counts everything either way.
    """
    items = READERS[source.kind](source, text_column, tally)
    ends = False
    while not ends:
        try:
            item = next(items)
        except StopIteration:
            return
        except UserError as error:
            item = Bad(error.what, str(error.where or source.path), "", _UNREADABLE, error.mend)
            ends = True
        except Exception as error:  # the last resort: damage can surprise any parser
            what = f"cannot be read ({type(error).__name__}: {why(error)})"
            item = Bad(what, source.path, "", _UNREADABLE)
            ends = True
        if isinstance(item, Document):
            item = _writable(item)
        if isinstance(item, Bad):
            tally.reject(item.kind or item.what, item.source, item.content, item.what)
            if not skip_bad:
                mend = item.mend or "mend it, or pass --skip-bad to leave it out"
                raise UserError(item.what, where=item.source, mend=mend)
        elif not item.text or item.text.isspace():
            tally.skip("empty", item.source)
        else:
            tally.accept()
            yield item


def records(source: Source, tally: Tally) -> Iterator[Found]:
    """(place, record) of each row of a table, line or element of JSON; Bad for what is neither."""
    try:
        yield from RECORDS[source.kind](source, tally)
    except UserError:
        raise
    except Exception as error:  # the last resort: damage can surprise any parser
        raise UserError(
            f"cannot be read ({type(error).__name__}: {why(error)})", where=source.path
        ) from None


def _writable(document: Document) -> Document | Bad:
    """Bad where half a surrogate pair stands alone, which no encoding can write."""
    try:
        if not document.text.isascii():
            document.text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(document.text[error.start]):04X} at character {error.start}"
        what = f"has a lone surrogate {found} of its text"
        return Bad(what, document.source, document.text, "lone surrogate")
    return document
