"""Python files imported under a package of their own name, so that nothing else can be taken for them, nor they for it.

    genctl_code_3f2a.../          a package that is no file: its modules are those of one folder
        gaussian                  is found as genctl_code_3f2a....gaussian, and as nothing else

Where code in it says `import helpers`, and helpers.py lies in that folder, it is given
genctl_code_3f2a....helpers. Everybody else's `import helpers` is as it was: neither sys.path nor a name that is
not in the package changes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


def add(name: str, folder: Path, module: str) -> None:
    """Make the folder's modules importable below the package `name`, `module` among them; again changes nothing."""
    if name in sys.modules:
        return
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    package = ModuleType(name)
    package.__spec__, package.__path__ = spec, [str(folder)]
    sys.meta_path.insert(0, _Finder(name, _tops(folder) | {module.partition(".")[0]}))
    sys.modules[name] = package


def _tops(folder: Path) -> frozenset[str]:
    """Return what an `import` finds in a folder: its modules, and its packages."""
    return frozenset(
        {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    )


class _Finder(MetaPathFinder):
    def __init__(self, package: str, tops: frozenset[str]) -> None:
        self.package = package
        self._import = _importing(package, tops)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self.package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._import)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, imports: Callable[..., Any]) -> None:
        super().__init__(fullname, path)
        self._imports = imports

    def exec_module(self, module: ModuleType) -> None:
        # The `import` statement asks the builtins of the module that it stands in.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._imports}
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        # From no bytecode that lies there, and leaving none: what is run is what was digested.
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _importing(package: str, tops: frozenset[str]) -> Callable[..., Any]:
    def importing(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{package}.{top}"]

    return importing
