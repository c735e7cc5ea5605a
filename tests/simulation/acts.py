"""The acts: all that can happen, each with how often and when. A new one is a function with one line above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snapshot import OPEN

from genplatform.domain.keys import ClaimKey, JobKey, RunKey, ShardKey
from genplatform.engine.seam import End

if TYPE_CHECKING:
    from crew import Node
    from world import World

Do = Callable[["World"], object]
When = Callable[["World"], object]


@dataclass(frozen=True)
class Act:
    """Something that can happen. `between` may happen in the middle of something else, between two calls of it."""

    name: str
    weight: float
    do: Do
    when: When
    between: bool


ACTS: list[Act] = []
MOST_JOBS = 4
CUT_SEAMS = ("queues", "queues", "engine", "engine", "catalog", "store")


def act(weight: float, when: When = lambda world: True, *, between: bool = False) -> Callable[[Do], Do]:
    """Put a function into the table."""

    def add(do: Do) -> Do:
        ACTS.append(Act(do.__name__.replace("_", " "), weight, do, when, between))
        return do

    return add


def choose(world: World, *, between: bool = False) -> Act | None:
    """Choose one of the acts that are possible now."""
    possible = [a for a in ACTS if (a.between or not between) and a.when(world)]
    return world.chance.choices(possible, weights=[a.weight for a in possible])[0] if possible else None


# What people do.


@act(3, lambda w: len(w.clients.intents) < MOST_JOBS)
def submit(world: World) -> None:
    world.clients.submit()


@act(2, lambda w: w.clients.lacking(), between=True)
def submit_again_what_had_no_answer(world: World) -> None:
    world.clients.send(world.chance.choice(world.clients.lacking()))


@act(0.5, lambda w: w.clients.intents, between=True)
def submit_again(world: World) -> None:
    world.clients.send(world.chance.choice(world.clients.intents))


@act(0.3, lambda w: w.clients.ids)
def use_a_key_for_another_body(world: World) -> None:
    world.clients.clash()


@act(1.2, lambda w: w.clients.ids and len(w.clients.cancelled) < 2, between=True)
def cancel(world: World) -> None:
    world.clients.cancel(_one_of(world, OPEN))


@act(0.8, lambda w: w.clients.ids, between=True)
def pause(world: World) -> None:
    world.clients.pause(_one_of(world, OPEN | {"waiting"}))


@act(1.2, lambda w: w.clients.ids, between=True)
def resume(world: World) -> None:
    world.clients.resume(_one_of(world, frozenset({"paused"})))


@act(0.6, lambda w: _ended_badly(w) and w.clients.retries < 2, between=True)
def retry(world: World) -> None:
    world.clients.retry(world.chance.choice(_ended_badly(world)))


def _ended_badly(world: World) -> list[str]:
    return [job.job_id for job in world.laws.record.jobs.values() if job.state in ("failed", "cancelled")]


@act(0.4, lambda w: w.clients.ids, between=True)
def update(world: World) -> None:
    world.clients.update(world.chance.choice(world.clients.ids))


def _one_of(world: World, states: frozenset[str]) -> str:
    """Return an acknowledged job, most often one in these states."""
    record, ids = world.laws.record, world.clients.ids
    likely = [job_id for job_id in ids if (job := record.job(job_id)) and job.state in states]
    return world.chance.choice(likely if likely and world.chance.random() < 0.8 else ids)


# What dispatchers do.


@act(8, lambda w: w.dispatchers.free(), between=True)
def go_round(world: World) -> None:
    world.let_pass(world.chance.choice([0.1, 0.5, 0.5, 2.0, 2.0, 6.0, 11.0]))
    world.dispatchers.tick_one()


@act(1.0, lambda w: 0 < len(w.dispatchers.parties) < 3)
def start_another_dispatcher(world: World) -> None:
    world.dispatchers.start()


@act(6, lambda w: not w.dispatchers.parties)
def start_a_dispatcher(world: World) -> None:
    world.dispatchers.start()
    world.clock.go(world.chance.choice([0.5, 6.0]))


@act(4, lambda w: w.dispatchers.rivals(), between=True)
def take_over(world: World) -> None:
    """Let the leader's lease lapse, in the middle of its round perhaps, and another one go round."""
    world.clock.go(6.0)
    world.dispatchers.tick(world.chance.choice(world.dispatchers.rivals()))


@act(0.3, lambda w: w.dispatchers.free())
def kill_a_dispatcher(world: World) -> None:
    world.dispatchers.lose(world.chance.choice(world.dispatchers.free()))


@act(0.4, lambda w: w.dispatchers.leading())
def drain_a_dispatcher(world: World) -> None:
    world.dispatchers.drain(world.dispatchers.leading())


@act(0.4, lambda w: w.dispatchers.free())
def renew_a_lease(world: World) -> None:
    world.dispatchers.renew(world.chance.choice(world.dispatchers.free()))


# What nodes do.


@act(16, lambda w: w.able(), between=True)
def work(world: World) -> None:
    world.work(world.chance.randint(2, 5))


@act(2, lambda w: w.able())
def beat(world: World) -> None:
    for node in world.able():
        node.beat()


