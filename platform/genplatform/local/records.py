"""The `db` verbs as the person who types them sees them: upgrade, backup, restore, verify and prune the record.

They work on the database that the settings name, where it is: a platform elsewhere is not asked.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from genplatform.catalog import Catalog, database, migrate
from genplatform.domain.times import rfc3339, span
from genplatform.errors import BadRequest, Conflict, NotFound, SettingsError
from genplatform.local import home
from genplatform.settings import Settings

INCARNATION_BYTES = 16
# Between two steps of pruning, so that whoever waits to write to SQLite has its turn.
PRUNE_PAUSE = 0.1
# Rows that are about the record itself.
OF_ITSELF = ("identity", "leaders")
STOP = "Stop it with `genctl down`, then restore."


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code."""
    if settings.is_remote:
        raise SettingsError(
            f"GENCTL_URL is {settings.url}: the database of that platform is not reached from here.",
            "Run `genctl db` where that platform runs, with its GENCTL_HOME or GENCTL_DATABASE_URL; "
            "or unset GENCTL_URL for the one that this machine's settings name.",
        )
    verbs = {"upgrade": upgrade, "backup": backup, "restore": restore, "verify": verify, "prune": prune}
    return verbs[args.action](settings, args)


def upgrade(settings: Settings, args: argparse.Namespace) -> int:
    """Bring the tables to the newest revision."""
    if not settings.database_url and not settings.home.exists():
        home.prepare(settings)
    done = migrate.upgrade(settings.database)
    where = database.shown_url(settings.database)
    if done.before == done.after:
        text = f"The catalog at {where} is at revision {done.after} already, the newest."
    elif done.before is None:
        text = f"The catalog at {where} was made at revision {done.after}."
    else:
        text = f"The catalog at {where} was brought from revision {done.before} to {done.after}."
    return _say(args, {"database": where, "from": done.before, "to": done.after}, text)


def backup(settings: Settings, args: argparse.Namespace) -> int:
    """Write one moment of the record into a file."""
    from genplatform.catalog.backup import backup as write
    from genplatform.store import Store

    path = Path(args.file).absolute()
    with closing(_catalog(settings)) as catalog:
        done = write(catalog.engine, path, time.time())
    where, store = database.shown_url(settings.database), Store(settings.store)
    document = {
        "file": str(path),
        "size": done.size,
        "revision": done.header.revision,
        "created_at": rfc3339(done.header.created_at),
        "rows": done.header.rows,
        "not_included": {"objects": done.objects_left, "bytes": done.bytes_left, "store": store.shown},
    }
    text = (
        f"The record at {where} is in {path} ({_size(done.size)}): {_rows(done.header.rows)}.\n"
        f"Not in it are the {done.objects_left} artifacts it refers to ({_size(done.bytes_left)}): "
        f"they stay in the store at {store.shown}. Keep that as well."
    )
    return _say(args, document, text)


def restore(settings: Settings, args: argparse.Namespace) -> int:
    """Load a backup into a database that holds no record."""
    from genplatform.catalog.restore import restore as load

    url = args.into or settings.database
    with _still(settings, url):
        incarnation = secrets.token_hex(INCARNATION_BYTES)
        header = load(url, Path(args.file).absolute(), incarnation=incarnation, now=time.time())
        if url == settings.database and not settings.redis_url:
            # Hints about the record before this one; what is needed is rebuilt.
            shutil.rmtree(settings.home / "redis", ignore_errors=True)
    where, newest = database.shown_url(url), migrate.head()
    document = {
        "database": where,
        "created_at": rfc3339(header.created_at),
        "from": header.revision,
        "to": newest,
        "rows": header.rows,
    }
    since = "" if header.revision == newest else f", brought from revision {header.revision} to {newest}"
    text = (
        f"The record of {rfc3339(header.created_at)} is in {where}{since}: {_rows(header.rows)}.\n"
        "What was done after that moment is not in it. Runs that were open then are closed when the platform is up, "
        "and their jobs go on; workers from before are refused.\n"
        "`genctl db verify` compares it with the store."
    )
    return _say(args, document, text)


