"""What commands share: a client of the right platform, the local platform's own commands, common options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from genctl.client import Client
    from genplatform.settings import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def settings() -> Settings:
    """Return this process's settings."""
    from genplatform.settings import load

    return load()


def client() -> Client:
    """Return a client of the platform that the settings name."""
    from genctl.client import Client

    return Client()


def run_platform(verb: str, flags: Sequence[str] = (), *, quiet_stdout: bool = False) -> int:
    """Run `python -m genplatform VERB` on this terminal and return its exit code.

    `quiet_stdout` sends what it prints to stderr, for commands whose stdout is data.
    """
    command = [sys.executable, "-m", "genplatform", verb, *flags]
    sys.stdout.flush()
    child = subprocess.Popen(command, stdout=2 if quiet_stdout else None)
    while True:
        try:
            code = child.wait()
            break
        except KeyboardInterrupt:
            continue  # the child got it too; how it ends is its answer
    return code if code >= 0 else 128 - code


def ensure_up() -> int:
    """Start the local platform when it is the wanted one and is not up; return 0, or why it could not."""
    from genctl.client import Client
    from genctl.connection import read_record

    wanted = settings()
    if wanted.is_remote:
        return 0
    if read_record(wanted):
        with Client(settings=wanted) as local:
            if local.is_live():
                return 0
    return run_platform("up", quiet_stdout=True)


def complete_job(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Complete a JOB with the ids and names of the newest jobs."""
    return _complete(lambda c: [word for job in c.jobs(all=True)["jobs"] for word in (job["name"], job["id"])], typed)


def complete_model(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Complete a MODEL with the published versions."""
    return _complete(lambda c: [f"{model['name']}@{model['version']}" for model in c.models()], typed)


def complete_endpoint(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Complete the name of an endpoint."""
    return _complete(lambda c: [endpoint["name"] for endpoint in c.endpoints()], typed)


def _complete(words: Callable[[Client], list[Any]], typed: str) -> list[str]:
    from genctl.client import Client
    from genplatform.domain.names import is_name

    try:
        with Client(patience=0.0) as reachable:
            found = {str(word) for word in words(reachable)}
    except Exception:  # a completion that cannot be had must not write into the line being typed
        return []
    return sorted(w for w in found if w.startswith(typed) and is_name(w.partition("@")[0]))
