"""What routers get: the wired platform, whose request it is, and bounded parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from genplatform.domain.tokens import Grant
from genplatform.services.context import Wiring

LONGEST_REF = 200
LONGEST_CURSOR = 200


# async, although they wait for nothing: FastAPI would run a plain function in a thread.
async def _wiring(request: Request) -> Wiring:
    wiring: Wiring = request.app.state.wiring
    return wiring


async def _tenant(request: Request) -> str:
    tenant: str = request.state.tenant
    return tenant


async def _grant(request: Request) -> Grant:
    grant: Grant = request.state.grant
    return grant


Wired = Annotated[Wiring, Depends(_wiring)]
Tenant = Annotated[str, Depends(_tenant)]
Granted = Annotated[Grant, Depends(_grant)]
Ref = Annotated[str, Path(max_length=LONGEST_REF, description="An id, a unique prefix of one, or a name.")]


class Query(BaseModel):
    """The query parameters of one address. Unknown ones are refused: a typo must not pass for a wish."""

    model_config = ConfigDict(extra="forbid")


class Page(Query):
    """One page of a listing: at most `limit` entries that come after `after`, the last answer's `next`."""

    limit: int = Field(100, ge=1, le=1000)
    after: str | None = Field(None, max_length=LONGEST_CURSOR)
