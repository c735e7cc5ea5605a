"""Keep the leader's lease while a long step runs: a slow answer of Ray must not cost the lead."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from genplatform.errors import GenctlError

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.5
# A loop that has not come round for so long is stuck: another dispatcher should have the lead.
STUCK_SECONDS = 60.0


class Keeper:
    """Renews the lease from a thread of its own, for as long as the loop comes round."""

    def __init__(self, renew: Callable[[], object], clock: Callable[[], float]) -> None:
        self._renew = renew
        self.clock = clock
        self._round = clock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def came_round(self) -> None:
        """Say that the loop is alive."""
        self._round = self.clock()

    def keep(self) -> bool:
        """Renew once, unless the loop is stuck; tells whether it did."""
        if self.clock() - self._round > STUCK_SECONDS:
            log.error("dispatcher_stuck", extra={"seconds": round(self.clock() - self._round)})
            return False
        self._renew()
        return True

    def stop(self) -> None:
        """Renew no more."""
        self._over.set()
        self._thread.join(timeout=RENEW_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                self.keep()
            except GenctlError as error:
                log.warning("lease_not_renewed", extra={"detail": error.message})
            except Exception:
                # The thread must outlive whatever one renewal meets.
                log.exception("lease_renewal_broke")
