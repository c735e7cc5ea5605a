"""What a recipe of one's own needs: read from its file, installed beside what the node has, and nothing exchanged."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wheels import make_wheel

from genctl.recipecode import located, packed
from genplatform.domain import layout
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import own_recipes, pip_environments
from genworkers.own_requirements import declared, provide

MINE = """
# /// script
# dependencies = [{needs!r}]
# ///
from genworkers.recipes.vae import Vae
import tiny_word

class Mine(Vae):
    name = "mine"
    summary = tiny_word.WORD
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this node keeps environments; what is imported from them is forgotten after the test."""
    monkeypatch.setenv("GENCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "home" / "environments"
    sys.modules.pop("tiny_word", None)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, "tiny_word", "1.0", "WORD = 'hello'\n")


def loaded(base: Path, recipe: str) -> Any:
    """Return the recipe as a node has it, from the code that `genctl submit` sends."""
    store = Store((base / "sent").as_uri())
    with packed(located(recipe, base)) as (code, file):
        store.put_bytes(layout.upload("default", code.digest), file.read())
    return own_recipes.recipe_named(str(code), lambda digest, to: store.fetch(layout.upload("default", digest), to))


def test_a_recipe_imports_what_its_file_names(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(needs=f"tiny_word @ {wheel.as_uri()}"))

    assert loaded(tmp_path, "mine:Mine").summary == "hello"


def test_the_next_who_asks_the_same_finds_it_built(wheel: Path, cache: Path) -> None:
    for _ in range(2):
        with ExitStack() as until:
            provide([f"tiny_word @ {wheel.as_uri()}"], "It", until)
        wheel.unlink(missing_ok=True)

    assert len(list(cache.glob(f"*/{pip_environments.WHOLE}"))) == 1


def test_what_the_node_has_is_not_installed_again(cache: Path) -> None:
    with ExitStack() as until:
        provide([f"numpy=={np.__version__}", "torch>=2", "no-such-thing ; python_version < '3'"], "It", until)

    assert not cache.exists()


def test_what_the_platform_has_in_another_version_is_not_exchanged(tmp_path: Path) -> None:
    other = make_wheel(tmp_path, "numpy", "0.1", "")
    before = list(sys.path)

    with ExitStack() as until, pytest.raises(BadRequest) as refused:
        provide([f"numpy @ {other.as_uri()}"], "It", until)

    assert f"It needs numpy 0.1, and genctl runs with numpy {np.__version__} itself" in refused.value.message
    assert sys.path == before


def test_what_pip_cannot_install_is_told_with_its_last_words(tmp_path: Path) -> None:
    gone = (tmp_path / "tiny_word-1.0-py3-none-any.whl").as_uri()
    (tmp_path / "mine.py").write_text(MINE.format(needs=f"tiny_word @ {gone}"))

    with pytest.raises(BadRequest) as refused:
        loaded(tmp_path, "mine:Mine")

    assert "The recipe mine:Mine cannot be imported: pip could not install tiny_word" in refused.value.message
    assert "No such file or directory" in refused.value.message


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("", []),
        ("# /// script\n# requires-python = '>=3.11'\n# ///\n", []),
        ("# /// other\n# dependencies = ['a']\n# ///\n", []),
        ("# /// script\n# dependencies = [\n#   'a==1',\n#   'b[x]>2',\n# ]\n# ///\n", ["a==1", "b[x]>2"]),
    ],
)
def test_a_file_declares_what_its_block_lists(block: str, wanted: list[str]) -> None:
    assert declared(f"import torch\n\n{block}x = 1\n", "It") == wanted


@pytest.mark.parametrize(
    "content",
    ["dependencies = 'a'", "dependencies = ['not a name']", "dependencies = [", "dependencies = [1]"],
)
def test_a_block_that_cannot_be_read_is_told(content: str) -> None:
    with pytest.raises(BadRequest, match="The script metadata of It cannot be read"):
        declared(f"# /// script\n# {content}\n# ///\n", "It")


def test_two_blocks_are_one_too_many() -> None:
    block = "# /// script\n# dependencies = ['a']\n# ///\n"

    with pytest.raises(BadRequest, match="2 blocks"):
        declared(f"{block}\n{block}", "It")
