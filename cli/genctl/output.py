"""What goes to the terminal: JSON, tables that fit, and errors in two lines."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genctl.text import clean

UNLIMITED_WIDTH = 100_000
GAP = 2
SHORTEST_FLEXIBLE = 8
ALWAYS = 9
STATE_STYLES = {
    "succeeded": "green",
    "ready": "green",
    "up": "green",
    "ok": "green",
    "running": "cyan",
    "starting": "cyan",
    "published": "green",
    "failed": "red",
    "down": "red",
    "lost": "red",
    "degraded": "yellow",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "preempted": "yellow",
    "paused": "yellow",
    "waiting": "dim",
    "queued": "dim",
    "pending": "dim",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    On a terminal too narrow for all, columns of the lowest `keep` are left out first;
    those of `keep` ALWAYS never. A `flexible` column is shortened before any is left out.
    """

    title: str
    keep: int = ALWAYS
    right: bool = False
    flexible: bool = False
    state: bool = False


def say(text: str = "") -> None:
    """Print a line for people who read stdout."""
    print(text)


def note(text: str) -> None:
    """Print a line beside the output proper, to stderr."""
    print(text, file=sys.stderr)


def emit_json(document: Any) -> None:
    """Print a document as JSON, in ASCII: nothing in it can reach a terminal as a command."""
    print(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under their titles: whole when piped, fitted to the terminal otherwise."""
    print(render_table(columns, rows, width=terminal_width(), color=sys.stdout.isatty()))


def terminal_width() -> int | None:
    """Return the terminal's columns, or None when stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def render_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, width: int | None, color: bool) -> str:
    """Return a table as text, each cell made safe; `width` None means as wide as it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[clean("-" if value is None else value) for value in row] for row in rows]
    widths = _fitted(columns, cells, width)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index, wide in widths.items():
        column = columns[index]
        justify: Literal["left", "right"] = "right" if column.right else "left"
        grid.add_column(column.title, justify=justify, no_wrap=True, overflow="ellipsis", width=wide)
    for row in cells:
        styles = [STATE_STYLES.get(row[i], "") if columns[i].state else "" for i in widths]
        grid.add_row(*(Text(row[i], style=style) for i, style in zip(widths, styles, strict=True)))
    page = io.StringIO()
    # Fitted already: the console must not narrow it further.
    console = Console(
        file=page, width=UNLIMITED_WIDTH, force_terminal=color, markup=False, highlight=False, emoji=False
    )
    console.print(grid)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _fitted(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None) -> dict[int, int]:
    """Return the columns to show, by their place, and how wide each is."""
    from rich.cells import cell_len

    whole = {i: max([cell_len(column.title), *(cell_len(row[i]) for row in cells)]) for i, column in enumerate(columns)}
    if width is None:
        return whole
    least = {i: min(wide, SHORTEST_FLEXIBLE) if columns[i].flexible else wide for i, wide in whole.items()}
    while sum(least.values()) + GAP * (len(least) - 1) > width:
        weakest = min(least, key=lambda i: columns[i].keep)
        if columns[weakest].keep >= ALWAYS:
            break
        del least[weakest]
    spare = max(0, width - sum(least.values()) - GAP * (len(least) - 1))
    widths = {}
    for i, wide in least.items():
        widths[i] = min(whole[i], wide + spare)
        spare -= widths[i] - wide
    return widths


def pairs(rows: Iterable[tuple[str, Any]]) -> None:
    """Print `name  value` lines, aligned; those whose value is None or empty are left out."""
    present = [(name, clean(value)) for name, value in rows if value not in (None, "")]
    widest = max((len(name) for name, _ in present), default=0)
    for name, value in present:
        print(f"{name:<{widest}}  {value}")


def next_steps(commands: Sequence[tuple[str, str]]) -> None:
    """Print what a person may want to do now: what for, and the very command."""
    if not commands:
        return
    print("\nNext steps")
    widest = max(len(what) for what, _ in commands)
    for what, command in commands:
        print(f"  {what:<{widest}}  {command}")
