"""The project's Python files as the house's rules see them: parsed once, with the names that calls go to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("platform", "workers", "cli")
EVERYTHING = (*PRODUCT, "examples", "bench", "tests")


@dataclass(frozen=True, eq=False)
class Source:
    """One Python file. `where` is its path from the project's root."""

    path: Path

    @property
    def where(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.where)

    @cached_property
    def imported(self) -> list[tuple[str, int]]:
        """Every module that is imported anywhere in it, with its line."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.append((node.module, node.lineno))
        return found

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Every call, with the dotted name it goes to: after `from os import system`, `system()` is `os.system`."""
        return [
            (self._resolved(name), node)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Call) and (name := dotted(node.func))
        ]

    @cached_property
    def mentioned(self) -> list[tuple[str, int]]:
        """Every dotted name that is used, called or not, with its line."""
        return [
            (self._resolved(name), node.lineno)
            for node in ast.walk(self.tree)
            if isinstance(node, (ast.Attribute, ast.Name)) and (name := dotted(node))
        ]

    @cached_property
    def _spelled(self) -> dict[str, str]:
        spelled = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                spelled |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                spelled |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        return spelled

    def _resolved(self, name: str) -> str:
        first, dot, rest = name.partition(".")
        return self._spelled.get(first, first) + dot + rest


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` of such an expression, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def argument(call: ast.Call, name: str) -> object:
    """Return the constant that a call gives a named argument; None when it gives none or no constant."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    return None


@cache
def source(path: Path) -> Source:
    return Source(path)


def sources(*folders: str) -> Iterator[Source]:
    """Yield the Python files of these folders of the project, in order."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield source(path)
