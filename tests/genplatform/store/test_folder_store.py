"""The folder store where a disk, a crash or a link can hurt it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genplatform.errors import BadRequest, Conflict, GenctlError, Unavailable
from genplatform.store import Store
from genplatform.store.keys import STAGING


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root.as_uri())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (made / name).write_bytes(name.encode() * 1000)
    return made


def staged(root: Path) -> list[Path]:
    return list((root / STAGING).glob("*")) if root.exists() else []


# Keys

odd = st.sampled_from(["..", ".", "", "%2e%2e", "%2F", "\\", "\0", "/", "~", "link", "\n", "\u2025", "x", ".staging"])
keys = st.lists(odd | st.text(max_size=4), min_size=1, max_size=5).map("/".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys)
def test_no_key_whatever_it_is_writes_outside_the_root(tmp_path: Path, key: str) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    root.mkdir(exist_ok=True)
    outside.mkdir(exist_ok=True)
    if not (root / "link").is_symlink():
        (root / "link").symlink_to(outside)
    store = Store(str(root))

    try:
        written = store.put_bytes(key, b"x")
    except (BadRequest, Conflict):
        pass
    else:
        assert store.read_bytes(key) == b"x"
        assert (root / written.key).resolve().is_relative_to(root)
        store.remove(key)
    assert list(outside.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"store", "outside"}
    (root / "link").unlink(missing_ok=True)


def test_a_link_that_leads_out_is_followed_by_nothing(store: Store, root: Path, tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")

    calls: list[Callable[[], object]] = [
        lambda: store.put_bytes("link/new", b""),
        lambda: store.put_bytes("link/a/b", b""),
        lambda: store.put_tree(folder, "link/tree"),
        lambda: store.read_bytes("link/secret"),
        lambda: store.read_bytes("file"),
        lambda: store.exists("link/secret"),
        lambda: store.list("link"),
        lambda: store.remove("link/secret"),
        lambda: store.fetch_tree("link", tmp_path / "out"),
    ]
    for call in calls:
        with pytest.raises(BadRequest, match="leads out of the store"):
            call()

    assert store.list() == []
    assert [p.name for p in outside.iterdir()] == ["secret"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    Store(str(tmp_path / "link")).put_bytes("a/b", b"1")

    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"1"


def test_a_key_is_an_object_or_a_folder_never_both(store: Store, folder: Path) -> None:
    store.put_bytes("a/b", b"1")

    for call in (
        lambda: store.put_bytes("a/b/c", b"2"),
        lambda: store.put_bytes("a", b"2"),
        lambda: store.put_tree(folder, "a/b"),
        lambda: store.put_tree(folder, "a/b/c"),
    ):
        with pytest.raises(Conflict):
            call()

    assert store.list() == ["a/b"]
    assert store.read_bytes("a/b") == b"1"


# Failures


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "healthy")]
)
def test_a_disk_that_fails_is_unavailable_with_the_path_and_leaves_nothing(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    root = folder.parent / "store"

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("genplatform.store.trees.os.fsync", fail)

    for call in (lambda: store.put_bytes("x/y", b"1"), lambda: store.put_tree(folder, "x/t")):
        with pytest.raises(Unavailable) as caught:
            call()
        assert str(root) in caught.value.message
        assert says in caught.value.hint
    monkeypatch.undo()

    assert store.list() == []
    assert staged(root) == []


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    for url in (str(tmp_path / "file"), str(tmp_path / "file" / "store"), "/proc/no/store"):
        for call in (Store(url).check, lambda url=url: Store(url).put_bytes("a", b"")):
            with pytest.raises(Unavailable) as caught:
                call()
            assert url in caught.value.message
            assert "GENCTL_STORE_URL" in caught.value.hint


def killed_at(count: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run `act` in a process of its own that kills itself at its `count`-th fsync or rename; tell whether it did."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    left = [count]

    def step(call: Callable[..., object]) -> Callable[..., object]:
        def stepped(*words: object, **named: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **named)

        return stepped

    try:
        for name in ("fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, step(getattr(os, name)))
        act()
    finally:
        os._exit(0)


def test_killed_at_any_step_a_writer_leaves_all_or_nothing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills, swept, seen, step = 0, 0, set(), 0
    while True:
        step += 1
        root = tmp_path / f"store-{step}"
        store = Store(str(root))
        if not killed_at(step, lambda store=store: store.put_tree(folder, "jobs/t"), monkeypatch):
            break
        kills += 1
        listed = store.list()
        assert listed in ([], ["jobs/t/a", "jobs/t/b", "jobs/t/sub/c"])
        seen.add(len(listed))

        written = store.put_tree(folder, "jobs/t")

        assert [store.read_bytes(s.key) for s in written] == [n.encode() * 1000 for n in ("a", "b", "sub/c")]
        swept += store.sweep(before=2**40)
        assert staged(root) == []
    assert kills >= 6
    assert swept >= 3
    assert seen == {0, 3}


def test_a_replaced_object_is_the_old_or_the_new_whenever_the_writer_dies(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = set(), 1
    store.put_bytes("k", b"old")
    while killed_at(step, lambda: store.put_bytes("k", b"new"), monkeypatch):
        seen.add(store.read_bytes("k"))
        store.put_bytes("k", b"old")
        step += 1

    assert seen == {b"old", b"new"}


def test_sweeping_spares_what_was_touched_since(store: Store, root: Path) -> None:
    store.check()
    old, new = root / STAGING / "old", root / STAGING / "new"
    old.mkdir()
    (old / "half").write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    os.utime(new, (3000, 3000))

    assert store.sweep(before=2000) == 1
    assert staged(root) == [new]


def test_sweeping_a_store_that_was_never_written_sweeps_nothing(store: Store, root: Path) -> None:
    assert store.sweep(before=2**40) == 0
    assert not root.exists()


def test_reading_asking_and_listing_make_no_folder(store: Store, root: Path) -> None:
    store.exists("a")
    store.list()
    store.uri("a")

    assert not root.exists()


# Cost and permissions


def test_a_large_file_is_stored_and_fetched_in_flat_memory(store: Store, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as out:
        out.truncate(64 << 20)
    tracemalloc.start()
    try:
        written = store.put_file(large, "large")
        store.fetch("large", tmp_path / "back")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert written.size == (tmp_path / "back").stat().st_size == 64 << 20
    assert peak < 8 << 20


def test_what_is_written_has_the_permissions_that_the_umask_leaves(store: Store, root: Path, folder: Path) -> None:
    before = os.umask(0o027)
    try:
        store.put_bytes("x", b"1")
        store.put_tree(folder, "t")
    finally:
        os.umask(before)

    assert {stat.S_IMODE((root / name).stat().st_mode) for name in ("x", "t/a", "t/sub/c")} == {0o640}
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in ("t", "t/sub")} == {0o750}


def test_a_fetch_that_fails_leaves_the_old_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes("x", b"new")
    target = tmp_path / "mine"
    target.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("genplatform.store.trees.os.fsync", fail)
    with pytest.raises(GenctlError, match="mine cannot be written"):
        store.fetch("x", target)

    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
