"""Every error raised on purpose: one shallow tree.

An error says what happened, with values (`message`), then what to do (`hint`).
`status` is the HTTP status it becomes at the API; `exit_code` is what the CLI returns
(0 done, 1 the job failed, 2 usage or a bad spec, 3 the platform cannot be reached,
4 cancelled, 5 a wait timed out); `code` is the stable word that programs compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


class GenctlError(Exception):
    """The root. Carries what an API answer and a CLI line need."""

    code = "error"
    status = 500
    exit_code = 1

    def __init__(self, message: str, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = details


class BadRequest(GenctlError):
    """The request cannot be understood or is refused for what it says."""

    code = "bad_request"
    status = 400
    exit_code = 2


@dataclass(frozen=True)
class SpecProblem:
    """One thing wrong with a job file: where, and what was expected.

    `line` and `column` count from 1; 0 when the place is not known. `path` is the
    field's path from the document's root, for example `resources.workers`.
    """

    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    document: int = 0
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the problem as it travels in a problem document."""
        return asdict(self)


class BadSpec(BadRequest):
    """A job file is wrong. Carries every problem found, not only the first."""

    code = "bad_spec"

    def __init__(self, problems: Sequence[SpecProblem]) -> None:
        first = problems[0]
        super().__init__(first.message, first.hint, problems=[p.as_json() for p in problems])
        self.problems = tuple(problems)


class TooLarge(BadRequest):
    """The request's body is past the limit."""

    code = "too_large"
    status = 413


class Unauthorized(GenctlError):
    """No token, or one that is not valid here."""

    code = "unauthorized"
    status = 401
    exit_code = 3


class NotFound(GenctlError):
    """Nothing has that name, id or prefix."""

    code = "not_found"
    status = 404
    exit_code = 2


class Conflict(GenctlError):
    """The thing is in a state that does not allow this, or the key was used for another body."""

    code = "conflict"
    status = 409
    exit_code = 2


class Fenced(Conflict):
    """A write came from a Run or claim that is no longer the current one, and was refused."""

    code = "fenced"
    exit_code = 1


class LostLeadership(GenctlError):
    """A dispatcher wrote with a term that is no longer the current one, and was refused."""

    code = "lost_leadership"
    status = 409


class Unavailable(GenctlError):
    """Something this needs cannot be reached now; trying again later may work."""

    code = "unavailable"
    status = 503
    exit_code = 3


class TooMany(Unavailable):
    """More requests are in flight than this will hold; trying again soon will work."""

    code = "too_many_requests"
    status = 429


class LocalPlatformError(GenctlError):
    """The local platform cannot start or stop: the home, a port or a part is in the way."""

    code = "local_platform"
    status = 500
    exit_code = 3


class SettingsError(GenctlError):
    """A setting cannot be used as it is."""

    code = "bad_settings"
    status = 500
    exit_code = 3


class WaitTimedOut(GenctlError):
    """What was waited for did not come in time; nothing is said about whether it will."""

    code = "wait_timed_out"
    status = 504
    exit_code = 5
