"""Where things lie: the rules of the house that need no import to be seen."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from sources import EVERYTHING, PRODUCT, ROOT, sources

LONGEST_ROOM = 400
LONGEST_TEST = 500  # a table of cases is looked up, and need not be held in the head
LIBRARIES = {"alembic", "click", "fastapi", "fsspec", "ray", "redis", "rich", "sqlalchemy", "torch", "uvicorn"}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_folder_platform_does_not_hide_the_standard_module_of_that_name():
    assert not (ROOT / "platform" / "__init__.py").exists()
    program = "import sys; sys.path.insert(0, sys.argv[1]); import platform; print(platform.system())"

    said = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert said.stdout.strip()


def test_tests_are_no_packages_and_no_two_files_share_a_name():
    names = Counter(s.path.name for s in sources("tests") if s.path.name != "conftest.py")

    assert "__init__.py" not in names
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_is_named_like_a_standard_module_or_a_client_library():
    taken = (set(sys.stdlib_module_names) | LIBRARIES) - {"__main__"}
    # The source root itself is the one exception, and has a test of its own above.
    found = [
        s.where
        for s in sources(*PRODUCT)
        for part in s.path.relative_to(ROOT).with_suffix("").parts[1:]
        if part in taken
    ]

    assert found == []


@pytest.mark.parametrize(
    ("folders", "longest"), [(PRODUCT, LONGEST_ROOM), (("examples", "bench", "tests"), LONGEST_TEST)]
)
def test_no_file_is_too_long_to_be_one_room(folders, longest):
    lengths = {s.where: len(s.text.splitlines()) for s in sources(*folders)}

    assert {where: lines for where, lines in lengths.items() if lines > longest} == {}


def test_every_module_says_its_purpose_in_its_first_line():
    without = [s.where for s in sources(*EVERYTHING) if not (ast.get_docstring(s.tree) or "").strip()]

    assert without == []


def test_every_package_of_the_sources_has_its_init():
    folders = {s.path.parent for s in sources(*PRODUCT)}

    assert [f for f in folders if not (f / "__init__.py").exists()] == []


def test_every_recipe_that_we_bring_is_a_file_of_its_own_and_carries_its_name():
    from genworkers.recipes import registry

    ours = {name: registry.find(name) for name in registry.BUILTIN}

    assert {name: recipe.name for name, recipe in ours.items()} == {name: name for name in ours}
    assert len({recipe.__module__ for recipe in ours.values()}) == len(ours)


def test_every_dependency_is_pinned():
    pinned = {_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["postgres"]]
    names = {_name(requirement) for requirement in wanted} - {"genctl"}

    assert names - pinned == set()


def _name(requirement: str) -> str:
    """Return what a requirement such as `ray[serve]==2; platform_system != 'Windows'` names, `_` being `-`."""
    end = next((i for i, c in enumerate(requirement) if c in "[<>=!~; "), len(requirement))
    return requirement[:end].lower().replace("_", "-")


def packages() -> set[str]:
    folder = ROOT / "platform" / "genplatform"
    rooms = {p.name for p in folder.iterdir() if (p / "__init__.py").exists()}
    return rooms | {p.stem for p in folder.glob("*.py")} - {"__init__", "__main__"}


# Who else may import the library that a contract keeps at home, and why.
GUESTS = {
    "redis": {"local"},  # it waits for the server that it starts, before anything above is there
}


@pytest.mark.parametrize(
    ("library", "home"),
    [("sqlalchemy", "catalog"), ("redis", "queues"), ("ray", "engine"), ("fastapi", "api"), ("fsspec", "store")],
)
def test_the_contract_that_keeps_a_library_at_home_covers_every_other_room(library, home):
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    covered = [
        {m.removeprefix("genplatform.") for m in c["source_modules"] if m.startswith("genplatform.")}
        for c in contracts
        if library in c.get("forbidden_modules", ()) and len(c["source_modules"]) > 1
    ]

    assert [packages() - rooms - {home} - GUESTS.get(library, set()) for rooms in covered] == [set()]


def test_no_file_of_this_project_is_a_pickle():
    suffixes = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".npy", ".joblib"}
    found = [p for folder in (*EVERYTHING, "docs") for p in Path(ROOT / folder).rglob("*") if p.suffix in suffixes]

    assert found == []
