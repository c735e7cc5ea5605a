"""A worker that lives, answers and never comes to where others wait: its gang is ended, and the next goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from long_work import free_cpus, gang_is_gone, model_digest
from whole_platform import WholePlatform, eventually

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

# Its second worker waits for ever at a step, once.
CODE = """
import threading
from pathlib import Path

from torch import distributed

from genworkers.recipes.gan import Gan


class Hangs(Gan):
    name = "hangs"

    def step(self, batch, ctx):
        hung = Path({mark!r})
        if ctx.step == 250 and distributed.get_rank() == 1 and not hung.exists():
            hung.touch()
            threading.Event().wait()
        return super().step(batch, ctx)
"""
JOB = (
    "kind: train\nname: {name}\nrecipe: ./hangs.py:Hangs\nbudget: {{steps: 400}}\nseed: 5\ncheckpoint: {{every: 100}}\n"
    "resources: {{workers: 2}}\nprogress_timeout: 3m\n"
)


def test_a_gang_of_which_one_hangs_is_ended_in_a_bound_and_goes_on_from_its_last_checkpoint(
    platform: WholePlatform, tmp_path: Path
) -> None:
    mark = tmp_path / "hung"
    (tmp_path / "hangs.py").write_text(CODE.format(mark=str(mark)))
    digests, free = [], free_cpus(platform)
    for name, causes in (("hung", ["stalled", None]), ("not-hung", [None])):
        (tmp_path / f"{name}.yaml").write_text(JOB.format(name=name))
        (job,) = platform.json("submit", str(tmp_path / f"{name}.yaml"))["jobs"]
        done = platform.finished(job["id"], 600)
        assert done["state"] == "succeeded", (done, platform.logs())
        assert [run["cause"] for run in done["runs"]] == causes
        digests.append(model_digest(platform, done))

    resumed = [e["data"]["step"] for e in platform.json("events", "hung")["events"] if e["type"] == "resumed"]
    assert mark.exists()
    assert resumed == [200]
    assert digests[0] == digests[1]
    assert eventually(lambda: gang_is_gone(platform, free), every=2.0)
