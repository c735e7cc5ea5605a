"""`python -m genplatform VERB`: the one process entry of the platform.

up, down, status and doctor manage the local platform; api, dispatcher and db are its processes;
supervise is the one that `up` starts. Each verb imports only what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from genplatform import settings as surroundings
from genplatform.errors import GenctlError
from genplatform.settings import Settings

Verb = Callable[[Settings, argparse.Namespace], int | None]


def _terminal(name: str) -> Verb:
    def verb(settings: Settings, args: argparse.Namespace) -> int:
        from genplatform.local import terminal

        code: int = getattr(terminal, name)(settings, args)
        return code

    return verb


def _supervise(settings: Settings, args: argparse.Namespace) -> None:
    from genplatform.local import parts, supervisor

    supervisor.supervise(settings, args.lock_fd, lambda its: parts.plan(its, args.port))


def _api(settings: Settings, args: argparse.Namespace) -> None:
    from genplatform import assembly

    assembly.run_api(settings, args.host, args.port)


def _dispatcher(settings: Settings, args: argparse.Namespace) -> None:
    from genplatform import assembly

    assembly.run_dispatcher(settings, args.api_url)


def _db(settings: Settings, args: argparse.Namespace) -> int:
    from genplatform.local import records

    return records.run(settings, args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genctl", description="The local platform of genctl and its processes.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Verb, summary: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=summary, description=summary)
        sub.set_defaults(verb=verb)
        return sub

    up = add("up", _terminal("up"), "start the local platform in the background and wait until it is up")
    up.add_argument("--port", type=int, metavar="N", help="the port of the API (default: the last one, or a free one)")
    up.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS", help="how long to wait (default: 180)")
    add("down", _terminal("down"), "stop the local platform; running jobs go on at the next up")
    status = add("status", _terminal("status"), "show what is up, what is not, and why")
    doctor = add("doctor", _terminal("doctor"), "check whether this machine has what the local platform needs")
    for sub in (up, status, doctor):
        sub.add_argument("--json", action="store_true", help="write JSON for programs")

    supervise = add("supervise", _supervise, "watch over the parts (started by up)")
    supervise.add_argument("--lock-fd", type=int, required=True, help="the open, locked lock file")
    supervise.add_argument("--port", type=int, help="the port of the API")
    api = add("api", _api, "serve HTTP")
    api.add_argument("--host", default="127.0.0.1")
    api.add_argument("--port", type=int, required=True)
    dispatcher = add("dispatcher", _dispatcher, "decide what runs, and start it")
    dispatcher.add_argument("--api-url", required=True, help="where nodes reach the API")
    _add_db(
        add("db", _db, "look after the record that the platform keeps").add_subparsers(metavar="ACTION", required=True)
    )
    return parser


def _add_db(actions: Any) -> None:
    def add(name: str, summary: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(action=name)
        sub.add_argument("--json", action="store_true", help="write JSON for programs")
        return sub

    add("upgrade", "bring its tables to this version's revision")
    add("backup", "write one moment of it into a file").add_argument("file", metavar="FILE")
    restore = add("restore", "load a backup into a database that holds no record")
    restore.add_argument("file", metavar="FILE")
    restore.add_argument("--into", metavar="URL", help="the database (default: the one of the settings)")
    verify = add("verify", "hold it to its own laws and to the store")
    verify.add_argument("--deep", action="store_true", help="also read every file and compare its digest")
    prune = add("prune", "remove jobs that ended long ago")
    prune.add_argument("--older-than", required=True, metavar="AGE", help="such as 30d: those that ended before then")
    prune.add_argument("--keep", type=int, default=0, metavar="N", help="keep the N that ended last in any case")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.add_argument("--files", action="store_true", help="also remove their files in the store")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code. An error is two lines on stderr: what happened, and what to do."""
    args = _parser().parse_args(argv)
    try:
        return args.verb(surroundings.load(), args) or 0
    except GenctlError as error:
        if args.debug:
            raise
        sys.stderr.write(f"Error: {error.message}\n" + (f"{error.hint}\n" if error.hint else ""))
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What was begun goes on in the background; look with `genctl status`.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
