"""The planted bugs: each a mistake that somebody could make in a shipped function, and the laws it breaks."""

from __future__ import annotations

from planting import Bug, Change


def _bug(name: str, breaks: str, *changes: tuple[str, str, str]) -> Bug:
    return Bug(name, tuple(breaks.split()), tuple(Change(*change) for change in changes))


# The update that settles a shard, and what it is conditional on.
SETTLED = "sa.update(shards).where(shards.c.job_pk == sa.bindparam('of'), shards.c.number == sa.bindparam('which'))"
CLAIMED = "shards.c.state == ShardState.CLAIMED.value"
OF_RUN = "shards.c.run == sa.bindparam('of_run')"
OF_CLAIM, ANY_CLAIM = "shards.c.claim == sa.bindparam('of_claim')", "sa.bindparam('of_claim', type_=sa.Integer) >= 0"

BUGS = (
    # I1: acknowledged is kept, once.
    _bug(
        "a commit that failed taken for done",
        "I1 I9",
        (
            "services.submit:_Submission.commit",
            "        except IdTaken:\n            if draw + 1 == DRAWS:\n                raise\n",
            "        except IdTaken:\n            raise\n"
            "        except Exception as error:\n"
            "            if 'rows' not in locals() or isinstance(error, idempotency.SameKey):\n"
            "                raise\n"
            "            break\n",
        ),
    ),
    _bug(
        "an idempotency key that another has already is not minded",
        "I1 I2",
        ("services.submit:_Submission._add", "if submission is None:", "if False:"),
    ),
    _bug(
        "the jobs of one file in a commit each",
        "I1",
        (
            "services.submit:_Submission.commit",
            "            with self.w.catalog.write() as tx:\n                rows, keys = self._add(tx)\n",
            "            rows, keys, ids, needs, whole, used = [], [], [], [], self.plans, self.key\n"
            "            for some in [whole] if any(one.needs for one in whole) else [[one] for one in whole]:\n"
            "                self.plans, self._ids = some, []\n"
            "                with self.w.catalog.write() as tx:\n"
            "                    made, numbers = self._add(tx)\n"
            "                rows, keys = [*rows, *made], [*keys, *numbers]\n"
            "                ids, needs = [*ids, *self._ids], [*needs, *self._open_needs]\n"
            "                self.key = None\n"
            "            self.plans, self.key, self._ids, self._open_needs = whole, used, ids, needs\n",
        ),
    ),
    # I2: the same key is the same jobs.
    _bug(
        "another body under a used key taken for the first",
        "I2",
        ("services.idempotency:answered", "earlier.body_digest != asked", "False"),
    ),
    # I3: published once.
    _bug(
        "a published shard given back when its run ends",
        "I3 I6",
        (
            "catalog.shards:Shards.release_all",
            "shards.c.state == ShardState.CLAIMED.value",
            "shards.c.state != ShardState.FAILED.value",
        ),
    ),
    _bug(
        "a repeated publication of a model done again",
        "I3 I4 I5",
        ("services.publish:publish_model", "if job.job_state is JobState.SUCCEEDED:", "if False:"),
        (
            "services.publish:publish_model",
            "if job.job_state not in (JobState.STARTING, JobState.RUNNING):",
            "if job.job_state is JobState.CANCELLED:",
        ),
        (
            "services.publish:publish_model",
            "            raise _fenced(key)\n        tx.events",
            "            pass\n        tx.events",
        ),
    ),
    # I4: success is all that was promised.
    _bug(
        "finished when all but one shard are published",
        "I4",
        (
            "services.finish:_is_complete",
            "{shard.state for shard in shards} == {ShardState.PUBLISHED}",
            "sum(shard.state != ShardState.PUBLISHED for shard in shards) <= 1",
        ),
        ("services.finish:_write_manifest", "for shard in shards:", "for shard in [s for s in shards if s.folder]:"),
        ("dispatch.dispatcher:Dispatcher._finish", "job.done >= job.total", "job.done"),
    ),
    _bug(
        "a model published and its job ended in two commits",
        "I4",
        (
            "services.publish:publish_model",
            "        if not succeed_job(",
            "    with w.catalog.write() as tx:\n        if not succeed_job(",
        ),
    ),
    _bug(
        "leftovers swept that are published",
        "I4",
        ("services.finish:leftovers", "found - kept", "found"),
    ),
    # I5: the fences.
    _bug(
        "no fence on the run",
        "I5",
        ("services.nodes:current_job", "job.run != key.run or ", ""),
    ),
    _bug(
        "no fence on a run that publishes",
        "I5",
        ("services.publish:publish_model", " or job.run != key.run", ""),
    ),
    _bug(
        "no fence on the claim",
        "I3 I5",
        (
            "catalog.shards:Shards.settle",
            "execute(_settle, asked",
            f"execute({SETTLED}.where({CLAIMED}, {OF_RUN}, {ANY_CLAIM}), asked",
        ),
    ),
    _bug(
        "a claim's number used again",
        "I5",
        ("catalog.shards:Shards.claim_all", "claim=shards.c.claim + 1", "claim=sa.func.max(shards.c.claim, 1)"),
    ),
    _bug(
        "a given-back claim publishes",
        "I3 I5 I6",
        (
            "catalog.shards:Shards.settle",
            "execute(_settle, asked",
            f"execute({SETTLED}.where({OF_RUN}, {OF_CLAIM}), asked",
        ),
    ),
    _bug(
        "a term that is over accepted",
        "I5",
        ("services.leadership:led", "if not tx.leaders.hold(term):", "if False:"),
    ),
    # I6: legal transitions.
    _bug(
        "a transition from wherever it is",
        "I6",
        ("catalog.jobs:Jobs.move", "s.value for s in allowed", "s.value for s in JobState"),
        ("catalog.many_jobs:ManyJobs.move_all", "s.value for s in sources(to)", "s.value for s in JobState"),
    ),
    _bug(
        "an expired lease of nobody left where it is",
        "I9",
        ("dispatch.losses:Losses.sweep", "self._w.queues.release(stale)", "pass"),
        ("services.reconcile:sweep", "w.queues.release([", "list(["),
    ),
    _bug(
        "a cancel that overrules an end",
        "I6",
        ("services.cancel:cancel", "if state in TERMINAL_JOB_STATES and state is not JobState.CANCELLED:", "if False:"),
        (
            "services.cancel:cancel",
            "elif state not in TERMINAL_JOB_STATES and state is not JobState.CANCELLING:",
            "else:",
        ),
        ("catalog.jobs:Jobs.move", "s.value for s in allowed", "s.value for s in JobState"),
    ),
    # I7: budgets.
    _bug(
        "the retry budget not looked at",
        "I7 I8",
        ("domain.retry:RetryPolicy.decide", "if tries > budget:", "if False:"),
    ),
    _bug(
        "a try too few",
        "I7",
        ("domain.retry:RetryPolicy.decide", "if tries > budget:", "if tries >= budget:"),
    ),
    _bug(
        "a shard tried for ever",
        "I7 I8",
        ("services.claims:_end_of_job", "len(ended) <= budget", "True"),
    ),
    # I8: all ends.
    _bug(
        "no reconciler",
        "I8 I9",
        ("dispatch.dispatcher:Dispatcher._round", "if now - self._reconciled >= RECONCILE_SECONDS:", "if False:"),
    ),
    _bug(
        "nothing promotes a job that backed off",
        "I8",
        (
            "dispatch.dispatcher:Dispatcher._reconcile",
            'self._try("promote", lambda: reconcile.promote(self._w, term))',
            "pass",
        ),
    ),
    _bug(
        "leases that nobody looks after",
        "I8",
        ("dispatch.dispatcher:Dispatcher._round", "if now - self._swept >= SWEEP_SECONDS:", "if False:"),
    ),
    # I9: Redis.
    _bug(
        "Redis before SQL",
        "I9",
        (
            "services.submit:_Submission.commit",
            "                rows, keys = self._add(tx)\n",
            "                rows, keys = self._add(tx)\n                self.hint()\n",
        ),
    ),
    _bug(
        "offers that a wipe took are not made again",
        "I8 I9",
        ("services.reconcile:restore", "_offer_again(w, pool, members)", "pass"),
    ),
    _bug(
        "a forged hint believed",
        "I4 I5 I8 I10",
        (
            "services.claiming:_may_claim",
            "job.run != shard.run or job.job_state not in AT_WORK or job.pool != pool",
            "False",
        ),
    ),
    # I10: sums.
    _bug(
        "done counted twice when a publication is repeated",
        "I10 I5",
        (
            "services.publish:_publish_shard",
            "(shard.run, shard.claim) == (key.run, key.claim):\n        return None",
            "(shard.run, shard.claim) == (key.run, key.claim):\n"
            "        tx.jobs.touch(job.id, run=key.run, done=job.done + shard.count)\n        return None",
        ),
    ),
    _bug(
        "done set by what a node says",
        "I10",
        ("services.fold:_fold_job", " and job.kind in (JobKind.TRAIN, JobKind.EVALUATE, JobKind.COMPRESS)", ""),
        (
            "services.publish:_publish_shard",
            "made[key.job] += shard.count",
            "made[key.job] += body.count + (key.claim > 1)",
        ),
    ),
    # I11: events.
    _bug(
        "a requeue without its event",
        "I11",
        ("services.endings:_try_again", 'tx.events.add(job.tenant_id, job.id, now, "retrying", said)', "pass"),
    ),
    _bug(
        "an event written whether or not its job moved",
        "I11",
        (
            "services.nodes:_note_running",
            "        tx.jobs.move(job.id, JobState.RUNNING, run=job.run, **values)\n",
            "        w.randbelow(3) and tx.jobs.move(job.id, JobState.RUNNING, run=job.run, **values)\n",
        ),
    ),
    # I12: capacity.
    _bug(
        "capacity promised twice",
        "I12",
        (
            "dispatch.starting:Starting._free",
            "min(seen.free_cpus + idle_cpus, seen.cpus - cpus)",
            "seen.free_cpus + idle_cpus",
        ),
    ),
    _bug(
        "an actor that no run needs is left alone",
        "I12",
        ("dispatch.losses:Losses.orphans", "self._engine.kill(name)", "pass"),
        ("dispatch.losses:Losses._lose", "self._engine.kill(actor)", "pass"),
    ),
    # I13: cancel.
    _bug(
        "a publication that does not ask for the job's state",
        "I13 I5 I6",
        ("services.publish:_settle", "not at_work or ", ""),
    ),
    _bug(
        "a model published while its job is being cancelled",
        "I13 I4 I6",
        (
            "services.publish:publish_model",
            "if job.job_state not in (JobState.STARTING, JobState.RUNNING):",
            "if job.job_state is JobState.CANCELLED:",
        ),
        (
            "services.publish:publish_model",
            "            raise _fenced(key)\n        tx.events",
            "            pass\n        tx.events",
        ),
    ),
    # I14: cannot reach is not failed.
    _bug(
        "recovery by age only",
        "I14",
        ("dispatch.losses:Losses.sweep", "if alive.get(actor) in over:", "if True:"),
    ),
    _bug(
        "an engine that could not be asked taken for an end",
        "I14",
        (
            "dispatch.losses:Losses.sweep",
            "over = (Liveness.GONE, Liveness.SILENT)",
            "over = (Liveness.GONE, Liveness.SILENT, Liveness.UNKNOWN)",
        ),
    ),
    # I15: pause.
    _bug(
        "a paused job queued when what it needs is there",
        "I15",
        ("catalog.jobs:Jobs.need_met", "self._db.execute(_ready,", "self._db.execute(_hold_waiting,"),
    ),
    # I16: no further.
    _bug(
        "whatever runs is stalled",
        "I16",
        (
            "dispatch.limits:Limits._stuck",
            'self._jumps.since(job.progressed_at) > (self._times[job.id].progress or float("inf"))',
            "self._jumps.since(job.progressed_at) > 1.0",
        ),
    ),
    _bug(
        "nobody looks whether a run gets further",
        "I8",
        ("dispatch.limits:Limits._over", "elif job.id in stuck:", "elif False:"),
    ),
)
