"""Where bytes lie in the artifact store: keys are relative POSIX paths.

Names carry run and claim numbers, so that two claims never write one object; models are
named by their digest.
"""

from __future__ import annotations

from genplatform.domain.keys import ClaimKey, JobKey, RunKey


def job(key: JobKey) -> str:
    """Return the folder of a train Job's checkpoints and sheets."""
    return f"jobs/{key.tenant}/{key.job_id}"


def checkpoint(run: RunKey, step: int) -> str:
    """Return the folder of one checkpoint."""
    return f"{job(run.job)}/checkpoints/step-{step:09d}.r{run.run}"


def sheet(run: RunKey, step: int) -> str:
    """Return the key of one sample sheet."""
    return f"{job(run.job)}/sheets/step-{step:09d}.r{run.run}.png"


def model(tenant: str, digest: str) -> str:
    """Return the folder of a model version's weights, config and card."""
    return f"models/{tenant}/{digest}"


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
# Lists the digests of a checkpoint's other files; its own is the checkpoint's.
STATE = "state.json"
