"""data check: everything is read, and what is wrong is told before a job is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genworkers.data.check import check, report

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def pictures(folder: Path, count: int, same: bool = False) -> Path:
    for index in range(count):
        path = folder / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(0 if same else index).integers(0, 256, (4, 4), dtype=np.uint8)
        Image.fromarray(levels).save(path)
    return folder


def job(source: str, more: str = "") -> str:
    return f"kind: train\nrecipe: gan\nbudget: {{steps: 1}}\ndata: {{source: {source}{more}}}\n"


def test_a_job_file_is_checked_from_its_own_folder_and_told_as_a_table_and_as_json(
    genctl: Callable[..., Any], tmp_path: Path
) -> None:
    pictures(tmp_path / "jobs" / "photos", 40)
    (tmp_path / "jobs" / "photos" / "a" / "x.png").write_bytes(b"no image")
    (tmp_path / "jobs" / "job.yaml").write_text(job("./photos"))
    file = str(tmp_path / "jobs" / "job.yaml")

    bad, good = genctl("data", "check", file), genctl("data", "check", file, "--set", "data.skip=1", "--json")

    assert bad.code == 1
    for words in ("a/x.png is not an image", "data.skip allows 0", "CLASS", "VALIDATION"):
        assert words in bad.out
    assert good.code == 0
    [told] = json.loads(good.out)["data"]
    assert (told["items"], told["shape"], told["classes"]) == (40, {"height": 4, "width": 4, "channels": 1}, ["a", "b"])
    assert {name: part["items"] for name, part in told["parts"].items()} == {"train": 28, "validation": 6, "test": 6}
    assert sum(sum(part["classes"]) for part in told["parts"].values()) == 40
    assert (told["skipped"]["count"], told["problems"]) == (1, [])


def test_a_wrong_job_file_is_told_with_its_place(genctl: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(job("digits").replace("gan", "gam"))

    ended = genctl("data", "check", str(tmp_path / "job.yaml"))

    assert ended.code == 2
    assert "job.yaml:2" in ended.err


def test_equal_items_in_two_parts_are_a_problem_that_a_split_by_content_mends(tmp_path: Path) -> None:
    data = {"source": str(pictures(pictures(tmp_path / "d", 60), 10, same=True))}

    parted, whole = report(data, SHARES), report(data, SHARES | {"by": "content", "seed": 1})

    assert sum(parted["duplicates"].values()) > 0
    assert "Equal items lie in two parts" in parted["problems"][0]["message"]
    assert (set(whole["duplicates"].values()), whole["split"]["by"]) == ({0}, "content")


def test_classes_that_are_held_out_and_not_learned_are_a_problem(tmp_path: Path) -> None:
    told = report({"source": str(pictures(tmp_path / "d", 40))}, SHARES | {"by": "folder", "test": 0.0, "train": 0.75})

    assert "is learned from" in told["problems"][0]["message"]


def test_data_that_is_not_there_and_files_without_a_training_are_told(tmp_path: Path) -> None:
    told = report({"source": str(tmp_path / "nowhere")}, SHARES)
    none = check(b"kind: command\ncommand: ['true']\n", "application/yaml", ())

    assert "no file or folder" in told["problems"][0]["message"]
    assert "none reads data" in none["error"]["message"]


def test_pairs_are_told_with_what_they_are_made_of(genctl: Callable[..., Any], tmp_path: Path) -> None:
    pictures(tmp_path / "pairs" / "A", 20)
    pictures(tmp_path / "pairs" / "B", 20)
    text = job(str(tmp_path / "pairs"), ", format: pairs")
    (tmp_path / "job.yaml").write_text(text)

    ended = genctl("data", "check", str(tmp_path / "job.yaml"))

    assert ended.code == 0
    assert "made of" in ended.out
