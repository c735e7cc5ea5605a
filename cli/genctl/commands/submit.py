"""submit and watch: hand in a job file, and follow jobs until they are over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genctl import failures, session
from genplatform.domain.job import HIGHEST_PRIORITY
from genplatform.errors import BadSpec, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genctl.client import Client
    from genctl.following import Followed

STDIN = "-"


@click.command(short_help="Submit a job file and follow its jobs.")
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True))
@click.option("--set", "sets", multiple=True, metavar="K=V", help="Change a field of the job file, such as seed=7.")
@click.option("-n", "--name", help="Name the job.")
@click.option("-q", "--queue", help="Put it into this queue.")
@click.option("-p", "--priority", type=click.IntRange(0, HIGHEST_PRIORITY), help="0 to 1000; higher goes first.")
@click.option("--key", help="Idempotency key: the same key again is the same jobs.  [default: a new one]")
@click.option("--dry-run", is_flag=True, help="Check the file and change nothing.")
@click.option("-d", "--detach", is_flag=True, help="Return at once instead of following.")
@session.json_option
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    *,
    file: str,
    sets: tuple[str, ...],
    name: str | None,
    queue: str | None,
    priority: int | None,
    key: str | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> int:
    """Submit a job file (YAML or JSON; - reads stdin) and follow its jobs.

    Ctrl-C detaches and never cancels. The exit code is the worst of the jobs. The local
    platform is started when it is wanted and down. --json prints the jobs and returns at once.
    """
    from genctl import output

    _check_sets(sets)
    body, media_type = _read(file)
    if code := session.ensure_up():
        return code
    with session.client() as client:
        try:
            jobs = client.submit(
                body,
                sets=sets,
                name=name,
                queue=queue,
                priority=priority,
                key=key,
                dry_run=dry_run,
                media_type=media_type,
            )
        except BadSpec as error:
            return failures.report(
                error, debug=bool(ctx.find_root().params.get("debug")), source="stdin" if file == STDIN else file
            )
        if as_json:
            output.emit_json({"jobs": jobs, "next": None})
            return 0
        if dry_run:
            _print_plan(jobs)
            return 0
        _print_ids(jobs)
        if detach:
            output.note(f"Follow with `genctl watch {_refs(jobs)}`.")
            return 0
        return _follow(client, jobs)


@click.command(short_help="Follow jobs until they are over.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=session.complete_job)
def watch(jobs: tuple[str, ...]) -> int:
    """Follow every JOB until it is over. Ctrl-C detaches and never cancels."""
    with session.client() as client:
        return _follow(client, [client.job(job) for job in jobs])


def _follow(client: Client, jobs: Sequence[dict[str, Any]]) -> int:
    from genctl import output
    from genctl.following import follow, worst_exit_code
    from genctl.progress import view

    come_back = f"The jobs go on. Come back with `genctl watch {_refs(jobs)}`."
    try:
        with view() as shown:
            ended = follow(client, jobs, shown)
    except KeyboardInterrupt:
        output.note(f"\nDetached. {come_back}")
        return 0
    except Unavailable as error:
        raise Unavailable(error.message, f"{error.hint} {come_back}") from error
    _print_results(ended)
    return worst_exit_code([one.job for one in ended])


def _check_sets(sets: Sequence[str]) -> None:
    for given in sets:
        field, equals, _ = given.partition("=")
        if not equals or not field.strip():
            raise click.BadParameter(f"{given!r} is not K=V, such as seed=7.", param_hint="--set")


def _read(file: str) -> tuple[bytes, str]:
    from genctl.client import JSON, LONGEST_JOB_FILE, YAML, check_length, read_job_file

    if file != STDIN:
        path = Path(file)
        return read_job_file(path), JSON if path.suffix == ".json" else YAML
    body = check_length(sys.stdin.buffer.read(LONGEST_JOB_FILE + 1), "on stdin")
    return body, JSON if _is_json(body) else YAML


def _is_json(body: bytes) -> bool:
    if not body.lstrip().startswith((b"{", b"[")):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _print_ids(jobs: Sequence[dict[str, Any]]) -> None:
    from genctl import output, text

    for job in jobs:
        output.say("  ".join(text.clean(job.get(key)) for key in ("id", "name", "kind", "state")))
    sys.stdout.flush()


def _print_plan(jobs: Sequence[dict[str, Any]]) -> None:
    from genctl import output

    columns = [
        output.Column("NAME"),
        output.Column("KIND"),
        output.Column("QUEUE", keep=5),
        output.Column("PRIORITY", keep=4, right=True),
    ]
    output.table(columns, [(j.get("name"), j.get("kind"), j.get("queue"), j.get("priority")) for j in jobs])
    output.note(f"The file is good: it would submit {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}.")


def _print_results(ended: Sequence[Followed]) -> None:
    from genctl import output
    from genctl.following import next_steps, results

    steps = []
    for one in ended:
        made = results(one.job, one.artifacts)
        if made:
            output.say(f"\n{one.name}")
            output.pairs([(f"  {what}", where) for what, where in made])
        steps += [step for step in next_steps(one.job, one.artifacts) if step not in steps]
    output.next_steps(steps)


def _refs(jobs: Sequence[dict[str, Any]]) -> str:
    from genctl import text

    return " ".join(text.clean(job.get("id")) for job in jobs)
