"""Uploads: bytes sent ahead of the jobs that name them, kept once when they are what they say."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient

from genplatform.api.blobs import KEPT_FREE
from genplatform.domain import layout
from genplatform.services.context import Wiring

# More than any other body may have in one request to the platform's own door.
DATA = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(DATA).hexdigest()
PLACE = f"/api/v1/uploads/{DIGEST}"


class Usage(NamedTuple):
    free: int


def test_bytes_of_any_length_are_kept_under_their_digest(api: TestClient, w: Wiring) -> None:
    before, sent, after, again = (
        api.get(PLACE),
        api.put(PLACE, content=DATA),
        api.get(PLACE),
        api.put(PLACE, content=DATA),
    )

    assert [one.status_code for one in (before, sent, after, again)] == [404, 200, 200, 200]
    assert sent.json() == {"digest": DIGEST}
    assert w.store.read_bytes(layout.upload("default", DIGEST)) == DATA


def test_bytes_that_are_not_what_they_say_are_not_kept(api: TestClient, w: Wiring) -> None:
    def in_pieces() -> Iterator[bytes]:
        yield DATA
        yield b"x"

    refused = [api.put(PLACE, content=DATA[:-1]), api.put(PLACE, content=in_pieces()), api.put(PLACE, content=b"")]

    assert [one.status_code for one in refused] == [400, 400, 400]
    assert all("and not" in one.json()["detail"] for one in refused)
    assert w.store.list() == []


def test_a_digest_that_is_none_and_a_request_without_a_token_are_refused(api: TestClient, w: Wiring) -> None:
    codes = [api.put(f"/api/v1/uploads/{name}", content=DATA).status_code for name in ("x", DIGEST[:-1], "..%2Fx")]

    assert all(code in (400, 404, 405, 422) for code in codes)
    assert api.put(PLACE, content=DATA, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert w.store.list() == []


def test_more_than_the_disk_holds_is_refused_before_it_comes(api: TestClient) -> None:
    refused = api.put(PLACE, content=b"x", headers={"Content-Length": str(1 << 60)})

    assert refused.status_code == 413


def test_a_disk_that_holds_the_copy_and_not_the_upload_too_is_not_filled(
    api: TestClient, w: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_pieces() -> Iterator[bytes]:
        yield DATA

    def asked(*free: int) -> list[int]:
        there = w.store.disk()
        of_store, of_copy = (KEPT_FREE + one for one in free)
        monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(of_store if place == there else of_copy))
        return [api.put(PLACE, content=body).status_code for body in (in_pieces(), DATA)]

    assert asked(len(DATA) - 1, 1 << 40) == [413, 413]
    assert asked(2 * len(DATA) - 1, 2 * len(DATA) - 1) == [200, 413]
    assert asked(2 * len(DATA), 2 * len(DATA)) == [200, 200]
