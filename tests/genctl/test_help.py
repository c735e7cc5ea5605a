"""Every command's flags, frozen: a script that uses one keeps working."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.testing import CliRunner

from genctl.main import cli

FLAGS = {
    "": "--debug --version --help",
    "up": "--port --timeout --json --help",
    "down": "--help",
    "status": "--json --help",
    "doctor": "--json --help",
    "db": "--help",
    "db upgrade": "--json --help",
    "db backup": "FILE --json --help",
    "db restore": "FILE --into --json --help",
    "db verify": "--deep --json --help",
    "db prune": "--older-than --keep --files --dry-run --json --help",
    "submit": "FILE|- --set --name -n --queue -q --priority -p --key --dry-run --detach -d --json --help"
    " --env --cpus --workdir",
    "ps": "--all -a --state -s --queue -q --limit -l --after --watch -w --json --help",
    "show": "JOB --json --help",
    "logs": "JOB --follow -f --tail --since --search --regex -E --stamps -t --run --json --help",
    "events": "JOB --type -t --limit -l --after --json --help",
    "wait": "JOB... --timeout --json --help",
    "watch": "JOB... --submission --help",
    "cancel": "JOB... --json --help",
    "pause": "JOB... --json --help",
    "resume": "JOB... --json --help",
    "retry": "JOB... --json --help",
    "diff": "JOB JOB --json --help",
    "update": "JOB --priority -p --json --help",
    "models": "--help",
    "models ls": "--json --help",
    "models show": "MODEL --json --help",
    "models compare": "MODEL... --sheet --json --help",
    "models compress": "MODEL --int8 --bf16 --samples --detach -d --json --help",
    "models export": "MODEL DIR|FILE.tar --licence --huggingface --json --help",
    "models import": "DIR|FILE.tar --name -n --json --help",
    "outputs": "--help",
    "outputs get": "JOB [INDEX]... --to -o --json --help",
    "outputs ls": "JOB --limit -l --after --json --help",
    "outputs show": "JOB INDEX --json --help",
    "endpoints": "--help",
    "endpoints create": "NAME --model --min-replicas --max-replicas --wait --no-wait --timeout --json --help",
    "endpoints ls": "--json --help",
    "endpoints show": "NAME --json --help",
    "endpoints rm": "NAME --json --help",
    "data": "--help",
    "data check": "FILE|- --set --json --help",
    "recipes": "--help",
    "recipes check": "FILE[:CLASS]|MODULE:CLASS|NAME --params --json --help",
    "recipes ls": "--json --help",
    "recipes show": "NAME --json --help",
    "schema": "--json --help",
    "completion": "{bash|zsh|fish} --help",
}


ROOT = click.Context(cli, info_name="genctl", **cli.context_settings)


def commands(group: click.Command = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        for name in group.list_commands(ROOT):
            command = group.get_command(ROOT, name)
            assert command is not None
            yield from commands(command, f"{path} {name}".strip())


def flags_of(command: click.Command) -> set[str]:
    context = click.Context(command, parent=ROOT)
    found: set[str] = set()
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Argument):
            found.add(parameter.make_metavar(context))
        else:
            found.update(parameter.opts, parameter.secondary_opts)
    return found


def test_the_flags_of_every_command_are_the_frozen_ones() -> None:
    assert {path: flags_of(command) for path, command in commands()} == {
        path: set(flags.split()) | {"-h"} for path, flags in FLAGS.items()
    }


def test_every_command_explains_itself_and_every_flag() -> None:
    for path, command in commands():
        shown = CliRunner().invoke(cli, [*path.split(), "--help"], prog_name="genctl")

        assert shown.exit_code == 0, path
        assert f"Usage: genctl {path}".strip() in shown.output
        assert command.help, path
        undocumented: list[Any] = [
            o.name for o in command.params if isinstance(o, click.Option) and not o.help and not o.hidden
        ]
        assert not undocumented, path


def test_short_and_long_help_are_the_same() -> None:
    runner = CliRunner()

    assert runner.invoke(cli, ["ps", "-h"]).output == runner.invoke(cli, ["ps", "--help"]).output
