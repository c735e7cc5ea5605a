"""Starting costs little: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from genctl.main import cli

HEAVY = ("ray", "torch", "sqlalchemy", "pydantic", "fastapi", "redis", "numpy", "genplatform.services", "genworkers")
# What a command that speaks to a platform or draws a table may load, and `--help` may not.
LATER = ("httpx", "rich", "tenacity", "yaml", "genplatform", "asyncio", "importlib.metadata")


def loaded(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_but_click_and_the_list_of_commands() -> None:
    modules = loaded("from genctl.main import main\nassert main(['--help']) == 0")

    assert not modules & {*HEAVY, *LATER}
    assert not [m for m in modules if m.startswith("genctl.commands")]


def test_importing_genctl_loads_nothing() -> None:
    assert {m for m in loaded("import genctl") if m.startswith(("genctl", "httpx", "click"))} == {"genctl"}


def test_the_client_and_every_command_load_nothing_of_the_platforms_inside() -> None:
    everything = "\n".join(
        f"import {module}"
        for commands in cli.sections.values()  # type: ignore[attr-defined]
        for module, _, _ in commands.values()
    )

    modules = loaded(f"{everything}\nfrom genctl import Client\nimport genctl.progress, genctl.following")

    assert not modules & set(HEAVY)
    assert "httpx" in modules


def test_a_commands_help_loads_no_http_client() -> None:
    modules = loaded("from genctl.main import main\nassert main(['submit', '--help']) == 0")

    assert not modules & {*HEAVY, "httpx", "rich", "tenacity"}


@pytest.mark.parametrize("name", [name for commands in cli.sections.values() for name in commands])  # type: ignore[attr-defined]
def test_the_list_of_commands_says_what_the_command_itself_says(name: str) -> None:
    listed = {n: short for commands in cli.sections.values() for n, (_, _, short) in commands.items()}  # type: ignore[attr-defined]

    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.name == name
    assert command.short_help == listed[name]
