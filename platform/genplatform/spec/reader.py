"""Text to plain data with places: the one door through which a job file's bytes come in.

Reads the events of the YAML parser and never constructs a tagged object, so that nothing in
a file can import or run anything. What makes YAML dangerous or surprising is refused or left
out:

- tags, anchors and aliases, merge keys and `%` directives are refused where they stand;
- size, depth, the number of documents, of nodes and of entries are bounded while reading,
  so that a hostile megabyte costs well under a second;
- plain scalars follow a strict core of YAML 1.2: `true`, `false`, `null`, whole numbers and
  decimals as JSON writes them (`2e-4` is a number). Everything else is text: `no`, `on`,
  `2024-01-01`, `007`, `1_000`. Infinity and NaN are refused. Keys are always text.

JSON is checked by the JSON parser first and then takes the same way, for the places' sake.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from genplatform.errors import BadSpec, SpecProblem, TooLarge
from genplatform.spec.decoding import MAX_DEPTH, checked_json, decode, has_tab, refuse_directives, refuse_unreadable
from genplatform.spec.places import FIRST, Document, Place, stop
from genplatform.spec.words import FieldPath, dotted, shown

# Without libyaml the parser is about thirty times slower; the bound on time is kept by a smaller one on size.
_HAS_LIBYAML = hasattr(yaml, "CSafeLoader")
_LOADER: Any = yaml.CSafeLoader if _HAS_LIBYAML else yaml.SafeLoader

MAX_BYTES = 1 << 20 if _HAS_LIBYAML else 1 << 15
MAX_DOCUMENTS = 1000
MAX_NODES = 100_000
MAX_ENTRIES = 1000
MAX_PROBLEMS = 100

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_LITERALS = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
LONGEST_WHOLE = 20  # digits: all of 64 bits
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def read(body: bytes, media_type: str = "application/yaml") -> tuple[list[Document], list[SpecProblem]]:
    """Return the documents of a job file that are not empty, and the problems that allowed reading on.

    Raises TooLarge, or BadSpec for what makes the rest unreadable.
    """
    if len(body) > MAX_BYTES:
        raise TooLarge(
            f"The job file has {len(body)} bytes; at most {MAX_BYTES} are read.",
            "Split it into several files; data and prompts do not belong in it.",
        )
    text = decode(body)
    is_json = media_type.partition(";")[0].strip().lower().endswith("json")
    if is_json:
        text = checked_json(text)
    else:
        refuse_directives(text)
    reader = _Reader()
    documents = reader.documents(text)
    if is_json and len(documents) == 1 and isinstance(documents[0].data, list):
        documents = _split(documents[0])
    return [d for d in documents if d.data is not None], reader.problems


def read_piece(text: str, index: int, start: Place) -> tuple[Document, list[SpecProblem]]:
    """Return the JSON document that `text` is, the file's `index`th, and the problems that allowed reading on.

    It begins at `start` of the file, and its places are those in the file. Raises BadSpec.
    """
    if len(text) > MAX_BYTES:
        stop(f"The document has {len(text)} characters; at most {MAX_BYTES} are read.", start, document=index)
    try:
        checked = checked_json(text)
    except BadSpec as error:
        (problem,) = error.problems
        place = Place(problem.line, problem.column).after(start)
        stop(problem.message, place, problem.hint, index)
    reader = _Reader(index, start)
    documents = reader.documents(checked)
    return documents[0], reader.problems


def read_value(text: str) -> Any:
    """Return what one YAML value, such as `64` or `[a, b]`, stands for. Raises BadSpec."""
    if len(text) > MAX_BYTES:
        raise TooLarge(f"The value has {len(text)} characters; at most {MAX_BYTES} are read.")
    refuse_unreadable(text)
    refuse_directives(text)
    reader = _Reader()
    documents = reader.documents(text)
    if reader.problems:
        raise BadSpec(reader.problems)
    if len(documents) > 1:
        raise BadSpec([SpecProblem("One value is expected, not several documents.")])
    return documents[0].data if documents else None


def _split(document: Document) -> list[Document]:
    """Return the documents of a JSON array of them."""
    parts = [Document(data=data) for data in document.data]
    for source, target in ((document.values, "values"), (document.keys, "keys")):
        for path, place in source.items():
            if path:
                getattr(parts[int(path[0])], target)[path[1:]] = place
    for path in document.wrong:
        if path:
            parts[int(path[0])].wrong.add(path[1:])
    return parts


@dataclass
class _Frame:
    """An open mapping or sequence, and the key whose value comes next."""

    data: dict[str, Any] | list[Any]
    path: FieldPath
    key: str | None = None


class _Reader:
    """Builds documents out of the parser's events, with a stack of its own instead of recursion."""

    def __init__(self, index: int = 0, start: Place = FIRST) -> None:
        self.problems: list[SpecProblem] = []
        self._index = index
        self._start = start

    def documents(self, text: str) -> list[Document]:
        """Return every document of `text`, empty ones included."""
        found: list[Document] = []
        try:
            for document in self._documents(text):
                found.append(document)
                if document.data is not None:
                    self._index += 1
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._place(mark) if mark else Place()
            problem = error.problem or "it cannot be read"
            hint = "Indent with spaces, not with tabs." if mark and has_tab(text, mark.line) else ""
            stop(f"The job file is not valid YAML: {_plain(problem)}.", place, hint, self._index)
        except (yaml.YAMLError, ValueError) as error:
            stop(f"The job file is not valid YAML: {_plain(str(error))}.", Place(), document=self._index)
        return found

    def _documents(self, text: str) -> Iterator[Document]:
        nodes = documents = 0
        document = Document()
        stack: list[_Frame] = []
        events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        for event in events:
            place = self._place(event.start_mark)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > MAX_DOCUMENTS:
                    self._stop(
                        f"The job file holds more than {MAX_DOCUMENTS} documents.", place, "Split it into several."
                    )
                document = Document(values={(): place})
            elif isinstance(event, yaml.DocumentEndEvent):
                yield document
            elif isinstance(event, yaml.NodeEvent):
                nodes += 1
                if nodes > MAX_NODES:
                    self._stop(f"The job file holds more than {MAX_NODES} values.", place, "Split it into several.")
                self._refuse_tricks(event, place)
                self._node(event, place, document, stack)
            elif isinstance(event, yaml.CollectionEndEvent):
                stack.pop()

    def _place(self, mark: Any) -> Place:
        return Place(mark.line + 1, mark.column + 1).after(self._start)

    def _refuse_tricks(self, event: Any, place: Place) -> None:
        written_out = "Write the value out where it is used."
        if isinstance(event, yaml.AliasEvent):
            self._stop(f"YAML aliases (*{_plain(str(event.anchor))}) are not read.", place, written_out)
        if event.anchor is not None:
            self._stop(f"YAML anchors (&{_plain(event.anchor)}) are not read.", place, written_out)
        if event.tag is not None:
            hint = "Remove the tag; text that looks like a number goes in quotes."
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._stop(f"YAML tags are not read: {shown(tag)}.", place, hint)

    def _node(self, event: Any, place: Place, document: Document, stack: list[_Frame]) -> None:
        frame = stack[-1] if stack else None
        if frame is not None and isinstance(frame.data, dict) and frame.key is None:
            self._key(event, place, document, frame)
            return
        path: FieldPath = ()
        if frame is not None:
            path = (*frame.path, len(frame.data) if frame.key is None else frame.key)
        document.values[path] = place
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place, document, path)
        else:
            if len(stack) >= MAX_DEPTH:
                self._stop(f"The job file is nested deeper than {MAX_DEPTH} levels.", place)
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
            stack.append(_Frame(value, path))
        if frame is None:
            document.data = value
        elif isinstance(frame.data, list):
            self._count(frame, place)
            frame.data.append(value)
        else:
            frame.data[frame.key or ""] = value
            frame.key = None

    def _key(self, event: Any, place: Place, document: Document, frame: _Frame) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            self._stop("A field's name must be text, not a list or a mapping.", place)
        self._count(frame, place)
        frame.key = key = str(event.value)
        path = (*frame.path, key)
        self._control(key, place, document, path)
        if key in frame.data:
            document.wrong.add(path)
            first = document.keys[path].line
            self._problem(f"{dotted(path)} is given twice, first on line {first}.", place, path, "Keep one of them.")
        if key == "<<" and not event.style:
            self._stop("YAML merge keys (<<) are not read.", place, "Write the fields out where they are used.")
        document.keys[path] = place

    def _count(self, frame: _Frame, place: Place) -> None:
        if len(frame.data) >= MAX_ENTRIES:
            where = f" in {dotted(frame.path)}" if frame.path else ""
            self._stop(f"More than {MAX_ENTRIES} entries stand together{where}.", place)

    def _scalar(self, event: Any, place: Place, document: Document, path: FieldPath) -> Any:
        text: str = event.value
        if event.style:  # quoted, or a block: text, whatever it looks like
            self._control(text, place, document, path)
            return text
        if text in _LITERALS:
            return _LITERALS[text]
        number = _number(text)
        if number is None:
            self._control(text, place, document, path)
            return text
        if not math.isfinite(number):
            document.wrong.add(path)
            message = f"{_where(path)}{_plain(text)} is not a number that a job file can hold."
            self._problem(message, place, path, "Write a finite number.")
        return number

    def _control(self, text: str, place: Place, document: Document, path: FieldPath) -> None:
        found = CONTROL.search(text)
        if found:
            document.wrong.add(path)
            self._problem(f"{_where(path)}{shown(text)} holds the character {found.group()!r}.", place, path)

    def _problem(self, message: str, place: Place, path: FieldPath, hint: str = "") -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(SpecProblem(message, dotted(path), place.line, place.column, self._index, hint))

    def _stop(self, message: str, place: Place, hint: str = "") -> NoReturn:
        stop(message, place, hint, self._index)


def _number(text: str) -> int | float | None:
    """Return the number that a plain scalar is: infinite where it is out of range, None where it is text."""
    if text[0] not in "-+.0123456789":
        return None
    if _WHOLE.match(text):
        return int(text) if len(text) <= LONGEST_WHOLE else math.inf
    if _DECIMAL.match(text):
        return float(text)
    return math.inf if _NOT_FINITE.match(text) else None


def _where(path: FieldPath) -> str:
    return f"{dotted(path)}: " if path else ""


def _plain(text: str) -> str:
    """Return text of the parser's own with nothing in it that a terminal would obey."""
    return shown(text)[1:-1]
