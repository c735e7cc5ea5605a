"""cancel, pause, resume, retry, update: what a person asks of jobs that were submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genctl import failures, session
from genplatform.domain.job import HIGHEST_PRIORITY
from genplatform.errors import GenctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from genctl.client import Client

UNREACHABLE = 3
jobs_argument = click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=session.complete_job)


@click.command(short_help="Cancel jobs.")
@jobs_argument
@session.json_option
def cancel(jobs: tuple[str, ...], as_json: bool) -> int:
    """Cancel every JOB. A running one stops after its next step; what it published stays."""
    code, _ = _ask_each(jobs, lambda client, job: [client.cancel(job)], as_json=as_json)
    return code


@click.command(short_help="Pause jobs; their workers are free for others.")
@jobs_argument
@session.json_option
def pause(jobs: tuple[str, ...], as_json: bool) -> int:
    """Pause every JOB: it gives its workers up and keeps what it made, until it is resumed.

    A training saves a checkpoint first. One that publishes before that has succeeded. No try is spent.
    """
    code, _ = _ask_each(jobs, lambda client, job: [client.pause(job)], as_json=as_json)
    return code


@click.command(short_help="Let paused jobs go on.")
@jobs_argument
@session.json_option
def resume(jobs: tuple[str, ...], as_json: bool) -> int:
    """Resume every paused JOB: it is queued again, and goes on from what it kept."""
    code, _ = _ask_each(jobs, lambda client, job: [client.resume(job)], as_json=as_json)
    return code


@click.command(short_help="Do failed or cancelled jobs again.")
@jobs_argument
@session.json_option
def retry(jobs: tuple[str, ...], as_json: bool) -> int:
    """Do every failed or cancelled JOB again, and what was cancelled because of it.

    Each is a new job, with an id of its own: a training goes on from the newest checkpoint, items are made anew.
    A JOB that waits for its next try goes on now. The exit code says whether that could be asked, not how it ends.
    """
    from genctl import output, text

    code, asked = _ask_each(jobs, lambda client, job: client.retry(job), as_json=as_json)
    if asked and not as_json:
        output.note(f"Follow with `genctl watch {' '.join(text.clean(job.get('id')) for job in asked)}`.")
    return code


@click.command(short_help="Change a job's priority.")
@click.argument("job", shell_complete=session.complete_job)
@click.option(
    "-p",
    "--priority",
    type=click.IntRange(0, HIGHEST_PRIORITY),
    required=True,
    help="0 to 1000; higher goes first.",
)
@session.json_option
def update(job: str, priority: int, as_json: bool) -> None:
    """Give a JOB that has not ended another priority."""
    from genctl import output, text

    with session.client() as client:
        changed = client.update(job, priority=priority)
    if as_json:
        output.emit_json(changed)
    else:
        output.say(f"{text.job_line(changed)}  priority {text.clean(changed.get('priority'))}")


def _ask_each(
    refs: Sequence[str], ask: Callable[[Client, str], list[dict[str, Any]]], *, as_json: bool
) -> tuple[int, list[dict[str, Any]]]:
    """Ask for each JOB in turn and tell of each; return the worst exit code, and the jobs as they then stand.

    One that is refused hides nothing of the others. When the platform cannot be reached, those
    that are left are not asked for.
    """
    from genctl import output, text

    debug = bool(click.get_current_context().find_root().params.get("debug"))
    code, jobs, errors = 0, [], []
    with session.client() as client:
        for number, ref in enumerate(refs, start=1):
            try:
                answer = ask(client, ref)
            except GenctlError as error:
                errors.append({"job": ref, "code": error.code, "message": error.message, "hint": error.hint})
                code = max(code, failures.report(error, debug=debug))
                left = refs[number:]
                if error.exit_code == UNREACHABLE:
                    if left:
                        output.note(f"Not asked for: {' '.join(text.clean(other) for other in left)}.")
                    break
                continue
            jobs += answer
            if not as_json:
                for job in answer:
                    output.say(text.job_line(job))
    if as_json:
        output.emit_json({"jobs": jobs, "next": None, "errors": errors})
    return code, jobs
