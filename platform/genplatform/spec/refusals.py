"""How a validator of the job file says what is wrong, and what to do."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

REFUSED = "refused"
NOT_YET = "not supported yet"


def refuse(message: str, hint: str = "") -> PydanticCustomError:
    """Return the error by which a validator here says what is wrong, and what to do."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message, "hint": hint})
