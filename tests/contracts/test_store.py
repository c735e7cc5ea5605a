"""What the store promises on every backend: a folder, and an object store that fsspec speaks to."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from together import together

from genplatform.errors import BadRequest, Conflict, NotFound, SettingsError
from genplatform.store import Store, Stored

DATA = b"some bytes"


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield Store((tmp_path / "a store").as_uri())
        return
    store = Store(f"memory://{uuid.uuid4().hex}")
    yield store
    for key in store.list():
        store.remove(key)


def stored(key: str, data: bytes) -> Stored:
    return Stored(key, hashlib.sha256(data).hexdigest(), len(data))


def tree(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Objects


def test_bytes_come_back_with_their_digest_and_size(store: Store) -> None:
    assert store.put_bytes("a/b/c.bin", DATA) == stored("a/b/c.bin", DATA)
    assert store.read_bytes("a/b/c.bin") == DATA
    with store.open("a/b/c.bin") as source:
        assert (source.read(4), source.read()) == (DATA[:4], DATA[4:])


def test_an_empty_object_is_an_object(store: Store) -> None:
    assert store.put_bytes("empty", b"") == stored("empty", b"")
    assert store.exists("empty")
    assert store.read_bytes("empty") == b""


def test_a_file_is_stored_and_fetched_whole(store: Store, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    source, target = tmp_path / "in.bin", tmp_path / "new" / "out.bin"
    source.write_bytes(data)

    assert store.put_file(source, "x/in.bin") == stored("x/in.bin", data)
    assert store.fetch("x/in.bin", target) == stored("x/in.bin", data)
    assert store.measure("x/in.bin") == stored("x/in.bin", data)

    assert contents(target.parent) == {"out.bin": data}


def test_fetching_replaces_a_file_that_is_there(store: Store, tmp_path: Path) -> None:
    store.put_bytes("x", DATA)
    target = tmp_path / "out"
    target.write_bytes(b"something old and longer than the new")

    store.fetch("x", target)

    assert target.read_bytes() == DATA


def test_an_object_that_stands_is_replaced_whole(store: Store) -> None:
    store.put_bytes("x", b"a longer first content")

    assert store.put_bytes("x", DATA) == stored("x", DATA)
    assert store.read_bytes("x") == DATA


def test_an_object_lies_at_its_uri(store: Store) -> None:
    store.put_bytes("a/b.txt", DATA)

    uri = store.uri("a/b.txt")

    assert uri.endswith("/a/b.txt")
    assert Store(uri.removesuffix("/b.txt")).read_bytes("b.txt") == DATA


@pytest.mark.parametrize("key", ["nothing", "a", "a/nothing", "a/b.txt/c"])
def test_what_is_not_there_is_not_found_by_name(store: Store, tmp_path: Path, key: str) -> None:
    store.put_bytes("a/b.txt", DATA)

    for read in (store.open, store.read_bytes, lambda k: store.fetch(k, tmp_path / "x")):
        with pytest.raises(NotFound, match=key):
            read(key)
    assert not (tmp_path / "x").exists()
    assert store.exists(key) == (key == "a")


def test_a_local_file_that_is_missing_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        store.put_file(tmp_path / "nowhere", "x")
    with pytest.raises(NotFound, match="nowhere"):
        store.put_tree(tmp_path / "nowhere", "x")
    assert store.list() == []


def test_many_writers_of_one_key_leave_one_whole_object(store: Store) -> None:
    texts = [bytes([65 + i]) * 200_000 for i in range(6)]

    together([lambda text=text: store.put_bytes("k", text) for text in texts])

    assert store.read_bytes("k") in texts
    assert store.list() == ["k"]


def test_a_reader_sees_whole_objects_only_while_others_replace_them(store: Store) -> None:
    texts = [bytes([65 + i]) * 500_000 for i in range(2)]
    store.put_bytes("k", texts[0])
    seen: set[bytes] = set()

    def write() -> None:
        for turn in range(40):
            store.put_bytes("k", texts[turn % 2])

    def read() -> None:
        for _ in range(80):
            seen.add(store.read_bytes("k"))

    together([write, read, read])

    assert seen <= set(texts)


def test_many_may_fetch_to_one_place_at_once(store: Store, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    store.put_bytes("x", data)
    store.put_bytes("t/x", data)

    together([lambda: store.fetch("x", tmp_path / "out") for _ in range(4)])
    together([lambda: store.fetch_tree("t", tmp_path / "tree") for _ in range(4)])

    assert contents(tmp_path).keys() - {"out", "tree/x"} == {k for k in contents(tmp_path) if k.startswith("a store/")}
    assert contents(tmp_path)["out"] == contents(tmp_path)["tree/x"] == data


# Listing and removing


def test_listing_gives_all_keys_below_a_folder_sorted(store: Store) -> None:
    for key in ("b/2", "a", "b/1", "b/c/3", "bb/4"):
        store.put_bytes(key, DATA)

    assert store.list() == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
    assert store.list("b") == store.list("b/") == ["b/1", "b/2", "b/c/3"]
    assert store.list("a") == ["a"]
    assert store.list("c") == []


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert store.list() == []
    assert store.list("a") == []
    assert not store.exists("a")


def test_removing_takes_an_object_or_a_folder_and_is_quiet_when_there_is_none(store: Store) -> None:
    for key in ("b/1", "b/c/3", "bb/4", "d"):
        store.put_bytes(key, DATA)

    store.remove("b")
    store.remove("d")
    store.remove("nothing/here")
    store.remove("bb/4/5")

    assert store.list() == ["bb/4"]
    assert not store.exists("b")


def test_a_removed_key_may_be_written_again(store: Store) -> None:
    store.put_bytes("a/b", DATA)
    store.remove("a")

    store.put_bytes("a", b"new")

    assert store.read_bytes("a") == b"new"


# Trees


def test_a_tree_is_stored_and_fetched_with_all_its_files(store: Store, tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", **{"b.txt": b"2", "a.txt": b"1", "sub__c.txt": b"3"})

    written = store.put_tree(folder, "t/one")

    assert written == [stored(f"t/one/{n}", d) for n, d in (("a.txt", b"1"), ("b.txt", b"2"), ("sub/c.txt", b"3"))]
    assert store.list("t") == [s.key for s in written]
    assert store.fetch_tree("t/one", tmp_path / "out") == written
    assert contents(tmp_path / "out") == contents(folder)
    assert contents(folder)


def test_the_same_tree_again_is_kept_as_it_is(store: Store, tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", a=b"1", sub__b=b"2")

    assert store.put_tree(folder, "t") == store.put_tree(folder, "t")
    assert store.list() == ["t/a", "t/sub/b"]


@pytest.mark.parametrize("other", [{"a": b"changed", "b": b"2"}, {"a": b"1"}, {"c": b"1"}])
def test_another_tree_under_the_same_name_is_refused_and_changes_nothing(
    store: Store, tmp_path: Path, other: dict[str, bytes]
) -> None:
    store.put_tree(tree(tmp_path / "one", a=b"1", b=b"2"), "t")

    with pytest.raises(Conflict, match=r"/t\b.*exists already with other content"):
        store.put_tree(tree(tmp_path / "two", **other), "t")

    assert [store.read_bytes(key) for key in store.list()] == [b"1", b"2"]


def test_writers_of_the_same_tree_all_succeed(store: Store, tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", **{f"f{i}": os.urandom(5000) for i in range(20)})

    written = together([lambda: store.put_tree(folder, "t") for _ in range(4)])

    assert all(w == written[0] for w in written)
    assert len(store.list()) == 20


def test_an_empty_folder_is_no_tree(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)

    with pytest.raises(BadRequest, match="empty"):
        store.put_tree(tmp_path / "in", "t")


def test_links_and_pipes_are_never_stored(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for make in (
        lambda place: place.symlink_to(secret),
        lambda place: place.symlink_to(tmp_path),
        lambda place: place.symlink_to("dangling"),
        os.mkfifo,
    ):
        folder = tree(tmp_path / uuid.uuid4().hex, a=b"1", sub__b=b"2")
        make(folder / "sub" / "odd")
        with pytest.raises(BadRequest, match="odd is not a plain file"):
            store.put_tree(folder, "t")
    assert store.list() == []


def test_a_tree_with_a_name_that_is_no_key_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be a key"):
        store.put_tree(tree(tmp_path / "in", **{"a": b"1", "b c%": b"2"}), "t")
    assert store.list() == []


def test_fetching_a_tree_that_is_not_there_makes_no_folder(store: Store, tmp_path: Path) -> None:
    store.put_bytes("x", DATA)
    for key in ("t", "x"):
        with pytest.raises(NotFound, match=key):
            store.fetch_tree(key, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_fetching_a_tree_onto_a_folder_takes_an_empty_or_equal_one_and_refuses_another(
    store: Store, tmp_path: Path
) -> None:
    store.put_tree(tree(tmp_path / "in", a=b"1"), "t")
    out = tmp_path / "out"
    out.mkdir()

    store.fetch_tree("t", out)
    store.fetch_tree("t", out)
    (out / "a").write_bytes(b"mine")
    with pytest.raises(Conflict):
        store.fetch_tree("t", out)

    assert contents(out) == {"a": b"mine"}
    assert sorted(p.name for p in tmp_path.glob("*") if p.name.startswith(".")) == []


# Keys and URLs

BAD_KEYS = [
    *("", "/", "/etc/passwd", "a//b", "a/", "/a", ".", "..", "../a", "a/../b", "a/..", "./a", "a/."),
    *("%2e%2e/a", "a/%2e%2e", "%2fetc", "a\\b", "..\\a", "C:\\a", "C:/a", "a\0b", "a\nb", "a\x1b[0m", "a\x7f"),
    *(
        "~",
        "~root/x",
        "$HOME",
        "a b",
        "a*",
        "a?",
        "a[1]",
        "a{b}",
        "a|b",
        "a:b",
        "memory://x",
        "file:///x",
        "a#b",
        "a;b",
    ),
    *("é", "a\u202eb", "a\u2025b", "\uff0e\uff0e/a", "\ud800", ".staging", ".staging/x", "a" * 201, "a/" * 500 + "a"),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused_everywhere_and_touches_nothing(store: Store, tmp_path: Path, key: str) -> None:
    folder = tree(tmp_path / "in", f=b"1")
    before = sorted(tmp_path.rglob("*"))

    calls = [
        lambda: store.put_bytes(key, DATA),
        lambda: store.put_file(folder / "f", key),
        lambda: store.put_tree(folder, key),
        lambda: store.read_bytes(key),
        lambda: store.open(key),
        lambda: store.fetch(key, tmp_path / "out"),
        lambda: store.exists(key),
        lambda: store.uri(key),
    ]
    if key not in {"", "a/"}:  # these name folders, where a folder may be named
        calls += [lambda: store.list(key), lambda: store.remove(key), lambda: store.fetch_tree(key, tmp_path / "out")]
    for call in calls:
        with pytest.raises(BadRequest) as caught:
            call()
        assert caught.value.message.isascii()
        assert caught.value.message.isprintable()

    assert sorted(tmp_path.rglob("*")) == before
    assert store.list() == []


@pytest.mark.parametrize(
    "key", ["a", "a.b", ".hidden", "...", "..a", "step-000000001.r1", "A_b-c+d=e@3,f", "a/.staging"]
)
def test_a_good_key_is_taken_as_it_is(store: Store, key: str) -> None:
    store.put_bytes(key, DATA)

    assert store.list() == [key]


@pytest.mark.parametrize(
    "url", ["", "relative/folder", "file://relative", "file:", "nosuch://x", "file://[", "file://h/x"]
)
def test_a_url_that_names_no_store_is_refused_with_what_to_set(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Store(url)

    assert url in caught.value.message
    assert "GENCTL_STORE_URL" in caught.value.hint


def test_a_url_never_shows_its_password() -> None:
    with pytest.raises(SettingsError) as caught:
        Store("nosuch://user:s3cret@host/x")

    assert "s3cret" not in caught.value.message


def test_checking_a_store_leaves_nothing(store: Store) -> None:
    store.check()

    assert store.list() == []
