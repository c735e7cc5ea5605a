"""schema: the JSON Schema of job files, for editors and checks."""

from __future__ import annotations

import click

from genctl import session


@click.command(short_help="Print the JSON Schema of job files.")
@session.json_option
def schema(as_json: bool) -> None:
    """Print the JSON Schema of job files, so that editors complete and check them.

    It is JSON with and without --json.
    """
    from genctl import output

    with session.client() as client:
        output.emit_json(client.schema())
