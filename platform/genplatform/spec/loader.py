"""The bytes of a job file, checked: every problem at once, each with its place, or the jobs it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from genplatform.errors import BadSpec, SpecProblem
from genplatform.spec.common import JobSpec
from genplatform.spec.family import Family, Find, problem_of
from genplatform.spec.kinds import KINDS
from genplatform.spec.overrides import Changes
from genplatform.spec.pieces import JSON_LINES, NotJson, Pieces
from genplatform.spec.places import Document
from genplatform.spec.problems import at_most, found_in, placed, wrong_kind
from genplatform.spec.reader import MAX_BYTES, MAX_DOCUMENTS, MAX_PROBLEMS, read
from genplatform.spec.recipes import RecipeBook
from genplatform.spec.words import Found, shown

T = TypeVar("T")


@dataclass(slots=True)
class JobDocument:
    """One job that a file asks for. `document_index` counts the file's jobs from 0; `find` finds documents again."""

    spec: JobSpec
    kind: str
    document_index: int
    find: Find = field(compare=False, repr=False)

    def problem(self, message: str, path: str, hint: str = "") -> SpecProblem:
        """Return a problem with the top-level field `path`, found after loading, with its place in the file."""
        return problem_of(self.find, self.document_index, message, path, hint)


@overload
def load(
    body: bytes,
    media_type: str,
    recipes: RecipeBook,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
) -> list[JobDocument]: ...


@overload
def load(
    body: bytes,
    media_type: str,
    recipes: RecipeBook,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
    *,
    make: Callable[[JobDocument], T],
) -> list[T]: ...


def load(
    body: bytes,
    media_type: str,
    recipes: RecipeBook,
    sets: Sequence[str] = (),
    overrides: Mapping[str, str] | None = None,
    *,
    make: Callable[[JobDocument], Any] | None = None,
) -> list[Any]:
    """Return the jobs of a file, in its order, each with a name; or what `make` makes of each.

    `sets` are texts such as `params.latent_dim=64`, applied to every document whose kind has
    the field; `overrides` may hold `name`, `queue` and `priority`. Raises BadSpec with all
    problems found, or TooLarge. `make` spares the memory of a hundred thousand specs: it sees
    each once, and what it made is thrown away when another document is wrong.
    """
    made = _Made(recipes, Changes(sets, overrides or {}), make or _itself)
    media = media_type.partition(";")[0].strip().lower()
    lines = media in JSON_LINES
    if not lines and not media.endswith("json"):
        made.read_with_places(body, media)
        return made.all()
    pieces = Pieces(body, lines=lines)
    try:
        made.read_at_once(pieces)
    except NotJson as error:
        if len(body) > MAX_BYTES:
            place = pieces.place_of(error.at)
            message = f"The job file is not valid JSON: {error.message}."
            raise BadSpec([SpecProblem(message, "", place.line, place.column, len(pieces))]) from None
    else:
        if lines or not made.problems or len(body) > MAX_BYTES or len(pieces) > MAX_DOCUMENTS:
            return made.all()
    # Small, and something is wrong: it is read again as a whole, by the reader that knows every place.
    made = _Made(recipes, Changes(sets, overrides or {}), make or _itself)
    made.read_with_places(body, media)
    return made.all()


class _Made:
    """What is made of one file's documents, and what is wrong with them."""

    def __init__(self, recipes: RecipeBook, changes: Changes, make: Callable[[JobDocument], Any]) -> None:
        self.problems: list[SpecProblem] = list(changes.problems)
        self._recipes = recipes
        self._changes = changes
        self._make = make
        self._family = Family()
        self._made: list[Any] = []
        self._unnamed: list[tuple[int, JobSpec]] = []
        self._find: Find = _nowhere

    def all(self) -> list[Any]:
        """Return what was made; raises BadSpec when anything is wrong."""
        if not self.problems:
            for index, spec in self._unnamed:
                self._made[index] = self._join(index, spec, self._family.name(spec.default_name()))
            self.problems = self._family.problems(self._find)
        if self.problems:
            raise BadSpec(at_most(MAX_PROBLEMS, self.problems))
        return self._made

    def read_with_places(self, body: bytes, media_type: str) -> None:
        """Read the whole file by the reader that knows where everything stands."""
        documents, problems = read(body, media_type)
        self.problems += problems
        self._find = documents.__getitem__
        for index, document in enumerate(documents):
            if len(self.problems) > MAX_PROBLEMS:
                return
            self._change(document, index)
            spec, found = _check(document, index, self._recipes)
            self.problems += found
            if spec is not None:
                self._take(index, spec)
        self._finish(len(documents))

    def read_at_once(self, pieces: Pieces) -> None:
        """Read the documents one by one as plain JSON; only of those that are wrong the places are looked for."""
        index = -1

        def again(index: int) -> Document:
            document, _ = pieces.document(index)
            if self._changes:
                self._changes.apply(document)
            return document

        self._find = again
        for index, (data, doubtful) in enumerate(pieces):
            if len(self.problems) + len(pieces.problems) > MAX_PROBLEMS:
                break
            spec = None
            if data is not None or doubtful:
                document = Document(data) if self._changes else None
                if document is not None:
                    self._change(document, index)
                spec = None if doubtful else _sound(data, self._recipes)
                if spec is None:
                    spec = self._look_again(pieces, index)
            if spec is not None:
                self._take(index, spec)
        self.problems += pieces.problems
        self._finish(index + 1)

    def _look_again(self, pieces: Pieces, index: int) -> JobSpec | None:
        document, problems = pieces.document(index)
        if self._changes:
            self._changes.apply(document)
        spec, found = _check(document, index, self._recipes)
        self.problems += problems
        self.problems += found
        return None if problems else spec

    def _change(self, document: Document, index: int) -> None:
        if self._changes:
            self.problems += [replace(problem, document=index) for problem in self._changes.apply(document)]

    def _take(self, index: int, spec: JobSpec) -> None:
        if self.problems:
            return  # nothing will be made of it
        name = spec.name
        if name:
            self._family.given(name)
            self._made.append(self._join(index, spec, name))
        else:
            self._unnamed.append((index, spec))
            self._made.append(None)

    def _join(self, index: int, spec: JobSpec, name: str) -> Any:
        spec = spec.completed(name)
        self._family.join(index, name, spec.needs)
        return self._make(JobDocument(spec, spec.kind, index, self._find))

    def _finish(self, count: int) -> None:
        if len(self.problems) > MAX_PROBLEMS:
            return
        self.problems += self._changes.left_over()
        if not count and not self.problems:
            hint = "Start with `kind: train` or `kind: generate`."
            self.problems.append(SpecProblem("The job file is empty.", hint=hint))


def _itself(document: JobDocument) -> JobDocument:
    return document


def _nowhere(_: int) -> Document:
    return Document()


def _sound(data: Any, recipes: RecipeBook) -> JobSpec | None:
    """Return the spec that a document's data is; None when anything is wrong with it."""
    word = data.get("kind") if isinstance(data, dict) else None
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        return None
    try:
        spec = kind.model_validate(data)
    except ValidationError:
        return None
    return None if any(True for _ in kind.further_problems(data, recipes)) else spec


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
