"""A small good file of each kind, made here, for readers to read and tests to damage."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Sequence

from nextword.text.document import Document, ReadStats

ReadBytes = Callable[..., tuple[list[Document], ReadStats]]  # the fixture read_bytes

PARAGRAPHS = [
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "秦川雄帝宅，函谷壯皇居。綺殿千尋起，離宮百雉餘。",
    "Die Würde des Menschen ist unantastbar; sie zu achten ist Verpflichtung.",
    'He said: "What\'s past is prologue", and she, smiling, agreed.',
]
TEXT = "\n\n".join(PARAGRAPHS) + "\n"

HTML = f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>A page</title>
<style>p {{ color: red }}</style></head><body><nav><a href="/">Home</a> <a href="/a">About</a></nav>
<article><h1>Of days</h1>{"".join(f"<p>{p} {p}</p>" for p in PARAGRAPHS * 3)}</article>
<script>var tracking = "on";</script><footer>Copyright, cookies and terms</footer></body></html>"""


def jsonl() -> bytes:
    lines = [json.dumps({"id": i, "text": p}, ensure_ascii=False) for i, p in enumerate(PARAGRAPHS)]
    return ("\n".join(lines) + "\n").encode()


def json_list() -> bytes:
    records = [{"author": "x", "paragraphs": [p, p[:20]]} for p in PARAGRAPHS]
    return json.dumps(records, ensure_ascii=False, indent=2).encode()


def table(delimiter: str) -> bytes:
    import csv

    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(PARAGRAPHS))
    return file.getvalue().encode()


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    columns = {"id": list(range(len(PARAGRAPHS))), "text": PARAGRAPHS}
    pq.write_table(pa.table(columns), file, row_group_size=2)
    return file.getvalue()


def epub(pages: Sequence[str] = (), further: Sequence[str] = ()) -> bytes:
    """A book of pages, in reading order; `further` ones stand in it and not in that order."""
    pages = pages or [
        f"<html><head><title>t</title></head><body><p>{paragraph}</p></body></html>"
        for paragraph in PARAGRAPHS[:2]
    ]
    container = (
        '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OEBPS/content.opf"/></rootfiles></container>'
    )
    names = [f"{len(pages) - number:03}.xhtml" for number in range(len(pages))]
    items = "".join(f'<item id="i{n}" href="{name}"/>' for n, name in enumerate(names))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf">'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/content.opf", package)
        for name, page in zip(names, pages, strict=True):
            archive.writestr(f"OEBPS/{name}", page)
        for number, page in enumerate(further):
            archive.writestr(f"OEBPS/further{number}.xhtml", page)
    return file.getvalue()


def pdf(*pages: str) -> bytes:
    """A file with lines of text on each page, as the PDF reference's smallest example."""
    pages = pages or ("It was a bright cold day in April",)
    numbers = range(4, 4 + 2 * len(pages), 2)  # of the pages; each is followed by its content
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, page in zip(numbers, pages, strict=True):
        shown = " ".join(f"({line}) Tj T*" for line in page.split("\n"))
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (number + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    content, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return content + trailer % (len(objects) + 1, start)


def zst(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(content)


def all_kinds() -> dict[str, bytes]:
    """File name → content."""
    text = TEXT.encode()
    return {
        "a.txt": text,
        "a.html": HTML.encode(),
        "a.jsonl": jsonl(),
        "a.json": json_list(),
        "a.csv": table(","),
        "a.tsv": table("\t"),
        "a.parquet": parquet(),
        "a.epub": epub(),
        "a.pdf": pdf(),
        "a.txt.gz": gzip.compress(text),
        "a.jsonl.xz": lzma.compress(jsonl()),
        "a.json.zst": zst(json_list()),
    }
