"""completion: the script by which a shell completes commands, options, jobs and models."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash   genctl completion bash > ~/.local/share/bash-completion/completions/genctl
    zsh    genctl completion zsh > a folder in your $fpath, as _genctl
    fish   genctl completion fish > ~/.config/fish/completions/genctl.fish
    """
    from click.shell_completion import get_completion_class

    from genctl.main import cli
    from genctl.output import say

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completion is known for {shell}.")
    say(kind(cli, {}, "genctl", "_GENCTL_COMPLETE").source())
