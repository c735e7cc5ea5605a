"""Where bytes lie in the artifact store: keys are relative POSIX paths.

Names carry run and claim numbers, so that two claims never write one object; models are
named by their digest.
"""

from __future__ import annotations

from genplatform.domain.keys import ClaimKey, JobKey, RunKey


def job(key: JobKey) -> str:
    """Return the folder of a Job's checkpoints, sheets, event files, logs, and the files that its command left."""
    return f"jobs/{key.tenant}/{key.job_id}"


def checkpoint(run: RunKey, step: int) -> str:
    """Return the folder of one checkpoint."""
    return f"{job(run.job)}/checkpoints/step-{step:09d}.r{run.run}"


def best_checkpoint(run: RunKey, step: int) -> str:
    """Return the folder of a checkpoint that is kept because it was the best."""
    return f"{job(run.job)}/best/step-{step:09d}.r{run.run}"


def tensorboard(run: RunKey, step: int) -> str:
    """Return the key of an event file of TensorBoard: a Run's metrics up to a step. The whole folder is one run's."""
    return f"{job(run.job)}/tensorboard/events.out.tfevents.{step:09d}.r{run.run}"


def sheet(run: RunKey, step: int, extension: str = "png") -> str:
    """Return the key of one sample sheet."""
    return f"{job(run.job)}/sheets/step-{step:09d}.r{run.run}.{extension}"


def files(run: RunKey) -> str:
    """Return the folder of the files that one Run of a command left as its output."""
    return f"{job(run.job)}/outputs/r{run.run}"


def log(run: RunKey) -> str:
    """Return the key of what one Run printed."""
    return f"{job(run.job)}/logs/r{run.run}.log"


def model(tenant: str, digest: str) -> str:
    """Return the folder of a model version's weights, config and card."""
    return f"models/{tenant}/{digest}"


def upload(tenant: str, digest: str) -> str:
    """Return the key of what a client sent ahead."""
    return f"uploads/{tenant}/{digest}"


def outputs(key: JobKey) -> str:
    """Return the folder of a generate Job's files."""
    return f"outputs/{key.tenant}/{key.job_id}"


def shard_name(claim: ClaimKey) -> str:
    """Return a claimed shard's folder, relative to its job's outputs."""
    return f"shard-{claim.shard:06d}.r{claim.run}.c{claim.claim}"


def shard(claim: ClaimKey) -> str:
    """Return the folder of a claimed shard's files."""
    return f"{outputs(claim.job)}/{shard_name(claim)}"


MANIFEST = "manifest.jsonl"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "card.json"
CODE = "code.tar"  # of a recipe of one's own
# Lists the digests of a checkpoint's other files; its own is the checkpoint's.
STATE = "state.json"
