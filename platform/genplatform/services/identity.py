"""The secret of nodes' tokens as the API's door keeps it: in memory, and read again every few seconds.

It is bound to the record's incarnation, which changes when a record is restored. A restore wants
the platform to be down; a process that lived through one all the same takes the tokens of the
record before it for no longer than FRESH_SECONDS.
"""

from __future__ import annotations

import threading

from genplatform.domain.tokens import Grant, verify
from genplatform.errors import Unavailable
from genplatform.services.context import Wiring

FRESH_SECONDS = 5.0
# So often at most the catalog is asked again: about a token that is not known, which anybody may send, or while
# it does not answer.
AGAIN_SECONDS = 1.0
LONG_AGO = float("-inf")


class NodeSecret:
    """What a door asks of every token. Safe to use from many threads."""

    def __init__(self, w: Wiring) -> None:
        self._w = w
        self._secret = ""
        self._asked = LONG_AGO
        self._read = LONG_AGO
        self._refusal: Unavailable | None = None  # what the catalog's last answer was instead of one
        self._asking = threading.Lock()

    def known(self, token: str) -> Grant | None:
        """Return what a token grants by what is in memory, without asking anybody; None when that does not say."""
        now = self._w.clock()
        told = 0 <= now - self._read < FRESH_SECONDS or 0 <= now - self._asked < AGAIN_SECONDS
        return verify(self._secret, token) if told else None

    def grant(self, token: str) -> Grant | None:
        """Return what a token grants, once the catalog was asked; None: nothing in this record.

        A catalog that cannot be asked leaves what was known as it is: without one nothing can be
        published anyway. Raises Unavailable for a token that is not known then, for it may be
        that of a newer record.
        """
        # One asks for all. The others go on with what is known, if anything is.
        if self._asking.acquire(blocking=not self._secret):
            try:
                self._ask()
            except Unavailable:
                if verify(self._secret, token) is None:
                    raise
            finally:
                self._asking.release()
        return verify(self._secret, token)

    def _ask(self) -> None:
        now = self._w.clock()
        if 0 <= now - self._asked < AGAIN_SECONDS:
            if self._refusal is not None:
                raise Unavailable(self._refusal.message, self._refusal.hint)
            return
        self._asked = now
        try:
            with self._w.catalog.read() as tx:
                self._secret = self._w.node_secret(tx)
        except Unavailable as error:
            self._refusal = error
            raise
        self._read, self._refusal = now, None
