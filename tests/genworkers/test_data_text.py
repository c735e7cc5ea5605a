"""Text from files: what a document is, what is refused, what is told, and how it is split."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_data import shared

from genplatform.errors import BadRequest
from genplatform.spec.data import Data
from genworkers.data.check import report
from genworkers.data.dataset import split
from genworkers.data.sources import open_source
from genworkers.data.text import Documents

POEMS = "One.\nTwo.\n\n\nThree.\n \nFour\n"


def read(path: Path, **options: Any) -> Documents:
    found = open_source({"source": str(path), **options}, [str(path.parent)])
    assert isinstance(found, Documents)
    return found


def put(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("rule", "documents"),
    [
        (None, ["One.\nTwo.", "Three.", "Four"]),
        ("paragraph", ["One.\nTwo.", "Three.", "Four"]),
        ("line", ["One.", "Two.", "Three.", "Four"]),
        ("file", ["One.\nTwo.\n\n\nThree.\n \nFour"]),
        (12, ["One.\nTwo.", "Three.\n \nFour"]),
    ],
)
def test_one_file_is_cut_as_declared(tmp_path: Path, rule: str | int | None, documents: list[str]) -> None:
    found = read(put(tmp_path / "poems.txt", POEMS), documents=rule)

    assert list(found.texts()) == documents
    assert (found.modality, found.shape, len(found), found.size) == (
        "text",
        None,
        len(documents),
        sum(map(len, documents)),
    )


def test_each_file_of_a_folder_is_a_document_and_other_files_are_not(tmp_path: Path) -> None:
    put(tmp_path / "data" / "b.md", "bee\r\n")
    put(tmp_path / "data" / "a" / "a.txt.gz", gzip.compress("\ufeffant\n\nä".encode()))
    put(tmp_path / "data" / "notes.pdf", b"%PDF")

    found = read(tmp_path / "data")

    assert list(found.texts()) == ["ant\n\nä", "bee"]
    assert list(found.groups("folder")) == ["a", "."]


def test_a_batch_is_bytes_filled_up(tmp_path: Path) -> None:
    found = read(put(tmp_path / "a.txt", "ä\n\nabc"))

    assert found.rows(torch.tensor([1, 0]))["x"].tolist() == [[97, 98, 99], [0xC3, 0xA4, -1]]


def test_jsonl_is_read_by_its_field_and_bad_lines_are_named(tmp_path: Path) -> None:
    lines = [{"text": "one", "title": "t"}, {"title": "no text"}, {"text": "  "}, ["text"], {"text": "two"}]
    path = put(tmp_path / "data.jsonl", "\n".join(map(json.dumps, lines)) + '\n\n{"text": "cut\n{"text": "\\ud800"}\n')

    found = read(path, skip=5)

    assert list(found.texts()) == ["one", "two"]
    assert [where for where, _ in found.skipped.listed] == [f"data.jsonl:{n}" for n in (2, 3, 4, 7, 8)]
    assert found.skipped.listed[0][1] == "has no text in its field 'text'"
    assert list(read(path, column="title", skip=0.9).texts()) == ["t", "no text"]
    with pytest.raises(BadRequest, match=r"data\.jsonl:2 has no text in its field 'text' \(data\.skip allows none"):
        read(path)


def test_a_share_that_may_be_left_out_is_one_of_all(tmp_path: Path) -> None:
    path = put(tmp_path / "data.jsonl", "{}\n" + '{"text": "a"}\n' * 9)

    assert len(read(path, skip=0.1)) == 9
    with pytest.raises(BadRequest, match=r"allows 0\.09 of 10"):
        read(path, skip=0.09)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "is empty"), (b"\n \n", "is empty"), (b"a\xff", "is not UTF-8"), (b"a\0b", "holds a NUL")],
)
def test_a_file_that_is_no_text_is_told_and_left_out_up_to_the_limit(tmp_path: Path, data: bytes, why: str) -> None:
    put(tmp_path / "data" / "bad.txt", data)
    put(tmp_path / "data" / "good.txt", "good")

    found = read(tmp_path / "data", skip=1)

    assert list(found.texts()) == ["good"]
    assert found.notes[0].startswith("Left out 1 of 2 items: bad.txt ")
    assert why in found.notes[0]
    with pytest.raises(BadRequest, match=why):
        read(tmp_path / "data")
    with pytest.raises(BadRequest, match="not one document"):
        read(tmp_path / "data" / "bad.txt", skip=1)


def test_the_digest_is_of_the_documents_and_of_nothing_else(tmp_path: Path) -> None:
    one = read(put(tmp_path / "one.txt", "a\n\nbc"))
    same = read(put(tmp_path / "two.jsonl", '{"text": "a"}\n{"text": "bc"}\n'))
    other = read(put(tmp_path / "three.txt", "ab\n\nc"))

    assert one.digest == same.digest != other.digest


def test_documents_of_one_file_or_of_equal_content_are_not_parted(tmp_path: Path) -> None:
    for name in "abcdefgh":
        put(tmp_path / "data" / f"{name}.txt", f"{name}\nsame\n{name}{name}\n")
    found = read(tmp_path / "data", documents="line")

    by_file, record = split(found, {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "file", "seed": 3})
    by_content, _ = split(found, {"train": 0.5, "validation": 0.25, "test": 0.25, "by": "content"})

    files = [{next(iter(text)) for text in found.texts(part) if text != "same"} for part in by_file.values()]
    assert sum(map(len, files)) == 8
    assert (record["by"], record["seed"]) == ("file", 3)
    assert sum("same" in list(found.texts(part)) for part in by_content.values()) == 1


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    path = put(tmp_path / "long.txt", ("word " * 200 + "\n\n") * 20_000)  # 20 MB
    tracemalloc.start()
    found = read(path)
    batch = found.rows(torch.arange(8))["x"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (len(found), batch.shape[0]) == (20_000, 8)
    assert peak < 4 << 20


def test_the_check_tells_counts_bytes_and_what_lies_in_two_parts(tmp_path: Path) -> None:
    path = put(tmp_path / "twice.txt", "a\n\n" * 20)
    shares = {"train": 0.7, "validation": 0.15, "test": 0.15, "by": "item", "seed": 0}

    told = report(Data(source=str(path)).model_dump(mode="json"), shares)

    assert (told["modality"], told["items"], told["bytes"], told["shape"]) == ("text", 20, 20, None)
    assert told["duplicates"]["train/test"] == 3
    assert "Equal items" in told["problems"][0]["message"]


def test_the_topics_of_python_are_on_board() -> None:
    found = open_source({"source": "topics"})

    assert isinstance(found, Documents)
    assert len(found) > 70
    assert found.size > 400_000
    assert any("lambda" in text for text in found.texts())


def test_the_shared_texts_are_read_whole() -> None:
    shakespeare, chinese = (read(shared("text", name)) for name in ("tinyshakespeare.txt", "zh_classics.txt"))

    assert (len(shakespeare), len(chinese.notes)) == (7222, 0)
    assert next(shakespeare.texts()).startswith("First Citizen:\nBefore we proceed")
    assert chinese.size > 800_000
