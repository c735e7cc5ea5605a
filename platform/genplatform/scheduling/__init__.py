"""Pure decisions over a snapshot: who starts, with how many workers, and why the others wait. No I/O."""

from genplatform.scheduling.decide import Decision, Hold, Start, decide
from genplatform.scheduling.snapshot import QueuedJob, Snapshot

__all__ = ["Decision", "Hold", "QueuedJob", "Snapshot", "Start", "decide"]
