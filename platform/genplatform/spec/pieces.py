"""JSON job files of any size: each document read by the JSON parser, and read again for its places when it is wrong.

The reader that knows places costs a hundred times more than the JSON parser, so it sees only the
documents that something is wrong with, or that the JSON parser lets through and it would not.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator
from typing import Any

from genplatform.errors import BadSpec, SpecProblem, TooLarge
from genplatform.spec.decoding import MAX_DEPTH, decode
from genplatform.spec.places import Document, Place
from genplatform.spec.reader import CONTROL, LONGEST_WHOLE, MAX_ENTRIES, MAX_NODES, read_piece

MOST_BYTES = 64 << 20
MOST_DOCUMENTS = 100_000
JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

_SPACE = " \t\r\n"
_TO_NEXT = re.compile(r"[ \t\r\n]*")
_LINES_HINT = "In JSON Lines each line is one whole document."


class NotJson(Exception):
    """The text as a whole is no JSON: message, and where from its start."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


class Pieces:
    """The documents of a JSON text, read one after the other. Empty ones (`null`) are passed over.

    With `lines` each line is a document (JSON Lines), else the text is one document or an array
    of them. Raises TooLarge, or BadSpec for what is no text.
    """

    def __init__(self, body: bytes, *, lines: bool) -> None:
        if len(body) > MOST_BYTES:
            raise TooLarge(
                f"The job file has {len(body)} bytes; at most {MOST_BYTES} are read.", "Split it into several files."
            )
        self.problems: list[SpecProblem] = []
        self._text = decode(body)
        self._lines = lines
        self._starts, self._ends = array("q"), array("q")
        self._doubts = _Doubts(self._text)
        self._marked = (0, 1)
        self._begun = self._ended = 0  # of the document read last

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[Any, bool]]:
        """Yield each document's data, and whether it must be read for its places before it is believed.

        A line that is no JSON is yielded as None, and its problem is in `problems`. Raises NotJson
        where the text as a whole cannot be read any further.
        """
        return self._each_line() if self._lines else self._each_of_the_text()

    def document(self, index: int) -> tuple[Document, list[SpecProblem]]:
        """Read a document again, for its places; returns it and what is wrong with it.

        Quick when the indexes are asked for in order.
        """
        start, end = self._starts[index], self._ends[index]
        place = self._place(start)
        try:
            return read_piece(self._text[start:end], index, place)
        except BadSpec as error:
            return Document(values={(): place}), list(error.problems)

    def place_of(self, at: int) -> Place:
        """Return the line and column of a place in the text."""
        return self._place(at)

    def _each_of_the_text(self) -> Iterator[tuple[Any, bool]]:
        text = self._text
        at = self._next(0)
        if at == len(text):
            return
        if text[at] != "[":
            data, at = self._scan(at)
            yield from self._one(data)
            at = self._next(at)
        else:
            at = self._next(at + 1)
            if text[at : at + 1] == "]":
                at += 1
            else:
                while True:
                    data, at = self._scan(at)
                    yield from self._one(data)
                    at = self._next(at)
                    mark = text[at : at + 1]
                    if mark not in (",", "]"):
                        raise NotJson("Expecting ',' delimiter", at)
                    at += 1
                    if mark == "]":
                        break
                    at = self._next(at)
            at = self._next(at)
        if at != len(text):
            raise NotJson("Extra data", at)

    def _each_line(self) -> Iterator[tuple[Any, bool]]:
        text, at = self._text, 0
        while at < len(text):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            start = self._next(at)
            if start < end:
                try:
                    data, stop = self._scan(start)
                    if stop > end or text[stop:end].strip(_SPACE):
                        raise NotJson("Extra data" if stop <= end else "Expecting the end of the line", min(stop, end))
                except NotJson as error:
                    yield self._broken(start, end, error)
                else:
                    yield from self._one(data)
            at = end + 1

    def _next(self, at: int) -> int:
        found = _TO_NEXT.match(self._text, at)
        return found.end() if found else at

    def _scan(self, at: int) -> tuple[Any, int]:
        """Read the value that begins at `at`; returns it and where it ends."""
        try:
            data, end = self._doubts.scan(self._text, at)
        except json.JSONDecodeError as error:
            raise NotJson(error.msg, error.pos) from None
        except RecursionError:
            raise NotJson(f"It is nested deeper than {MAX_DEPTH} levels", at) from None
        self._begun, self._ended = at, end
        return data, end

    def _one(self, data: Any) -> Iterator[tuple[Any, bool]]:
        doubtful = self._doubts.are_there(data, self._begun, self._ended)
        if data is not None or doubtful:
            self._add(self._begun, self._ended)
            yield data, doubtful

    def _broken(self, start: int, end: int, error: NotJson) -> tuple[Any, bool]:
        place = self._place(max(start, min(error.at, end)))
        message = f"The line is not valid JSON: {error.message}."
        self.problems.append(SpecProblem(message, "", place.line, place.column, len(self), _LINES_HINT))
        self._add(start, end)
        return None, False

    def _add(self, start: int, end: int) -> None:
        if len(self._starts) == MOST_DOCUMENTS:
            place = self._place(start)
            message = f"The job file holds more than {MOST_DOCUMENTS} documents."
            hint = "Split it into several files."
            raise BadSpec([SpecProblem(message, "", place.line, place.column, MOST_DOCUMENTS, hint)])
        self._starts.append(start)
        self._ends.append(end)

    def _place(self, at: int) -> Place:
        # Counted on from where the last one stood: a hundred looks at 64 MB would take seconds.
        marked, line = self._marked if self._marked[0] <= at else (0, 1)
        line += self._text.count("\n", marked, at)
        self._marked = (at, line)
        return Place(line, at - self._text.rfind("\n", 0, at))


class _Doubts:
    """The JSON parser, with an eye on what it lets through and a job file may not hold."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = False
        self._has_breaks = "\x85" in text
        self.scan = json.JSONDecoder(
            object_pairs_hook=self._pairs, parse_float=self._decimal, parse_int=self._whole, parse_constant=self._odd
        ).raw_decode

    def are_there(self, data: Any, start: int, end: int) -> bool:
        """Tell whether anything was odd since the last call, or is in the document between these places."""
        found, self._found = self._found, False
        text = self._text
        if found or text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH:
            return True
        length = end - start
        # An entry takes two characters at least.
        if length > 2 * MAX_ENTRIES:
            commas = text.count(",", start, end)
            if commas >= MAX_ENTRIES or commas + text.count(":", start, end) >= MAX_NODES:
                return True
        escaped = text.find("\\", start, end) >= 0 or (self._has_breaks and text.find("\x85", start, end) >= 0)
        return escaped and _holds_control(data)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        self._found = self._found or len(made) != len(pairs)
        return made

    def _decimal(self, text: str) -> float:
        number = float(text)
        self._found = self._found or not math.isfinite(number)
        return number

    def _whole(self, text: str) -> int:
        if len(text) <= LONGEST_WHOLE:
            return int(text)
        self._found = True
        return 0

    def _odd(self, _: str) -> None:
        self._found = True


def _holds_control(data: Any) -> bool:
    """Tell whether any text in the data, names of fields included, holds a character that none may hold."""
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if CONTROL.search(value):
                return True
        elif isinstance(value, dict):
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False
