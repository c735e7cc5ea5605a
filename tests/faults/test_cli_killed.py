"""The command line killed in the middle of a submit: submitted again under its key, it is one job."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import psutil
import pytest
from long_work import items_made_once
from whole_platform import GENCTL, WholePlatform, eventually, kill

from genplatform.domain.job import DEFAULT_TENANT

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]

FEW = 20
SMALL = f"kind: generate\nname: {{name}}\nmodel: noise@1\ncount: {FEW}\n"
# Killed too late, when it had said its word already, it is started again under another key.
TRIES = 10


Moment = Callable[[WholePlatform, int, str], bool]


def is_connected(platform: WholePlatform, pid: int, key: str) -> bool:
    """Whether the command has begun to speak to the platform."""
    try:
        return any(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(pid).net_connections(kind="tcp"))
    except psutil.Error:  # it is over already
        return True


def is_committed(platform: WholePlatform, pid: int, key: str) -> bool:
    """Whether the record has what the command submits."""
    with platform.catalog.read() as tx:
        return tx.submissions.find(DEFAULT_TENANT, key) is not None


def killed_in_mid_submit(platform: WholePlatform, key: str, spec: str, moment: Moment) -> bool:
    """Submit by a process that is killed at that moment; tells whether it had said nothing yet."""
    with subprocess.Popen(
        [str(GENCTL), "submit", "-", "--key", key, "--json"],
        env=dict(platform.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cli:
        try:
            assert cli.stdin is not None
            cli.stdin.write(spec)
            cli.stdin.close()
            eventually(lambda: moment(platform, cli.pid, key), every=0.001)
        finally:
            kill(cli.pid)
        assert cli.stdout is not None
        return cli.stdout.read() == ""


@pytest.mark.parametrize("moment", [is_connected, is_committed])
def test_the_same_key_again_is_the_one_job(
    platform: WholePlatform, moment: Moment, record_property: Callable[[str, object], None]
) -> None:
    name = moment.__name__.replace("_", "-")
    tries = (f"killed-{name}-{n}" for n in range(TRIES))
    key = next(k for k in tries if killed_in_mid_submit(platform, k, SMALL.format(name=k), moment))
    record_property("committed_before_kill", is_committed(platform, 0, key))

    again = platform.json("submit", "-", "--key", key, stdin=SMALL.format(name=key))["jobs"]
    done = platform.finished(again[0]["id"])

    assert len(again) == 1
    assert [job["id"] for job in platform.json("ps", "--all")["jobs"] if job["name"] == key] == [again[0]["id"]]
    assert done["state"] == "succeeded", (done, platform.logs())
    items_made_once(platform, done, FEW)
