"""What the death of a worker means for the Run or the claim that it held: whose doing it was."""

from __future__ import annotations

from genplatform.domain.retry import Cause
from genplatform.engine.seam import Death, End
from genplatform.services.endings import Ending

MORE_MEMORY = "Lower params.batch_size or the model's widths, or give it a larger machine."
_CAUSES = {End.MEMORY: Cause.OUT_OF_MEMORY, End.PREEMPTED: Cause.PREEMPTED}
# These ends come from outside, so that a worker may meet them before its first word as well.
_OUTSIDE = frozenset({End.MEMORY, End.NODE, End.PREEMPTED})
# A worker of a pool that soon ends so, with nothing claimed, is not fit to start; one that says how it ended was.
UNFIT = frozenset({End.BROKEN, End.PROCESS, End.UNKNOWN})
# Nobody said a word: the process died, or somebody ended it. What the platform ends itself holds nothing any more.
_WORDLESS = frozenset({End.PROCESS, End.KILLED, End.UNKNOWN})


def of_run(death: Death, run: int, *, starting: bool) -> Ending:
    """Return how a Run ended whose worker did; one that was `starting` had not said its first word."""
    message = f"The worker of run {run} is gone. {death.message}".strip()
    if starting and death.end not in _OUTSIDE:
        return Ending(Cause.START_FAILED, message)
    return _ending(death, message)


def of_claim(death: Death) -> Ending:
    """Return how a claim ended whose worker did."""
    return _ending(death, f"Its worker died. {death.message}".strip())


def _ending(death: Death, message: str) -> Ending:
    hint = MORE_MEMORY if death.end is End.MEMORY else ""
    return Ending(_CAUSES.get(death.end, Cause.NODE_LOST), message, hint, died=death.end in _WORDLESS)
