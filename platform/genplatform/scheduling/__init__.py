"""Pure decisions over the line and the cluster: who starts, and why the others wait. No I/O."""

from genplatform.scheduling.decide import Decision, Start, decide
from genplatform.scheduling.line import Line, QueuedJob

__all__ = ["Decision", "Line", "QueuedJob", "Start", "decide"]
