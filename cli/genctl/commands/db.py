"""db upgrade, backup, restore, verify, prune: the record that the platform keeps, where it is kept.

The work is done by `python -m genplatform db`; these commands start it and pass on its answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from genctl import session


@click.group(short_help="Back up, restore, check, prune and upgrade the record.")
def db() -> None:
    """Back up, restore, check, prune and upgrade the record.

    The record is the database that GENCTL_DATABASE_URL names, or catalog.db in GENCTL_HOME. Of a
    platform elsewhere (GENCTL_URL) these commands must be run there.
    """


def _run(action: str, flags: Sequence[str], as_json: bool, *operands: str) -> int:
    # What follows `--` is no flag, whatever it begins with.
    after = ["--", *operands] if operands else []
    return session.run_platform("db", [action, *flags, *(["--json"] if as_json else []), *after])


@db.command()
@session.json_option
def upgrade(as_json: bool) -> int:
    """Bring the record's tables to this version's revision.

    `genctl up` does it by itself. Tables that a newer genctl made are left alone.
    """
    return _run("upgrade", [], as_json)


@db.command()
@click.argument("file", type=click.Path())
@session.json_option
def backup(file: str, as_json: bool) -> int:
    """Write one moment of the record into FILE, while the platform goes on.

    The file can be restored on SQLite and on PostgreSQL. It says where artifacts lie; their bytes
    stay in the store.
    """
    return _run("backup", [], as_json, file)


@db.command()
@click.argument("file", type=click.Path())
@click.option("--into", metavar="URL", help="Another database.  [default: the one of the settings]")
@session.json_option
def restore(file: str, into: str | None, as_json: bool) -> int:
    """Load the backup FILE into a database that holds no record.

    The platform must be down. Runs that were open in the backup are closed when it is up again,
    and their jobs go on; workers from before are refused.
    """
    return _run("restore", [] if into is None else [f"--into={into}"], as_json, file)


@db.command()
@click.option("--deep", is_flag=True, help="Read every file in the store and compare its digest, too.")
@session.json_option
def verify(deep: bool, as_json: bool) -> int:
    """Hold the record to its own laws and to the store; exit with 1 when there are problems."""
    return _run("verify", ["--deep"] if deep else [], as_json)


@db.command()
@click.option("--older-than", required=True, metavar="AGE", help="Of jobs that ended so long ago: 30d, 12h, 90m, 45s.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the N that ended last in any case.")
@click.option("--files", is_flag=True, help="Remove their checkpoints, sheets and outputs from the store, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@session.json_option
def prune(older_than: str, keep: int | None, files: bool, dry_run: bool, as_json: bool) -> int:
    """Remove jobs that ended long ago, a few at a time, while the platform goes on.

    A job stays while one that stays needs it or does it again. Models stay in any case.
    """
    flags = [f"--older-than={older_than}", *([] if keep is None else [f"--keep={keep}"])]
    flags += [flag for flag, wanted in (("--files", files), ("--dry-run", dry_run)) if wanted]
    return _run("prune", flags, as_json)
