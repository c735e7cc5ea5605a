"""Workers of one run without Ray: processes of this machine that meet at a file, each in the shipped loop.

`Gangs` starts this file once; it imports PyTorch and then forks a worker a rank for each gang.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self


class Gangs:
    """Runs gangs of workers, one after another. `run` returns each rank's exit status, as `os.waitpid` told it."""

    def __enter__(self) -> Self:
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=60)

    def run(self, folder: Path, size: int, job: Mapping[str, Any], **how: Any) -> list[int]:
        """Train `job` in `folder`, going on from what was saved there.

        `how`: `seed`; `stop` {n: reason}, which the leader hears when it asks for the n-th time, from 0; `kill`
        [rank, step], a worker that dies when it is told that step's metrics.
        """
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        order = {"folder": str(folder), "size": size, "job": dict(job), **how}
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return list(json.loads(self._parent.stdout.readline()))


class FolderContext:
    """A RunContext that keeps everything in one folder, so that another process may go on from it."""

    def __init__(self, folder: Path, how: Mapping[str, Any], rank: int) -> None:
        self.seed = int(how.get("seed", 0))
        self.folder, self.rank, self.leads = folder, rank, rank == 0
        self.kill = how.get("kill")
        self.stop = {int(step): reason for step, reason in how.get("stop", {}).items()}
        self.asked = itertools.count()

    def report(self, done: int, total: int, rate: float | None) -> None:
        """Nobody reads it."""

    def log(self, text: str) -> None:
        """Nobody reads it."""

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Nobody reads it."""

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        """Nobody looks at it."""

    def save_best(self, folder: Path, sha256: str, step: int) -> None:
        """Nobody asks for it."""

    def best(self) -> None:
        return None

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if self.kill == [self.rank, step]:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.leads:
            with (self.folder / "points").open("a") as out:
                out.write(json.dumps([step, dict(values)]) + "\n")

    def save(self, folder: Path, sha256: str, step: int) -> None:
        kept = self.folder / f"{step:06}-{sha256}"
        if not kept.exists():
            folder.rename(kept)

    def checkpoints(self) -> Sequence[Any]:
        from genworkers.context import SavedCheckpoint

        saved = sorted(self.folder.glob("0*-*"), reverse=True)
        return [SavedCheckpoint(str(one), one.name.split("-")[1], int(one.name[:6])) for one in saved]

    def fetch(self, saved: Any, folder: Path) -> None:
        folder.mkdir()
        for path in Path(saved.key).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    def should_stop(self) -> str | None:
        return self.stop.get(next(self.asked)) if self.leads else None


def _worker(order: Mapping[str, Any], rank: int) -> None:
    import torch
    from torch import distributed

    from genworkers.training import checkpoint
    from genworkers.training.loop import TrainJob, train

    torch.set_num_threads(1)
    folder, size = Path(order["folder"]), int(order["size"])
    meeting = f"file://{folder / order['meeting']}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    context = FolderContext(folder, order, rank)
    trained = train(TrainJob(**order["job"]), context, clock=lambda: 0.0, rank=rank, world_size=size)
    checkpoint.write(trained.state, folder / f"end-{order['meeting']}-{rank}", {})
    if rank == 0:
        (folder / "metrics").write_text(json.dumps(trained.state.metrics))
        (folder / "stopped").write_text(json.dumps([trained.stopped, trained.state.step]))
    distributed.barrier()
    distributed.destroy_process_group()


def _main() -> None:
    # What every worker is forked with: the optimizers' first step imports the one, the digits' reader the other.

    from genworkers.data.sources import open_source
    from genworkers.training import loop  # noqa: F401

    open_source({"source": "digits"})

    for number, line in enumerate(sys.stdin):
        order = {**json.loads(line), "meeting": f"meeting-{number}"}
        workers = []
        for rank in range(order["size"]):
            pid = os.fork()
            if pid == 0:
                try:
                    _worker(order, rank)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            workers.append(pid)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    _main()
