"""How following looks: live bars on a terminal, plain lines at intervals anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genctl import text
from genctl.client import is_over
from genctl.following import IDLE_STATES, Followed, View

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 5.0
REFRESHES_A_SECOND = 4
MOST_METRICS = 4


@contextmanager
def view() -> Iterator[View]:
    """Give the view that suits stdout."""
    if not sys.stdout.isatty():
        yield LineView(print, time.monotonic)
        return
    with _bars() as bars:
        yield BarView(bars, curves=bars.console.encoding.lower().startswith("utf"))


class LineView:
    """Says what happens as lines, and every few seconds how far each running job is."""

    def __init__(self, say: Callable[[str], Any], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._spoken = clock()
        self._last: dict[str, str] = {}

    def tell(self, one: Followed, line: str) -> None:
        """Print a line with the job's id and name before it."""
        self._say(f"{text.clean(one.id)}  {one.name}  {line}")
        sys.stdout.flush()

    def show(self, jobs: Sequence[Followed]) -> None:
        """Print how far the running jobs are, when it is time and it has changed."""
        if self._clock() - self._spoken < LINE_SECONDS:
            return
        self._spoken = self._clock()
        for one in jobs:
            line = "  ".join([*how_far(one), *measured(one)])
            if line and not is_over(one.job) and self._last.get(one.id) != line:
                self._last[one.id] = line
                self.tell(one, line)


class BarView:
    """One live bar a job, its curves below it; what happens scrolls by above them."""

    def __init__(self, bars: Progress, curves: bool) -> None:
        self._bars, self._curves = bars, curves
        self._tasks: dict[str, TaskID] = {}

    def tell(self, one: Followed, line: str) -> None:
        """Print a line above the bars."""
        from rich.text import Text

        self._bars.console.print(Text(f"{one.name}  {line}"), soft_wrap=True)

    def show(self, jobs: Sequence[Followed]) -> None:
        """Move the bars."""
        for one in jobs:
            if one.id not in self._tasks:
                self._tasks[one.id] = self._bars.add_task(one.name, total=None, state="", facts="", below=[])
            document = one.job.get("progress")
            document = document if isinstance(document, dict) else {}
            over = is_over(one.job)
            facts = text.reason(one.job) if over else "  ".join(how_far(one)) or text.reason(one.job)
            # A bar without a total moves to and fro: good for what runs, wrong for what waits or is over.
            total = document.get("total") or (None if one.job.get("state") in ("starting", "running") else 1)
            self._bars.update(
                self._tasks[one.id],
                total=total,
                completed=document.get("done") or 0,
                state=text.clean(one.job.get("state")),
                facts=facts,
                below=self._below(one),
            )

    def _below(self, one: Followed) -> list[str]:
        """Return the lines below a bar: curves of the model, then optimizers and machine."""
        if not how_far(one) or is_over(one.job):
            return []
        if not self._curves:
            return ["   ".join(measured(one)), "   ".join(one.curves.of_the_rest())]
        return ["   ".join(one.curves.drawn(MOST_METRICS)), "   ".join(one.curves.of_the_rest())]


def how_far(one: Followed) -> list[str]:
    """Return a running job's progress, rate and ETA, as far as they are known."""
    document = one.job.get("progress")
    if not isinstance(document, dict) or one.job.get("state") in IDLE_STATES:
        return []
    return [text.progress(document), *text.rate_and_eta(document)]


def measured(one: Followed) -> list[str]:
    """Return a running job's newest metrics of its model, in words."""
    names = one.curves.of_the_model()[:MOST_METRICS] if how_far(one) else []
    return [f"{text.clean(name)} {text.number(one.curves.newest[name])}" for name in names]


def _bars() -> Progress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Bars(Progress):
        """Bars that have lines of text below them."""

        def get_renderables(self) -> Iterator[RenderableType]:
            """Return each job's bar, and what stands below it."""
            yield self.make_tasks_table(self.tasks)
            yield from (line for task in self.tasks for line in self._below(task))

        def _below(self, task: Task) -> Iterator[Text]:
            several = f"{task.description}  " if len(self.tasks) > 1 else "  "
            for line in filter(None, task.fields["below"]):
                yield Text(several + line, no_wrap=True, overflow="ellipsis")

    console = Console(markup=False, highlight=False, emoji=False)
    return Bars(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True, min_width=9)),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        refresh_per_second=REFRESHES_A_SECOND,
    )
