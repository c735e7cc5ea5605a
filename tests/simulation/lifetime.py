"""One history: acts by chance under faults, then the faults stop and everything must come to its end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from unittest.mock import patch

from acts import choose
from laws import LawBroken, published_bytes
from small_platform import TENANT
from snapshot import OVER, Ground
from world import World

from genplatform.domain.states import TERMINAL_RUN_STATES
from genplatform.domain.times import RECONCILE_SECONDS
from genplatform.services import finish, jobs

STEPS = 30
# A claim whose answer was lost waits for its lease several times; the longest back-off and start take a minute each.
BOUND_SECONDS = 900.0
SHOWN = 60
RUNS_OVER = frozenset(s.value for s in TERMINAL_RUN_STATES)


@dataclass
class Verdict:
    """How a history ended: which law was broken, if any, and what it came by."""

    seed: int
    law: str = ""
    message: str = ""
    happened: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    def told(self) -> str:
        """Return what a person needs who wants to know why."""
        last = "\n".join(self.trace[-SHOWN:])
        again = f"python -m pytest tests/simulation --seed {self.seed}"
        return f"{self.message}\nseed {self.seed}; its last lines:\n{last}\nAgain: {again}"


class InTurn:
    """What is written by many threads elsewhere, one after the other: a history has one thread."""

    def __init__(self, *_: object, **__: object) -> None:
        self.map = map

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


def play(seed: int, ground: Ground, steps: int = STEPS) -> Verdict:
    """Play one history."""
    ground.clear()
    world = World(seed, ground)
    verdict = Verdict(seed, happened=world.happened, trace=world.trace)
    logger = logging.getLogger("genplatform")
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.ERROR)
    logger.addHandler(world.dispatchers.surprises)
    try:
        with patch.object(finish, "ThreadPoolExecutor", InTurn):
            _play(world, steps)
    except LawBroken as broken:
        verdict.law, verdict.message = broken.law, str(broken)
    finally:
        logger.removeHandler(world.dispatchers.surprises)
        logger.setLevel(level)
        logger.propagate = True
    verdict.struck, verdict.calls = world.trouble.struck, world.trouble.calls
    return verdict


def _play(world: World, steps: int) -> None:
    world.trouble.meanwhile = lambda: _do_between(world)
    world.dispatchers.start()
    for _ in range(2):
        world.clients.submit()
    for _ in range(steps):
        world.begin_step()
        act = choose(world)
        if act is not None:
            world.say(f"{world.step_number} {act.name}")
            act.do(world)
        hints_name_what_is_known(world)
        if world.step_number % 14 == 0:
            nothing_is_forgotten(world)
    heal(world)
    nothing_is_left(world)


def _do_between(world: World) -> None:
    act = choose(world, between=True)
    if act is not None:
        world.say(f"    between: {act.name}")
        act.do(world)


def hints_name_what_is_known(world: World) -> None:
    """I9: what was put into Redis is in the record, but for what was forged."""
    known = {job.job_id for job in world.laws.record.jobs.values()} | world.forged
    unknown = world.queues.named() - known
    if unknown:
        raise LawBroken("I9", f"Redis names {unknown}, which the record does not know")


def nothing_is_forgotten(world: World) -> None:
    """I9: one quiet round of the leader, and every queued job is in the line, every open shard offered."""
    party = world.dispatchers.leading()
    if party is None or world.trouble.cut:
        return
    before = {job.job_id: (job.state, job.run) for job in world.laws.record.jobs.values()}
    with world.trouble.calmed():
        world.let_pass(RECONCILE_SECONDS)
        if not world.dispatchers.tick(party):
            return
    world.saw("a quiet round")
    record = world.laws.record
    for job in record.jobs.values():
        waited = before.get(job.job_id) == (job.state, job.run) == ("queued", job.run)
        if waited and job.reason not in ("behind_others", "no_capacity", "needs_cpu"):
            raise LawBroken("I9", f"{job} is queued, and nobody has it in the line after a reconcile")
    offered: Counter[str] = Counter()
    for job in record.jobs.values():
        if job.kind == "generate" and job.state in ("starting", "running"):
            offered[job.pool or ""] += sum(s.state == "pending" for s in record.shards_of(job))
    for pool, pending in offered.items():
        if world.queues.offered(pool) < pending:
            raise LawBroken("I9", f"{pool} has {world.queues.offered(pool)} offers for {pending} shards")


def heal(world: World) -> None:
    """I8: the faults stop, and everybody does what they should."""
    world.say("the faults stop")
    world.trouble.calm = True
    world.trouble.cut.clear()
    for name in world.cluster.silent():
        if world.chance.random() < 0.5:
            world.cluster.table[name].silent = False
    until = world.clock.now + BOUND_SECONDS
    pause = 1.0
    while not _all_over(world):
        if world.clock.now > until:
            left = [job for job in world.laws.record.jobs.values() if job.state not in OVER]
            raise LawBroken("I8", f"{BOUND_SECONDS:g} s after the faults stopped these are not over: {left}")
        before = world.laws.record
        _everybody_acts(world, pause)
        # Where nothing happens, time passes faster.
        pause = 1.0 if world.laws.record is not before else min(10.0, pause * 3)


def _everybody_acts(world: World, pause: float) -> None:
    world.begin_step()
    world.let_pass(pause)
    for intent in world.clients.lacking():
        world.clients.send(intent)
    for job in world.laws.record.jobs.values():
        if job.state == "paused":
            world.clients.resume(job.job_id)
    if not world.dispatchers.parties:
        world.dispatchers.start()
    for node in world.able():
        node.beat()
        for _ in range(3):
            if node.able:
                world.step(node)
    for party in list(world.dispatchers.parties):
        world.dispatchers.tick(party)


def _all_over(world: World) -> bool:
    return not world.clients.lacking() and all(job.state in OVER for job in world.laws.record.jobs.values())


def nothing_is_left(world: World) -> None:
    """I4, I9, I10 and I12 at the end: bytes are there, sums are right, nothing is held and nothing runs."""
    for name in world.cluster.silent():
        if name.startswith("pool/"):  # nobody misses an idle one; of a run's, the dispatcher has to see to the end
            world.cluster.table[name].silent = False
    for _ in range(6):
        if not world.cluster.table and not world.queues.held():
            break
        _everybody_acts(world, 16.0)
    record = world.laws.record
    if world.cluster.table:
        raise LawBroken("I12", f"all jobs are over, and these actors are left: {sorted(world.cluster.table)}")
    if world.queues.held():
        raise LawBroken("I9", f"all jobs are over, and Redis still holds {world.queues.held()}")
    for run in record.runs.values():
        if run.state not in RUNS_OVER:
            raise LawBroken("I6", f"all jobs are over, and {run} is not")
    for shard in record.shards.values():
        if shard.state == "published":
            published_bytes(world, record.jobs[shard.job], shard)
    states = Counter(job.state for job in record.jobs.values())
    shown = Counter(job["state"] for job in jobs.ps(world.w, TENANT, all=True, limit=1000)["jobs"])
    if states != shown:
        raise LawBroken("I10", f"the record says {states} and `ps` says {shown}")
