"""Very many jobs: how their upload looks, and how they are followed, counted by state."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genctl import text
from genctl.client import Client, Json, Stored
from genctl.following import CANCELLED, FAILED, ROUND_SECONDS
from genplatform.domain.states import TERMINAL_JOB_STATES, JobState

if TYPE_CHECKING:
    from rich.progress import Progress

    from genctl.jobfiles import Sent

# More jobs than these are not told of one by one.
FEW = 20
# Smaller files are sent before anybody could look.
SHOWN_FROM = 1 << 20
LINE_SECONDS = 5.0
# Counting a hundred thousand jobs costs the platform something: asking takes at most this share of the time.
ASKING_SHARE = 0.1


@contextmanager
def upload(size: int, *, quiet: bool) -> Iterator[tuple[Sent, Stored | None]]:
    """Show on stderr how far an upload is, and then how many jobs the platform has stored, until the block ends.

    Gives what is told of bytes and of jobs: None where nobody looks, so that the platform is not asked.
    """
    if quiet or size < SHOWN_FROM:
        yield lambda _sent, _of: None, None
    elif sys.stderr.isatty():
        with _bar(size) as shown:
            yield shown
    else:
        yield _lines(), None


@contextmanager
def upload_data(path: str, *, quiet: bool) -> Iterator[Sent]:
    """Show on stderr how far the upload of data is; nothing where it need not be sent."""
    if quiet:
        yield lambda _sent, _of: None
    elif sys.stderr.isatty():
        with _bar(0, "Storing") as (sent, _):
            yield sent
    else:
        yield _lines(f"Uploading {path}, ", "Uploaded.")


def _lines(first: str = "Uploading ", last: str = "Uploaded; the platform checks and commits.") -> Sent:
    begun = False

    def sent(so_far: int, of: int) -> None:
        nonlocal begun
        if not begun:
            print(text.clean(f"{first}{text.size(of)}."), file=sys.stderr, flush=True)
            begun = True
        if so_far == of:
            print(last, file=sys.stderr, flush=True)

    return sent


@contextmanager
def _bar(size: int, then: str = "Checking and committing") -> Iterator[tuple[Sent, Stored]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TimeElapsedColumn())
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Uploading", total=size)

        def sent(so_far: int, of: int) -> None:
            # A bar without a total moves to and fro: the platform is at work.
            done = so_far == of
            bar.update(
                task,
                completed=so_far,
                total=None if done else of,
                description=then if done else "Uploading",
            )

        def stored(read: int, so_far: int) -> None:
            bar.update(task, description=f"{read:,} jobs checked, {so_far:,} stored")

        yield sent, stored


def is_over(submission: Mapping[str, Any]) -> bool:
    """Tell whether every job of a submission is over."""
    return all(state in TERMINAL_JOB_STATES for state in _states(submission))


def exit_code(submission: Mapping[str, Any]) -> int:
    """Return the worst exit code of a submission's jobs."""
    states = _states(submission)
    if states.get(JobState.FAILED):
        return FAILED
    return CANCELLED if states.get(JobState.CANCELLED) else 0


def stands(submission: Mapping[str, Any]) -> str:
    """Return how a submission's jobs stand: `12,000 queued, 4 running`."""
    states = _states(submission)
    known = [state.value for state in JobState]
    ordered = sorted(states, key=lambda state: known.index(state) if state in known else len(known))
    return ", ".join(f"{states[state]:,} {text.clean(state)}" for state in ordered if states[state])


def follow(
    client: Client,
    key: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Json:
    """Ask until every job of a submission is over, show how they stand meanwhile, and return how they ended."""
    with _view(clock) as show:
        while True:
            asked = clock()
            submission = client.submission(key)
            took = clock() - asked
            show(submission)
            if is_over(submission):
                return submission
            sleep(max(ROUND_SECONDS, took / ASKING_SHARE))


@contextmanager
def _view(clock: Callable[[], float]) -> Iterator[Callable[[Json], None]]:
    if sys.stdout.isatty():
        with _state_bar() as bar:
            task = bar.add_task("", total=None, facts="")

            def move(submission: Json) -> None:
                done = sum(n for state, n in _states(submission).items() if state in TERMINAL_JOB_STATES)
                bar.update(task, total=submission.get("count"), completed=done, facts=stands(submission))

            yield move
        return
    told, spoken = "", clock() - LINE_SECONDS

    def say(submission: Json) -> None:
        nonlocal told, spoken
        line = stands(submission)
        if line != told and (clock() - spoken >= LINE_SECONDS or is_over(submission)):
            told, spoken = line, clock()
            print(line, flush=True)

    yield say


def _state_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(markup=False, highlight=False, emoji=False),
    )


def _states(submission: Mapping[str, Any]) -> dict[str, int]:
    found = submission.get("states")
    return {str(s): n for s, n in found.items() if isinstance(n, int)} if isinstance(found, dict) else {}
