"""Pictures from files: what is read, what is refused, and what is told of both."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from shared_data import shared

from genplatform.errors import BadRequest, NotFound
from genworkers.data.dataset import split
from genworkers.data.kept import KeptPictures
from genworkers.data.sources import open_source


def read(path: Path, **options: Any) -> KeptPictures:
    found = open_source({"source": str(path), **options}, [str(path.parent)])
    assert isinstance(found, KeptPictures)
    return found


def picture(seed: int, height: int = 6, width: int = 5, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path)


def class_folders(root: Path) -> Path:
    for index, name in enumerate(["cat", "ant", "cat", "bee"]):
        save(root / name / f"{index}.png", picture(index))
    return root


def idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    data = head + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_class_folders_give_pictures_in_the_order_of_their_names_with_their_classes(tmp_path: Path) -> None:
    found = read(class_folders(tmp_path / "data"))

    assert (len(found), found.shape, found.classes) == (4, (6, 5, 3), ("ant", "bee", "cat"))
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 2]
    batch = found.rows(torch.tensor([3, 0]))
    wanted = torch.from_numpy(picture(2)).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.allclose(batch["x"][0], wanted, atol=1e-6)
    assert (batch["x"].shape, batch["x"].dtype, batch["label"].tolist()) == ((2, 3, 6, 5), torch.float32, [2, 0])


def test_the_digest_is_of_the_pictures_and_labels_and_of_nothing_else(tmp_path: Path) -> None:
    one = read(class_folders(tmp_path / "one"))
    save(tmp_path / "two" / "cat" / "0.bmp", picture(0))  # the same pixels in another format
    for index, name in [(1, "ant"), (2, "cat"), (3, "bee")]:
        save(tmp_path / "two" / name / f"{index}.png", picture(index))
    same, changed = read(tmp_path / "two"), class_folders(tmp_path / "three")
    (changed / "bee").rename(changed / "wasp")

    other_label = read(changed)
    save(changed / "cat" / "0.png", picture(9))

    assert same.digest == one.digest
    assert len({one.digest, other_label.digest, read(changed).digest}) == 3


def test_a_table_of_captions_says_which_pictures_there_are_and_their_class(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "d" / "png" / f"{index}.png", picture(index))
    (tmp_path / "d" / "captions.tsv").write_text("file\tname\tkind\n1.png\tone\todd\npng/0.png\tnought\teven\n")

    found = read(tmp_path / "d", label="kind")

    assert (len(found), found.classes) == (2, ("even", "odd"))
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0]
    assert list(found.columns["name"]) == ["one", "nought"]


def test_a_table_that_names_what_lies_outside_reads_nothing_of_it(tmp_path: Path) -> None:
    save(tmp_path / "secret.png", picture(0))
    save(tmp_path / "d" / "0.png", picture(1))
    (tmp_path / "d" / "captions.tsv").write_text("file\n0.png\n../secret.png\n")

    with pytest.raises(BadRequest, match=r"\.\./secret\.png is named in captions.tsv, and is not there"):
        read(tmp_path / "d")


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_are_brought_to_the_size_and_channels_that_are_declared(tmp_path: Path, fit: str) -> None:
    save(tmp_path / "d" / "0.png", picture(0, 20, 40))
    save(tmp_path / "d" / "1.png", picture(1, 9, 7, channels=1))

    found = read(tmp_path / "d", size=[8, 12], channels=1, fit=fit)

    assert (len(found), found.shape) == (2, (8, 12, 1))


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "d" / "0.png")

    assert read(tmp_path / "d").rows(torch.tensor([0]))["x"].min() == 1


def test_idx_files_are_read_with_the_labels_beside_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    pictures = picture(0, 7, 4, 5).transpose(2, 0, 1)
    idx(tmp_path / "d" / "a-images-idx3-ubyte.gz", pictures)
    idx(tmp_path / "d" / "a-labels-idx1-ubyte", np.array([3, 0, 1, 3, 2], np.uint8))

    found = read(tmp_path / "d")

    assert (len(found), found.shape) == (5, (7, 4, 1))
    assert found.labels is not None
    assert found.labels.tolist() == [3, 0, 1, 3, 2]
    wanted = torch.from_numpy(pictures[2].copy()) / 127.5 - 1
    assert torch.allclose(found.rows(torch.tensor([2]))["x"][0, 0], wanted, atol=1e-6)


@pytest.mark.parametrize("how", ["cut", "longer", "no gzip", "other labels", "absurd size"])
def test_a_broken_idx_file_is_an_error_that_names_it(tmp_path: Path, how: str) -> None:
    path, labels = tmp_path / "d" / "a-images-idx3-ubyte.gz", tmp_path / "d" / "a-labels-idx1-ubyte"
    path.parent.mkdir()
    idx(path, np.zeros((3, 4, 4), np.uint8))
    idx(labels, np.zeros(2 if how == "other labels" else 3, np.uint8))
    data = gzip.decompress(path.read_bytes())
    head = struct.pack(">HBB3I", 0, 8, 3, 1 << 29, 60_000, 60_000)
    changed = {
        "cut": gzip.compress(data[:-1]),
        "longer": gzip.compress(data + b"x"),
        "no gzip": data,
        "absurd size": gzip.compress(head),
    }
    path.write_bytes(changed.get(how, path.read_bytes()))

    with pytest.raises(BadRequest, match=r"idx\d-ubyte|bytes more decoded"):
        read(tmp_path / "d")


def test_an_npz_is_read_by_the_names_of_its_arrays(tmp_path: Path) -> None:
    known, own = tmp_path / "a.npz", tmp_path / "b.npz"
    levels = picture(0, 4, 4, 6).transpose(2, 0, 1)
    np.savez_compressed(known, images=levels, labels=np.arange(6) % 2)
    np.savez(own, photos=levels / 255.0, kinds=np.array(["x", "y"] * 3))

    first, second = read(known), read(own, column="photos", label="kinds", range=[0, 1])

    assert (first.shape, len(second), second.classes) == ((4, 4, 1), 6, ("x", "y"))
    every = torch.arange(6)
    assert torch.allclose(first.rows(every)["x"], second.rows(every)["x"], atol=1e-6)
    assert torch.equal(first.rows(every)["label"], second.rows(every)["label"])


def test_an_npz_without_a_word_on_its_range_or_with_python_objects_is_refused(tmp_path: Path) -> None:
    floats, objects = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(floats, x=np.zeros((2, 4, 4)))
    np.savez(objects, x=np.array([[[{}]]], dtype=object))

    with pytest.raises(BadRequest, match="nothing says which of them become -1 and 1"):
        read(floats)
    with pytest.raises(BadRequest, match="Python objects, which are never read"):
        read(objects)


def bad_folder(root: Path) -> Path:
    for index in range(6):
        save(root / f"{index}.png", picture(index))
    (root / "a.png").write_bytes(b"not an image")
    (root / "b.jpg").write_bytes(b"")
    data = (root / "1.png").read_bytes()
    (root / "c.png").write_bytes(data[: len(data) // 2])
    save(root / "d.png", picture(7, 9, 9))
    (root / "README.md").write_text("no picture, and nobody's business")
    return root


def test_what_cannot_be_read_is_one_error_that_names_it_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"a\.png is not an image.*allows none of 10") as caught:
        read(bad_folder(tmp_path / "d"))

    assert "data.skip" in caught.value.hint


@pytest.mark.parametrize("skip", [4, 0.5])
def test_up_to_the_declared_limit_it_is_left_out_counted_and_listed(tmp_path: Path, skip: float) -> None:
    found = read(bad_folder(tmp_path / "d"), skip=skip)

    assert (len(found), found.skipped.count) == (6, 4)
    assert [name for name, _ in found.skipped.listed] == ["a.png", "b.jpg", "c.png", "d.png"]
    [note] = found.notes
    assert note.startswith("Left out 4 of 10 items: a.png is not an image; b.jpg is empty;")
    assert "9x9 in colour, and the first is 5x6" in note
    with pytest.raises(BadRequest, match="allows 3 of 10"):
        read(tmp_path / "d", skip=3)


def test_a_picture_that_would_take_all_memory_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "d" / "0.png", picture(0))
    save(tmp_path / "d" / "1.png", picture(1, 40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    with pytest.raises(BadRequest, match=r"1\.png has more than 1,000 pixels"):
        read(tmp_path / "d")


def test_a_folder_without_a_picture_or_without_anything_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(BadRequest, match="is empty"):
        read(tmp_path / "d")
    (tmp_path / "d" / "notes.doc").write_text("x")
    with pytest.raises(BadRequest, match="do not say what they are"):
        read(tmp_path / "d")
    with pytest.raises(NotFound):
        read(tmp_path / "nowhere")


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(seed)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_are_read_where_they_lie_and_give_what_their_folder_gives(tmp_path: Path, kind: str) -> None:
    folder, archive = class_folders(tmp_path / "data"), tmp_path / f"data.{kind}"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for name in names:
                out.write(folder / name, name)
    else:
        with tarfile.open(archive, "w") as out:
            out.add(folder, ".")

    found = read(archive)

    if kind == "zip":
        assert found.digest == read(folder).digest
    assert len(found) == 4


def test_a_damaged_member_is_a_bad_item_and_a_cut_off_archive_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as out:
        for index in range(3):
            out.writestr(f"{index}.png", png(index))
    whole = (tmp_path / "d.zip").read_bytes()
    (tmp_path / "d.zip").write_bytes(whole.replace(png(1)[-30:], bytes(30)))
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.add(tmp_path / "d.zip", "0.png")
    (tmp_path / "d.tar").write_bytes((tmp_path / "d.tar").read_bytes()[:700])

    found = read(tmp_path / "d.zip", skip=1)

    assert (len(found), found.skipped.listed[0][0]) == (2, "1.png")
    assert "Bad CRC" in found.skipped.listed[0][1]
    with pytest.raises(BadRequest, match=r"d\.tar cannot be read as an archive"):
        read(tmp_path / "d.tar")


def test_a_locked_npz_is_an_error_that_names_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4, 5), np.uint8))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    (tmp_path / "x.npz").write_bytes(data)

    with pytest.raises(BadRequest, match=r"x\.npz cannot be read: .*password required"):
        read(tmp_path / "x.npz")


def test_a_picture_with_broken_exif_data_is_a_bad_item(tmp_path: Path) -> None:
    save(tmp_path / "d" / "0.png", picture(0))
    turned, maker_as_a_number = struct.pack(">HHI4s", 0x112, 3, 1, b"\0\6"), struct.pack(">HHIf", 0x10F, 11, 1, 1.0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + turned + maker_as_a_number + bytes(4)
    Image.fromarray(picture(1)).save(tmp_path / "d" / "1.jpg", exif=exif)

    found = read(tmp_path / "d", skip=1)

    assert [name for name, _ in found.skipped.listed] == ["1.jpg"]


def test_captions_may_be_long_and_hold_any_sign_but_a_lines_end(tmp_path: Path) -> None:
    captions = ["long " * 40_000, "one\u2028two\x85three\ffour", '"quoted']
    for index in range(3):
        save(tmp_path / "d" / f"{index}.png", picture(index))
    lines = ["file\tcaption", *(f"{index}.png\t{text}" for index, text in enumerate(captions))]
    (tmp_path / "d" / "captions.tsv").write_bytes("\r\n".join(lines).encode())

    found, by_file = read(tmp_path / "d"), read(tmp_path / "d", label="file")

    assert found.columns["caption"] == captions
    assert by_file.classes == ("0.png", "1.png", "2.png")


def test_members_that_lead_out_of_an_archive_are_refused_and_links_never_followed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("../out.png", png(0))
        out.writestr("in.png", png(1))
    with tarfile.open(tmp_path / "b.tar", "w") as out:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
        info = tarfile.TarInfo("in.png")
        info.size = len(png(1))
        out.addfile(info, io.BytesIO(png(1)))

    with pytest.raises(BadRequest, match=r"\.\./out\.png has a name that leads out"):
        read(tmp_path / "a.zip")
    with pytest.raises(BadRequest, match=r"link\.png is no regular file"):
        read(tmp_path / "b.tar")
    assert [len(read(tmp_path / name, skip=1)) for name in ("a.zip", "b.tar")] == [1, 1]


def test_a_member_that_unpacks_to_very_much_is_refused_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("bomb.png", bytes(20 << 20))

    with pytest.raises(BadRequest, match=r"bomb\.png would unpack to 20,971,520 bytes"):
        read(tmp_path / "a.zip")


def test_paths_outside_the_folders_that_may_be_named_are_refused_links_followed(tmp_path: Path) -> None:
    class_folders(tmp_path / "secret")
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "data").symlink_to(tmp_path / "secret")
    save(tmp_path / "open" / "own" / "0.png", picture(0))
    (tmp_path / "open" / "own" / "1.png").symlink_to(tmp_path / "secret" / "bee" / "3.png")
    allowed = [str(tmp_path / "open")]

    for path in (tmp_path / "secret", tmp_path / "open" / "data"):
        with pytest.raises(BadRequest, match="leads out of the folders"):
            open_source({"source": str(path)}, allowed)
    with pytest.raises(BadRequest, match=r"1\.png is a link that leads out"):
        open_source({"source": str(tmp_path / "open" / "own")}, allowed)


def test_a_folder_that_may_be_named_may_itself_be_a_link(tmp_path: Path) -> None:
    class_folders(tmp_path / "real" / "d")
    (tmp_path / "open").symlink_to(tmp_path / "real")

    assert len(open_source({"source": str(tmp_path / "open" / "d")}, [str(tmp_path / "open")])) == 4


@pytest.mark.parametrize("pattern", ["*/*.png", "**/*.png", "*/*/*.png"])
def test_a_pattern_reads_nothing_behind_a_linked_folder_that_leads_out(tmp_path: Path, pattern: str) -> None:
    save(tmp_path / "out" / "secret.png", picture(0))
    save(tmp_path / "out" / "deep" / "secret.png", picture(1))
    save(tmp_path / "in" / "own" / "0.png", picture(2))
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")

    with pytest.raises(BadRequest, match=r"secret\.png is a link that leads out"):
        open_source({"source": f"{tmp_path}/in/{pattern}"}, [str(tmp_path / "in")])


@pytest.mark.parametrize("inside", [True, False])
def test_a_linked_class_folder_is_a_bad_item_and_so_is_a_link_to_itself(tmp_path: Path, inside: bool) -> None:
    root = class_folders(tmp_path / "data")
    save(tmp_path / "elsewhere" / "0.png", picture(9))
    (root / "dog").symlink_to(root / "bee" if inside else tmp_path / "elsewhere")
    (root / "bee" / "loop.png").symlink_to(root / "bee" / "loop.png")

    found = read(root, skip=2)

    assert (len(found), found.skipped.count) == (4, 2)
    assert found.skipped.listed[1][0] == "dog"
    assert "is a link" in found.skipped.listed[1][1]
    with pytest.raises(BadRequest, match="dog is a link"):
        read(root, skip=1)


def test_tables_that_may_not_be_read_are_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name, folder in [("a.parquet", "d"), ("b.parquet", "")]:
        pq.write_table(pa.table({"image": [png(0)]}), tmp_path / folder / name)
    (tmp_path / "d" / "b.parquet").symlink_to(tmp_path / "b.parquet")

    with pytest.raises(BadRequest, match=r"b\.parquet in d is a link that leads out"):
        read(tmp_path / "d")
    npz = tmp_path / "d" / "x.npz"
    npz.symlink_to(tmp_path / "b.parquet")
    with pytest.raises(BadRequest, match=r"x\.npz in x\.npz is a link that leads out"):
        open_source({"source": str(npz)}, [str(tmp_path)])


def test_a_pattern_takes_the_files_that_match_it(tmp_path: Path) -> None:
    for index, name in enumerate(["a1", "a2", "b1"]):
        save(tmp_path / "d" / f"{name}.png", picture(index))

    assert len(read(tmp_path / "d" / "a*.png")) == 2


@pytest.mark.parametrize("megabytes", [24, 72])
def test_memory_stays_flat_as_the_data_grows(tmp_path: Path, megabytes: int) -> None:
    path = tmp_path / "big.npz"
    np.savez(path, x=np.zeros((megabytes * 16, 256, 256), np.uint8))
    tracemalloc.start()
    try:
        found = read(path)
        for start in range(0, len(found), 16):
            found.rows(torch.arange(start, start + 16))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(found) == megabytes * 16
    assert peak < 20 << 20


def test_groups_are_never_parted_and_a_split_by_them_is_recorded(tmp_path: Path) -> None:
    for index in range(60):
        save(tmp_path / "d" / f"{index % 12}" / f"{index}.png", picture(index % 30))
    found = read(tmp_path / "d")
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}

    for by, groups in (("folder", np.array(found.columns["folder"])), ("content", found.contents())):
        parts, record = split(found, shares | {"by": by, "seed": 3})
        seen = [set(groups[part].tolist()) for part in parts.values()]
        assert record["by"] == by
        assert sum(record["counts"].values()) == 60
        assert sum(map(len, seen)) == len(set.union(*seen))
        again, _ = split(found, shares | {"by": by, "seed": 3})
        assert all(torch.equal(parts[name], again[name]) for name in parts)
    with pytest.raises(BadRequest, match="cannot be split by 'speaker'"):
        split(found, shares | {"by": "speaker"})


def test_too_few_groups_for_the_parts_are_an_error(tmp_path: Path) -> None:
    found = read(class_folders(tmp_path / "d"))

    with pytest.raises(BadRequest, match="4 items make 3 groups, and none falls to validation"):
        split(found, {"train": 0.9, "validation": 0.05, "test": 0.05, "by": "folder"})


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_and_fashion_mnist_are_read_as_they_come(name: str) -> None:
    found = read(shared("images", name))

    assert (len(found), found.shape) == (70_000, (28, 28, 1))
    assert found.labels is not None
    assert torch.bincount(found.labels).tolist() == ([7000] * 10 if name != "mnist" else MNIST_COUNTS)


MNIST_COUNTS = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]


def test_the_emoji_are_read_from_their_archive_with_their_groups() -> None:
    found = read(shared("images", "emoji", "noto_emoji_72px.zip"), label="group", size=16)

    assert (len(found), found.shape) == (1590, (16, 16, 3))
    assert 8 <= len(found.classes) <= 12


def test_parquet_files_of_images_are_read_with_their_labels(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for part in range(2):
        images = [{"bytes": png(part * 3 + i), "path": None} for i in range(3)]
        table = pa.table({"image": images, "label": ["b", "a", "b"]})
        pq.write_table(table, tmp_path / "d" / f"{part}.parquet")

    found = read(tmp_path / "d")

    assert (len(found), found.shape, found.classes) == (6, (6, 5, 3), ("a", "b"))
    wanted = torch.from_numpy(picture(4)).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.allclose(found.rows(torch.tensor([4]))["x"][0], wanted, atol=1e-6)


def test_a_share_that_may_be_left_out_is_one_of_all_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for part, good in enumerate([1, 3]):
        images = [png(part * 3 + index) for index in range(good)] + [b"not an image"] * (3 - good)
        pq.write_table(pa.table({"image": images}), tmp_path / "d" / f"{part}.parquet")

    found = read(tmp_path / "d", skip=0.4)

    assert (len(found), found.skipped.count, found.skipped.total) == (4, 2, 6)
