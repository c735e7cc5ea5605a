"""The laws: the invariants I1 to I16, each looked at after every commit or every step.

They are written against the record alone and against what people and nodes were told, never
against the platform's own idea of itself. The table of legal transitions is the platform's: it is
the promise, and what is checked is that nothing else happens.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from snapshot import OPEN, OVER, Event, Ground, Job, Snapshot

from genplatform.domain import layout
from genplatform.domain.keys import JobKey, RunKey
from genplatform.domain.retry import START_BUDGET
from genplatform.domain.states import JOB_TRANSITIONS, RUN_TRANSITIONS, SHARD_TRANSITIONS

if TYPE_CHECKING:
    from post import Message
    from world import World

LAWS = {
    "I0": "nothing raises an error that nobody raised on purpose",
    "I1": "every acknowledged submit is exactly one row a job; of what was asked for together, all is there or nothing",
    "I2": "the same key and body is the same jobs; another body is refused",
    "I3": "every shard and every model is published once, and stays as it was acknowledged",
    "I4": "a job succeeds if and only if all it promised is published, with its bytes there and their digests right",
    "I5": "fences rise by one; whoever does not hold the current one changes nothing",
    "I6": "only legal transitions; what has ended stays so",
    "I7": "no cause is tried more often than its budget, and none is given up before",
    "I8": "once the faults stop, every job ends within a bound",
    "I9": "Redis names nothing that the record does not know; within one reconcile it has all that is needed",
    "I10": "the sums are right: jobs by state, items by shard",
    "I11": "a job's state is what its last event says",
    "I12": "what open runs were given is within the capacity; nothing is held when nothing runs",
    "I13": "once a cancel is acknowledged, nothing is published and the job ends as cancelled",
    "I14": "a run is lost only when its worker is gone or silent: cannot reach is not failed",
    "I15": "an acknowledged pause holds until somebody resumes or cancels the job, or its deadline passes",
    "I16": "a run ends as stalled only when it got no further for as long as its job allows",
}

Law = Callable[["World", Snapshot, Snapshot], None]
COMMIT_LAWS: list[Law] = []


class LawBroken(BaseException):
    """An invariant does not hold. Nothing in the platform may catch it."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law} ({LAWS[law]}): {message}")
        self.law = law


def after_each_commit(check: Law) -> Law:
    """Have this looked at after every commit that changed something."""
    COMMIT_LAWS.append(check)
    return check


class Laws:
    """Watches the record from commit to commit."""

    def __init__(self, world: World, ground: Ground) -> None:
        self._world = world
        self._ground = ground
        self.record = Snapshot()
        self.states: dict[int, str] = {}  # what the events say of each job
        self.excused: Counter[tuple[int, str | None]] = Counter()
        self.claims_ended: Counter[tuple[int, int, str]] = Counter()
        self.models: dict[str, tuple[int, str | None]] = {}
        self.shards: dict[tuple[str, int], tuple[int, int]] = {}

    def committed(self) -> None:
        """Look at what a commit made of the record."""
        old, written = self.record, self._ground.short.written
        if not written:
            return
        new = Snapshot(self._ground.raw, old, written)
        written.clear()
        if new.same(old) and not new.events:
            return
        self.record = new
        for event in new.events:
            state = _said(event)
            if state is not None:
                self.states[event.job] = state
            if event.type == "claim_ended":
                self.claims_ended[event.job, event.data["shard"], event.data["cause"]] += 1
        for check in COMMIT_LAWS:
            check(self._world, old, new)
        count(self._world, old, new)

    def most_claims_ended(self, job: Job, cause: str | None) -> int:
        """Return how many claims of one shard ended by a cause, of the shard with most of them."""
        return max((n for (pk, _, why), n in self.claims_ended.items() if (pk, why) == (job.id, cause)), default=0)

    def acknowledged_model(self, key: RunKey, ref: str | None) -> None:
        """A node was told that its model is published."""
        if self.models.setdefault(key.job_id, (key.run, ref)) != (key.run, ref):
            raise LawBroken("I3", f"{key} published {ref} after {self.models[key.job_id]}")

    def acknowledged_shard(self, order: dict[str, Any]) -> None:
        """A node was told that its shard is published."""
        claim = (order["run"], order["claim"])
        told = self.shards.setdefault((order["job_id"], order["shard"]), claim)
        if told != claim:
            raise LawBroken("I3", f"shard {order['shard']} of {order['job_id']}: {claim} published after {told}")


