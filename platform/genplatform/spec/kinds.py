"""The registry of job kinds: a new kind is its document, and one line here."""

from __future__ import annotations

from genplatform.domain.job import JobKind
from genplatform.spec.command import CommandSpec
from genplatform.spec.common import JobSpec
from genplatform.spec.compress import CompressSpec
from genplatform.spec.evaluate import EvaluateSpec
from genplatform.spec.generate import GenerateSpec
from genplatform.spec.train import TrainSpec

KINDS: dict[str, type[JobSpec]] = {
    JobKind.TRAIN.value: TrainSpec,
    JobKind.GENERATE.value: GenerateSpec,
    JobKind.EVALUATE.value: EvaluateSpec,
    JobKind.COMPRESS.value: CompressSpec,
    JobKind.COMMAND.value: CommandSpec,
}
