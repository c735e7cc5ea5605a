"""How the command line ends when something goes wrong: two lines on stderr, and an exit code.

0 done, 1 the job failed, 2 usage or a bad spec, 3 the platform cannot be reached, 4 cancelled,
5 a wait timed out; 130 after Ctrl-C and 141 when the reader of a pipe went away, as everywhere.
"""

from __future__ import annotations

import os
import sys

import click

USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def report(error: BaseException, *, debug: bool = False, source: str = "") -> int:
    """Tell a person of `error` and return the exit code. `source` names the job file a BadSpec is about."""
    if isinstance(error, BrokenPipeError):
        silence_stdout()
        return PIPE_CLOSED
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        _line("")
        return INTERRUPTED
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        return _usage(error)
    return _ours(error, source, debug)


def silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain of the closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        return
    finally:
        os.close(nowhere)


def _usage(error: click.ClickException) -> int:
    from genctl.text import clean

    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    _line(f"Error: {clean(error.format_message())}")
    context = getattr(error, "ctx", None)
    if context is not None:
        _line(f"Hint:  `{context.command_path} --help` shows what it takes.")
    return USAGE


def _ours(error: BaseException, source: str, debug: bool) -> int:
    from genctl.text import clean
    from genplatform import errors

    if isinstance(error, errors.BadSpec):
        for problem in error.problems:
            _line(f"Error: {clean(_where(problem, source))}{clean(problem.message)}")
            if problem.hint:
                _line(f"Hint:  {clean(problem.hint)}")
        return error.exit_code
    if isinstance(error, errors.GenctlError):
        _line(f"Error: {clean(error.message)}")
        if error.hint:
            _line(f"Hint:  {clean(error.hint)}")
        return error.exit_code
    _line(f"Error: genctl itself failed: {type(error).__name__}: {clean(error)}")
    if not debug:
        _line("Hint:  Run it again as `genctl --debug ...` for the traceback, and report it.")
    return 1


def _where(problem: object, source: str) -> str:
    line, column, path = (getattr(problem, name) for name in ("line", "column", "path"))
    place = source
    if line:
        place += f":{line}:{column}" if column else f":{line}"
    return "".join(f"{part}: " for part in (place.lstrip(":"), path) if part)


def _line(text: str) -> None:
    print(text, file=sys.stderr)
