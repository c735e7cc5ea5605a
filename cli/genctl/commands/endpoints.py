"""endpoints create, ls, show, rm: models that are served."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from genctl import session

if TYPE_CHECKING:
    from genctl.client import Client

READY_SECONDS = 180.0
endpoint_argument = click.argument("name", shell_complete=session.complete_endpoint)


@click.group(short_help="Models that are served.")
def endpoints() -> None:
    """Models that are served, through OpenAI's API."""


@endpoints.command()
@click.argument("name")
@click.option(
    "--model", required=True, shell_complete=session.complete_model, help="What to serve: NAME@V, or NAME@latest."
)
@click.option("--min-replicas", type=click.IntRange(min=1), default=1, show_default=True, help="At least so many.")
@click.option("--max-replicas", type=click.IntRange(min=1), help="At most so many.  [default: the minimum]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it is ready.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=READY_SECONDS,
    show_default=True,
    help="Stop waiting after this many seconds, with exit code 5.",
)
@session.json_option
def create(
    *, name: str, model: str, min_replicas: int, max_replicas: int | None, wait: bool, timeout: float, as_json: bool
) -> int:
    """Serve a model version under NAME.

    The same wish again changes nothing; another model takes the place of the one before.
    """
    from genctl import output, text

    if max_replicas is not None and max_replicas < min_replicas:
        raise click.UsageError(f"--max-replicas {max_replicas} is below --min-replicas {min_replicas}.")
    with session.client() as client:
        endpoint = client.create_endpoint(name, model, min_replicas=min_replicas, max_replicas=max_replicas)
        if wait:
            if not as_json:
                output.note(
                    f"Endpoint {text.clean(name)} is being made ready for {text.clean(endpoint.get('model'))} ..."
                )
            endpoint = client.wait_endpoint(name, timeout)
        if as_json:
            output.emit_json(endpoint)
        else:
            _print_endpoint(client, endpoint)
    return 1 if endpoint.get("state") == "failed" else 0


@endpoints.command("ls")
@session.json_option
def list_(as_json: bool) -> None:
    """List the endpoints."""
    from genctl import output

    with session.client() as client:
        found = client.endpoints()
    if as_json:
        output.emit_json({"endpoints": found})
        return
    columns = [
        output.Column("NAME"),
        output.Column("STATE", state=True),
        output.Column("MODEL"),
        output.Column("READY", keep=7),
        output.Column("URL", keep=6),
        output.Column("REASON", keep=5, flexible=True),
    ]
    rows = [(e.get("name"), e.get("state"), e.get("model"), _replicas(e), e.get("url"), _reason(e)) for e in found]
    output.table(columns, rows)


@endpoints.command()
@endpoint_argument
@session.json_option
def show(name: str, as_json: bool) -> None:
    """Show an endpoint, how far it is, and how to call it."""
    from genctl import output

    with session.client() as client:
        endpoint = client.endpoint(name)
        if as_json:
            output.emit_json(endpoint)
        else:
            _print_endpoint(client, endpoint)


@endpoints.command()
@endpoint_argument
@session.json_option
def rm(name: str, as_json: bool) -> None:
    """Stop serving NAME; the model stays."""
    from genctl import output, text

    with session.client() as client:
        endpoint = client.delete_endpoint(name)
    if as_json:
        output.emit_json(endpoint)
    else:
        output.say(f"Endpoint {text.clean(endpoint.get('name'))} is {text.clean(endpoint.get('state'))}.")


def curl_line(client: Client, endpoint: dict[str, Any]) -> str:
    """Return a command that makes one picture with an endpoint when it is pasted into a shell."""
    key_file = client.connection.token_file
    key = f"$(cat {shlex.quote(str(key_file))})" if key_file else "$GENCTL_API_KEY"
    wish = json.dumps({"model": str(endpoint.get("name")), "prompt": "", "n": 1, "seed": 7}, separators=(",", ":"))
    return (
        f"curl -s {shlex.quote(client.url + '/v1/images/generations')} "
        f"-H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json' -d {shlex.quote(wish)}"
    )


def _print_endpoint(client: Client, endpoint: dict[str, Any]) -> None:
    from genctl import output, text

    output.pairs(
        [
            ("name", endpoint.get("name")),
            ("state", endpoint.get("state")),
            ("reason", _reason(endpoint)),
            ("model", endpoint.get("model")),
            ("replicas", f"{_replicas(endpoint)} ready"),
            ("url", endpoint.get("url") or f"{client.url}/v1"),
        ]
    )
    name = text.clean(endpoint.get("name"))
    if endpoint.get("state") in ("ready", "degraded"):
        save = (
            "python3 -c 'import sys,json,base64;"
            'open("picture.png","wb").write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))\''
        )
        output.say(f"\nMake a picture:\n  {text.clean(curl_line(client, endpoint))}")
        output.say(f"and keep it as picture.png by adding:\n  | {save}")
    elif endpoint.get("state") != "deleting":
        output.next_steps(
            [("how far it is", f"genctl endpoints show {name}"), ("take it away", f"genctl endpoints rm {name}")]
        )


def _replicas(endpoint: dict[str, Any]) -> str:
    found = endpoint.get("replicas")
    if not isinstance(found, dict):
        return "-"
    low, high = found.get("min"), found.get("max")
    return f"{found.get('ready')}/{low}" if low == high else f"{found.get('ready')}/{low}..{high}"


def _reason(endpoint: dict[str, Any]) -> str:
    from genctl import text

    return text.reason({"reason": endpoint.get("reason")})
