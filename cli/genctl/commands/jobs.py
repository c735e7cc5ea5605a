"""ps, show, events, wait: jobs, the default noun."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from genctl import session
from genplatform.domain.states import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCH_SECONDS = 2.0
job_argument = click.argument("job", shell_complete=session.complete_job)
jobs_argument = click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=session.complete_job)


@click.command(short_help="List jobs.")
@click.option("-a", "--all", "all_", is_flag=True, help="Also those that are over.")
@click.option(
    "-s", "--state", "states", multiple=True, type=click.Choice([s.value for s in JobState]), help="Only this state."
)
@click.option("-q", "--queue", help="Only this queue.")
@click.option("-l", "--limit", type=click.IntRange(min=1), help="At most this many.")
@click.option("--after", help="Go on behind the job that an earlier page named as `next`.")
@click.option("-w", "--watch", is_flag=True, help="Show it again every 2 s until Ctrl-C.")
@session.json_option
def ps(
    *,
    all_: bool,
    states: tuple[str, ...],
    queue: str | None,
    limit: int | None,
    after: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """List jobs, newest first: those that are not over, unless told otherwise."""
    from genctl import output

    if watch and as_json:
        raise click.UsageError("--watch draws a table; it cannot be had with --json.")
    with session.client() as client:

        def page() -> dict[str, Any]:
            return client.jobs(states=states, queue=queue, all=all_, limit=limit, after=after)

        if as_json:
            output.emit_json(page())
            return
        try:
            while True:
                shown = page()
                if watch:
                    click.clear()
                _print_jobs(shown, filtered=bool(all_ or states or queue))
                if not watch:
                    return
                time.sleep(WATCH_SECONDS)
        except KeyboardInterrupt:
            if not watch:
                raise


def _print_jobs(page: dict[str, Any], *, filtered: bool) -> None:
    from genctl import output, text

    jobs = [job for job in page.get("jobs", []) if isinstance(job, dict)]
    if not jobs:
        output.note(
            "No such jobs." if filtered else "No jobs under way. `genctl ps -a` also lists those that are over."
        )
        return
    now = time.time()
    columns = [
        output.Column("ID"),
        output.Column("NAME", keep=8, flexible=True),
        output.Column("KIND", keep=3),
        output.Column("STATE", state=True),
        output.Column("PROGRESS", keep=6),
        output.Column("QUEUE", keep=2),
        output.Column("PRIORITY", keep=1, right=True),
        output.Column("CREATED", keep=5),
        output.Column("REASON", keep=4, flexible=True),
    ]
    rows = [
        (
            j.get("id"),
            j.get("name"),
            j.get("kind"),
            j.get("state"),
            text.progress(j.get("progress")),
            j.get("queue"),
            j.get("priority"),
            text.ago(j.get("created_at"), now),
            text.reason(j),
        )
        for j in jobs
    ]
    output.table(columns, rows)
    if page.get("next") is not None:
        output.note(f"There are more: add `--after {text.clean(page['next'])}`, or raise `--limit`.")


@click.command(short_help="Show one job.")
@job_argument
@session.json_option
def show(job: str, as_json: bool) -> None:
    """Show one job: where it stands, why, its runs, and what it left behind."""
    from genctl import output

    with session.client() as client:
        found = client.job(job)
        if as_json:
            output.emit_json(found)
            return
        _print_job(found, client.artifacts(found["id"]))


def _print_job(job: dict[str, Any], artifacts: Sequence[dict[str, Any]]) -> None:
    from genctl import output, text
    from genctl.following import next_steps

    now = time.time()
    reason, error = job.get("reason"), job.get("error")
    made = job.get("outputs") if isinstance(job.get("outputs"), dict) else None
    progress = [text.progress(job.get("progress")), *text.rate_and_eta(job.get("progress"))]
    output.pairs(
        [
            ("id", job.get("id")),
            ("name", job.get("name")),
            ("kind", job.get("kind")),
            ("state", job.get("state")),
            ("retry of", job.get("retry_of")),
            ("reason", f"{reason.get('code')}: {reason.get('message')}" if isinstance(reason, dict) else None),
            ("error", f"{error.get('code')}: {error.get('message')}" if isinstance(error, dict) else None),
            ("what to do", error.get("hint") if isinstance(error, dict) else None),
            ("progress", ", ".join(progress)),
            ("model", job.get("model")),
            ("outputs", f"{made.get('count')} in {text.place(made.get('uri'))}" if made else None),
            ("queue", f"{job.get('queue')}, priority {job.get('priority')}"),
            ("labels", ", ".join(f"{k}={v}" for k, v in (job.get("labels") or {}).items())),
            ("created", text.ago(job.get("created_at"), now)),
            ("took", text.took(job)),
        ]
    )
    runs = [run for run in job.get("runs") or [] if isinstance(run, dict)]
    if runs:
        output.say("\nRuns")
        columns = [
            output.Column("RUN", right=True),
            output.Column("STATE", state=True),
            output.Column("CAUSE", keep=8),
            output.Column("NODE", keep=4, flexible=True),
            output.Column("STARTED", keep=6),
            output.Column("TOOK", keep=5),
        ]
        rows = [
            (
                r.get("number"),
                r.get("state"),
                r.get("cause"),
                r.get("node"),
                text.ago(r.get("started_at"), now),
                text.took(r),
            )
            for r in runs
        ]
        output.table(columns, rows)
    _print_artifacts(artifacts)
    output.next_steps(next_steps(job, artifacts))


def _print_artifacts(artifacts: Sequence[dict[str, Any]]) -> None:
    from genctl import output, text

    shown = [a for a in artifacts if a.get("kind") in ("sheet", "checkpoint", "best_checkpoint", "output", "log")]
    if not shown:
        return
    output.say("\nArtifacts, newest first")
    columns = [
        output.Column("KIND"),
        output.Column("STEP", right=True),
        output.Column("SIZE", keep=5, right=True),
        output.Column("WHERE"),
    ]
    rows = [(a.get("kind"), a.get("step"), text.size(a.get("size")), text.place(a.get("uri"))) for a in shown]
    output.table(columns, rows)


@click.command(short_help="Show what happened to a job.")
@job_argument
@click.option("-t", "--type", "types", multiple=True, help="Only events of this type.")
@click.option("-l", "--limit", type=click.IntRange(min=1), help="At most this many; without it, all.")
@click.option("--after", help="Go on behind the event that an earlier page named as `next`.")
@session.json_option
def events(job: str, types: tuple[str, ...], limit: int | None, after: str | None, as_json: bool) -> None:
    """Show what happened to a job, oldest first."""
    from genctl import output, text

    with session.client() as client:
        found: list[dict[str, Any]] = []
        page = client.events(job, types=types, limit=limit, after=after)
        found += page.get("events", [])
        while limit is None and page.get("events"):
            page = client.events(job, types=types, after=page.get("next"))
            found += page.get("events", [])
    if as_json:
        output.emit_json({"events": found, "next": page.get("next")})
        return
    now = time.time()
    columns = [
        output.Column("ID", keep=2, right=True),
        output.Column("TIME", keep=6),
        output.Column("TYPE"),
        output.Column("DATA", flexible=True),
    ]
    rows = [(e.get("id"), text.ago(e.get("time"), now), e.get("type"), _flat(e.get("data"))) for e in found]
    output.table(columns, rows)


def _flat(data: Any) -> str:
    if not isinstance(data, dict):
        return "" if data is None else str(data)
    return " ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in data.items() if v is not None)


@click.command(short_help="Wait until jobs are over.")
@jobs_argument
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up after this many seconds, with exit code 5.")
@session.json_option
def wait(jobs: tuple[str, ...], timeout: float | None, as_json: bool) -> int:
    """Wait until every JOB is over; one that is paused is waited for until it is resumed and over.

    The exit code is the worst of them: 1 when one failed, else 4 when one was cancelled, else 0.
    """
    from genctl import output, text
    from genctl.following import worst_exit_code

    told: set[str] = set()

    def tell_if_paused(job: dict[str, Any]) -> None:
        ref = text.clean(job.get("id"))
        if job.get("state") == JobState.PAUSED and ref not in told:
            told.add(ref)
            output.note(f"{ref} ({text.clean(job.get('name'))}) is paused; `genctl resume {ref}` lets it go on.")

    with session.client() as client:
        ended = client.wait_all(jobs, timeout, tell_if_paused)
    if as_json:
        output.emit_json({"jobs": ended, "next": None})
    else:
        for job in ended:
            output.say(text.job_line(job))
    return worst_exit_code(ended)
