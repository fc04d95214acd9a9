"""Tables that are sound are read as they were written; damage to them is never passed over."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.text.document import ReadError, ReadStats
from nextword.text.sources import find_sources, iter_records, read_documents

CASES = [100, pytest.param(10_000, marks=pytest.mark.slow(cases=10_000))]
WORDS = ["kettle", "lovely", "山", "höre", "😀", "a\u2028b", "5'", "3.5", "it's", "\u3000", "(ok)"]
MARKED = ["said, then", "no;yes", 'a "word" here', '"', "", '""', "x,y", "a | b", "#tag", "sep=;"]
LABELS = ["praise", "complaint", "doubt"]
KINDS = [("csv", ","), ("csv", ";"), ("csv", "\t"), ("tsv", "\t")]


def read(path: Path, content: str | bytes) -> tuple[list[dict[str, Any]], list[ReadError]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = [value for _, value in iter_records(find_sources([str(path)])[0], ReadStats())]
    errors = [value for value in found if isinstance(value, ReadError)]
    return [value for value in found if not isinstance(value, ReadError)], errors


def cell(chance: random.Random, separators: str) -> str:
    words = chance.choices(WORDS + MARKED, k=chance.randrange(1, 6))
    return chance.choice(separators).join(words)


def table(chance: random.Random) -> list[list[str]]:
    width = chance.randrange(0, 3)
    rows = [["id", "text", *(f"n{n}" for n in range(width)), "label"]]
    for number in range(chance.randrange(1, 12)):
        texts = [cell(chance, " \n") if chance.random() < 0.3 else cell(chance, " ")]
        rest = [chance.choice(["", cell(chance, " ")]) for _ in range(width)]
        rows.append([str(number), *texts, *rest, chance.choice(LABELS)])
    return rows


def written(rows: list[list[str]], delimiter: str, end: str, quoting: int) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize(("kind", "delimiter"), KINDS)
def test_a_sound_table_is_read_as_it_was_written(
    kind: str, delimiter: str, cases: int, tmp_path: Path
) -> None:
    chance = random.Random(f"{kind}{delimiter}{cases}")
    for _ in range(cases):
        rows, end = table(chance), chance.choice(["\n", "\r\n", "\r"])
        quoting = csv.QUOTE_ALL  # which alone quotes line feeds where they end no row
        if end != "\r":
            quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        content = written(rows, delimiter, end, quoting)
        encoding = chance.choice(["utf-8", "utf-8-sig", "utf-16"])
        found, errors = read(tmp_path / f"a.{kind}", content.encode(encoding))
        assert errors == [], content
        assert [list(record.values()) for record in found] == rows[1:], content
        assert list(found[0]) == rows[0]


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(["the", "kettle", "was", "lovely", "and", "warm"], k=6))


DAMAGES = ["unclosed", "closed later", "unquoted words", "long", "short", "twice"]


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_damaged_table_is_refused_where_the_damage_is(
    damage: str, delimiter: str, cases: int, tmp_path: Path
) -> None:
    chance = random.Random(f"{damage}{delimiter}{cases}")
    for _ in range(cases):
        rows = [[sentence(chance), LABELS[n % 3]] for n in range(chance.randrange(12, 40))]
        place = chance.randrange(1, len(rows) - 1)
        if chance.random() < 0.5:
            rows = [row[::-1] for row in rows]
        lines = [delimiter.join(row) + "\n" for row in [["label", "text"], *rows]]
        words = rows[place].index(max(rows[place], key=len))
        broken = list(rows[place])
        expected = place + 2
        match damage:
            case "unclosed":
                broken[words] = '"' + broken[words]
            case "closed later":
                broken[words] = '"' + broken[words]
                later = chance.randrange(place + 1, len(rows))
                closing = [c + '"' if n == words else c for n, c in enumerate(rows[later])]
                lines[later + 1] = delimiter.join(closing) + "\n"
            case "unquoted words":
                broken[words] = f'"{broken[words]}" indeed'
            case "long":
                broken.append("more")
            case "short":
                broken.pop()
            case "twice":
                lines[0], expected = delimiter.join(["text", "text"]) + "\n", 1
        if damage != "twice":
            lines[place + 1] = delimiter.join(broken) + "\n"
        try:
            found, errors = read(tmp_path / "a.csv", "".join(lines))
        except UserError as error:
            assert str(error.where).endswith(f"a.csv:{expected}") and "twice" in error.what
            continue
        assert [error.source for error in errors] == [f"{tmp_path}/a.csv:{expected}"], lines
        assert len(found) + len(errors) == len(rows)


@pytest.mark.parametrize("cases", CASES)
def test_sentences_in_columns_are_read_as_they_were_written(cases: int, tmp_path: Path) -> None:
    chance = random.Random(cases)
    words = ["Ada", "#Elden", "#", "赵", "\u3000", "\u00a0", '"', "a=b", "O", "#a=b"]
    for _ in range(cases):
        width = chance.randrange(2, 5)
        separator = chance.choice(["\t", " "])
        tags = ["O", "B-PER", "I-PER"]
        sentences = [
            [
                [chance.choice(words), *(chance.choice(tags) for _ in range(width - 1))]
                for _ in range(chance.randrange(1, 6))
            ]
            for _ in range(chance.randrange(1, 5))
        ]
        end = chance.choice(["\n", "\r\n", "\r"])
        comment = chance.choice(["", f"# text = some of the words{end}"])
        blocks = [comment + "".join(separator.join(w) + end for w in s) for s in sentences]
        found, errors = read_conll(tmp_path / "a.conll", end.join(blocks))
        assert errors == []
        assert [s["tokens"] for s in found] == [[w[0] for w in s] for s in sentences], blocks
        assert [s["tags"] for s in found] == [[w[-1] for w in s] for s in sentences]


@pytest.mark.parametrize("cases", CASES)
def test_a_word_without_its_tag_ends_a_file_of_sentences(cases: int, tmp_path: Path) -> None:
    chance = random.Random(cases)
    for _ in range(cases):
        words = [f"{chance.choice(['Ada', '#Elden', '#', '山'])} O\n" for _ in range(20)]
        words[0], place = "Ada O\n", chance.randrange(1, 20)
        words[place] = chance.choice(["Ada\n", "#Elden\n", "Ada O O\n", "\u3000\n"])
        _, errors = read_conll(tmp_path / "a.conll", "".join(words))
        assert [error.source for error in errors] == [f"{tmp_path}/a.conll:{place + 1}"]


def read_conll(path: Path, content: str) -> tuple[list[dict[str, Any]], list[ReadError]]:
    from nextword.text.document import Source

    path.write_bytes(content.encode())
    found = [value for _, value in iter_records(Source(str(path), "conll"), ReadStats())]
    errors = [value for value in found if isinstance(value, ReadError)]
    return [value for value in found if not isinstance(value, ReadError)], errors


POEM = "Roses are red, violets are blue,\nSugar is sweet, and so are you,\n\nGood,fast\nThe end"
PAGE = '<ul class="a,b">\n<li style="x">1,000</li>\n<li>a,b</li>\n</ul>'
CODE = "def f(a,b):\n    return g(a,b)\n\nprint(f(1,2))"


@pytest.mark.parametrize("text", [POEM, PAGE, CODE, "first\nsecond, third", "1,000\n2,000\n3,000"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_field_of_many_lines_is_read_whole(text: str, place: int, tmp_path: Path) -> None:
    rows = [[f"The kettle was number {n} of all.", LABELS[n % 3]] for n in range(20)]
    rows[7][0] = text
    rows = [row if place == 0 else row[::-1] for row in [["text", "label"], *rows]]
    found, errors = read(tmp_path / "a.csv", written(rows, ",", "\n", csv.QUOTE_MINIMAL))
    assert errors == [] and len(found) == 20 and found[7]["text"] == text


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ('text,label\n"a", "b"\n"c, d", "e"\n', [("a", "b"), ("c, d", "e")]),
        ('text,label\n"a" ,"b"\n"c" , d\n', [("a", "b"), ("c", " d")]),
        ('sep=;\r\ntext;label\r\n"a, b";3,5\r\n', [("a, b", "3,5")]),
        ("\ufefftext;label\na, b;3,5\nc, d;4,5\n", [("a, b", "3,5"), ("c, d", "4,5")]),
        ("text,label,\na,b,\nc,d,\n", [("a", "b"), ("c", "d")]),
        ("text,label,\na,b,\nc,d,e\n", [("a", "b"), ("c", "d", "e")]),
        ('text,label\r"a\nb",c\rd,e\r', [("a\nb", "c"), ("d", "e")]),
    ],
)
def test_what_spreadsheets_write_is_read(
    content: str, records: list[tuple[str, ...]], tmp_path: Path
) -> None:
    found, errors = read(tmp_path / "a.csv", content)
    assert errors == []
    assert [tuple(record.values()) for record in found] == records


def test_stray_quotes_in_tab_separated_values_swallow_no_row(tmp_path: Path) -> None:
    rows = [
        '"Is it?\tyes\t0',
        'She said\t"no\t1',
        'a\t"b\t"0',
        '"c"\td 5"\t1',
        '"\t"\t"0',
        "e\tf\t1",
    ]
    found, errors = read(tmp_path / "a.tsv", "\n".join(["text_a\ttext_b\tlabel", *rows]))
    assert errors == [] and len(found) == len(rows)
    assert found[0]["text_a"] == '"Is it?' and found[3]["text_a"] == "c"


@pytest.mark.parametrize(
    ("names", "rows", "damage", "what"),
    [
        ("text,label", "{},praise", {4: '"A lamp,praise', 5: 'a 5",praise'}, "closes in line 7"),
        ("text,label", "{},praise", {4: '"A lamp,praise', 9: 'a 5",praise'}, "closes in line 11"),
        ("label,text", "praise,{}", {4: 'praise,"A, b', 9: 'praise,a 5"'}, "closes in line 11"),
        ("id,text", "7,{}", {4: '7,"A lamp', 9: '8,a lamp of 5"'}, "closes in line 11"),
        ("en,de", "{},ein Topf", {4: '"The lamp was,ja', 9: 'it is 5",nein'}, "closes in line 11"),
        (
            "text,label",
            "{},praise",
            {4: '"A lamp,praise', 9: 'the "best",praise'},
            "line 11 goes on",
        ),
        ("text,label", "{},praise", {4: '"A "good" lamp",praise'}, "text after a closing quote"),
        ('"text","label"', '"{}","praise"', {4: '"A lamp",praise"'}, "closes nothing"),
    ],
)
def test_rows_that_an_open_quote_would_swallow_are_read(
    names: str, rows: str, damage: dict[int, str], what: str, tmp_path: Path
) -> None:
    lines = [damage.get(n, rows.format(f"The kettle was number {n}.")) for n in range(30)]
    content = "\n".join([names, *lines]) + "\n"
    found, [error] = read(tmp_path / "a.csv", content)
    assert what in error.what and error.mend
    assert error.source == f"{tmp_path}/a.csv:6" and len(found) == 29
    tally = ReadStats()
    [source] = find_sources([str(tmp_path / "a.csv")])
    column = names.replace('"', "").split(",")[0]
    assert (
        sum(1 for _ in read_documents(source, text_column=column, skip_bad=True, stats=tally)) == 29
    )
    assert (tally.accepted, tally.rejected) == (29, 1)
    with pytest.raises(UserError, match=r"a\.csv:6: "):
        list(read_documents(source, text_column=column, stats=ReadStats()))


@pytest.mark.parametrize(
    ("name", "content", "noted"),
    [
        ("a.tsv", "Hello\tHallo\nThe kettle.\tDer Topf.\n", "line 1 is taken for the names"),
        ("a.tsv", "de\ten\nDer Topf.\tThe kettle.\n", ""),
        ("a.csv", "utterance,kind\nThe kettle.,good\n", ""),
        ("a.csv", ",review\n0,fine\n1,dull\n", "column 1 has no name"),
    ],
)
def test_a_doubt_about_the_names_of_columns_is_noted(
    name: str, content: str, noted: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    stats = ReadStats()
    list(iter_records(find_sources([str(tmp_path / name)])[0], stats))
    assert [noted in note for note in stats.notes] == ([True] if noted else [])


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("#Elden\tB-LOC\nfloods\tO\n", [["#Elden", "floods"]]),
        ("# newdoc\n# sent_id = 1\nThe O\n# O\n1 O\n", [["The", "#", "1"]]),
        ("-DOCSTART- O\n\n# remark\nThe O\n\n#end document\n", [["The"]]),
        ("a\tO\n\u3000\tO\n \tO\n", [["a", "\u3000", " "]]),
    ],
)
def test_comments_are_told_from_words(
    content: str, tokens: list[list[str]], tmp_path: Path
) -> None:
    found, errors = read_conll(tmp_path / "a.conll", content)
    assert errors == [] and [sentence["tokens"] for sentence in found] == tokens


@pytest.mark.parametrize(
    "names",
    ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "Sentence #\tWord\tPOS\tTag\tn"],
)
def test_names_with_a_number_sign_are_names(names: str, tmp_path: Path) -> None:
    rows = "".join(f"{n % 2}\t7028{n}\tB\tone string {n}\tanother {n}\n" for n in range(5))
    records, errors = read(tmp_path / "a.tsv", f"{names}\n{rows}")
    assert not errors and len(records) == 5
    assert list(records[0]) == names.split("\t")


def test_fields_between_single_quotes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv:1: its fields stand between single quotes"):
        read(tmp_path / "a.csv", "'text','label'\n'one','a'\n'two','b'\n")