@after_each_commit
def acknowledged_jobs_are_one_row_each(world: World, old: Snapshot, new: Snapshot) -> None:
    ids = Counter(job.job_id for job in new.jobs.values())
    names = Counter(job.name for job in new.jobs.values() if job.retry_of is None)
    for intent in world.clients.intents:
        for job_id in intent.ids or ():
            if ids[job_id] != 1:
                raise LawBroken("I1", f"{job_id} of {intent.key} was acknowledged and is {ids[job_id]} rows")
        for name in intent.names:
            if names[name] > 1:
                raise LawBroken("I1", f"{intent.key} asked for {name} once; it is {names[name]} rows")
        there = [name for name in intent.names if names[name]]
        if there and (intent.bad or there != intent.names):
            raise LawBroken("I1", f"{intent.key} asked for {intent.names} together; of them {there} are there")


@after_each_commit
def what_is_published_stays(world: World, old: Snapshot, new: Snapshot) -> None:
    for key, was in old.shards.items():
        now = new.shards.get(key)
        if was.state == "published" and now != was:
            raise LawBroken("I3", f"{was} was published and is {now}")
    for job_id, number in Counter(job_id for job_id, _ in new.models).items():
        if number > 1:
            raise LawBroken("I3", f"{job_id} published {number} models")
    for (job_id, number), (run, claim) in world.laws.shards.items():
        job = new.job(job_id)
        shard = new.shards.get((job.id, number)) if job else None
        if shard is None or (shard.state, shard.run, shard.claim) != ("published", run, claim):
            raise LawBroken("I3", f"shard {number} of {job_id} was acknowledged for run {run}, claim {claim}: {shard}")


@after_each_commit
def success_is_all_that_was_promised(world: World, old: Snapshot, new: Snapshot) -> None:
    made = {job_id for job_id, _ in new.models}
    for job in new.jobs.values():
        if job.kind == "train" and (job.state == "succeeded") != (job.job_id in made):
            raise LawBroken("I4", f"{job} has {'a' if job.job_id in made else 'no'} model")
        was = old.jobs.get(job.id)
        if job.kind == "generate" and job.state == "succeeded" and (was is None or was.state != "succeeded"):
            _is_whole(world, new, job)
    for key, shard in new.shards.items():
        if shard.state == "published" and old.shards[key].state != "published":
            published_bytes(world, new.jobs[shard.job], shard)


def published_bytes(world: World, job: Job, shard: Any) -> bytes:
    """Return a published shard's bytes; they must be there and be the ones that were told."""
    key = f"{layout.outputs(_key(job))}/{shard.folder}/{layout.MANIFEST}"
    data = world.shelf.objects.get(key)
    if data is None or hashlib.sha256(data).hexdigest() != shard.sha256:
        raise LawBroken("I4", f"{shard} is published and its bytes at {key} are {data!r}")
    return data


def _is_whole(world: World, new: Snapshot, job: Job) -> None:
    shards = new.shards_of(job)
    items = sum(shard.count for shard in shards)
    if items != job.total or any(shard.state != "published" for shard in shards):
        raise LawBroken("I4", f"{job} succeeded with {items} items planned and {shards}")
    whole = b"".join(published_bytes(world, job, shard) for shard in shards)
    manifests = [a for a in new.artifacts if a[1] == job.id and a[3] == "manifest"]
    if [a[5] for a in manifests] != [hashlib.sha256(whole).hexdigest()]:
        raise LawBroken("I4", f"{job} succeeded with manifests {manifests}")
    if world.shelf.objects.get(manifests[0][4]) != whole:
        raise LawBroken("I4", f"the manifest of {job} in the store is another one")


@after_each_commit
def fences_rise_by_one(world: World, old: Snapshot, new: Snapshot) -> None:
    for pk, was in old.jobs.items():
        now = new.jobs[pk]
        opened = (was.state, now.state) == ("queued", "starting")
        if now.run != was.run + opened:
            raise LawBroken("I5", f"from {was} to {now}")
    for key, shard in new.shards.items():
        before = old.shards.get(key)
        if before is not None:
            claimed = (before.state, shard.state) == ("pending", "claimed")
            if shard.claim != before.claim + claimed:
                raise LawBroken("I5", f"from {before} to {shard}")


