"""Data that was sent ahead: the worker reads what the client had, or says why not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genctl.packing import packed
from genplatform.domain import layout
from genplatform.domain.uploads import Upload
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers.data.fetching import uploads_of
from genworkers.data.sources import open_source


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        path = tmp_path / "my photos" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), index, np.uint8)).save(path)
    (tmp_path / "my photos" / ".hidden").write_text("mine")
    return tmp_path / "my photos"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def sent(store: Store, path: str) -> Upload:
    with packed(path) as (upload, file):
        store.put_bytes(layout.upload("default", upload.digest), file.read())
    return upload


def test_a_folder_sent_ahead_is_read_as_it_lay_there(photos: Path, store: Store, tmp_path: Path) -> None:
    upload = sent(store, str(photos))

    found = open_source({"source": str(upload)}, fetch=uploads_of(store.url, "default"))

    assert upload.name == "my-photos.tar"
    assert found.digest == open_source({"source": str(photos)}, [str(tmp_path)]).digest
    assert found.classes == ("a", "b")


def test_a_file_and_a_pattern_are_read_too(photos: Path, store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 4), np.uint8))
    fetch = uploads_of(store.url, "default")

    one = open_source({"source": str(sent(store, str(tmp_path / "x.npz")))}, fetch=fetch)
    some = open_source({"source": str(sent(store, f"{photos}/b/*.png"))}, fetch=fetch)

    assert (len(one), len(some)) == (3, 3)


def test_the_same_files_are_the_same_upload_whenever_they_were_written(photos: Path, tmp_path: Path) -> None:
    with packed(str(photos)) as (before, _):
        pass
    for path in photos.rglob("*.png"):
        path.write_bytes(path.read_bytes())
        path.chmod(0o600)
    with packed(str(photos)) as (after, _):
        pass
    (photos / "a" / "0.png").write_bytes(b"other")
    with packed(str(photos)) as (changed, _):
        pass

    assert before == after
    assert changed.digest != before.digest


def test_a_link_that_leads_out_is_not_sent(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (photos / "a" / "link.png").symlink_to(tmp_path / "secret.png")

    with pytest.raises(BadRequest, match="leads out of"), packed(str(photos)):
        pass


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("pattern", ["", "/*"])
def test_a_linked_folder_is_not_left_out_unsaid(photos: Path, tmp_path: Path, inside: bool, pattern: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (photos / "c").symlink_to(photos / "a" if inside else tmp_path / "elsewhere")

    with pytest.raises(BadRequest, match="c is a link"), packed(f"{photos}{pattern}"):
        pass


def test_what_is_no_regular_file_is_not_waited_for(photos: Path) -> None:
    os.mkfifo(photos / "a" / "pipe.png")

    with pytest.raises(BadRequest, match=r"pipe\.png is no regular file"), packed(str(photos)):
        pass


def test_errors_of_what_is_done_with_an_upload_are_left_alone(photos: Path) -> None:
    with pytest.raises(ConnectionError, match="away"), packed(str(photos)):
        raise ConnectionError("away")


def test_an_upload_that_is_not_there_or_damaged_is_an_error_that_says_so(photos: Path, store: Store) -> None:
    upload = sent(store, str(photos))
    fetch = uploads_of(store.url, "default")
    store.put_bytes(layout.upload("default", upload.digest), b"damaged")

    with pytest.raises(BadRequest, match="is damaged in the store"):
        open_source({"source": str(upload)}, fetch=fetch)
    with pytest.raises(BadRequest, match="is not in the store"):
        open_source({"source": str(upload)}, fetch=uploads_of(store.url, "another"))
    with pytest.raises(BadRequest, match="read by nodes alone"):
        open_source({"source": str(upload)})
