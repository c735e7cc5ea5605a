"""submit and watch: hand in a job file, and follow jobs until they are over."""

from __future__ import annotations

import glob
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genctl import failures, session
from genplatform.domain.job import HIGHEST_PRIORITY
from genplatform.errors import BadSpec, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genctl.client import Client
    from genctl.following import Followed

STDIN = "-"
COMMAND = "genctl.commands.submit:command"  # where a context keeps what stands behind `--`


class _WithCommand(click.Command):
    """A command line that may end with another: whatever stands behind `--` is left as it is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands behind the first `--`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(cls=_WithCommand, short_help="Submit a job file, or a command, and follow its jobs.")
@click.argument("file", metavar="FILE|-", required=False, type=click.Path(allow_dash=True))
@click.option("--set", "sets", multiple=True, metavar="K=V", help="Change a field of the job file, such as seed=7.")
@click.option("-n", "--name", help="Name the job.")
@click.option("-q", "--queue", help="Put it into this queue.")
@click.option("-p", "--priority", type=click.IntRange(0, HIGHEST_PRIORITY), help="0 to 1000; higher goes first.")
@click.option("--env", "variables", multiple=True, metavar="K=V", help="A variable of the command's environment.")
@click.option("--cpus", type=float, help="CPU cores of the command.")
@click.option("--workdir", type=click.Path(), help="Where the command runs.  [default: here, on the local platform]")
@click.option("--key", help="Idempotency key: the same key again is the same jobs.  [default: a new one]")
@click.option("--dry-run", is_flag=True, help="Check the file and change nothing.")
@click.option("-d", "--detach", is_flag=True, help="Return at once instead of following.")
@session.json_option
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    *,
    file: str | None,
    sets: tuple[str, ...],
    name: str | None,
    queue: str | None,
    priority: int | None,
    variables: tuple[str, ...],
    cpus: float | None,
    workdir: str | None,
    key: str | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> int:
    """Submit a job file (YAML, JSON or JSON Lines; - reads stdin), or a command, and follow its jobs.

    Behind -- stands a command with its arguments: a job of the kind `command`. What it leaves in
    $GENCTL_OUTPUT_DIR is kept.

    All of them are made, or none. Ctrl-C detaches and never cancels. The exit code is the worst of
    the jobs. The local platform is started when it is wanted and down. --json prints the jobs and
    returns at once.
    """
    _check_sets(sets)
    asked = {"env": variables, "cpus": cpus, "workdir": workdir}
    body, media_type, source = _asked(ctx.meta.get(COMMAND), file, asked)
    if code := session.ensure_up():
        return code
    key = key or uuid.uuid4().hex
    begun = time.monotonic()
    wish: dict[str, Any] = {"sets": sets, "name": name, "queue": queue, "priority": priority, "dry_run": dry_run}
    with session.client() as client:
        body = _with_data(client, body, media_type, file, wish, quiet=as_json)
        try:
            made = _hand_in(client, body, quiet=as_json, key=key, media_type=media_type, **wish)
        except BadSpec as error:
            return failures.report(error, debug=bool(ctx.find_root().params.get("debug")), source=source)
        return _go_on(client, made, key, time.monotonic() - begun, as_json=as_json, dry_run=dry_run, detach=detach)


def submit_document(document: dict[str, Any], *, detach: bool, as_json: bool) -> int:
    """Submit one job, and follow it as `submit` does; return the exit code."""
    from genctl.jobfiles import as_body

    if code := session.ensure_up():
        return code
    body, media_type = as_body(document)
    key, begun = uuid.uuid4().hex, time.monotonic()
    with session.client() as client:
        made = _hand_in(client, body, quiet=as_json, key=key, media_type=media_type)
        return _go_on(client, made, key, time.monotonic() - begun, as_json=as_json, dry_run=False, detach=detach)


def _hand_in(client: Client, body: bytes, *, quiet: bool, key: str, **wish: Any) -> dict[str, Any]:
    from genctl import bulk, text

    try:
        with bulk.upload(len(body), quiet=quiet) as (sent, stored):
            return client.submit_many(body, key=key, on_progress=sent, on_stored=stored, **wish)
    except Unavailable as error:
        again = f"Submit it again with `--key {shlex.quote(text.clean(key))}`: what was made already is not made twice."
        raise Unavailable(error.message, f"{error.hint} {again}".strip()) from error


def _go_on(
    client: Client, made: dict[str, Any], key: str, seconds: float, *, as_json: bool, dry_run: bool, detach: bool
) -> int:
    """Tell what was made, and follow it."""
    from genctl import bulk, output

    jobs = list(made.get("jobs") or ())
    count = int(made.get("count", len(jobs)))
    if as_json:
        output.emit_json({"next": None} | made)
        return 0
    if dry_run:
        _print_plan(jobs, count)
        return 0
    many = count > bulk.FEW
    if many:
        output.say(f"{count:,} jobs submitted in {seconds:.1f} s")
        sys.stdout.flush()
    else:
        _print_ids(jobs)
    if detach:
        output.note(f"Follow with `genctl watch {_submission(key) if many else _refs(jobs)}`.")
        return 0
    return _follow_many(client, key) if many else _follow(client, jobs)


@click.command(short_help="Follow jobs until they are over.")
@click.argument("jobs", metavar="JOB...", nargs=-1, shell_complete=session.complete_job)
@click.option("--submission", metavar="KEY", help="Follow all jobs that were submitted under this idempotency key.")
def watch(jobs: tuple[str, ...], submission: str | None) -> int:
    """Follow every JOB until it is over. Ctrl-C detaches and never cancels."""
    if bool(jobs) == (submission is not None):
        raise click.UsageError("Name the jobs to follow, or a --submission.")
    with session.client() as client:
        if submission is not None:
            return _follow_many(client, submission)
        return _follow(client, [client.job(job) for job in jobs])


def _follow_many(client: Client, key: str) -> int:
    from genctl import bulk, output

    come_back = f"The jobs go on. Come back with `genctl watch {_submission(key)}`."
    try:
        ended = bulk.follow(client, key)
    except KeyboardInterrupt:
        output.note(f"\nDetached. {come_back}")
        return 0
    except Unavailable as error:
        raise Unavailable(error.message, f"{error.hint} {come_back}") from error
    code = bulk.exit_code(ended)
    output.say(f"All are over: {bulk.stands(ended)}.")
    if code:
        output.next_steps([("which ones", "genctl ps --state failed --state cancelled")])
    return code


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


def _with_data(
    client: Client, body: bytes, media_type: str, file: str | None, wish: dict[str, Any], *, quiet: bool
) -> bytes:
    """Say where data lies: by its absolute path on this machine, and for a platform elsewhere by its upload.

    What conditions name, and the code of a recipe of one's own, is an upload everywhere. A path is seen from the job
    file's folder, and in --set from here.
    """
    from functools import cache

    from genctl.condfiles import with_sent_pictures, with_sent_set
    from genctl.datafiles import with_absolute_set, with_absolute_sources
    from genctl.recipefiles import with_sent_recipe_set, with_sent_recipes

    @cache
    def uploaded(path: str) -> str:
        from genctl import bulk

        with bulk.upload_data(path, quiet=quiet) as sent:
            return client.upload(path, sent, dry_run=wish["dry_run"])

    def sent_picture(path: str) -> str:
        if not Path(path).exists() and not glob.glob(path):
            raise NotFound(f"There is no file or folder {path}, which cond names.", "Check the path.")
        return uploaded(path)

    @cache
    def sent_recipe(recipe: str, base: Path) -> str:
        return client.upload_recipe(recipe, base, dry_run=wish["dry_run"])

    elsewhere = not client.connection.local or bool(session.settings().ray_address)
    name = uploaded if elsewhere else str
    base = Path(file).parent if file not in (None, STDIN) else Path()
    wish["sets"] = tuple(with_absolute_set(one, Path(), name) for one in wish["sets"])
    wish["sets"] = tuple(with_sent_set(one, Path(), sent_picture) for one in wish["sets"])
    body = with_sent_pictures(body, media_type, base, sent_picture)
    wish["sets"] = tuple(with_sent_recipe_set(one, lambda recipe: sent_recipe(recipe, Path())) for one in wish["sets"])
    body = with_sent_recipes(body, media_type, lambda recipe: sent_recipe(recipe, base))
    return with_absolute_sources(body, media_type, base, name)


def _asked(command: list[str] | None, file: str | None, options: dict[str, Any]) -> tuple[bytes, str, str]:
    """Return what is to be submitted, its type, and what messages call it."""
    if command is not None:
        if file is not None:
            raise click.UsageError(f"Submit either the job file {file} or the command behind --, not both.")
        return _document(command, options)
    given = [f"--{name}" for name, value in options.items() if value not in (None, ())]
    if file is None:
        raise click.UsageError("Give a job FILE, - for stdin, or a command behind --.")
    if given:
        raise click.UsageError(f"{given[0]} is for a command behind --; a job file says it itself.")
    return (*_read(file), "stdin" if file == STDIN else file)


def _read(file: str) -> tuple[bytes, str]:
    from genctl.jobfiles import read_file, read_stream

    return read_stream(sys.stdin.buffer.read) if file == STDIN else read_file(Path(file))


def _document(command: list[str], options: dict[str, Any]) -> tuple[bytes, str, str]:
    """Return the job file of a command."""
    from genctl.jobfiles import as_body

    if not command:
        raise click.UsageError("There is no command behind --.")
    document: dict[str, Any] = {"kind": "command", "command": command}
    variables = [given.partition("=") for given in options["env"]]
    for name, equals, _ in variables:
        if not equals or not name:
            raise click.BadParameter(f"{name!r} is not K=V, such as EPOCHS=3.", param_hint="--env")
    if variables:
        document["env"] = {name: value for name, _, value in variables}
    if options["cpus"] is not None:
        document["resources"] = {"cpus_per_worker": options["cpus"]}
    # Where nodes are elsewhere there is no such folder: there a command starts in an empty one, unless told otherwise.
    here = session.settings()
    if options["workdir"] is not None or not (here.is_remote or here.ray_address):
        document["workdir"] = str(Path(options["workdir"] or ".").resolve())
    return (*as_body(document), "the command line")


def _print_ids(jobs: Sequence[dict[str, Any]]) -> None:
    from genctl import output, text

    for job in jobs:
        output.say("  ".join(text.clean(job.get(key)) for key in ("id", "name", "kind", "state")))
    sys.stdout.flush()


def _print_plan(jobs: Sequence[dict[str, Any]], count: int) -> None:
    from genctl import output

    columns = [
        output.Column("NAME"),
        output.Column("KIND"),
        output.Column("QUEUE", keep=5),
        output.Column("PRIORITY", keep=4, right=True),
    ]
    output.table(columns, [(j.get("name"), j.get("kind"), j.get("queue"), j.get("priority")) for j in jobs])
    if count > len(jobs):
        output.note(f"These are the first {len(jobs):,}.")
    output.note(f"The file is good: it would submit {count:,} {'job' if count == 1 else 'jobs'}.")


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


def _submission(key: str) -> str:
    from genctl import text

    return f"--submission {shlex.quote(text.clean(key))}"
