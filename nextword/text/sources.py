"""From what a person names as data to sources, and from sources to documents or records."""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nextword.addresses import RemoteFile, is_address, list_files
from nextword.errors import UserError, naming
from nextword.terminal import count_of, warn
from nextword.text.columns import is_text, text_name_rank
from nextword.text.compression import SUFFIXES, open_decompressed
from nextword.text.document import (
    Document,
    Documents,
    ReadError,
    ReadStats,
    Records,
    Source,
    explaining,
    lone_surrogate,
)
from nextword.text.readers import (
    brat,
    conll,
    datasets,
    delimited,
    documents,
    plain,
    records,
    translation_memory,
)
from nextword.text.weighing import is_running_text

DocumentReader = Callable[[Source, str | None, ReadStats], Documents]
RecordReader = Callable[[Source, ReadStats], Records]

DOCUMENT_READERS: dict[str, DocumentReader] = {
    "text": plain.read_plain,
    "html": documents.read_html,
    "json": records.read_json,
    "jsonl": records.read_jsonl,
    "csv": delimited.read_delimited,
    "tsv": delimited.read_delimited,
    "parquet": datasets.read_parquet,
    "epub": documents.read_epub,
    "pdf": documents.read_pdf,
    "hub": datasets.read_hub,
}
RECORD_READERS: dict[str, RecordReader] = {
    "json": records.json_records,
    "jsonl": records.jsonl_records,
    "csv": delimited.delimited_records,
    "tsv": delimited.delimited_records,
    "parquet": datasets.parquet_records,
    "hub": datasets.hub_records,
    "conll": conll.conll_records,
    "tmx": translation_memory.tmx_records,
    "brat": brat.brat_records,
}
_OWN_SUFFIX = ("html", "json", "jsonl", "csv", "tsv", "parquet", "epub", "pdf")
_ALIASES = {".txt": "text", ".md": "text", ".htm": "html", ".xhtml": "html", ".ndjson": "jsonl"}
_KINDS = {f".{kind}": kind for kind in _OWN_SUFFIX} | _ALIASES
_UNREADABLE = "the file, or the rest of it, cannot be read"
_FAILED = "cannot be read ({kind}: {reason})"
_DELETED = ("[deleted]", "[removed]")  # what Reddit writes in place of a text
_DELETED_LENGTH = 9
_FIRST_LINE = 2**20  # bytes of a line that tell whether a file of an unknown kind is JSON lines
_SNIFFED_BYTES = 4096  # that tell whether a file of an unknown kind is text


def list_items(data: str | Path | Sequence[str | Path]) -> list[str]:
    """Return what a person names as data, one thing or several, as texts for find_sources."""
    return [str(item) for item in ([data] if isinstance(data, str | Path) else data)]


def find_sources(data: Sequence[str]) -> list[Source]:
    """Return the sources that files, folders (with all inside), patterns and hf:// names stand for.

    They come in the order given, sorted within a folder or pattern, each once. In folders hidden
    files and files that are not text are passed over. Raises UserError where there is nothing to
    read.
    """
    sources: dict[str, Source] = {}
    not_text: dict[str, None] = {}
    for name in map(str, data):
        if name.startswith(datasets.HUB_SCHEME):
            datasets.parse_dataset_name(name)
            sources.setdefault(name, Source(name, "hub"))
            continue
        if is_address(name):
            for file in _files_at(name, not_text):
                sources.setdefault(file.address, _source(file.address, file.size, file.version))
            continue
        for path in _files(name, not_text):
            size = Path(path).stat().st_size
            sources.setdefault(os.path.realpath(path), _source(path, size))
    if not sources:
        raise UserError("no data given", mend="name files, folders, patterns or hf:// data sets")
    if not_text:
        names = ", ".join(Path(path).name for path in list(not_text)[:5])
        more = ", ..." if len(not_text) > 5 else ""
        warn(f"passed over as no text: {count_of(len(not_text), 'file')} ({names}{more})")
    return list(sources.values())


