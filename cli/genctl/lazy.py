"""Command groups that import a command when it is called, so that `--help` costs next to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from genctl import failures

# name -> (module, attribute, one line for the list of commands)
Commands = Mapping[str, tuple[str, str, str]]


class LazyGroup(click.Group):
    """A group whose commands are named here and live elsewhere, listed under headings."""

    def __init__(self, *args: Any, sections: Mapping[str, Commands], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self._where = {name: where for commands in sections.values() for name, where in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they are listed."""
        return list(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self._where:
            return None
        import importlib

        module, attribute, _ = self._where[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest ones."""
        name = args[0]
        if not name.startswith("-") and name not in self._where and not ctx.resilient_parsing:
            ctx.fail(f"No such command {name!r}.{_nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, short) for name, (_, _, short) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong ends in two lines and an exit code."""
        try:
            code = super().invoke(ctx)
        except (click.exceptions.Exit, SystemExit):
            raise
        except BaseException as error:
            code = failures.report(error, debug=bool(ctx.params.get("debug")))
        ctx.exit(code if isinstance(code, int) else 0)


def _nearest(name: str, known: Sequence[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, n=2)
    return f" Did you mean {' or '.join(found)}?" if found else ""
