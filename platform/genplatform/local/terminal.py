"""What up, down, status and doctor write to the person who typed them, and the codes they end with."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from genplatform.settings import Settings

COLOURS = {"up": "green", "ok": "green", "starting": "yellow", "degraded": "yellow", "failed": "red", "down": "red"}

NEXT = """\
Try:
  genctl submit examples/digits.yaml    train a model and generate with it
  genctl ps                             what runs
  genctl status                         how the platform is
  genctl down                           stop it"""


def up(settings: Settings, args: argparse.Namespace) -> int:
    """Start, telling how far it is; with --json the progress goes to stderr and the status to stdout."""
    from genplatform.local import lifecycle

    def say(line: str) -> None:
        print(line, file=sys.stderr if args.json else sys.stdout, flush=True)

    document = lifecycle.up(settings, say, port=args.port, seconds=args.timeout)
    if args.json:
        return status(settings, args)
    print(f"The platform is up: {document['url']}\n\n{NEXT}")
    return 0


def down(settings: Settings, _: argparse.Namespace) -> int:
    """Stop, telling what was stopped."""
    from genplatform.local import lifecycle

    found = lifecycle.down(settings, lambda line: print(line, flush=True))
    print("The platform is down; nothing of it runs." if found else f"Nothing is up in {settings.home}.")
    return 0


def status(settings: Settings, args: argparse.Namespace) -> int:
    """Show the parts. Ends with 3 only when a remote platform does not answer: a local one may well be down."""
    from genplatform.local.status import status as look

    document = look(settings)
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        where = document["url"] or settings.home
        print(f"The platform is {document['state']}: {where}\n")
        _table(("PART", "STATE", "PID", "DETAIL"), [_status_row(part) for part in document["parts"]])
        _hints((part["name"], part["hint"]) for part in document["parts"])
    return 3 if settings.is_remote and document["state"] == "down" else 0


def doctor(settings: Settings, args: argparse.Namespace) -> int:
    """Show the checks; 0 when all are well, else 3."""
    from genplatform.local.doctor import doctor as look

    document = look(settings)
    checks = document["checks"]
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        _table(("CHECK", "", "FOUND"), [(c["name"], "ok" if c["ok"] else "failed", c["message"]) for c in checks])
        _hints((c["name"], c["hint"]) for c in checks)
    return 0 if all(check["ok"] for check in checks) else 3


def _status_row(part: dict[str, Any]) -> tuple[str, ...]:
    return (part["name"], part["state"], str(part["pid"] or ""), part["detail"])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for title in head:
        table.add_column(title, overflow="fold", no_wrap=False)
    for row in rows:
        # Text, not markup: a detail may hold anything, such as the last lines of a log.
        table.add_row(*(Text(_plain(cell), style=COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def _hints(pairs: Any) -> None:
    said = [(name, hint) for name, hint in pairs if hint]
    if said:
        print()
    for name, hint in said:
        print(f"{name}: {_plain(hint)}")


def _plain(text: str) -> str:
    """Return the text without control characters, which a log or a URL might carry to the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
