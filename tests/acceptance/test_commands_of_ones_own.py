"""Commands on a real platform: what they leave, how they fail, that nothing of them stays, and that they go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from whole_platform import WholePlatform, eventually

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]

# Counts its runs in its checkpoint folder, and in the second one leaves the count.
TWICE = """
import os, pathlib, signal
folder = pathlib.Path(os.environ["GENCTL_CHECKPOINT_DIR"])
with (folder / "runs").open("a") as file:
    file.write(os.environ["GENCTL_RUN"] + "\\n")
print("counted", flush=True)
while os.environ["GENCTL_RUN"] == "1":
    signal.pause()
(pathlib.Path(os.environ["GENCTL_OUTPUT_DIR"]) / "runs.txt").write_text((folder / "runs").read_text())
"""


def submit(platform: WholePlatform, *command: str) -> str:
    return json.loads(platform.run("submit", "--json", "--", *command).stdout)["jobs"][0]["id"]


def said(platform: WholePlatform, job: str) -> list[str]:
    return [line["text"] for line in platform.json("logs", job)["lines"]]


def test_a_script_that_knows_nothing_of_the_platform_gets_the_queue(platform: WholePlatform, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os, sys, torch\n"
        "print('steps', sys.argv[1], torch.__name__)\n"
        "open(os.path.join(os.environ['GENCTL_OUTPUT_DIR'], 'model.txt'), 'w').write('weights')\n"
    )
    arguments = ["--workdir", str(tmp_path), "--", "python", "train.py", "7"]

    ended = platform.run("submit", "-n", "script", *arguments)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| steps 7 torch" in ended.stdout
    shown = platform.json("outputs", "show", "script", "0")
    assert (shown["path"], Path(shown["uri"].removeprefix("file://")).read_text()) == ("model.txt", "weights")
    assert "model.txt" in platform.run("show", "script").stdout


def test_a_command_that_fails_fails_its_job_with_its_code_and_last_words(platform: WholePlatform) -> None:
    ended = platform.run("submit", "-n", "broken", "--", "sh", "-c", "echo no such data >&2; exit 7")

    job = platform.job("broken")
    assert ended.returncode == 1
    assert (job["state"], job["error"]["code"], len(job["runs"])) == ("failed", "user_error", 1)
    assert "It exited with code 7. Its last words:\nno such data" in job["error"]["message"]


def test_a_cancelled_command_leaves_no_process(platform: WholePlatform) -> None:
    script = "trap '' TERM; setsid sleep 600 & echo pids $$ $!; while :; do sleep 600; done"
    job = submit(platform, "sh", "-c", script)
    (line,) = eventually(lambda: [text for text in said(platform, job) if text.startswith("pids")])
    family = [psutil.Process(int(pid)) for pid in line.split()[1:]]

    platform.run("cancel", job)

    assert platform.finished(job)["state"] == "cancelled"
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_command_whose_actor_is_killed_goes_on_from_its_checkpoint_folder(platform: WholePlatform) -> None:
    document = {"kind": "command", "name": "twice", "command": ["python", "-c", TWICE], "checkpoint_every": 1}
    with platform.client() as client:
        job = client.submit(document)[0]["id"]
    eventually(lambda: [a for a in platform.client().artifacts(job) if a["kind"] == "checkpoint"])
    left = [p for p in psutil.process_iter(["cmdline"]) if TWICE in (p.info["cmdline"] or [])]

    os.kill(platform.actor("CommandActor"), signal.SIGKILL)

    ended = platform.finished(job)
    assert ended["state"] == "succeeded", ended
    assert [r["cause"] for r in ended["runs"]] == ["node_lost", None]
    with platform.client() as client:
        assert client.content(job, 0) == b"1\n2\n"
    assert len(left) >= 1
    assert psutil.wait_procs(left, timeout=20)[1] == []
