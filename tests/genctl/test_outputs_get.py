"""`outputs get`: what a job made, copied whole and checked, into its folder and nowhere else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import CannedPlatform, job, problem

Run = Callable[..., Any]
ID = "j_abcdefghjk"
AT = f"/api/v1/jobs/{ID}"


def item(index: int, path: str, content: bytes, **changes: Any) -> dict[str, Any]:
    return {"index": index, "path": path, "sha256": hashlib.sha256(content).hexdigest(), "status": "ok"} | changes


@pytest.fixture
def made(platform: CannedPlatform) -> CannedPlatform:
    """A job that made two files, in two pages, and one item that failed."""
    platform.on("GET /api/v1/jobs/pictures", job())
    first = [item(0, "a/0.png", b"zero"), {"index": 1, "status": "failed", "path": None, "sha256": None}]
    platform.on(f"GET {AT}/outputs", {"items": first, "next": "1"}, {"items": [item(2, "2.png", b"two")], "next": None})
    platform.on(f"GET {AT}/outputs/0/content", b"zero")
    platform.on(f"GET {AT}/outputs/2", item(2, "2.png", b"two"))
    platform.on(f"GET {AT}/outputs/2/content", b"two")
    return platform


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_all_that_a_job_made_is_copied_under_its_paths(made: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    to = tmp_path / "to"

    ended = genctl("outputs", "get", "pictures", "--to", str(to), "--json")

    told = json.loads(ended.out)
    assert (ended.code, told["job_id"], [f["index"] for f in told["files"]]) == (0, ID, [0, 2])
    assert files(to) == {"a/0.png": b"zero", "2.png": b"two"}


def test_only_the_items_that_are_named_are_copied_into_a_folder_named_after_the_job(
    made: CannedPlatform, genctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ended = genctl("outputs", "get", "pictures", "2")

    assert (ended.code, files(tmp_path / ID)) == (0, {"2.png": b"two"})


def test_what_is_there_is_not_copied_again_and_what_is_another_file_is_kept(
    made: CannedPlatform, genctl: Run, tmp_path: Path
) -> None:
    (tmp_path / "2.png").write_bytes(b"two")
    again = genctl("outputs", "get", "pictures", "2", "--to", str(tmp_path))
    (tmp_path / "2.png").write_bytes(b"mine")
    refused = genctl("outputs", "get", "pictures", "2", "--to", str(tmp_path))

    assert (again.code, refused.code) == (0, 2)
    assert "is there already, with other content" in refused.err
    assert f"GET {AT}/outputs/2/content" not in made.paths()
    assert files(tmp_path) == {"2.png": b"mine"}


def test_a_file_that_is_not_the_published_one_is_not_left_there(
    made: CannedPlatform, genctl: Run, tmp_path: Path
) -> None:
    made.on(f"GET {AT}/outputs/2/content", b"rot")

    ended = genctl("outputs", "get", "pictures", "2", "--to", str(tmp_path / "to"))

    assert ended.code == 3
    assert "not the one that was published" in ended.err
    assert files(tmp_path / "to") == {}


def test_a_copy_that_is_cut_off_is_begun_anew(made: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    made.on(f"GET {AT}/outputs/2/content", None, problem(503, "unavailable", "It is being restarted."), b"two")

    ended = genctl("outputs", "get", "pictures", "2", "--to", str(tmp_path / "to"))

    assert (ended.code, files(tmp_path / "to")) == (0, {"2.png": b"two"})


@pytest.mark.parametrize("path", ["../out.png", "/tmp/out.png", "a/../../out.png", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(
    made: CannedPlatform, genctl: Run, tmp_path: Path, path: str
) -> None:
    made.on(f"GET {AT}/outputs/2", item(2, path, b"two"))

    ended = genctl("outputs", "get", "pictures", "2", "--to", str(tmp_path / "to"))

    assert ended.code == 2
    assert "leads out of the folder" in ended.err
    assert files(tmp_path) == {}


def test_a_name_that_fills_its_bytes_is_copied(platform: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    name = "日" * 83 + ".png"  # 253 bytes of the 255 that a name may have
    platform.on("GET /api/v1/jobs/pictures", job())
    platform.on(f"GET {AT}/outputs/0", item(0, name, b"zero"))
    platform.on(f"GET {AT}/outputs/0/content", b"zero")

    ended = genctl("outputs", "get", "pictures", "0", "--to", str(tmp_path / "to"))

    assert (ended.code, files(tmp_path / "to")) == (0, {name: b"zero"})
