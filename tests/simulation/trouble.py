"""Trouble: what befalls a process at a call over a seam, decided by the seed.

A call is struck before it takes effect or after, when only its answer is lost. What strikes is the
death of the process that calls (`Crashed`), an error that it has to live with (`Unavailable`), or
other processes, that act between two of its calls.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from genplatform.errors import Unavailable


class Crashed(BaseException):  # no `except Exception` outlives kill -9 either
    """The process died here."""


class When(StrEnum):
    """On which side of a call's effect it is struck."""

    BEFORE = "before"
    AFTER = "after"


# In each history some places are marked: there something happens soon, once, so that the rare ones have their turn.
MARKED = 4
MARKED_STRIKE = 0.6
# A history is of one temper, because where everything always fails nothing gets far.
TEMPERS = (0.0, 0.5, 1.0, 3.0)
CRASH, CUT, MEANWHILE = 0.003, 0.003, 0.02
DEEPEST = 2


class Trouble:
    """Strikes calls by chance, and knows what it struck."""

    def __init__(self, chance: random.Random, say: Callable[[str], None], places: Sequence[str]) -> None:
        self._chance = chance
        self._say = say
        self._temper = chance.choice(TEMPERS)
        self._marked = set(chance.sample(places, MARKED))
        self._in_transaction = 0
        self._depth = 0
        self.calm = False
        self.cut: set[str] = set()  # seams, or single calls over them, that cannot be reached for a while
        self.calls: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.meanwhile: Callable[[], object] = lambda: None

    def strike(self, place: str, when: When) -> None:
        """Let a call pass, or raise what befalls it."""
        if self.calm:
            return
        if when is When.BEFORE and (place in self.cut or place.partition(".")[0] in self.cut):
            raise Unavailable(f"{place} was cut off.")
        where = f"{when} {place}"
        self.calls[where] += 1
        roll = self._chance.random()
        crash, cut = CRASH * self._temper, CUT * self._temper
        if where in self._marked and roll < MARKED_STRIKE:
            self._marked.discard(where)
            crash, cut = MARKED_STRIKE / 2, MARKED_STRIKE / 2
        if roll < crash:
            self._note("killed", where)
            raise Crashed
        if roll < crash + cut:
            self._note("unavailable", where)
            raise Unavailable(f"Struck {where}.")
        if roll > 1 - MEANWHILE and not self._in_transaction and self._depth < DEEPEST:
            self._between(where)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep others out: the database lets nobody write between."""
        self._in_transaction += 1
        try:
            yield
        finally:
            self._in_transaction -= 1

    @contextmanager
    def calmed(self) -> Iterator[None]:
        """Let nothing happen for a while."""
        before, self.calm = self.calm, True
        try:
            yield
        finally:
            self.calm = before

    def _between(self, where: str) -> None:
        self._note("meanwhile", where)
        self._depth += 1
        try:
            self.meanwhile()
        finally:
            self._depth -= 1

    def _note(self, what: str, where: str) -> None:
        self.struck[f"{what} {where}"] += 1
        self._say(f"    {what} {where}")