@act(8, lambda w: w.zombies(), between=True)
def let_a_zombie_speak(world: World) -> None:
    zombie = world.chance.choice(world.zombies())
    if zombie.busy and world.chance.random() < 0.7:
        # First let whoever can take what it holds do so: then there are two.
        for node in [n for n in world.able() if not n.busy and not n.zombie][:3]:
            world.step(node)
    world.step(zombie)


@act(3, lambda w: w.post.sent, between=True)
def deliver_an_old_message(world: World) -> None:
    world.post.repeat()


def _at_work(world: World) -> list[str]:
    """Return the actors that hold something, and so can lose it."""
    return [n.name for n in _busy(world)]


@act(1.2, lambda w: w.cluster.table)
def kill_a_node(world: World) -> None:
    name = world.chance.choice(_at_work(world) or sorted(world.cluster.table))
    end = world.chance.choice((End.PROCESS, End.PROCESS, End.NODE, End.MEMORY, End.PREEMPTED))
    world.say(f"  {name} dies: {end}")
    world.cluster.die(name, "It died.", end)
    world.saw("a node killed")


@act(2, lambda w: len(w.cluster.living()) > 1)
def silence_a_node(world: World) -> None:
    name = world.chance.choice(_at_work(world) or world.cluster.living())
    world.say(f"  {name} falls silent")
    world.hush(name)
    world.saw("a node silenced")


@act(1.0, lambda w: w.cluster.silent())
def wake_a_node(world: World) -> None:
    name = world.chance.choice(world.cluster.silent())
    world.say(f"  {name} wakes")
    world.cluster.table[name].silent = False
    world.saw("a node woken")


@act(3, lambda w: w.cluster.silent() and w.dispatchers.free())
def wait_for_the_silent(world: World) -> None:
    """Let the lease of a silent node expire, so that there are zombies often enough to matter."""
    _wait(world)


@act(9, lambda w: _busy(w) and w.dispatchers.free())
def let_work_be_taken_by_another(world: World) -> None:
    """A node is cut off until what it holds is another's, and then speaks."""
    busy = _busy(world)
    node = world.chance.choice([n for n in busy if n.name.startswith("pool/")] + busy)
    world.say(f"  {node.name} falls silent")
    world.hush(node.name)
    world.saw("a node silenced")
    with world.trouble.calmed():
        _wait(world)
        world.dispatchers.tick_one()  # it fills the place of the one that is gone
        for other in [n for n in world.able() if not n.busy and not n.zombie][:4]:
            world.step(other)
    for _ in range(3):
        if node.zombie and node.able:
            world.step(node)


@act(1.5, lambda w: _busy(w) and w.dispatchers.free())
def let_leases_lapse_while_nobody_can_be_asked(world: World) -> None:
    """No heartbeat comes through, and the engine does not say who lives: nothing is known, and so nothing is over."""
    world.saw("leases lapsed while nobody could be asked")
    world.trouble.cut.add("engine.liveness")
    for _ in range(3):
        world.clock.go(5.0)
        world.dispatchers.tick_one()
    world.trouble.cut.discard("engine.liveness")


def _busy(world: World) -> list[Node]:
    return [n for n in world.able() if n.busy and not n.zombie]


def _wait(world: World) -> None:
    for _ in range(3):
        world.let_pass(5.0)
        for node in world.able():
            if not node.zombie:  # it would hear that it is over before it says what it holds
                node.beat()
        world.dispatchers.tick_one()


# What happens to what processes share.


@act(0.4, between=True)
def wipe_redis(world: World) -> None:
    if any(job.state in OPEN for job in world.laws.record.jobs.values()):
        world.saw("Redis wiped with runs open")
    world.queues.wipe()


@act(0.6, lambda w: not w.trouble.cut)
def cut_something_off(world: World) -> None:
    seam = world.chance.choice(CUT_SEAMS)
    world.trouble.cut.add(seam)
    world.saw(f"{seam} cut off")


@act(6, lambda w: w.trouble.cut)
def restore_what_was_cut(world: World) -> None:
    world.trouble.cut.clear()


@act(0.3)
def jump_the_clock(world: World) -> None:
    world.clock.go(world.chance.choice([30.0, 70.0, 3600.0]))
    world.saw("the clock jumped")


@act(1.0, between=True)
def forge_hints(world: World) -> None:
    """Put into Redis what nobody asked for: ids that are not there, shards and leases of other runs."""
    chance, record = world.chance, world.laws.record
    forged = JobKey("default", f"j_forged{len(world.forged)}")
    world.forged.add(forged.job_id)
    world.queues.submit([forged])
    jobs = list(record.jobs.values())
    if jobs:
        job = chance.choice(jobs)
        pool = job.pool or "p"
        offers = [ShardKey("default", job.job_id, max(0, job.run + chance.choice([-1, 0, 0, 1])), chance.randint(0, 3))]
        world.queues.hand_off(pool, [*offers, ShardKey(*forged, 1, 0)])
        world.queues.submit([JobKey("default", job.job_id)])
        leases = [RunKey(*forged, 1), ClaimKey(*forged, 1, 0, 1), RunKey("default", job.job_id, job.run)]
        world.queues.grant(leases, chance.choice([-1.0, 10.0]))
        world.queues.report([{"tenant": "default", "job_id": job.job_id, "run": job.run + 1}, {"nonsense": 1}])
    world.saw("hints forged")
