"""A Job's history: which of its events say to which state it came."""

from __future__ import annotations

from genplatform.domain.states import JobState

# Whoever moves a job adds an event of the state's own name, but for these two, whose data say the state.
SUBMITTED = "submitted"
RETRYING = "retrying"
MOVES = frozenset({SUBMITTED, RETRYING, *(s.value for s in JobState)})
