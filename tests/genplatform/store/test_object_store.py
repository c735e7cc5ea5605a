"""The object store where an upload can break off: what is half-written is no object."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractBufferedFile

from genplatform.errors import Conflict, Unavailable
from genplatform.store import Store, Stored
from genplatform.store.objects import SMALL, ObjectBackend

LARGE = bytes(range(256)) * (SMALL // 256 + 8000)


class Broken(BytesIO):
    """A source that gives its bytes and then fails instead of ending."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data:
            raise OSError("the cable was cut")
        return data


class Upload(AbstractBufferedFile):
    """An upload as S3 has them: parts are collected, and the object appears when it is completed."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.buffer.seek(0)
        self.parts.append(self.buffer.read())
        if final:
            self.fs.store[self.path] = MemoryFile(self.fs, self.path, b"".join(self.parts))
        return True

    def discard(self) -> None:
        self.parts = []


class UploadingFileSystem(MemoryFileSystem):
    """A file system in memory that takes objects by upload."""

    protocol = "uploading"

    def _open(self, path: str, mode: str = "rb", **words: object) -> object:
        if mode == "wb" and "data" not in words:
            return Upload(self, path, mode, block_size=1 << 20)
        return super()._open(path, mode, **words)


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    fsspec.register_implementation("uploading", UploadingFileSystem, clobber=True)


@pytest.fixture(params=["memory", "uploading"])
def backend(request: pytest.FixtureRequest) -> Iterator[ObjectBackend]:
    url = f"{request.param}://{uuid.uuid4().hex}"
    backend = ObjectBackend(url, url)
    yield backend
    for key in backend.keys(""):
        backend.remove(key)


@pytest.mark.parametrize("data", [b"", b"small", LARGE[:SMALL], LARGE[: SMALL + 1], LARGE], ids=len)
def test_an_object_of_any_size_comes_back(backend: ObjectBackend, data: bytes) -> None:
    written = backend.write("a/b", BytesIO(data))

    with backend.open("a/b") as source:
        assert source.read() == data
    assert written == Stored("a/b", hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=len)
def test_an_upload_that_breaks_off_never_becomes_an_object(backend: ObjectBackend, data: bytes) -> None:
    with pytest.raises(Unavailable, match="the cable was cut"):
        backend.write("a/b", Broken(data))

    assert backend.keys("") == []


def test_a_tree_that_broke_off_is_completed_by_the_next_try(tmp_path: Path) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    store.put_bytes("t/a", b"a")

    assert [s.key for s in store.put_tree(tmp_path, "t")] == ["t/a", "t/b", "t/c"]

    store.put_bytes("t/d", b"left by someone else")
    with pytest.raises(Conflict, match="t/d"):
        store.put_tree(tmp_path, "t")
    store.remove("t")


def test_a_store_that_cannot_be_reached_is_unavailable_with_its_url(
    backend: ObjectBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    for name in ("find", "open", "pipe_file", "makedirs", "rm"):
        monkeypatch.setattr(backend._fs, name, fail)
    for call in (
        lambda: backend.keys("a"),
        lambda: backend.open("a"),
        lambda: backend.write("a", BytesIO(b"")),
        lambda: backend.remove("a"),
        backend.check,
    ):
        with pytest.raises(Unavailable, match="no credentials") as caught:
            call()
        assert "GENCTL_STORE_URL" in caught.value.hint
