"""Data that lies elsewhere: read over HTTP and from object stores, or refused with what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

from genplatform.errors import BadRequest, NotFound
from genplatform.store import fetch_url
from genworkers.data.sources import open_source


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    np.savez(tmp_path / "site" / "x.npz", x=np.zeros((3, 4, 5), np.uint8))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def no_pause(_seconds: float) -> None: ...


def test_a_file_is_read_over_http(site: str) -> None:
    found = open_source({"source": f"{site}/x.npz?signature=1"})

    assert (len(found), found.name) == (3, "x.npz")


def test_what_is_not_there_and_who_does_not_answer_are_errors_without_the_signature(site: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing at .*/y\.npz\.") as caught:
        fetch_url(f"{site}/y.npz?signature=1", tmp_path, no_pause)
    fsspec.register_implementation("lacking", "no_such_library.Files", clobber=True, errtxt="Install no_such_library")
    with pytest.raises(BadRequest, match=r"lacking://bucket/folder cannot be read: Install no_such_library"):
        fetch_url("lacking://bucket/folder", tmp_path, no_pause)
    assert "signature" not in str(caught.value)


def test_a_folder_of_an_object_store_is_copied_whole(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for name in ("a/1.png", "b/2.png"):
        system.pipe(f"/urls/photos/{name}", name.encode())

    folder = fetch_url("memory://urls/photos", tmp_path, no_pause)

    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.png")}
    assert found == {"a/1.png": "a/1.png", "b/2.png": "b/2.png"}


def test_a_file_whose_name_looks_like_a_pattern_is_read(site: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "x.npz").rename(tmp_path / "site" / "x[1].npz")

    assert len(open_source({"source": f"{site}/x[1].npz"})) == 3


@pytest.mark.parametrize("end", ["one/..", "two/."])
def test_nothing_is_written_beside_the_folder_that_is_given(tmp_path: Path, end: str) -> None:
    system = fsspec.filesystem("memory")
    system.pipe(f"/urls-{end}/1.png", b"bytes")
    (tmp_path / "to").mkdir()

    fetch_url(f"memory://urls-{end}", tmp_path / "to", no_pause)

    assert [path.name for path in tmp_path.iterdir()] == ["to"]
    assert list((tmp_path / "to").rglob("1.png"))


def test_a_store_that_fails_at_first_is_tried_again_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, tried = fsspec.filesystem("memory"), []
    system.pipe("/urls/x.npz", b"bytes")
    whole = type(system).isfile

    def failing(self: object, path: str) -> bool:
        tried.append(path)
        if len(tried) < fails:
            raise ConnectionError("away: 'http://h/x?signature=1'")
        return whole(system, path)

    monkeypatch.setattr(type(system), "isfile", failing)
    fails = 3
    assert fetch_url("memory://urls/x.npz", tmp_path, no_pause).read_bytes() == b"bytes"
    fails, tried[:] = 9, []
    with pytest.raises(BadRequest, match=r"away: 'http://h/x\?\.\.\.'"):
        fetch_url("memory://urls/x.npz", tmp_path, no_pause)
    assert len(tried) == 3


@pytest.mark.parametrize("url", ["file:///etc", "memory://x", "zip://a::http://h/b", "local:///etc"])
def test_a_url_that_means_this_machine_is_refused_by_the_worker_too(url: str) -> None:
    with pytest.raises(BadRequest, match="Data cannot come from"):
        open_source({"source": url}, ["/"])
