"""What a command finds around it: an environment with nothing of the platform's in it but what was promised."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genworkers.pip_environments import PIP_VARIABLES, pip_variables, proxies

# What of the node's own environment a program may need. Keys to stores, databases and clusters are not in it.
_KEPT = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        "GENCTL_HOME",
    }
)
_KEPT_SORTS = ("LC_",)
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Folders:
    """The folders of one Run, new and empty, all below one that goes with it."""

    scratch: Path

    @property
    def work(self) -> Path:
        """Where a command runs that names no folder of its own."""
        return self.scratch / "work"

    @property
    def output(self) -> Path:
        """What is left here is published."""
        return self.scratch / "output"

    @property
    def checkpoint(self) -> Path:
        """What is left here is there again in the next Run."""
        return self.scratch / "checkpoint"

    @property
    def temporary(self) -> Path:
        """For what a program writes for a moment."""
        return self.scratch / "tmp"

    @property
    def transcript(self) -> Path:
        """Where what the program prints is written down."""
        return self.scratch / "transcript"

    def make(self) -> None:
        """Make them."""
        for folder in (self.work, self.output, self.checkpoint, self.temporary, self.transcript):
            folder.mkdir()


def environment(order: Mapping[str, Any], folders: Folders, python: Path | None = None) -> dict[str, str]:
    """Return a command's environment; `python` is the interpreter that it calls `python`, by default this one."""
    node = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_SORTS)}
    # The interpreter of the platform, which has PyTorch, before whatever else the node calls `python`.
    programs = str((python or Path(sys.executable)).parent)
    node["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", _PATH)])
    ours = {
        "TMPDIR": str(folders.temporary),
        # A program whose output goes into a pipe would keep it back for minutes.
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    promised = {
        "GENCTL_JOB_ID": str(order["job_id"]),
        "GENCTL_RUN": str(order["run"]),
        "GENCTL_RANK": "0",
        "GENCTL_WORLD_SIZE": "1",
        "GENCTL_OUTPUT_DIR": str(folders.output),
        "GENCTL_CHECKPOINT_DIR": str(folders.checkpoint),
    }
    return node | ours | dict(order["env"]) | promised


def of_pip(order: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that pip reads: the node's, and the job's own before them."""
    own = {name: value for name, value in order["env"].items() if name.startswith(PIP_VARIABLES)}
    return pip_variables() | own


def installing(order: Mapping[str, Any], folders: Folders) -> dict[str, str]:
    """Return the environment in which a command's requirements are installed."""
    return environment({**order, "env": {}}, folders) | proxies() | of_pip(order)
