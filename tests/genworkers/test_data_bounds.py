"""What data may take of the node: its disk leaves others their room, and small files claim no great memory."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genplatform.errors import BadRequest
from genworkers.data import arrays, parquet, rows
from genworkers.data.sources import open_source


class Usage(NamedTuple):
    free: int


def read(path: Path, **options: Any) -> object:
    return open_source({"source": str(path), **options}, [str(path.parent)])


def npz(path: Path, **arrays: np.ndarray[Any, Any]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_others_are_left_their_room_while_pictures_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ASKED_EVERY", 200)
    free = [1000, 10]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(rows.KEPT_FREE + free.pop(0)))
    kept = rows.Rows((9, 10), np.dtype(np.uint8))

    for _ in range(3):
        kept.append(np.zeros((9, 10), np.uint8))

    with pytest.raises(BadRequest, match="takes 90 bytes more decoded, and 10 are free"):
        kept.append(np.zeros((9, 10), np.uint8))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_is_full_at_the_last_byte_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - the rows' file, open as long as these are
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    kept = rows.Rows((2,), np.dtype(np.uint8))
    kept.append(np.zeros(2, np.uint8))

    with pytest.raises(BadRequest, match="cannot be kept on the node: No space"):
        kept.finish()


def test_pictures_of_arrays_have_no_more_pixels_than_others(tmp_path: Path) -> None:
    (tmp_path / "a-idx3-ubyte").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 1, 20_000, 20_000))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as out, out.open("x.npy", "w") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": (1, 20_000, 20_000)}
        np.lib.format.write_array_header_1_0(file, head)  # type: ignore[arg-type]

    with pytest.raises(BadRequest, match=r"says that it holds .*, which cannot be"):
        read(tmp_path / "a-idx3-ubyte")
    with pytest.raises(BadRequest, match=r"x of x\.npz holds pictures of more than .* pixels"):
        read(tmp_path / "x.npz")


def test_labels_are_no_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_LABELS", 2)
    path = npz(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8), labels=np.zeros(3, np.uint8))

    with pytest.raises(BadRequest, match="holds 3 labels, which are too many"):
        read(path)


def test_a_picture_in_a_table_has_no_more_bytes_than_one_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_FILE_BYTES", 10)
    pq.write_table(pa.table({"image": [b"x" * 11]}), tmp_path / "x.parquet")

    with pytest.raises(BadRequest, match=r"x\.parquet#0 has more than 10 bytes"):
        read(tmp_path / "x.parquet")
