"""Archives that somebody sent: plain files come out, and whatever else is in them costs nothing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from genplatform.errors import BadRequest
from genplatform.store import archives


def archive(folder: Path, names: dict[str, bytes], **headers: str) -> Path:
    path = folder / "sent.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), headers
            tar.addfile(member, io.BytesIO(data))
    return path


def unpack(path: Path) -> Path:
    to = path.parent / "out"
    archives.unpack(path, to, "It", most_files=10)
    return to


def test_files_come_out_whatever_their_sizes_and_the_length_of_their_names(tmp_path: Path) -> None:
    names = {"a": b"", "b/c.py": b"x" * 512, "d": b"y" * 1000, "e" * 120: b"z"}

    out = unpack(archive(tmp_path, names))

    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == names


def test_a_header_that_would_fill_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, {"a": b"x"}, comment="x" * (archives.LONGEST_HEADER + 1))
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("it was read"))

    with pytest.raises(BadRequest, match=r"It cannot be used: it has a header of 65,5\d\d bytes"):
        unpack(path)


def test_a_path_that_no_disk_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"It cannot be used: it has a path of [67],\d{3} characters"):
        unpack(archive(tmp_path, {"/".join(["f" * 200] * 30): b"x"}))


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="is no plain file of a folder"):
        unpack(archive(tmp_path, {name: b"x"}))
    assert not (tmp_path / "b").exists()
