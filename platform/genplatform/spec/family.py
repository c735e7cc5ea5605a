"""The jobs of one file among each other: the names of those that were given none, and who needs whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genplatform.errors import SpecProblem
from genplatform.spec.places import Document
from genplatform.spec.problems import placed
from genplatform.spec.reader import MAX_PROBLEMS
from genplatform.spec.words import Found, shown

LONGEST_NAME = 63
MOST_CIRCLES = 5
MOST_NEEDS_IN_ALL = 500_000

# Returns a document of the file by its index, from 0, with its places.
Find = Callable[[int], Document]


def problem_of(find: Find, index: int, message: str, path: str, hint: str = "") -> SpecProblem:
    """Return a problem with the top-level field `path` of a document, with its place in the file."""
    return placed(Found(SpecProblem(message, path, hint=hint), (path,)), find(index), index)


class Family:
    """The jobs of a file: `given` takes a name that a document says, `name` makes one, `join` adds a job under it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        self._twice: list[tuple[int, str]] = []
        self._needs: dict[int, tuple[str, Sequence[str]]] = {}
        self._links = 0

    def given(self, name: str) -> None:
        """Take a name that a document says; no other job is given it."""
        self._taken.add(name)

    def name(self, wanted: str) -> str:
        """Return a name like `wanted` that no job of the file has, and take it."""
        number = self._last.get(wanted, 0) + 1
        name = _numbered(wanted, number)
        while name in self._taken:
            number += 1
            name = _numbered(wanted, number)
        self._last[wanted] = number
        self._taken.add(name)
        return name

    def join(self, index: int, name: str, needs: Sequence[str]) -> None:
        """Add a job under its final name."""
        if self._by_name.setdefault(name, index) != index:
            self._twice.append((index, name))
        if needs:
            self._links += len(needs)
            self._needs[index] = name, needs

    def problems(self, find: Find) -> list[SpecProblem]:
        """Return what is wrong between the jobs, now that all have joined."""
        if self._links > MOST_NEEDS_IN_ALL:
            message = f"The jobs of the file name {self._links} needs; at most {MOST_NEEDS_IN_ALL} are taken at once."
            return [SpecProblem(message, "needs", hint="Split the file into several.")]
        problems = [
            problem_of(find, index, f"Two jobs of the file are named {shown(name)}.", "name", "Give each its own name.")
            for index, name in self._twice[: MAX_PROBLEMS + 1]
        ]
        for index, (name, needs) in self._needs.items():
            if len(problems) > MAX_PROBLEMS:
                break
            for need in needs:
                other = self._by_name.get(need)
                if other == index:
                    message = f"The job {shown(need)} needs itself."
                    problems.append(problem_of(find, index, message, "needs", "Take it out of needs."))
                elif other is not None and other > index:
                    # Looking for a circle costs a walk through the file; a few of them tell enough.
                    circle = self._road(need, name) if len(problems) < MOST_CIRCLES else []
                    problems.append(problem_of(find, index, *_backwards(name, need, circle)))
        return problems

    def _road(self, start: str, end: str) -> list[str]:
        """Return the names on a way along needs from `start` to `end`, both included; empty when there is none."""
        came: dict[str, str] = {start: ""}
        line = [start]
        while line:
            name = line.pop()
            if name == end:
                road: list[str] = []
                while name:
                    road.insert(0, name)
                    name = came[name]
                return road
            for need in self._needs.get(self._by_name[name], ("", ()))[1]:
                if need in self._by_name and need not in came:
                    came[need] = name
                    line.append(need)
        return []


def _numbered(wanted: str, number: int) -> str:
    tail = "" if number == 1 else f"-{number}"
    return wanted[: LONGEST_NAME - len(tail)] + tail


def _backwards(name: str, need: str, circle: Sequence[str]) -> tuple[str, str, str]:
    """Return message, path and hint for a need that stands later in the file."""
    if circle:
        names = " -> ".join(shown(one) for one in (name, *circle))
        return f"The jobs need each other in a circle: {names}.", "needs", "Take one of the needs out."
    return f"needs names {shown(need)}, which stands later in the file.", "needs", "Put the job that is needed first."