@after_each_commit
def runs_are_opened_by_who_leads(world: World, old: Snapshot, new: Snapshot) -> None:
    for key in new.runs.keys() - old.runs.keys():
        if new.runs[key].term != new.term:
            raise LawBroken("I5", f"{new.runs[key]} was opened in term {new.term}")


@after_each_commit
def who_is_not_current_changes_nothing(world: World, old: Snapshot, new: Snapshot) -> None:
    message = world.speaking[-1] if world.speaking else None
    if message is None or message.verb == "claim" or new.same(old):
        return
    if not _is_current(message, old):
        raise LawBroken("I5", f"{message.sender} is not current and changed something with {message.verb}")


def _is_current(message: Message, old: Snapshot) -> bool:
    """Tell whether anything that a message speaks for was current."""
    if message.run is not None:
        job = old.job(message.run[0])
        return job is not None and job.run == message.run[1] and job.state in OPEN
    for job_id, run, number, claim in message.claims:
        job = old.job(job_id)
        shard = old.shards.get((job.id, number)) if job else None
        if job is None or shard is None or job.run != run or job.state not in OPEN:
            continue
        if (shard.state, shard.run, shard.claim) == ("claimed", run, claim):
            return True
    return False


@after_each_commit
def only_legal_transitions(world: World, old: Snapshot, new: Snapshot) -> None:
    for noun, before, after, legal in (
        ("job", old.jobs, new.jobs, JOB_TRANSITIONS),
        ("run", old.runs, new.runs, RUN_TRANSITIONS),
        ("shard", old.shards, new.shards, SHARD_TRANSITIONS),
    ):
        for key, was in before.items():
            now = after.get(key)
            if now is None:
                raise LawBroken("I6", f"{noun} {was} is gone")
            if now.state != was.state and now.state not in legal[was.state]:
                raise LawBroken("I6", f"{noun} from {was} to {now}")
            if noun == "job" and was.state in OVER and now.state != was.state:
                raise LawBroken("I6", f"{noun} from {was} to {now}")


@after_each_commit
def budgets_are_kept(world: World, old: Snapshot, new: Snapshot) -> None:
    for job in new.jobs.values():
        was = old.jobs.get(job.id)
        if was is None or was.state == job.state:
            continue
        ended = Counter(run.cause for run in new.runs_of(job) if run.cause)
        last = new.runs.get((job.id, job.run))
        if job.state == "paused" and was.state in OPEN and last is not None:
            world.laws.excused[job.id, last.cause] += 1  # whatever ended the run: nobody decided on another
        for cause, tries in ended.items():
            budget = _budget(world, job, cause)
            if budget is not None and tries > budget + (job.state in OVER) + world.laws.excused[job.id, cause]:
                raise LawBroken("I7", f"{job} was tried {tries} times for {cause}; {budget} more than one are allowed")
        if job.state == "failed" and last is not None and job.reason in (last.cause, "poisoned"):
            budget = _budget(world, job, last.cause or "")
            tries = max(ended[last.cause], world.laws.most_claims_ended(job, last.cause))
            if budget is None or tries <= budget:
                raise LawBroken("I7", f"{job} was given up after {tries} of {budget} further tries for {last.cause}")
    for (pk, number, cause), tries in world.laws.claims_ended.items():
        budget = _budget(world, new.jobs[pk], cause)
        if budget is not None and tries > budget + 1:
            raise LawBroken("I7", f"shard {number} of {new.jobs[pk]} ended {tries} claims by {cause}, of {budget}")


def _budget(world: World, job: Job, cause: str) -> int | None:
    """Return how many further tries a cause allows; None for those without a bound."""
    if cause in ("preempted", "shutdown", "cancelled", "paused"):
        return None
    if cause == "start_failed":
        return START_BUDGET
    retry = world.clients.by_name[job.name]["retry"]
    return int(retry["max"]) if cause in retry["on"] else 0


@after_each_commit
def the_sums_are_right(world: World, old: Snapshot, new: Snapshot) -> None:
    for job in new.jobs.values():
        if job.kind == "generate":
            done = sum(s.count for s in new.shards.values() if s.job == job.id and s.state == "published")
            if job.done != done:
                raise LawBroken("I10", f"{job} says {job.done} items done; {done} are published")
    rows = Counter(job.state for job in new.jobs.values())
    if sum(rows.values()) != sum(new.submissions.values()):
        raise LawBroken("I10", f"{dict(rows)} are not the jobs of {new.submissions}")


