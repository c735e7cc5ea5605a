"""Plant a bug: change some words of a shipped function, for as long as a `with` lasts.

The function's own source is taken, the words are replaced, and what that compiles to is put in the
place of the function's code. So the bug is there wherever the function is called from, whatever name
it was imported under.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FunctionType


@dataclass(frozen=True)
class Change:
    """Words of one function, and what stands in their place. `where` is `module:function` or `module:Class.method`."""

    where: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody could make, and the laws that it breaks."""

    name: str
    breaks: tuple[str, ...]
    changes: tuple[Change, ...]


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Have the bug in the platform."""
    changes: dict[str, list[Change]] = {}
    for change in bug.changes:
        changes.setdefault(change.where, []).append(change)
    with ExitStack() as stack:
        for where, several in changes.items():
            stack.enter_context(_changed(where, several))
        yield


@contextmanager
def _changed(where: str, changes: Sequence[Change]) -> Iterator[None]:
    function = _function(where)
    sound = function.__code__
    function.__code__ = _mutated(function, changes)
    try:
        yield
    finally:
        function.__code__ = sound


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found = import_module(f"genplatform.{module}")
    for name in path.split("."):
        found = getattr(found, name)
    function = inspect.unwrap(found)  # a context manager's own body
    assert isinstance(function, FunctionType), where
    return function


def _mutated(function: FunctionType, changes: Sequence[Change]) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    for change in changes:
        found = source.count(change.old)
        assert found == 1, f"{change.where} has {change.old!r} {found} times: the bug is to be planted anew"
        source = source.replace(change.old, change.new)
    flags = __future__.annotations.compiler_flag
    whole = compile(source, function.__qualname__, "exec", flags=flags, dont_inherit=True)
    (code,) = [c for c in whole.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__]
    assert code.co_freevars == function.__code__.co_freevars, f"{function.__qualname__} is a closure"
    return code
