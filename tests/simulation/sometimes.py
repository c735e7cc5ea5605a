"""What the histories must come by: a simulation that does not reach what it is about proves nothing."""

from __future__ import annotations

from collections import Counter

SOMETIMES = (
    # The life of jobs.
    "a job from queued to starting",
    "a job from starting to running",
    "a job from running to succeeded",
    "a job from starting to queued",
    "a job from running to queued",
    "a job from running to waiting",
    "a job from waiting to queued",
    "a job from running to failed (user_error)",
    "a job from running to failed (out_of_memory)",
    "a job from running to failed (node_lost)",
    "a job from running to failed (poisoned)",
    "a job from running to failed (stalled)",
    "a job from waiting to cancelled (dependency_failed)",
    "a shard from pending to claimed",
    "a shard from claimed to pending",
    "a shard from claimed to published",
    "a shard from claimed to failed",
    "a run failed by start_failed",
    "a run failed by timeout",
    "a run failed by stalled",
    "a run that gets no further",
    "a claim that gets no further",
    "a run lost by node_lost",
    # People.
    "a submit repeated that had no answer",
    "a bulk submit acknowledged",
    "a bulk submit acknowledged when it was repeated",
    "a bulk submit refused for one of its documents",
    "a retry acknowledged",
    "another body under a used key refused",
    "a cancel acknowledged: cancelling",
    "a cancel acknowledged: cancelled",
    "a cancel came too late",
    "a run let go of for cancel",
    "a pause acknowledged: paused",
    "a pause came too late",
    "a run let go of for pause",
    "a run let go of for stalled",
    "a resume acknowledged: queued",
    # Processes that die, and what is lost between them.
    "a dispatcher killed",
    "a dispatcher took over",
    "a dispatcher lost its lead",
    "two dispatchers that believe to lead",
    "a drain",
    "a run let go of for shutdown",
    "a node killed",
    "a node silenced",
    "a node woken",
    "a zombie refused",
    "a word against a newer run",
    "a word against a newer claim of the same run",
    "an old message refused: fenced",
    "a message lost on its way",
    "the answer to a node lost",
    "the API killed in a submit",
    "the API killed in a cancel",
    "the API killed while a node spoke",
    # What they share.
    "Redis wiped with runs open",
    "a claim told to stop: lost",
    "queues cut off",
    "engine cut off",
    "leases lapsed while nobody could be asked",
    "catalog cut off",
    "store cut off",
    "hints forged",
    "the clock jumped",
    "a quiet round",
    # In the middle of a transaction, and on both sides of it.
    "killed before catalog.commit",
    "killed after catalog.commit",
    "unavailable before catalog.commit",
    "unavailable after catalog.commit",
    "meanwhile before catalog.write",
)


OFTEN = 150


def never(happened: Counter[str], struck: Counter[str]) -> list[str]:
    """Return what should have happened and did not."""
    return [what for what in SOMETIMES if not happened[what] and not struck[what]]


def untouched(struck: Counter[str], calls: Counter[str]) -> list[str]:
    """Return the calls over a seam that were never struck on either side, of those that were made often."""
    places = {where.partition(" ")[2] for where, number in calls.items() if number >= OFTEN}
    hit = {where.split(" ")[2] for where in struck if not where.startswith("meanwhile")}
    return sorted(places - hit)


def spared(struck: Counter[str], calls: Counter[str]) -> list[str]:
    """Return the sides of calls on which no process was killed: a few hundred histories do not come by all of them."""
    return [where for where in sorted(calls) if not struck[f"killed {where}"]]
