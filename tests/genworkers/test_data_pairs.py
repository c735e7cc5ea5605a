"""Pairs of pictures: from two folders or side by side, kept together by the split, and changed alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genplatform.errors import BadRequest, BadSpec
from genplatform.spec import RecipeBook, load
from genworkers.data.augment import Augment
from genworkers.data.check import report
from genworkers.data.dataset import split
from genworkers.data.pairs import KeptPairs
from genworkers.data.sources import open_source
from genworkers.training.loop import facts_of

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def read(path: Path, **options: Any) -> KeptPairs:
    found = open_source({"source": str(path), "format": "pairs", **options}, [str(path.parent)])
    assert isinstance(found, KeptPairs)
    return found


def picture(seed: int, height: int = 6, width: int = 4, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path)


def two_folders(root: Path, count: int = 4, source: str = "A", target: str = "B") -> Path:
    for index in range(count):
        save(root / source / f"{index:02}.png", picture(index, channels=1))
        save(root / target / f"{index:02}.bmp", picture(100 + index))
    return root


def values(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(array).permute(2, 0, 1).float() / 127.5 - 1


def test_pictures_of_one_name_in_two_folders_are_a_pair_each_with_channels_of_its_own(tmp_path: Path) -> None:
    found = read(two_folders(tmp_path / "d"))

    assert (len(found), found.shape, found.source_shape) == (4, (6, 4, 3), (6, 4, 1))
    batch = found.rows(torch.tensor([3, 1]))
    assert torch.allclose(batch["source"][0], values(picture(3, channels=1)), atol=1e-6)
    assert torch.allclose(batch["x"][1], values(picture(101)), atol=1e-6)
    assert facts_of(found)[:4] == ("image", found.shape, (), found.source_shape)


def test_folders_of_any_name_are_paired_in_the_direction_that_is_asked_for(tmp_path: Path) -> None:
    root = two_folders(tmp_path / "d", source="left", target="maps/right")

    found = read(root, pairs={"source": "maps/right", "target": "left"})

    assert (found.source_shape.channels, found.shape.channels) == (3, 1)
    with pytest.raises(BadRequest, match="no folder 'rihgt'") as raised:
        read(root, pairs={"source": "left", "target": "rihgt"})
    assert "left, maps" in raised.value.hint


@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_that_holds_both_side_by_side_is_a_pair(tmp_path: Path, turned: bool) -> None:
    save(tmp_path / "d" / "train" / "1.png", np.concatenate([picture(1), picture(2)], 1))
    options = {"pairs": {"source": "right", "target": "left"}} if turned else {}

    batch = read(tmp_path / "d", **options).rows(torch.tensor([0]))

    left, right = ("x", "source") if turned else ("source", "x")
    assert torch.allclose(batch[left][0], values(picture(1)), atol=1e-6)
    assert torch.allclose(batch[right][0], values(picture(2)), atol=1e-6)


def test_pairs_that_lack_a_picture_or_do_not_go_together_are_left_out_up_to_the_limit(tmp_path: Path) -> None:
    root = two_folders(tmp_path / "d", 10)
    save(root / "A" / "alone.png", picture(50, channels=1))
    save(root / "B" / "03.bmp", picture(51, 6, 5))
    (root / "B" / "04.bmp").write_bytes(b"no picture")
    save(root / "A" / "05.gif", picture(52, channels=1))

    found = read(root, skip=4)

    assert len(found) == 7
    assert found.skipped.listed == [
        ("03", "is a picture of 4x6 with one of 5x6"),
        ("04", "is not an image"),
        ("A/05.png", "has the name of another picture beside it"),
        ("A/alone.png", "has no picture of its name in B"),
    ]
    assert "Left out 4 of 11 items" in found.notes[0]
    with pytest.raises(BadRequest, match=r"data\.skip allows 3 of 11"):
        read(root, skip=3)


def test_side_by_side_pictures_of_an_odd_width_are_bad_items(tmp_path: Path) -> None:
    save(tmp_path / "d" / "1.png", picture(1, width=8))
    save(tmp_path / "d" / "2.png", picture(1, width=7))

    assert read(tmp_path / "d", skip=1).skipped.listed == [
        ("2.png", "is 7x6, and so not two pictures of one width side by side")
    ]


def test_both_pictures_are_brought_to_the_size_alike_or_not_at_all(tmp_path: Path) -> None:
    save(tmp_path / "d" / "A" / "0.png", picture(0, 8, 16))
    save(tmp_path / "d" / "B" / "0.png", picture(1, 16, 32))
    save(tmp_path / "d" / "A" / "1.png", picture(0, 8, 16))
    save(tmp_path / "d" / "B" / "1.png", picture(1, 16, 16))

    found, stretched = read(tmp_path / "d", size=4, skip=1), read(tmp_path / "d", size=[4, 6], fit="stretch")

    assert (found.shape, found.source_shape) == ((4, 4, 3), (4, 4, 3))
    assert found.skipped.listed == [("1", "is a picture of 16x8 with one of 16x16")]
    assert (len(stretched), stretched.shape) == (2, (4, 6, 3))


def test_both_pictures_of_a_pair_are_mirrored_and_moved_alike() -> None:
    x = torch.randn((32, 3, 6, 7), generator=torch.Generator().manual_seed(0))
    rows, epochs = torch.arange(32), torch.zeros(32, dtype=torch.long)

    changed = Augment(flip=True, shift=2).applied({"x": x, "source": x[:, :1]}, rows, epochs, 5)

    assert torch.equal(changed["source"], changed["x"][:, :1])
    assert not torch.equal(changed["x"], x)


def test_the_digest_knows_which_picture_is_given(tmp_path: Path) -> None:
    root = two_folders(tmp_path / "d")
    turned = read(root, pairs={"source": "B", "target": "A"})

    assert read(root).digest == read(root).digest != turned.digest


def test_pairs_that_share_a_picture_in_two_parts_are_told_and_kept_together_by_content(tmp_path: Path) -> None:
    root = two_folders(tmp_path / "d", 40)
    for index in range(0, 20, 2):  # of a source two targets, of a target two sources: 0-1-2 hang together
        save(root / "A" / f"{index + 1:02}.png", picture(index, channels=1))
    save(root / "B" / "02.bmp", picture(101))
    data = {"source": str(root), "format": "pairs"}

    parted, whole = report(data, SHARES), report(data, SHARES | {"by": "content"})

    assert parted["source_shape"] == {"height": 6, "width": 4, "channels": 1}
    assert sum(parted["duplicates"].values()) > 0
    assert "Equal items lie in two parts" in parted["problems"][0]["message"]
    assert (set(whole["duplicates"].values()), whole["problems"]) == ({0}, [])
    linked = read(root).contents()
    assert linked[0] == linked[1] == linked[2] == linked[3]
    assert len(set(linked.tolist())) == 40 - 10 - 1


def test_a_folder_of_a_pair_can_stay_whole(tmp_path: Path) -> None:
    for index in range(12):
        for side in "AB":
            save(tmp_path / "d" / side / "abc"[index % 3] / f"{index}.png", picture(index))

    parts, record = split(read(tmp_path / "d"), {"train": 0.7, "validation": 0.3, "test": 0, "by": "folder"})

    assert record["counts"] == {"train": 8, "validation": 4, "test": 0}
    folders = read(tmp_path / "d").groups("folder")
    assert len({folders[index] for index in parts["validation"].tolist()}) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("format: idx, pairs: {source: a, target: b}", "the format idx has no pairs"),
        ("pairs: {source: a}", "target"),
        ("pairs: {source: a, target: a/}", "twice"),
    ],
)
def test_a_job_file_that_pairs_what_cannot_be_is_refused(data: str, words: str) -> None:
    text = f"kind: train\nrecipe: gan\ndata: {{source: /data/x, {data}}}\n"

    with pytest.raises(BadSpec, match=words):
        load(text.encode(), "application/yaml", RecipeBook.builtin(), [])
