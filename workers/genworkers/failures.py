"""What an exception says about why a worker ended: the cause by which the platform decides on a retry."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genplatform.domain.retry import Cause
from genplatform.errors import Conflict, GenctlError, Unavailable

LONGEST_TRACEBACK = 20_000
LONGEST_MESSAGE = 2_000
LAST_LINES = 100
MORE_MEMORY = "Lower params.batch_size or the model's widths, or give it a larger machine."

# How torch says that memory ran out where it does not raise OutOfMemoryError.
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


@dataclass(frozen=True)
class Failure:
    """A cause, one sentence, what to do, and the traceback; `expected` ones say all that there is to say."""

    cause: Cause
    message: str
    hint: str
    traceback: str
    expected: bool = False

    @property
    def last_lines(self) -> list[str]:
        """The end of the traceback of what nobody expected, for whoever wrote the code."""
        return [] if self.expected else self.traceback.splitlines()[-LAST_LINES:]

    def as_json(self) -> dict[str, Any]:
        """Return it as it travels to /failed."""
        return {"cause": self.cause.value, "message": self.message, "hint": self.hint, "traceback": self.traceback}


def explain(error: BaseException, where: str) -> Failure:
    """Say what went wrong, by the exception that ended the work; `where` the reader finds its traceback."""
    text = _text("".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:])
    if _is_memory(error):
        return Failure(
            Cause.OUT_OF_MEMORY,
            f"Memory ran out: {_sentence(error)}",
            MORE_MEMORY,
            text,
        )
    if isinstance(error, Unavailable | Conflict | ConnectionError):
        # The surroundings failed, not the job: it goes on elsewhere, from its last checkpoint. Names in the store
        # carry run and claim numbers; one that is taken was written before the record was restored from a backup.
        return Failure(Cause.NODE_LOST, _sentence(error), getattr(error, "hint", ""), text, expected=True)
    if isinstance(error, GenctlError):
        return Failure(Cause.USER_ERROR, _text(error.message), _text(error.hint), text, expected=True)
    problems = getattr(error, "errors", None)
    if type(error).__name__ == "ValidationError" and callable(problems):
        return Failure(Cause.USER_ERROR, _refused(problems()), "See what `genctl recipes show` says of its params.", "")
    return Failure(Cause.USER_ERROR, _sentence(error), f"Raised {_place(error)}; the traceback is in {where}.", text)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"in {frames[-1].name}, {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "nowhere"


def _text(said: str) -> str:
    """Return it fit to travel: the name of a file in it may hold bytes that are no text."""
    return said.encode("utf-8", "replace").decode()


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


def _sentence(error: BaseException) -> str:
    text = _text(str(error)[:LONGEST_MESSAGE])
    if isinstance(error, GenctlError):
        return text
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."


def _refused(problems: list[dict[str, Any]]) -> str:
    told = [f"params.{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:10]]
    return ("The recipe refuses its parameters: " + "; ".join(told) + ".")[:LONGEST_MESSAGE]
