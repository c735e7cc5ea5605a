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

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from genplatform.errors import BadSpec, SpecProblem, TooLarge
from genplatform.spec.words import FieldPath, dotted, shown

# Without libyaml the parser is about thirty times slower; the bound on time is kept by a smaller one on size.
_HAS_LIBYAML = hasattr(yaml, "CSafeLoader")
_LOADER: Any = yaml.CSafeLoader if _HAS_LIBYAML else yaml.SafeLoader

MAX_BYTES = 1 << 20 if _HAS_LIBYAML else 1 << 15
MAX_DEPTH = 32
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
_LONGEST_WHOLE = 20  # digits: all of 64 bits
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_DIRECTIVE = re.compile("^%", re.MULTILINE)
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# An escaped surrogate pair, which JSON has and YAML has not; an even number of backslashes before it.
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True)
class Place:
    """Where something stands: line and column from 1, or 0 where that is not known."""

    line: int = 0
    column: int = 0


@dataclass
class Document:
    """One document: plain data, and where each key and value of it stands.

    `wrong` holds the paths that were refused already, whose stand-in value means nothing;
    `origins` the paths that the command line set, with its words.
    """

    data: Any = None
    values: dict[FieldPath, Place] = field(default_factory=dict)
    keys: dict[FieldPath, Place] = field(default_factory=dict)
    wrong: set[FieldPath] = field(default_factory=set)
    origins: dict[FieldPath, str] = field(default_factory=dict)

    def value_at(self, path: FieldPath) -> Place:
        """Return where the value at `path` stands, else where the nearest thing around it does."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place())

    def key_at(self, path: FieldPath) -> Place:
        """Return where the key of `path` stands."""
        return self.keys.get(path) or self.value_at(path[:-1])

    def origin_of(self, path: FieldPath) -> str:
        """Return the words of the command line that set `path`, something around it or in it; else nothing."""
        for origin, words in self.origins.items():
            shorter = min(len(origin), len(path))
            if shorter and origin[:shorter] == path[:shorter]:
                return words
        return ""

    def is_wrong(self, path: FieldPath) -> bool:
        """Tell whether `path`, or something around it, was refused already."""
        return any(path[:end] in self.wrong for end in range(len(path) + 1))


def read(body: bytes, media_type: str = "application/yaml") -> tuple[list[Document], list[SpecProblem]]:
    """Return the documents of a job file that are not empty, and the problems that allowed reading on.

    Raises TooLarge, or BadSpec for what makes the rest unreadable.
    """
    if len(body) > MAX_BYTES:
        raise TooLarge(
            f"The job file has {len(body)} bytes; at most {MAX_BYTES} are read.",
            "Split it into several files; data and prompts do not belong in it.",
        )
    text = _decode(body)
    is_json = media_type.partition(";")[0].strip().lower().endswith("json")
    if is_json:
        text = _checked_json(text)
    else:
        _refuse_directives(text)
    reader = _Reader()
    documents = reader.documents(text)
    if is_json and len(documents) == 1 and isinstance(documents[0].data, list):
        documents = _split(documents[0])
    return [d for d in documents if d.data is not None], reader.problems


def read_value(text: str) -> Any:
    """Return what one YAML value, such as `64` or `[a, b]`, stands for. Raises BadSpec."""
    if len(text) > MAX_BYTES:
        raise TooLarge(f"The value has {len(text)} characters; at most {MAX_BYTES} are read.")
    _refuse_unreadable(text)
    _refuse_directives(text)
    reader = _Reader()
    documents = reader.documents(text)
    if reader.problems:
        raise BadSpec(reader.problems)
    if len(documents) > 1:
        raise BadSpec([SpecProblem("One value is expected, not several documents.")])
    return documents[0].data if documents else None


def _stop(message: str, place: Place, hint: str = "", document: int = 0) -> NoReturn:
    raise BadSpec([SpecProblem(message, line=place.line, column=place.column, document=document, hint=hint)])


def _decode(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8", "replace")
        byte = f"0x{body[error.start]:02x}"
        hint = "Save the file as UTF-8, and check that it is a job file at all."
        _stop(f"The job file is not UTF-8 text: byte {byte} does not fit.", _place_after(before), hint)
    _refuse_unreadable(text)
    return text


def _refuse_unreadable(text: str) -> None:
    found = _UNREADABLE.search(text)
    if found:
        message = f"The job file holds the control character {found.group()!r}."
        _stop(message, _place_after(text[: found.start()]), "Remove it; a job file is plain text.")


def _refuse_directives(text: str) -> None:
    # The parser compares each %TAG with all before it: a megabyte of them would take many seconds.
    found = _DIRECTIVE.search(text)
    if found:
        message = "YAML directives (a line that starts with '%') are not read."
        _stop(message, _place_after(text[: found.start()]), "Remove the line; a job file needs none.")


def _checked_json(text: str) -> str:
    """Return `text`, which is valid JSON, with escaped surrogate pairs written out."""

    def constant(word: str) -> NoReturn:
        place = _place_after(text[: max(0, text.find(word))])
        _stop(f"{word} is not a number that a job file can hold.", place, "Write a finite number.")

    if not text.strip():
        return text
    try:
        json.loads(text, parse_constant=constant, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        _stop(f"The job file is not valid JSON: {error.msg}.", Place(error.lineno, error.colno))
    except RecursionError:
        _stop(f"The job file is nested deeper than {MAX_DEPTH} levels.", Place(1, 1))
    return _PAIR.sub(_join_pair, text)


def _join_pair(found: re.Match[str]) -> str:
    high, low = int(found.group(2), 16), int(found.group(3), 16)
    return found.group(1) + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _place_after(before: str) -> Place:
    breaks = list(_BREAK.finditer(before))
    start = breaks[-1].end() if breaks else 0
    return Place(len(breaks) + 1, len(before) - start + 1)


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

    def __init__(self) -> None:
        self.problems: list[SpecProblem] = []
        self._index = 0

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
            place = Place(mark.line + 1, mark.column + 1) if mark else Place()
            problem = error.problem or "it cannot be read"
            hint = "Indent with spaces, not with tabs." if mark and _has_tab(text, mark.line) else ""
            _stop(f"The job file is not valid YAML: {_plain(problem)}.", place, hint, self._index)
        except (yaml.YAMLError, ValueError) as error:
            _stop(f"The job file is not valid YAML: {_plain(str(error))}.", Place(), document=self._index)
        return found

    def _documents(self, text: str) -> Iterator[Document]:
        nodes = documents = 0
        document = Document()
        stack: list[_Frame] = []
        events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        for event in events:
            place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
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
        found = _CONTROL.search(text)
        if found:
            document.wrong.add(path)
            self._problem(f"{_where(path)}{shown(text)} holds the character {found.group()!r}.", place, path)

    def _problem(self, message: str, place: Place, path: FieldPath, hint: str = "") -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(SpecProblem(message, dotted(path), place.line, place.column, self._index, hint))

    def _stop(self, message: str, place: Place, hint: str = "") -> NoReturn:
        _stop(message, place, hint, self._index)


def _number(text: str) -> int | float | None:
    """Return the number that a plain scalar is: infinite where it is out of range, None where it is text."""
    if _WHOLE.match(text):
        return int(text) if len(text) <= _LONGEST_WHOLE else math.inf
    if _DECIMAL.match(text):
        return float(text)
    return math.inf if _NOT_FINITE.match(text) else None


def _has_tab(text: str, line: int) -> bool:
    """Tell whether that line of `text` (from 0), which could not be read, is indented with a tab."""
    lines = _BREAK.split(text, line + 1)
    return len(lines) > line and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]


def _where(path: FieldPath) -> str:
    return f"{dotted(path)}: " if path else ""


def _plain(text: str) -> str:
    """Return text of the parser's own with nothing in it that a terminal would obey."""
    return shown(text)[1:-1]
