"""up, down, status, doctor: the local platform, or what this machine is connected to.

The local side lives in `python -m genplatform`; these commands start it and pass on its answer.
"""

from __future__ import annotations

from typing import Any

import click

from genctl import session


def _warn_if_remote() -> None:
    wanted = session.settings()
    if wanted.is_remote:
        from genctl.output import note
        from genctl.text import clean

        note(f"Note: GENCTL_URL is {clean(wanted.url)}: other commands speak to that, not to the local platform.")


@click.command(short_help="Start the local platform; one that is up is left alone.")
@click.option("--port", type=click.IntRange(1, 65535), help="The API's port.  [default: the last one, or a free one]")
@click.option("--timeout", type=click.FloatRange(min=0), help="Give up after this many seconds.")
@session.json_option
def up(port: int | None, timeout: float | None, as_json: bool) -> int:
    """Start the local platform in the background; one that is up is left alone.

    Everything it keeps lies in GENCTL_HOME. A second `up` waits for the first.
    """
    _warn_if_remote()
    flags = [f"{flag}={value:g}" for flag, value in (("--port", port), ("--timeout", timeout)) if value is not None]
    return session.run_platform("up", [*flags, *(["--json"] if as_json else [])])


@click.command(short_help="Stop the local platform; running jobs go on at the next up.")
def down() -> int:
    """Stop the local platform and leave no process behind.

    Running jobs save a checkpoint and go on at the next `up`; none is marked failed.
    """
    _warn_if_remote()
    return session.run_platform("down")


@click.command(short_help="Show what is up, what is not, and why.")
@session.json_option
def status(as_json: bool) -> int:
    """Show what is up, what is not, why, and what to do.

    Of the local platform, or of the one that GENCTL_URL names.
    """
    if not session.settings().is_remote:
        return session.run_platform("status", ["--json"] if as_json else [])
    return _remote_status(as_json)


@click.command(short_help="Check this machine and say what to do.")
@session.json_option
def doctor(as_json: bool) -> int:
    """Check this machine for what the local platform needs, and say what to do."""
    return session.run_platform("doctor", ["--json"] if as_json else [])


def _remote_status(as_json: bool) -> int:
    from genctl import output
    from genplatform.errors import Unavailable

    with session.client() as client:
        try:
            answer = client.status()
        except Unavailable as error:
            if not as_json:
                raise
            away = {"name": "api", "state": "down", "detail": error.message, "hint": error.hint}
            output.emit_json({"state": "down", "url": client.url, "parts": [_part(away)]})
            return error.exit_code
    parts = [_part(p) for p in answer.get("parts", []) if isinstance(p, dict)]
    if as_json:
        output.emit_json({**answer, "state": answer.get("state"), "url": client.url, "parts": parts})
        return 0
    output.pairs([("platform", client.url), ("state", answer.get("state"))])
    output.say()
    columns = [
        output.Column("PART"),
        output.Column("STATE", state=True),
        output.Column("DETAIL", flexible=True),
        output.Column("WHAT TO DO", keep=8, flexible=True),
    ]
    output.table(columns, [(p["name"], p["state"], p["detail"] or "", p["hint"] or "") for p in parts])
    return 0


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"name": None, "state": None, "pid": None, "detail": "", "hint": "", **part}
