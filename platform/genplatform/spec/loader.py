"""The bytes of a job file, checked: every problem at once, each with its place, or the jobs it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from genplatform.errors import BadSpec, SpecProblem
from genplatform.spec import overrides as command_line
from genplatform.spec.common import JobSpec
from genplatform.spec.kinds import KINDS
from genplatform.spec.places import Document
from genplatform.spec.problems import found_in, placed, wrong_kind
from genplatform.spec.reader import MAX_PROBLEMS, read
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.words import Found, shown

LONGEST_NAME = 63
MOST_CIRCLES = 5


@dataclass(frozen=True)
class JobDocument:
    """One job that a file asks for. `document_index` counts the file's jobs from 0."""

    spec: JobSpec
    kind: str
    document_index: int
    source: Document = field(default_factory=Document, compare=False, repr=False)

    def problem(self, message: str, path: str, hint: str = "") -> SpecProblem:
        """Return a problem with the top-level field `path`, found after loading, with its place in the file."""
        return placed(Found(SpecProblem(message, path, hint=hint), (path,)), self.source, self.document_index)


def load(
    body: bytes,
    media_type: str,
    recipes: RecipeBook,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
) -> list[JobDocument]:
    """Return the jobs of a file, in its order, each with a name.

    `sets` are texts such as `params.latent_dim=64`, applied to every document whose kind has
    the field; `overrides` may hold `name`, `queue` and `priority`. Raises BadSpec with all
    problems found, or TooLarge.
    """
    documents, problems = read(body, media_type)
    if not documents and not problems:
        raise BadSpec([SpecProblem("The job file is empty.", hint="Start with `kind: train` or `kind: generate`.")])
    problems.extend(command_line.apply(documents, sets, overrides or {}))
    specs: list[JobSpec | None] = []
    for index, document in enumerate(documents):
        spec, found = _check(document, index, recipes)
        specs.append(spec)
        problems.extend(found)
        if len(problems) > MAX_PROBLEMS:
            break
    if not problems:
        jobs = _named([spec for spec in specs if spec is not None], documents)
        problems = _across(jobs)
        if not problems:
            return jobs
    problems.sort(key=lambda p: (p.document, p.line, p.column))
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], SpecProblem("There are more problems.", hint="Mend these first.")]
    raise BadSpec(problems)


def _check(document: Document, index: int, recipes: RecipeBook) -> tuple[JobSpec | None, list[SpecProblem]]:
    """Return the document's spec, or what is wrong with it."""
    if not isinstance(document.data, dict):
        message = f"A job is a mapping, and this is {shown(document.data)}."
        return None, [placed(Found(SpecProblem(message, hint="Write `kind: train` first."), ()), document, index)]
    wrong = wrong_kind(document.data)
    if wrong is not None:
        return None, [placed(Found(wrong, ("kind",)), document, index)]
    kind = str(document.data["kind"])
    found: list[Found] = []
    spec: JobSpec | None = None
    try:
        spec = KINDS[kind].model_validate(document.data)
    except ValidationError as error:
        found.extend(found_in(error, kind))
    found.extend(KINDS[kind].further_problems(document.data, recipes))
    return spec, [placed(one, document, index) for one in found if not document.is_wrong(one.path)]


def _named(specs: Sequence[JobSpec], documents: Sequence[Document]) -> list[JobDocument]:
    """Return the jobs; those without a name get one that no other job of the file has."""
    taken = {spec.name for spec in specs if spec.name}
    jobs = []
    for index, (spec, document) in enumerate(zip(specs, documents, strict=True)):
        name = spec.name or _free(spec.default_name(), taken)
        taken.add(name)
        jobs.append(JobDocument(spec.completed(name), spec.kind, index, document))
    return jobs


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted[:LONGEST_NAME], 1
    while name in taken:
        number += 1
        tail = f"-{number}"
        name = wanted[: LONGEST_NAME - len(tail)] + tail
    return name


def _across(jobs: Sequence[JobDocument]) -> list[SpecProblem]:
    """Return what is wrong between the documents of one file."""
    problems: list[SpecProblem] = []
    by_name: dict[str, JobDocument] = {}
    for job in jobs:
        first = by_name.setdefault(job.spec.name, job)
        if first is not job:
            message = f"Two jobs of the file are named {shown(job.spec.name)}."
            problems.append(job.problem(message, "name", "Give each its own name."))
    for job in jobs:
        for need in job.spec.needs:
            other = by_name.get(need)
            if other is job:
                problems.append(job.problem(f"The job {shown(need)} needs itself.", "needs", "Take it out of needs."))
            elif other is not None and other.document_index > job.document_index:
                # Looking for a circle costs a walk through the file; a few of them tell enough.
                circle = _road(other, job, by_name) if len(problems) < MOST_CIRCLES else []
                problems.append(_backwards(job, other, circle))
        if len(problems) > MAX_PROBLEMS:
            break
    return problems


def _backwards(job: JobDocument, other: JobDocument, circle: Sequence[str]) -> SpecProblem:
    if circle:
        names = " -> ".join(shown(name) for name in (job.spec.name, *circle))
        return job.problem(f"The jobs need each other in a circle: {names}.", "needs", "Take one of the needs out.")
    message = f"needs names {shown(other.spec.name)}, which stands later in the file."
    return job.problem(message, "needs", "Put the job that is needed first.")


def _road(start: JobDocument, end: JobDocument, by_name: Mapping[str, JobDocument]) -> list[str]:
    """Return the names on a way along needs from `start` to `end`, both included; empty when there is none."""
    came: dict[str, str] = {start.spec.name: ""}
    line = [start.spec.name]
    while line:
        name = line.pop()
        if name == end.spec.name:
            road: list[str] = []
            while name:
                road.insert(0, name)
                name = came[name]
            return road
        for need in by_name[name].spec.needs:
            if need in by_name and need not in came:
                came[need] = name
                line.append(need)
    return []
