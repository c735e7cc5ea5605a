"""The `genctl` command: its list of commands, and the way every one of them ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from genctl import failures
from genctl.lazy import LazyGroup

_HERE = "genctl.commands"

SECTIONS = {
    "Platform": {
        "up": (f"{_HERE}.local", "up", "Start the local platform; one that is up is left alone."),
        "down": (f"{_HERE}.local", "down", "Stop the local platform; running jobs go on at the next up."),
        "status": (f"{_HERE}.local", "status", "Show what is up, what is not, and why."),
        "doctor": (f"{_HERE}.local", "doctor", "Check this machine and say what to do."),
        "db": (f"{_HERE}.db", "db", "Back up, restore, check, prune and upgrade the record."),
    },
    "Jobs": {
        "submit": (f"{_HERE}.submit", "submit", "Submit a job file, or a command, and follow its jobs."),
        "ps": (f"{_HERE}.jobs", "ps", "List jobs."),
        "show": (f"{_HERE}.jobs", "show", "Show one job."),
        "logs": (f"{_HERE}.logs", "logs", "Show what a job printed."),
        "events": (f"{_HERE}.jobs", "events", "Show what happened to a job."),
        "watch": (f"{_HERE}.submit", "watch", "Follow jobs until they are over."),
        "wait": (f"{_HERE}.jobs", "wait", "Wait until jobs are over."),
        "diff": (f"{_HERE}.diff", "diff", "Show in what two jobs differ."),
        "cancel": (f"{_HERE}.steer", "cancel", "Cancel jobs."),
        "pause": (f"{_HERE}.steer", "pause", "Pause jobs; their workers are free for others."),
        "resume": (f"{_HERE}.steer", "resume", "Let paused jobs go on."),
        "retry": (f"{_HERE}.steer", "retry", "Do failed or cancelled jobs again."),
        "update": (f"{_HERE}.steer", "update", "Change a job's priority."),
    },
    "Results": {
        "models": (f"{_HERE}.models", "models", "Published model versions."),
        "outputs": (f"{_HERE}.outputs", "outputs", "What jobs made."),
        "endpoints": (f"{_HERE}.endpoints", "endpoints", "Models that are served."),
    },
    "Reference": {
        "data": (f"{_HERE}.data", "data", "Training data: check it before a job reads it."),
        "recipes": (f"{_HERE}.recipes", "recipes", "Model families that jobs may name."),
        "schema": (f"{_HERE}.schema", "schema", "Print the JSON Schema of job files."),
        "completion": (f"{_HERE}.completion", "completion", "Print a shell's completion script."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A JOB is an id, a unique prefix of one, or a name (its newest job).",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="genctl", message="genctl %(version)s")
def cli(debug: bool) -> None:
    """One queue for the whole life of a generative model: train it, generate with it, serve it."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot write a character gets its code, not a crash.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(args=None if args is None else list(args), prog_name="genctl", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        return failures.report(error)
    return code if isinstance(code, int) else 0
