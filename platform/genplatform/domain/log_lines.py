"""The number of a log line within its Run: it says which process printed it, where, and as which line.

The lines of a Run are counted together. The bound on how many of them the record keeps is here,
because who counts and who cuts must agree.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

# So many of a Run's first and of its last lines are kept in the record.
FIRST_KEPT = 1_000
LAST_KEPT = 4_000
# So many more may be there before they are cut: not with every line.
SLACK = 500

_COUNT_BITS = 40
COUNTS = 1 << _COUNT_BITS


class Stream(IntEnum):
    """Where a line was printed; `log` is the worker's own word."""

    LOG = 0
    STDOUT = 1
    STDERR = 2

    @property
    def word(self) -> str:
        """Its name outside."""
        return self.name.lower()


class LineNumber(NamedTuple):
    """The `nth` line of a Run, of the process of that rank."""

    nth: int
    rank: int = 0
    stream: Stream = Stream.LOG

    def packed(self) -> int:
        """Return it as one number; that of the worker's own word is its count."""
        return ((self.rank * len(Stream) + self.stream) << _COUNT_BITS) | self.nth

    @classmethod
    def of(cls, packed: int) -> LineNumber:
        """Read what `packed` made."""
        rank, stream = divmod(packed >> _COUNT_BITS, len(Stream))
        return cls(packed % COUNTS, rank, Stream(stream))