def _files(name: str, not_text: dict[str, None]) -> list[str]:
    """Return the files of one name; those in folders and patterns that are not text go to
    `not_text`."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            files = sorted(_files_inside(path, not_text))
            if not files:
                raise UserError("has no file of text in it", where=name)
            return files
        if path.is_file():
            return [str(path)]
        if not path.exists() and glob.has_magic(name):
            files = []
            for match in sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207
                if Path(match).is_dir():
                    files += sorted(_files_inside(Path(match), not_text))
                elif Path(match).is_file() and _is_readable(match, not_text):
                    files.append(match)
            if not files:
                raise UserError("no file of text matches", where=name)
            return files
    except (ValueError, OSError) as error:
        raise UserError(f"cannot be looked up ({error})", where=repr(name)) from None
    if path.exists():
        raise UserError("is neither a file nor a folder", where=name)
    raise UserError("no such file or folder", where=name, mend=_similar_name(path))


def _files_at(address: str, not_text: dict[str, None]) -> list[RemoteFile]:
    """Return the files of an address, as `_files` does."""
    root = address.rstrip("/")
    found = list_files(root)
    if not found:
        raise UserError("no such file or folder", where=address, mend="check the address")
    if {file.address for file in found} == {root}:
        return found
    files = [
        file
        for file in found
        if not any(part.startswith(".") for part in file.address.removeprefix(root).split("/"))
        and _is_readable(file.address, not_text, file.size)
    ]
    if not files:
        raise UserError("has no file of text in it", where=address)
    return files


def _similar_name(path: Path) -> str:
    try:
        names = [file.name for file in path.parent.iterdir()]
        match = difflib.get_close_matches(path.name, names, n=1)
    except OSError:
        return ""
    return f"did you mean {str(path.parent / match[0])!r}?" if match else ""


def _files_inside(folder: Path, not_text: dict[str, None]) -> Iterator[str]:
    """Yield the readable files under a folder; links that lead out of it are not followed."""

    def refuse(error: OSError) -> None:  # `os.walk` would pass the folder over without a word
        raise UserError(f"cannot be looked into ({error.strerror})", where=error.filename)

    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        for name in folders:
            path = os.path.join(parent, name)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                warn(f"{path} is passed over: it links to a folder")
        for name in files:
            path = os.path.join(parent, name)  # noqa: PTH118
            if name.startswith(".") or not os.path.isfile(path):  # noqa: PTH113
                continue
            if os.path.commonpath([root, os.path.realpath(path)]) != root:
                warn(f"{path} is passed over: it links to a file outside {folder}")
                continue
            if _is_readable(path, not_text):
                yield path


def _is_readable(path: str, not_text: dict[str, None], size: int | None = None) -> bool:
    if _suffixes(path)[0] in _KINDS or _looks_like_text(path):
        return True
    if size if size is not None else Path(path).stat().st_size:
        not_text[path] = None
    return False


def _suffixes(path: str) -> tuple[str, str | None]:
    """Return (suffix of the format, compression) of a name such as "a.jsonl.gz"."""
    stem, suffix = os.path.splitext(path.lower())  # noqa: PTH122
    if suffix in SUFFIXES:
        return os.path.splitext(stem)[1], SUFFIXES[suffix]  # noqa: PTH122
    return suffix, None


def _source(path: str, size: int, version: str = "") -> Source:
    suffix, compression = _suffixes(path)
    kind = _KINDS.get(suffix) or ("jsonl" if _has_json_lines(path, compression) else "text")
    return Source(path, kind, compression, size, version)


def _has_json_lines(path: str, compression: str | None) -> bool:
    """Return whether a file of an unknown kind begins with a line of JSON that has a text, as those
    do that wikiextractor and archives of Reddit have."""
    try:
        with open_decompressed(path, compression) as file:
            line = file.readline(_FIRST_LINE)
        record = json.loads(line) if line.startswith(b"{") else None
    except (UserError, OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and any(
        (text_name_rank(name) is not None and is_text(value))
        or (isinstance(value, str) and is_running_text(value))
        for name, value in record.items()
    )


def _looks_like_text(path: str) -> bool:
    try:
        with open_decompressed(path, _suffixes(path)[1]) as file:
            start = file.read(_SNIFFED_BYTES)
    except (UserError, OSError):
        return False
    return bool(start) and start == start.translate(None, bytes([*range(9), *range(14, 27)]))


def fingerprint(sources: Iterable[Source]) -> str:
    """Return the SHA-256 of names, sizes and times of change: another value means other data."""
    digest = hashlib.sha256()
    for source in sources:
        changed: int | str = source.version
        if not source.version:
            changed = 0 if source.kind == "hub" else Path(source.path).stat().st_mtime_ns
        line = f"{source.path}\0{source.kind}\0{source.size}\0{changed}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def digest_contents(sources: Iterable[Source]) -> str:
    """Return the SHA-256 of all that the files hold, in order: another value means other text."""
    digest = hashlib.sha256()
    for source in sources:
        if source.kind == "hub":
            digest.update(source.path.encode())
            continue
        with explaining(source.path, _FAILED), open_decompressed(source.path) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
    return digest.hexdigest()


def read_documents(
    source: Source, *, text_column: str | None = None, skip_bad: bool = False, stats: ReadStats
) -> Iterator[Document]:
    """Yield the documents of a source as they are read, none held longer than needed.

    Everything found is counted in `stats`. Raises UserError for what cannot be read; with
    `skip_bad` that is counted as rejected and left out instead.
    """
    for item in _read(source, text_column, stats):
        if isinstance(item, Document) and (found := lone_surrogate(item.text)):
            what = "has a lone surrogate {} at character {} of its text".format(*found)
            item = ReadError(what, item.source, item.text, "lone surrogate")
        if isinstance(item, ReadError):
            stats.reject(item)
            if not skip_bad:
                mend = item.mend or "mend it, or pass --skip-bad to leave it out"
                raise UserError(item.what, where=item.source, mend=mend)
        elif not item.text or item.text.isspace():
            stats.skip("empty", item.source)
        elif is_deleted(item.text):
            stats.skip("deleted before it was saved", item.source, item.text)
        else:
            stats.accept()
            yield item


def is_deleted(text: str) -> bool:
    """Return whether a text only says that it was deleted."""
    return len(text) == _DELETED_LENGTH and text in _DELETED


def _read(source: Source, text_column: str | None, stats: ReadStats) -> Documents:
    """Yield what the source's reader yields, and a ReadError last where it fails."""
    try:
        with explaining(source.path, _FAILED):
            yield from DOCUMENT_READERS[source.kind](source, text_column, stats)
    except UserError as error:
        where = str(error.where or source.path)
        yield ReadError(error.what, where, "", _UNREADABLE, error.mend)


def iter_records(source: Source, stats: ReadStats) -> Records:
    """Yield (place, record) of each row of a table, or line or element of JSON.

    What is not a record is a ReadError. Raises UserError for a file that cannot be read.
    """
    with naming(source.path), explaining(source.path, _FAILED):
        yield from RECORD_READERS[source.kind](source, stats)
