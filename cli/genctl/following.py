"""Following jobs until they are over: what to ask, what has changed, and what a person does next.

The rounds of asking live here; how it looks lives in `progress`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from genctl import text
from genctl.client import Client, Json, is_over
from genctl.curves import Curves

ROUND_SECONDS = 1.0
ROUNDS_BETWEEN_SHEETS = 3
PAGE = 1000
IDLE_STATES = frozenset({"waiting", "queued", "paused"})
FAILED, CANCELLED = 1, 4


@dataclass
class Followed:
    """One job being followed, and what was already told of it."""

    job: Json
    told: tuple[Any, Any] | None = None
    last_event: str | int | None = None
    last_line: int | None = None
    round: int = 0
    curves: Curves = field(default_factory=Curves)
    sheets: set[str] = field(default_factory=set)
    artifacts: list[Json] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.job.get("id"))

    @property
    def name(self) -> str:
        """The job's name, safe to print."""
        return text.clean(self.job.get("name") or self.id)


class View(Protocol):
    """Where following is shown."""

    def tell(self, one: Followed, line: str) -> None:
        """Say something that happened, once. `line` is safe to print."""

    def show(self, jobs: Sequence[Followed]) -> None:
        """Show where all jobs stand, after each round."""


def follow(
    client: Client, jobs: Sequence[Json], view: View, sleep: Callable[[float], None] = time.sleep
) -> list[Followed]:
    """Ask round after round until every job is over; return them with what they left behind."""
    followed = [Followed(job) for job in jobs]
    while True:
        for one in followed:
            _refresh(client, one, view)
        view.show(followed)
        if all(is_over(one.job) for one in followed):
            return followed
        sleep(ROUND_SECONDS)


def _refresh(client: Client, one: Followed, view: View) -> None:
    if is_over(one.job) and one.round:
        return
    one.job = client.job(one.id)
    one.round += 1
    was = one.told
    over = is_over(one.job)
    reason = one.job.get("reason")
    one.told = (one.job.get("state"), reason.get("code") if isinstance(reason, dict) else None)
    # One that stands idle says nothing new, but for the last words of the run that came to its end.
    begun = one.job.get("state") not in IDLE_STATES or (one.told != was and one.job.get("started_at") is not None)
    if begun:
        _read_metrics(client, one)
        _read_logs(client, one, view)
        if over or one.round % ROUNDS_BETWEEN_SHEETS == 1:
            _read_sheets(client, one, view)
    # The state last: "succeeded" is the end of what is told of a job.
    if one.told != was:
        view.tell(one, _state_line(one.job))


def _state_line(job: Json) -> str:
    words = [text.clean(job.get("state"))]
    if took := text.took(job):
        words.append(f"in {took}")
    if job.get("model") and job.get("kind") in ("train", "compress") and is_over(job):
        words.append(f"as {text.clean(job['model'])}")
    why = text.reason(job)
    return " ".join(words) + (f": {why}" if why else "")


def _read_metrics(client: Client, one: Followed) -> None:
    while True:
        page = client.events(one.id, types=["metrics"], limit=PAGE, after=one.last_event)
        events = page.get("events") or []
        for event in events:
            data = event.get("data")
            values = data.get("values") if isinstance(data, dict) else None
            if isinstance(values, dict):
                one.curves.add(int(data.get("step") or 0), values)
            one.last_event = event.get("id", one.last_event)
        if len(events) < PAGE:
            return


def _read_logs(client: Client, one: Followed, view: View) -> None:
    while True:
        lines = client.logs(one.id, limit=PAGE, after=one.last_line).get("lines") or []
        for line in lines:
            view.tell(one, f"| {text.clean_line(str(line.get('text') or ''))}")
            one.last_line = line.get("id", one.last_line)
        if len(lines) < PAGE:
            return


def _read_sheets(client: Client, one: Followed, view: View) -> None:
    one.artifacts = client.artifacts(one.id)
    for artifact in reversed(one.artifacts):
        uri = str(artifact.get("uri"))
        if artifact.get("kind") == "sheet" and uri not in one.sheets:
            one.sheets.add(uri)
            view.tell(one, f"samples at step {text.clean(artifact.get('step'))}: {text.place(uri)}")


def worst_exit_code(jobs: Sequence[Json]) -> int:
    """Return 1 when a job failed, else 4 when one was cancelled, else 0.

    Failure is the worse: a failed job has those that need it cancelled.
    """
    states = {job.get("state") for job in jobs}
    if "failed" in states:
        return FAILED
    return CANCELLED if "cancelled" in states else 0


def results(job: Json, artifacts: Sequence[Json]) -> list[tuple[str, str]]:
    """Return what a job made and where it is, for people."""
    found = []
    if job.get("kind") == "train" and job.get("model"):
        found.append(("model", text.clean(job["model"])))
    sheets = [a for a in artifacts if a.get("kind") == "sheet"]
    if sheets:
        found.append(("sample sheet", text.place(sheets[0].get("uri"))))
    events = [a for a in artifacts if a.get("kind") == "tensorboard"]
    if events:
        folder = text.place(str(events[0].get("uri")).rpartition("/")[0])
        found.append(("metrics", f"tensorboard --logdir {shlex.quote(folder)}"))
    made = job.get("outputs")
    if isinstance(made, dict) and made.get("count"):
        found.append(("outputs", f"{text.clean(made['count'])} in {text.place(made.get('uri'))}"))
    return found


_NEXT = {
    "failed": (("what it printed", "logs"), ("what happened", "events"), ("do it again", "retry")),
    "cancelled": (("what happened", "events"), ("do it again", "retry")),
    "paused": (("let it go on", "resume"), ("cancel it", "cancel")),
}
_NEXT_OF_OPEN = (("follow it", "watch"), ("cancel it", "cancel"))


def next_steps(job: Json, artifacts: Sequence[Json]) -> list[tuple[str, str]]:
    """Return what a person may want to do with a job now: what for, and the very command."""
    ref, state = text.clean(job.get("id")), job.get("state")
    if state != "succeeded":
        return [(what, f"genctl {verb} {ref}") for what, verb in _NEXT.get(str(state), _NEXT_OF_OPEN)]
    if job.get("kind") == "train" and job.get("model"):
        model = text.clean(job["model"])
        return [
            ("look at the model", f"genctl models show {model}"),
            ("serve it", f"genctl endpoints create {model.partition('@')[0]} --model {model}"),
        ]
    if job.get("kind") in ("evaluate", "compress") and job.get("model"):
        return [("what was found", f"genctl models show {text.clean(job['model'])}")]
    if isinstance(job.get("outputs"), dict):
        return [("list the outputs", f"genctl outputs ls {ref}"), ("look at one", f"genctl outputs show {ref} 0")]
    return [("look at it", f"genctl show {ref}")]
