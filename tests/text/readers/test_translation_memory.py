from __future__ import annotations

from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.generate.task import Translate
from nextword.tasks.records import read_records

MEMORY = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE tmx [<!ENTITY file SYSTEM "file:///etc/hostname">]>
<tmx version="1.4"><header srclang="en"/><body>
<tu tuid="1"><prop type="domain">law</prop>
<tuv xml:lang="de"><seg>Die <bpt i="1">&lt;b</bpt>Katze<ept i="1"/> &amp; <hi>Hund</hi>.</seg></tuv>
<tuv xml:lang="en"><seg>The cat &amp; dog.</seg></tuv></tu>
<tu><tuv xml:lang="de"><seg>&file; Ja</seg></tuv><tuv xml:lang="en"><seg>Yes</seg></tuv></tu>
</body></tmx>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_units_are_pairs_from_the_source_language_on(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "memory.tmx"
    path.write_bytes(MEMORY.format(encoding=encoding).encode(encoding))
    records = read_records([str(path)], Translate.text_files)
    assert [record.place for record in records] == [f"{path}:4", f"{path}:7"]
    dataset = Translate.read(records, TaskSettings(task="translate"))
    assert dataset.columns.inputs == {"source": "en"}
    assert dataset.examples[0].references == ("Die Katze & Hund.",)
    assert dataset.inputs == ["The cat & dog.", "Yes"]
    assert dataset.report.unused == {"tu.tuid": 1, "prop.domain": 1}
    assert dataset.examples[1].references == ("&file; Ja",), "no other file is read"


def test_damage_and_two_texts_in_a_language_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "memory.tmx"
    whole = MEMORY.format(encoding="utf-8")
    path.write_text(whole[:-20])
    with pytest.raises(UserError, match=r"memory.tmx: cannot be read \(XMLSyntaxError"):
        read_records([str(path)], Translate.text_files)
    path.write_text(whole.replace('"de"', '"en"'))
    records = read_records([str(path)], Translate.text_files)
    with pytest.raises(UserError, match=r"memory.tmx:4: has two texts in 'en'"):
        Translate.read(records, TaskSettings(task="translate"))