@after_each_commit
def states_are_what_the_events_say(world: World, old: Snapshot, new: Snapshot) -> None:
    for job in new.jobs.values():
        said = world.laws.states.get(job.id)
        if said != job.state:
            raise LawBroken("I11", f"{job}: its events say {said}")


def _said(event: Event) -> str | None:
    """Return the state that an event says its job came to."""
    if event.type == "submitted":
        return str(event.data["state"])
    if event.type == "retrying":
        return "waiting" if event.data["delay_seconds"] else "queued"
    if event.type in JOB_TRANSITIONS:
        return event.type
    return None


@after_each_commit
def open_runs_fit(world: World, old: Snapshot, new: Snapshot) -> None:
    # A generate job whose items are all there has no use for workers any more.
    taken = sum(j.workers for j in new.jobs.values() if j.state in OPEN and (j.kind == "train" or j.done < j.total))
    if taken > world.cluster.cpus:
        raise LawBroken("I12", f"open runs were given {taken:g} of {world.cluster.cpus:g} CPUs")


@after_each_commit
def an_acknowledged_cancel_publishes_nothing(world: World, old: Snapshot, new: Snapshot) -> None:
    for job_id in world.clients.cancelled:
        job = new.job(job_id)
        if job is None or job.state not in ("cancelling", "cancelled"):
            raise LawBroken("I13", f"{job_id} was cancelled and is {job}")
        more = job.kind == "generate" and job.done != old.jobs[job.id].done
        if more or job_id in {job_id for job_id, _ in new.models}:
            raise LawBroken("I13", f"{job} was cancelled and published")


@after_each_commit
def an_acknowledged_pause_holds(world: World, old: Snapshot, new: Snapshot) -> None:
    for job_id in world.clients.paused:
        job = new.job(job_id)
        if job is None or (job.state not in ("paused", "cancelled") and job.reason != "deadline"):
            raise LawBroken("I15", f"{job_id} was paused and is {job}")


@after_each_commit
def only_an_end_closes_a_run(world: World, old: Snapshot, new: Snapshot) -> None:
    for key, run in new.runs.items():
        was = old.runs.get(key)
        if was is None or was.state == run.state or run.state != "lost" or new.jobs[run.job].kind != "train":
            continue
        actor = RunKey("default", new.jobs[run.job].job_id, run.number).actor
        lives = actor in world.cluster.table and not world.was_silent(actor)
        if lives or actor in world.cluster.put_down:
            raise LawBroken("I14", f"{run} was lost, and its worker answered")


@after_each_commit
def only_what_gets_no_further_is_stalled(world: World, old: Snapshot, new: Snapshot) -> None:
    if world.speaking and world.speaking[-1] is not None:
        return  # a worker lets go as it was asked to, whatever of its words came meanwhile
    for key, run in new.runs.items():
        was = old.runs.get(key)
        if was is None or was.state == run.state or run.cause != "stalled":
            continue
        job = old.jobs[run.job]
        limit = world.clients.by_name[job.name].get("progress_timeout")
        # What it came to since the round began may not have been seen.
        seen = min(job.progressed_at or 0.0, world.dispatchers.began())
        if limit is None or world.clock.now - seen <= limit:
            raise LawBroken(
                "I16", f"{run} was ended as stalled with {limit} s of patience, {world.clock.now - seen} s on"
            )


def _key(job: Job) -> JobKey:
    return JobKey("default", job.job_id)


def count(world: World, old: Snapshot, new: Snapshot) -> None:
    """Count what happened, for a simulation that does not reach what it is about proves nothing."""
    for pk, job in new.jobs.items():
        was = old.jobs.get(pk)
        if was is not None and was.state != job.state:
            why = f" ({job.reason})" if job.state in OVER and job.reason else ""
            world.saw(f"a job from {was.state} to {job.state}{why}")
    for key, shard in new.shards.items():
        before = old.shards.get(key)
        if before is not None and before.state != shard.state:
            world.saw(f"a shard from {before.state} to {shard.state}")
    for key, run in new.runs.items():
        earlier = old.runs.get(key)
        if earlier is not None and earlier.state != run.state:
            world.saw(f"a run {run.state}" + (f" by {run.cause}" if run.cause else ""))