def verify(settings: Settings, args: argparse.Namespace) -> int:
    """Hold the record to its laws and to the store; 1 when there are problems."""
    from genplatform.services.verify import verify as look
    from genplatform.store import Store

    with closing(_catalog(settings)) as catalog:
        found = look(catalog, Store(settings.store), args.deep)
    lines = [" ".join(filter(None, (f"{p.law}:", p.about, p.message))) for p in found]
    said = "1 problem." if len(found) == 1 else f"{len(found)} problems."
    text = "\n".join([*map(_plain, lines), said]) if found else "The record is sound."
    return _say(args, {"ok": not found, "problems": [p.as_json() for p in found]}, text) or int(bool(found))


def prune(settings: Settings, args: argparse.Namespace) -> int:
    """Remove ended jobs of long ago; 1 when files of theirs are left."""
    from genplatform.catalog.prune import Limits
    from genplatform.services import prune as pruning
    from genplatform.store import Store

    age = span(args.older_than)
    if age is None:
        raise BadRequest(f"{args.older_than!r} is no age.", "Write a number and its unit: 30d, 12h, 90m or 45s.")
    now = time.time()
    store = Store(settings.store) if args.files else None
    with closing(_catalog(settings)) as catalog:
        limits = Limits(now - age, args.keep)
        done = pruning.prune(
            catalog, limits, now, store=store, dry_run=args.dry_run, pause=lambda: time.sleep(PRUNE_PAUSE)
        )
    rows = {name: count for name, count in done.rows.items() if count and name != "jobs"}
    verb = "Would remove" if args.dry_run else "Removed"
    text = f"{verb} {_several(done.jobs, 'jobs')} that ended before {rfc3339(now - age)}" + (
        f": {_rows(rows)}." if rows else "."
    )
    if done.needed:
        text += f"\n{done.needed} as old stay, because jobs that stay need them or do them again."
    if done.folders:
        text += f"\nRemoved their files in the store: {done.folders} folders."
    if done.left:
        text += "\nThese could not be removed and nothing refers to them any more:\n" + "\n".join(done.left)
    document = {"dry_run": args.dry_run, "before": rfc3339(now - age)} | done.as_json()
    return _say(args, document, text) or int(bool(done.left))


def _catalog(settings: Settings) -> Catalog:
    missing = database.missing_file(settings.database)
    if missing is not None:
        raise NotFound(f"There is no catalog at {missing}.", "`genctl up` or `genctl db upgrade` makes one.")
    return Catalog(settings.database)


@contextmanager
def _still(settings: Settings, url: str) -> Iterator[None]:
    """See to it that no local platform uses that database, and that none starts meanwhile."""
    if url != settings.database:
        file = database.file_of(url)
        if file is not None and home.is_locked(replace(settings, home=file.parent)):
            raise Conflict(f"The platform of {file.parent} is up.", STOP)
        yield
        return
    home.prepare(settings)
    lock = home.try_lock(settings)
    if lock is None:
        raise Conflict(f"The platform of {settings.home} is up.", STOP)
    try:
        yield
    finally:
        lock.close()


def _say(args: argparse.Namespace, document: Mapping[str, Any], text: str) -> int:
    print(json.dumps(document, indent=2) if args.json else text)
    sys.stdout.flush()
    return 0


def _rows(rows: Mapping[str, int]) -> str:
    told = {name.replace("_", " "): count for name, count in rows.items() if count and name not in OF_ITSELF}
    return ", ".join(_several(count, name) for name, count in told.items()) or "nothing"


def _several(count: int, things: str) -> str:
    return f"{count} {things.removesuffix('s') if count == 1 else things}"


def _plain(text: str) -> str:
    """Return the text without control characters, which what a worker sent might carry to the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
