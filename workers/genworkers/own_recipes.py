"""Recipes of one's own: code fetched by its digest, unpacked, and imported under a name that is that digest's alone.

Only processes that take one order and end with it come here, so nothing that such code leaves behind meets the next.
A card names code by its digest, and never a module to import from wherever there happens to be one of that name.
"""

from __future__ import annotations

import atexit
import inspect
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from genplatform.domain import recipe_code
from genplatform.domain.names import NAME_RULE, is_name
from genplatform.domain.recipe_code import LARGEST_CODE, MOST_FILES, RecipeCode
from genplatform.errors import BadRequest
from genplatform.store.archives import unpack
from genworkers import own_requirements, private_imports
from genworkers.data.fetching import Fetch
from genworkers.recipes import registry
from genworkers.recipes.base import Recipe, RecipeConfig
from genworkers.scratch import scratch

# A function may import when it is called: the files stay for as long as the process does.
_until_the_end = ExitStack()
atexit.register(_until_the_end.close)
_there: set[str] = set()


def recipe_named(text: str, fetch: Fetch) -> type[Recipe[Any]]:
    """Return the recipe that a job file names: an installed one, or one whose code is fetched.

    Raises UnknownRecipe, and BadRequest for code that is no recipe.
    """
    code = recipe_code.parse(text)
    if code is None:
        return registry.find(text)
    found = recipe_of(code, fetch)
    if found.name in registry.names():
        why = f"{code.module}:{code.cls} calls itself {found.name!r}, which is the name of an installed recipe."
        raise BadRequest(why, "Give it another `name`.")
    return found


def recipe_of(code: RecipeCode, fetch: Fetch) -> type[Recipe[Any]]:
    """Return the recipe that the code is, imported once a process. `fetch` holds what it fetches to the digest.

    Raises BadRequest for code that is none, and whatever the code itself raises when it is imported.
    """
    package = f"genctl_code_{code.digest[:32]}"
    if package not in _there:
        folder = _until_the_end.enter_context(scratch("code"))
        fetch(code.digest, folder / "code.tar")
        _unpack(folder / "code.tar", folder / "code")
        title = f"The recipe {code.module}:{code.cls}"
        own_requirements.provide(
            own_requirements.declared(_source(folder / "code", code), title), title, _until_the_end
        )
        private_imports.add(package, folder / "code", code.module)
        _there.add(package)
    try:
        module = import_module(f"{package}.{code.module}")
    except SyntaxError as error:
        raise BadRequest(
            f"The recipe {code.module}:{code.cls} cannot be imported: {_file(error.filename)}, line {error.lineno}: "
            f"{error.msg}.",
            "Mend it, and submit again.",
        ) from error
    except ModuleNotFoundError as error:
        missing = str(error.name or error).removeprefix(f"{package}.")
        raise BadRequest(
            f"The recipe {code.module}:{code.cls} cannot be imported: there is no module {missing!r}.",
            "What it imports from beside it by an `import` is sent with it; all else must be named in its script "
            'metadata (# dependencies = ["name"], PEP 723) or be installed on the nodes.',
        ) from error
    return checked(getattr(module, code.cls, None), f"{code.module}:{code.cls}")


def checked(found: Any, title: str) -> type[Recipe[Any]]:
    """Return what was found if it is a recipe that can be used; raises BadRequest with what it lacks."""
    if not (isinstance(found, type) and issubclass(found, Recipe)):
        kind = "another class" if isinstance(found, type) else f"of the type {type(found).__name__}"
        what = "nothing" if found is None else kind
        raise BadRequest(
            f"{title} is no recipe: it is {what}, not a subclass of genworkers.recipes.base.Recipe.",
            "`genctl recipes check FILE` tells what is expected of one.",
        )
    missing = [name for name in ("name", "summary", "Config") if not hasattr(found, name)]
    if inspect.isabstract(found):
        missing += sorted(found.__abstractmethods__)
    if missing:
        raise BadRequest(
            f"The recipe {title} lacks {', '.join(missing)}.", "`genctl recipes check FILE` tells what is expected."
        )
    if not (isinstance(found.Config, type) and issubclass(found.Config, RecipeConfig)):
        raise BadRequest(f"The Config of {title} is no RecipeConfig.", "Subclass genworkers.recipes.base.RecipeConfig.")
    if not is_name(str(found.name)):
        raise BadRequest(
            f"{title} calls itself {found.name!r:.200}, which cannot name a recipe.", f"A name is {NAME_RULE}."
        )
    return found


def _source(folder: Path, code: RecipeCode) -> str:
    """Return the text of the module; none for one that is not there, which its import tells."""
    path = folder.joinpath(*code.module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _unpack(archive: Path, folder: Path) -> None:
    unpack(archive, folder, "The code of the recipe", most_files=MOST_FILES, most_bytes=LARGEST_CODE)


def _file(path: str | None) -> str:
    return Path(path or "?").name
