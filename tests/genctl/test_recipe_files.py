"""A recipe of one's own, as a job file names it: found beside it, packed, called by its digest."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from canned_platform import CannedPlatform, job

from genctl.jobfiles import JSON, LINES, YAML
from genctl.recipecode import is_own, located, packed
from genctl.recipefiles import with_sent_recipe_set, with_sent_recipes
from genplatform.domain import recipe_code
from genplatform.errors import GenctlError

Run = Callable[..., Any]
CLASS = "class Mine:\n    pass\n"


def files(base: Path, recipe: str) -> list[str]:
    with packed(located(recipe, base)) as (_, file), tarfile.open(fileobj=file) as archive:
        return archive.getnames()


def written(base: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = base / (name.replace("__slash__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "text", ["mine:Mine", "a.b.c:Mine", "./mine.py:Mine", "../x y/mine.py:M", "/a/mine.py:M", "~/m.py:M"]
)
def test_these_name_a_recipe_by_its_code(text: str) -> None:
    assert is_own(text)


@pytest.mark.parametrize(
    "text", ["gan", "a.b", "./mine.py", "mine:", ":Mine", "a b:Mine", "mine:a.b", f"upload:{'0' * 64}/m:M"]
)
def test_these_do_not(text: str) -> None:
    assert not is_own(text)


def test_a_module_goes_with_what_it_imports_from_beside_it_and_with_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, mine="import os, helpers\nimport torch\ndef f():\n    from .late import x\n" + CLASS)
    written(tmp_path, helpers="from pack.one import y\n", late="x = 1\n", unrelated="raise SystemExit\n")
    written(
        tmp_path, pack__slash____init__="", pack__slash__one="from . import two\n", pack__slash__two="import back\n"
    )
    written(tmp_path, back="", data__slash__script="")
    (tmp_path / "pack" / ".secret").write_text("kept")
    (tmp_path / "pack" / "__pycache__").mkdir()
    (tmp_path / "pack" / "__pycache__" / "one.pyc").write_text("")
    (tmp_path / "pack" / "words.txt").write_text("sent")

    assert files(tmp_path, "mine:Mine") == [
        "back.py", "helpers.py", "late.py", "mine.py", "pack/__init__.py", "pack/one.py", "pack/two.py",
        "pack/words.txt",
    ]  # fmt: skip


def test_the_same_code_is_the_same_digest_wherever_it_lies(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        written(tmp_path / folder, mine=CLASS)

    found = []
    for recipe, base in (("mine:Mine", tmp_path / "a"), ("../b/mine.py:Mine", tmp_path / "a")):
        with packed(located(recipe, base)) as (code, _):
            found.append(code)

    assert found[0] == found[1]
    assert recipe_code.parse(str(found[0])) == found[0]


def test_a_file_in_a_package_is_a_module_of_it(tmp_path: Path) -> None:
    written(
        tmp_path, pack__slash____init__="", pack__slash__mine="from . import other\n" + CLASS, pack__slash__other=""
    )

    recipe = located("./pack/mine.py:Mine", tmp_path)

    assert (recipe.module, files(tmp_path, "./pack/mine.py:Mine")) == ("pack.mine", files(tmp_path, "pack.mine:Mine"))


@pytest.mark.parametrize(
    ("text", "recipe", "message", "hint"),
    [
        (CLASS, "other:Mine", "There is no module other beside the job file", "./recipes/mine.py:Mine"),
        (CLASS, "./other.py:Mine", "There is no file", "seen from the job file's folder"),
        (CLASS, "mine:Mien", "has no class 'Mien'", "Did you mean 'Mine'?"),
        ("x = (\n", "mine:Mine", "mine.py, line 1: '(' was never closed", "Mend it"),
        ("\0", "mine:Mine", "cannot contain null bytes", "Mend it"),
    ],
)
def test_what_cannot_be_a_recipe_is_refused_before_anything_is_sent(
    tmp_path: Path, text: str, recipe: str, message: str, hint: str
) -> None:
    written(tmp_path, mine=text)

    with pytest.raises(GenctlError) as caught:
        files(tmp_path, recipe)

    assert message in caught.value.message
    assert hint in caught.value.hint


def test_code_that_is_too_much_is_refused(tmp_path: Path) -> None:
    written(tmp_path, pack__slash____init__=CLASS)
    with (tmp_path / "pack" / "weights.bin").open("wb") as file:
        file.truncate(recipe_code.LARGEST_CODE + 1)

    with pytest.raises(GenctlError, match="has more than 2,000 files or 16,777,216 bytes"):
        files(tmp_path, "pack:Mine")


def test_a_link_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "in", pack__slash____init__=CLASS)
    (tmp_path / "secret.py").write_text("KEY = 1\n")
    (tmp_path / "in" / "pack" / "key.py").symlink_to(tmp_path / "secret.py")

    with pytest.raises(GenctlError, match="leads out of"):
        files(tmp_path / "in", "pack:Mine")


def test_job_files_name_the_code_as_it_was_sent_and_nothing_else_changes() -> None:
    text = (
        "kind: train  # mine:Mine\nrecipe: ./m.py:M  # of mine\nparams: {recipe: a:B}\n---\nkind: train\nrecipe: gan\n"
    )
    lines = [{"kind": "train", "recipe": "a.b:C", "params": {"recipe": "x:Y"}}, {"recipe": "gan", "name": "a:b"}]
    body = "\n".join(map(json.dumps, lines)).encode()

    in_yaml = list(yaml.safe_load_all(with_sent_recipes(text.encode(), YAML, str.upper)))
    in_lines = [json.loads(one) for one in with_sent_recipes(body, LINES, str.upper).splitlines()]
    in_json = json.loads(with_sent_recipes(json.dumps(lines).encode(), JSON, str.upper))

    assert [one["recipe"] for one in in_yaml] == ["./M.PY:M", "gan"]
    assert in_yaml[0]["params"] == {"recipe": "a:B"}
    assert in_lines == in_json == [lines[0] | {"recipe": "A.B:C"}, lines[1]]
    assert with_sent_recipe_set("recipe=a:B", str.upper) == "recipe=A:B"
    assert with_sent_recipe_set("seed=7", str.upper) == "seed=7"


def test_submit_sends_the_code_once_and_the_job_file_names_it(
    platform: CannedPlatform, genctl: Run, tmp_path: Path
) -> None:
    written(tmp_path, mine=CLASS)
    (tmp_path / "job.yaml").write_text("kind: train\nrecipe: mine:Mine\n---\nkind: train\nrecipe: mine:Mine\n")
    with packed(located("mine:Mine", tmp_path)) as (code, file):
        content = file.read()
    platform.on("POST /api/v1/jobs", (201, {"jobs": [job(state="queued")]}))
    platform.on(f"PUT /api/v1/uploads/{code.digest}", {"digest": code.digest})

    ended = genctl("submit", str(tmp_path / "job.yaml"), "-d")

    assert ended.code == 0
    first, second, third = platform.asked
    assert [(asked.method, asked.path.rpartition("/")[2]) for asked in (first, second)] == [
        ("GET", code.digest), ("PUT", code.digest),
    ]  # fmt: skip
    assert second.body == content
    assert [one["recipe"] for one in yaml.safe_load_all(third.body)] == [str(code)] * 2


def test_a_dry_run_sends_no_code(platform: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    written(tmp_path, mine=CLASS)
    (tmp_path / "job.yaml").write_text("kind: train\nrecipe: mine:Mine\n")
    platform.on("POST /api/v1/jobs", {"jobs": [job()], "count": 1})

    assert genctl("submit", str(tmp_path / "job.yaml"), "--dry-run").code == 0

    (asked,) = platform.asked
    assert yaml.safe_load(asked.body)["recipe"].startswith("upload:")
