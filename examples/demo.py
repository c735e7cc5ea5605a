"""The whole road in one command: train a GAN on real digits, make 1,000 pictures with it, serve it.

Each step is a `genctl` command that you could type; it is printed before it runs.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from genctl import Client

HERE = Path(__file__).resolve().parent
GENCTL = Path(sys.executable).with_name("genctl")
TRAIN, GENERATE, ENDPOINT = "digits-gan", "digits-1000", "digits"


def main() -> int:
    """Run the demo; returns the exit code of the first command that failed, or 0."""
    begun = time.monotonic()
    for step in (["up"], ["submit", _short(HERE / "digits.yaml")]):
        if code := _run(*step):
            return code
    with Client() as client:
        model = client.job(TRAIN)["model"]
        if code := _run("endpoints", "create", ENDPOINT, "--model", model):
            return code
        _summary(client, model, time.monotonic() - begun)
    return 0


def _run(*arguments: str) -> int:
    """Show a command, run it as it stands, and return its exit code."""
    print(f"\n$ genctl {shlex.join(arguments)}", flush=True)
    return subprocess.run([str(GENCTL), *arguments], check=False).returncode


def _summary(client: Client, model: str, seconds: float) -> None:
    pictures = client.job(GENERATE)["outputs"]
    sheets = [a for a in client.artifacts(TRAIN) if a["kind"] == "sheet"]
    rows = {
        "model version": model,
        "pictures": f"{pictures['count']} PNGs in {_path(pictures['uri'])}",
        "sample sheet": _path(sheets[0]["uri"]) if sheets else "none",
        "endpoint": f"{client.url}/v1 (model {ENDPOINT!r}, OpenAI's API; the curl line above works)",
    }
    print(f"\nDone in {seconds:.0f} s.")
    for name, value in rows.items():
        print(f"  {name:14} {value}")
    print(
        "\nWhat to try next:\n"
        f"  {_short(GENCTL)} outputs ls {GENERATE}        the 1,000 pictures, each with its seed and SHA-256\n"
        f"  {_short(GENCTL)} models show {model}       what the model was made of\n"
        f"  {_short(GENCTL)} logs {TRAIN}               how it learned\n"
        f"  {_short(GENCTL)} submit examples/digits.yaml --set seed=1 --set budget.steps=8000\n"
        f"  {_short(GENCTL)} down                         stop everything; `make demo` starts again at once"
    )


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme == "file" else uri


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
