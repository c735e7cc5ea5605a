"""The record against the store: what it refers to is there and is what was published, or it is said what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lived_record import live
from small_platform import TENANT, SmallPlatform

from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey, JobKey, RunKey
from genplatform.errors import Unavailable
from genplatform.services.verify import verify
from genplatform.store import Store

Lived = tuple[SmallPlatform, dict[str, str]]
MODEL = layout.model(TENANT, "d" * 64)


@pytest.fixture
def lived(on_each: SmallPlatform) -> Lived:
    return on_each, live(on_each)


def shard(ids: dict[str, str], number: int = 0) -> str:
    return layout.shard(ClaimKey(TENANT, ids["made"], 1, number, 1))


def checkpoint(ids: dict[str, str]) -> str:
    return layout.checkpoint(RunKey(TENANT, ids["trained"], 1), 50)


def test_a_record_and_its_store_agree(lived: Lived) -> None:
    p, _ = lived

    assert verify(p.w.catalog) == verify(p.w.catalog, p.w.store) == verify(p.w.catalog, p.w.store, deep=True) == []


# What is taken away or changed, whose it was, and whether only a deep look finds it.
Damage = tuple[Callable[[dict[str, str]], str], bytes | None, str, str, bool]
DAMAGES: list[Damage] = [
    (lambda i: f"{shard(i)}/{layout.MANIFEST}", None, "made", "store_missing", False),
    (lambda i: f"{shard(i)}/{layout.MANIFEST}", b"{}\n", "made", "store_digest", True),
    (lambda i: f"{shard(i, 1)}/000064.png", None, "made", "store_missing", True),
    (lambda i: f"{shard(i, 1)}/000064.png", b"another picture", "made", "store_digest", True),
    (lambda i: f"{layout.outputs(JobKey(TENANT, i['made']))}/{layout.MANIFEST}", None, "made", "store_missing", False),
    (lambda i: f"{layout.outputs(JobKey(TENANT, i['made']))}/{layout.MANIFEST}", b"", "made", "store_digest", True),
    (checkpoint, None, "trained", "store_missing", False),
    (lambda i: f"{checkpoint(i)}/{layout.STATE}", b"{}", "trained", "store_digest", True),
    (lambda i: f"{checkpoint(i)}/modules.safetensors", b"torn", "trained", "store_digest", True),
    (lambda i: f"{checkpoint(i)}/modules.safetensors", None, "trained", "store_missing", True),
    (lambda i: MODEL, None, "trained@1", "store_missing", False),
    (lambda i: f"{MODEL}/{layout.WEIGHTS}", None, "trained@1", "store_missing", False),
    (lambda i: f"{MODEL}/{layout.WEIGHTS}", b"other weights", "trained@1", "store_digest", True),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_or_changed_in_the_store_is_named(lived: Lived, damage: Damage) -> None:
    p, ids = lived
    where, content, whose, law, only_deep = damage
    key = where(ids)
    if content is None:
        p.w.store.remove(key)
    else:
        p.w.store.put_bytes(key, content)

    shallow, deep = verify(p.w.catalog, p.w.store), verify(p.w.catalog, p.w.store, deep=True)

    assert (deep[0].law, deep[0].about) == (law, f"{TENANT}/{ids.get(whose, whose)}")
    assert key.rpartition("/")[2] in deep[0].message
    assert {q.law for q in deep} == {law}
    assert (shallow == []) == only_deep


class Forgetful(Store):
    """While it is looked at, a worker replaces the oldest checkpoint, row and files, as workers do."""

    def __init__(self, p: SmallPlatform, job_pk: int, key: str) -> None:
        super().__init__(p.w.store.url)
        self._p, self._job_pk, self._key = p, job_pk, key

    def exists(self, key: str) -> bool:
        if key.startswith(self._key):
            self.remove(self._key)
            with self._p.w.catalog.write() as tx:
                tx.artifacts.forget(self._job_pk, [self._key])
        return super().exists(key)


def test_what_the_record_forgets_meanwhile_is_not_missed(lived: Lived) -> None:
    p, ids = lived
    store = Forgetful(p, p.row(ids["trained"]).id, checkpoint(ids))

    assert verify(p.w.catalog, store) == []
    assert not p.w.store.exists(checkpoint(ids))


def test_a_store_that_cannot_be_read_has_lost_nothing(p: SmallPlatform) -> None:
    class Away(Store):
        def exists(self, key: str) -> bool:
            raise Unavailable("The store is away.")

    live(p)

    with pytest.raises(Unavailable, match="away"):
        verify(p.w.catalog, Away(p.w.store.url))


def test_a_record_of_many_pages_is_looked_at_whole(p: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genplatform.catalog.references.PAGE", 1)
    ids = live(p)
    looked: list[str] = []

    class Listening(Store):
        def exists(self, key: str) -> bool:
            looked.append(key)
            return super().exists(key)

    verify(p.w.catalog, Listening(p.w.store.url))

    half = layout.shard(ClaimKey(TENANT, ids["half"], 1, 0, 1))
    manifests = [f"{shard(ids, n)}/{layout.MANIFEST}" for n in range(3)] + [f"{half}/{layout.MANIFEST}"]
    wanted = [f"{layout.outputs(JobKey(TENANT, ids['made']))}/{layout.MANIFEST}", f"{checkpoint(ids)}/{layout.STATE}"]
    assert sorted(looked) == sorted([*manifests, *wanted, f"{MODEL}/{layout.CONFIG}", f"{MODEL}/{layout.WEIGHTS}"])
