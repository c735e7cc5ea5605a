"""Fixtures of the client's and the command line's tests: a canned platform, and ways to run the CLI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from canned_platform import TOKEN, CannedPlatform


@dataclass
class Ended:
    """How one run of the command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Let children be interrupted: whoever runs the tests in the background has SIGINT ignored, and they inherit it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def platform() -> Iterator[CannedPlatform]:
    """A canned platform that is listening."""
    served = CannedPlatform()
    server = served.start()
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(tmp_path: Path, platform: CannedPlatform, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment that names the canned platform as a remote one, here and for children."""
    for name in [n for n in os.environ if n.startswith("GENCTL_")] + ["NO_COLOR", "FORCE_COLOR", "COLUMNS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GENCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GENCTL_URL", platform.url)
    monkeypatch.setenv("GENCTL_API_KEY", TOKEN)
    return dict(os.environ)


@pytest.fixture
def genctl(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Run the command line in this process, with little patience."""
    from genctl import client, following
    from genctl.commands import logs
    from genctl.main import main

    monkeypatch.setattr(client.Client.__init__, "__kwdefaults__", {**_kwdefaults(client), "patience": 0.6})
    for module, name in ((client, "POLL_SECONDS"), (following, "ROUND_SECONDS"), (logs, "POLL_SECONDS")):
        monkeypatch.setattr(module, name, 0.0)

    def run(*args: str) -> Ended:
        capsys.readouterr()
        code = main(list(args))
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


def _kwdefaults(client: Any) -> dict[str, Any]:
    return dict(client.Client.__init__.__kwdefaults__)


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., Ended]:
    """Run the command line as a process of its own, its stdout and stderr piped."""

    def run(*args: str, stdin: bytes = b"", **env: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "genctl", *args],
            input=stdin,
            capture_output=True,
            env={**environment, **env},
            timeout=60,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A job file."""
    path = tmp_path / "job.yaml"
    path.write_text("kind: train\n")
    return str(path)
