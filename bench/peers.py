"""Other Python queues, each with a job that does nothing: `bench/peers.py PEER work|send URL FILE [COUNT PAUSE]`.

Runs in an environment of its own that holds that peer alone. Each job notes when it was sent and when it began, as a
line of FILE. `send` writes when it began to send; jobs go the fastest way a peer offers, or one every PAUSE seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

# What is installed for each.
REQUIREMENTS = {
    "rq": ("rq==3.0.0",),
    "celery": ("celery[redis]==5.7.0",),
    "dramatiq": ("dramatiq[redis]==2.2.1",),
    "arq": ("arq==0.28.0",),
    "saq": ("saq[redis]==0.26.4", "typing-extensions==4.15.0"),
    "taskiq": ("taskiq==0.13.0", "taskiq-redis==1.2.4"),
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg==0.32.0"),
}
AT_ONCE = 100


def note(file: str, sent: float) -> None:
    """Do the job: write down when it was sent and when it began."""
    with open(file, "ab", buffering=0) as notes:
        notes.write(f"{sent!r} {time.time()!r}\n".encode())


def paced(count: int, pause: float) -> Iterator[float]:
    """Yield the moments to send at."""
    for _ in range(count):
        if pause:
            time.sleep(pause)
        yield time.time()


async def paced_async(count: int, pause: float, send: Callable[[float], Awaitable[Any]]) -> None:
    """Send at those moments; at once when there is no pause between them, so many at a time."""
    if pause:
        for _ in range(count):
            await asyncio.sleep(pause)
            await send(time.time())
    else:
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(send(time.time()) for _ in range(min(AT_ONCE, count - first))))


def rq(what: str, url: str, file: str, count: int, pause: float) -> None:
    """RQ with its default worker, which forks for each job."""
    import rq as library
    from peers import note as job  # a worker imports it by this name
    from redis import Redis

    queue = library.Queue(connection=Redis.from_url(url))
    if what == "work":
        library.Worker([queue], connection=queue.connection).work()
    elif pause:
        for sent in paced(count, pause):
            queue.enqueue(job, file, sent)
    else:
        queue.enqueue_many([library.Queue.prepare_data(job, (file, time.time())) for _ in range(count)])


def celery(what: str, url: str, file: str, count: int, pause: float) -> None:
    """Celery with one process, without results."""
    from celery import Celery

    app = Celery("peers", broker=url)
    app.conf.task_ignore_result = True
    job = app.task(name="job")(note)
    if what == "work":
        app.worker_main(["worker", "--concurrency=1", "--loglevel=ERROR", "--without-gossip", "--without-mingle"])
    else:
        for sent in paced(count, pause):
            job.delay(file, sent)


def dramatiq(what: str, url: str, file: str, count: int, pause: float) -> None:
    """Dramatiq with one thread."""
    import dramatiq as library
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=url)
    library.set_broker(broker)
    job = library.actor(note, actor_name="job")
    if what == "work":
        worker = library.Worker(broker, worker_threads=1)
        worker.start()
        threading.Event().wait()
    else:
        for sent in paced(count, pause):
            job.send(file, sent)


def arq(what: str, url: str, file: str, count: int, pause: float) -> None:
    """Drive arq with its defaults: it polls every half second."""
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    async def job(_: Any, file: str, sent: float) -> None:
        note(file, sent)

    async def send() -> None:
        pool = await create_pool(RedisSettings.from_dsn(url))
        await paced_async(count, pause, lambda sent: pool.enqueue_job("job", file, sent))

    if what == "work":
        asyncio.set_event_loop(asyncio.new_event_loop())
        Worker([func(job, name="job")], redis_settings=RedisSettings.from_dsn(url), handle_signals=False).run()
    else:
        asyncio.run(send())


def saq(what: str, url: str, file: str, count: int, pause: float) -> None:
    """SAQ with its defaults."""
    from saq import Queue, Worker

    async def job(_: Any, *, file: str, sent: float) -> None:
        note(file, sent)

    async def send() -> None:
        queue = Queue.from_url(url)
        await queue.connect()
        await paced_async(count, pause, lambda sent: queue.enqueue("job", file=file, sent=sent))
        await queue.disconnect()

    async def work() -> None:
        await Worker(Queue.from_url(url), functions=[("job", job)]).start()

    asyncio.run(work() if what == "work" else send())


def taskiq(what: str, url: str, file: str, count: int, pause: float) -> None:
    """Drive taskiq over a Redis stream, which confirms what it did."""
    from taskiq.api import run_receiver_task
    from taskiq_redis import RedisStreamBroker

    broker = RedisStreamBroker(url)

    @broker.task(task_name="job")
    async def job(file: str, sent: float) -> None:
        note(file, sent)

    async def send() -> None:
        await broker.startup()
        await paced_async(count, pause, lambda sent: job.kiq(file, sent))
        await broker.shutdown()

    async def work() -> None:
        await run_receiver_task(broker, run_startup=True)

    asyncio.run(work() if what == "work" else send())


def pgqueuer(what: str, url: str, file: str, count: int, pause: float) -> None:
    """Drive pgqueuer, which takes and ends jobs in batches."""
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    async def work() -> None:
        driver = AsyncpgDriver(await asyncpg.connect(url))
        queries = Queries(driver)
        if not await queries.has_table(queries.qbe.settings.queue_table):
            await queries.install()
        queue = PgQueuer(driver)

        @queue.entrypoint("job")
        async def job(one: Any) -> None:
            note(file, float(one.payload))

        await queue.run(batch_size=AT_ONCE)

    async def send() -> None:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
        if pause:
            await paced_async(count, pause, lambda sent: queries.enqueue("job", repr(sent).encode()))
        else:
            await queries.enqueue(["job"] * count, [repr(time.time()).encode()] * count, [0] * count)

    asyncio.run(work() if what == "work" else send())


PEERS: dict[str, Callable[[str, str, str, int, float], None]] = {
    one.__name__: one for one in (rq, celery, dramatiq, arq, saq, taskiq, pgqueuer)
}

if __name__ == "__main__":
    name, what, url, file, *more = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    begun = time.time()
    PEERS[name](what, url, file, int(more[0]) if more else 0, float(more[1]) if more else 0.0)
    print(begun)
