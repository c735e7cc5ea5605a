"""A recipe of one's own on its way to the platform: its file or package, and what these import from beside them.

Nothing is run here: what is imported is read from the `import` statements, and the class is looked for in the text.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from genctl.packing import packed_files
from genplatform.domain.recipe_code import (
    CLASS_PATTERN,
    LARGEST_CODE,
    MODULE_PATTERN,
    MOST_FILES,
    RecipeCode,
    is_plain,
)
from genplatform.errors import BadRequest, NotFound, TooLarge

_BY_MODULE = re.compile(f"({MODULE_PATTERN}):({CLASS_PATTERN})")
_BY_FILE = re.compile(rf"(.+\.py):({CLASS_PATTERN})", re.DOTALL)
_MODULE = re.compile(MODULE_PATTERN)


@dataclass(frozen=True)
class OwnRecipe:
    """A class in a module, and the folder that the module is imported from."""

    root: Path
    module: str
    cls: str

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def is_own(text: str) -> bool:
    """Tell whether a job file names a recipe by its code: `package.module:Class`, or `FILE.py:Class`."""
    return not text.startswith("upload:") and bool(_BY_MODULE.fullmatch(text) or _BY_FILE.fullmatch(text))


def located(text: str, base: Path) -> OwnRecipe:
    """Return the recipe that a job file in the folder `base` names; raises NotFound when there is no such module."""
    by_module = _BY_MODULE.fullmatch(text)
    if by_module:
        recipe = OwnRecipe(base.resolve(), by_module[1], by_module[2])
        if _file_of(recipe) is None:
            raise NotFound(
                f"There is no module {recipe.module} beside the job file: neither {_as_path(recipe)}.py nor "
                f"{_as_path(recipe)}/__init__.py.",
                "Put it there, or name its file, such as ./recipes/mine.py:Mine.",
            )
        return recipe
    by_file = _BY_FILE.fullmatch(text)
    assert by_file is not None  # noqa: S101 - the caller asked `is_own`
    path = Path(os.path.normpath(base.absolute() / Path(by_file[1]).expanduser()))
    if not path.is_file():
        raise NotFound(f"There is no file {path}, which `recipe:` names.", "A path is seen from the job file's folder.")
    root, module = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, module = root.parent, f"{root.name}.{module}"
    if not _MODULE.fullmatch(module):
        raise BadRequest(f"{path} cannot be imported as {module!r}.", "Give it a name of letters, digits and '_'.")
    return OwnRecipe(root.resolve(), module, by_file[2])


@contextmanager
def packed(recipe: OwnRecipe) -> Iterator[tuple[RecipeCode, IO[bytes]]]:
    """Yield the recipe as what is uploaded: its code, named by its digest, and open for reading.

    Raises BadRequest for code that is none, lacks the class, or is too large.
    """
    try:
        paths = _files(recipe)
        _check_class(recipe)
    except OSError as error:
        message = f"The code of {recipe.module}:{recipe.cls} cannot be read: {error.filename}: {error.strerror}."
        raise BadRequest(message, "See that its files are there, and that you may read them.") from error
    with packed_files(recipe.root, paths) as (digest, file):
        yield RecipeCode(digest, recipe.module, recipe.cls), file


def _as_path(recipe: OwnRecipe) -> Path:
    return recipe.root.joinpath(*recipe.module.split("."))


def _file_of(recipe: OwnRecipe) -> Path | None:
    path = _as_path(recipe)
    found = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((one for one in found if one.is_file()), None)


def _files(recipe: OwnRecipe) -> list[str]:
    """Return the recipe's module or whole package, and those beside it that are imported, however far."""
    found: dict[str, int] = {}
    seen, waiting = {recipe.top}, [recipe.top]
    while waiting:
        top = waiting.pop()
        for path in _of_top(recipe.root, top):
            found[str(path)] = path.stat().st_size
            _check_size(recipe, found)
            if path.suffix == ".py":
                new = {name for name in _imported(recipe.root, path) if _is_beside(recipe.root, name)} - seen
                seen |= new
                waiting += sorted(new)
    return sorted(found)


def _check_size(recipe: OwnRecipe, found: dict[str, int]) -> None:
    if len(found) > MOST_FILES or sum(found.values()) > LARGEST_CODE:
        raise TooLarge(
            f"The code of {recipe.module}:{recipe.cls} has more than {MOST_FILES:,} files or {LARGEST_CODE:,} bytes "
            f"below {recipe.root}.",
            "Keep in its package what it imports; what a model learns from is `data:`.",
        )
    last = os.path.relpath(next(reversed(found)), recipe.root).replace(os.sep, "/")
    if not is_plain(last):
        raise BadRequest(f"The recipe's file {last!r} cannot be sent.", "Name it with letters, digits, '_', '-', '.'.")


def _of_top(root: Path, top: str) -> Iterator[Path]:
    """Yield the files of a module, or of a package; of a folder that is no package, its modules alone."""
    if (root / f"{top}.py").is_file() and not (root / top / "__init__.py").is_file():
        yield root / f"{top}.py"
        return
    whole = (root / top / "__init__.py").is_file()
    for folder, folders, names in os.walk(root / top):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".pyc") and (whole or name.endswith(".py")):
                yield Path(folder, name)


def _is_beside(root: Path, top: str) -> bool:
    return (root / f"{top}.py").is_file() or (root / top / "__init__.py").is_file()


def _imported(root: Path, path: Path) -> set[str]:
    """Return the first parts of all that a file's `import` statements name, as seen from the root."""
    depth = len(path.relative_to(root).parts) - 1
    found: set[str] = set()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level in (0, depth + 1):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.partition(".")[0] for name in names}
    return found


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise BadRequest(f"{path}{line}: {error.msg}.", "Mend it, and submit again.") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is no Python: {error}.", "Mend it, and submit again.") from None


def _check_class(recipe: OwnRecipe) -> None:
    """Raise BadRequest when the module plainly has no such name; one that is made in another way is seen in the run."""
    path = _file_of(recipe)
    if path is None:
        raise NotFound(f"There is no module {recipe.module} in {recipe.root}.", "Check `recipe:`.")
    bound, classes = set(), []
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ClassDef):
            classes.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    if recipe.cls not in {*bound, *classes} and "*" not in bound:
        near = difflib.get_close_matches(recipe.cls, classes, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Its classes: {', '.join(classes) or 'none'}."
        raise BadRequest(f"{path} has no class {recipe.cls!r}, which `recipe:` names.", hint)
