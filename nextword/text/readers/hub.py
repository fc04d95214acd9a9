"""Data sets of the Hugging Face Hub, streamed: hf://owner/name[/config][:split[:column]]."""

from __future__ import annotations

from collections.abc import Iterator

from nextword.errors import UserError
from nextword.text.document import Bad, Document, Source, Tally, why
from nextword.text.readers.class_names import class_names, with_names
from nextword.text.readers.records import Found, documents

SCHEME = "hf://"


def parse(name: str) -> tuple[str, str | None, str, str | None]:
    """(repository, config, split, column) of a name. Raises UserError if it is not one."""
    path, *rest = name.removeprefix(SCHEME).split(":")
    parts = path.strip("/").split("/")
    if len(rest) > 2 or len(parts) not in (2, 3) or not all(parts):
        raise UserError(
            "is not the name of a data set",
            where=name,
            mend="write hf://owner/name[:split[:column]]",
        )
    split, column = (*rest, "", "")[:2]
    return "/".join(parts[:2]), "/".join(parts[2:]) or None, split or "train", column or None


def read_hub(source: Source, text_column: str | None, tally: Tally) -> Iterator[Document | Bad]:
    column = parse(source.path)[3]
    yield from documents(hub_records(source, tally), column or text_column, source.path)


def hub_records(source: Source, tally: Tally) -> Iterator[Found]:
    """Each row of a data set, as it is streamed."""
    try:
        import datasets
    except ImportError:
        raise UserError(
            "needs the package datasets", where=source.path, mend="pip install nextword[hub-data]"
        ) from None
    repository, config, split, _ = parse(source.path)
    try:
        rows = datasets.load_dataset(repository, config, split=split, streaming=True)
        features = getattr(rows, "features", None)  # some are not known before they are read
        names = class_names(features.to_dict() if features else {})
        for number, record in enumerate(rows, 1):
            yield f"{source.path}:row {number}", with_names(record, names)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"cannot be read from the Hub ({type(error).__name__}: {why(error)})",
            where=source.path,
            mend="look at its name and at the connection",
        ) from None
