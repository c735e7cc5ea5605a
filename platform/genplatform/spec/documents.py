"""The documents of a job file, and their stored form: `spec.model_dump(mode="json")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from genplatform.errors import BadSpec
from genplatform.spec.command import CommandSpec
from genplatform.spec.common import JobSpec
from genplatform.spec.compress import CompressSpec
from genplatform.spec.evaluate import EvaluateSpec
from genplatform.spec.generate import GenerateSpec
from genplatform.spec.kinds import KINDS
from genplatform.spec.problems import found_in, wrong_kind
from genplatform.spec.train import TrainSpec

__all__ = ["CommandSpec", "CompressSpec", "EvaluateSpec", "GenerateSpec", "JobSpec", "TrainSpec", "parse_stored"]


def parse_stored(data: Mapping[str, Any]) -> JobSpec:
    """Read a spec's stored form back. Raises BadSpec when it is none."""
    wrong = wrong_kind(data)
    if wrong is not None:
        raise BadSpec([wrong])
    kind = str(data["kind"])
    try:
        return KINDS[kind].model_validate(dict(data))
    except ValidationError as error:
        raise BadSpec([found.problem for found in found_in(error, kind)]) from error
