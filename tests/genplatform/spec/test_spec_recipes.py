"""The recipe book tells names, schemas and what is wrong with parameters, and imports no worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genplatform.errors import NotFound, Unavailable
from genplatform.spec import RecipeBook, recipes


def test_recipes_are_listed_by_name(book: RecipeBook) -> None:
    assert book.names() == ("gan", "noise")
    assert book.ls()["recipes"][0] == {"name": "gan", "modality": "image", "summary": "A small GAN."}


def test_a_shown_recipe_has_every_promised_key(book: RecipeBook) -> None:
    assert {"name", "modality", "summary", "config", "cond"} <= set(book.show("noise"))


def test_what_is_shown_cannot_change_the_book(book: RecipeBook) -> None:
    book.get("gan")["config"]["properties"].clear()

    assert book.check_params("gan", {"latent_dim": 3}) == []


def test_an_unknown_recipe_is_answered_with_the_nearest(book: RecipeBook) -> None:
    with pytest.raises(NotFound) as caught:
        book.get("noyse")

    assert caught.value.hint == "Did you mean 'noise'?"


def test_every_wrong_parameter_is_told(book: RecipeBook) -> None:
    problems = book.check_params("gan", {"latent_dim": "x", "dropout": 2, "drop": 1})

    assert [problem.path for problem in problems] == ["params.drop", "params.dropout", "params.latent_dim"]


def test_the_built_in_book_holds_what_issue_2_needs() -> None:
    built_in = RecipeBook.builtin()

    assert {"gan", "noise"} <= set(built_in.names())
    assert built_in.check_params("gan", {"latent_dim": 100}) == []
    assert built_in.check_params("gan", {"latent_dimm": 100})[0].hint == "Did you mean 'latent_dim'?"


def test_reading_the_built_in_book_imports_no_worker_and_nothing_heavy() -> None:
    code = (
        "import sys; from genplatform.spec import RecipeBook; RecipeBook.builtin().ls();"
        "print([m for m in ('genworkers', 'torch', 'ray', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("text", [None, "", "{}", '{"recipes": [{}]}', '{"recipes": 3}'])
def test_a_broken_description_is_told_and_not_guessed(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    if text is not None:
        (tmp_path / "recipes" / "builtin.json").write_text(text)

    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(recipes, "find_spec", lambda name: Found)

    with pytest.raises(Unavailable, match="cannot be read"):
        RecipeBook.builtin()


def test_a_missing_package_of_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "find_spec", lambda name: None)

    with pytest.raises(Unavailable, match="not installed"):
        RecipeBook.builtin()


def test_a_recipe_of_an_installed_package_may_be_named_and_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "nice_recipes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nice-recipes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[genctl.recipes]\nnice = no_such_module:Nice\ngan = no_such_module:Gan\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    book = RecipeBook.builtin()

    assert book.show("nice")["summary"] == "From the installed package nice-recipes."
    assert book.is_trainable("nice")
    assert book.check_params("nice", {"anything": 1}) == []
    assert book.conditions("nice") == (None, False)
    assert book.show("gan")["summary"] != "From the installed package nice-recipes."
