"""Tables of paths and labels: CSV as other programs write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genplatform.errors import BadRequest
from genworkers.data.check import report
from genworkers.data.dataset import Dataset, split
from genworkers.data.sources import open_source
from genworkers.data.text import Documents


def read(path: Path, **options: Any) -> Dataset:
    return open_source({"source": str(path), **options}, [str(path.parent)])


def pictures(root: Path, count: int = 4) -> Path:
    for index in range(count):
        path = root / "png" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3), index, np.uint8)).save(path)
    return root


def test_a_table_names_pictures_their_classes_and_more(tmp_path: Path) -> None:
    root = pictures(tmp_path / "d")
    (root / "all.csv").write_bytes(
        b'\xef\xbb\xbfpath,label,who\r\npng/2.png,"b, ""x""",ann\r\n\r\n3.png,a,"bob\nnext"\r\npng/0.png,a,ann\r\n'
    )

    found = read(root, format="csv")

    assert (len(found), found.classes) == (3, ("a", 'b, "x"'))
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 0]
    assert list(found.groups("who")) == ["ann", "bob\nnext", "ann"]
    parts, _ = split(found, {"train": 0.5, "validation": 0.5, "test": 0, "by": "who"})
    assert {len(part) for part in parts.values()} == {0, 1, 2}


def test_the_columns_are_those_that_are_said(tmp_path: Path) -> None:
    root = pictures(tmp_path / "d")
    (root / "t.tsv").write_text("a\tb\n0.png\tx\n1.png\ty\n")

    found = read(root, format="csv", column="a", label="b")

    assert (len(found), found.classes) == (2, ("x", "y"))
    with pytest.raises(BadRequest, match=r"t\.tsv of d has no column 'c'"):
        read(root, format="csv", column="c")
    with pytest.raises(BadRequest, match=r"has no column `file`"):
        read(root, format="csv")


def test_a_table_in_a_folder_names_what_lies_there(tmp_path: Path) -> None:
    root = pictures(tmp_path / "d")
    (root / "png" / "t.csv").write_text("file\n0.png\n../../secret.png\n")

    found = read(root, format="csv", skip=1)

    assert len(found) == 1
    assert "png/../../secret.png is named in png/t.csv, and is not there" in found.notes[0]


def test_tables_that_cannot_be_read_or_told_apart_are_errors(tmp_path: Path) -> None:
    root = pictures(tmp_path / "d")
    with pytest.raises(BadRequest, match="There is no table in d"):
        read(root, format="csv")
    (root / "t.csv").write_text('file\n"0.png\n')
    with pytest.raises(BadRequest, match=r"t\.csv of d cannot be read"):
        read(root, format="csv")
    (root / "u.csv").write_text("file\n0.png\n")
    with pytest.raises(BadRequest, match=r"2 tables: t\.csv, u\.csv"):
        read(root, format="csv")


def test_pictures_beside_a_table_are_read_as_before_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = pictures(tmp_path / "d")
    (root / "t.csv").write_text("file,label\n0.png,a\n")

    assert len(read(root)) == 4
    assert len(read(root, format="csv")) == 1


def test_a_table_of_texts_is_a_document_a_row(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('id,text\n1,"two\nlines, and more"\n2,\n3,three\n4,three\n')

    found, named = read(table, skip=1), read(table, column="id")

    assert isinstance(found, Documents)
    assert list(found.texts()) == ["two\nlines, and more", "three", "three"]
    assert found.skipped.listed == [("t.csv, row 2", "is empty")]
    assert isinstance(named, Documents)
    assert list(named.texts()) == ["1", "2", "3", "4"]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(BadRequest, match=r"no column `text`, and beside it there is neither picture nor sound"):
        read(table)


def test_a_text_of_a_table_may_be_long(tmp_path: Path) -> None:
    table, text = tmp_path / "t.csv", "a word " * 40_000
    table.write_text(f'text\n"{text}"\nshort\n')

    found = read(table)

    assert isinstance(found, Documents)
    assert [len(one) for one in found.texts()] == [len(text), 5]


def test_equal_texts_in_two_parts_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"{max(0, row - 20)}\n" for row in range(60)))

    told = report({"source": str(tmp_path / "t.csv")}, {"train": 0.5, "validation": 0.25, "test": 0.25})

    assert told["modality"] == "text"
    assert "Equal items lie in two parts" in told["problems"][0]["message"]
