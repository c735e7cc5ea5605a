"""Bytes become plain data with places, and what is dangerous or surprising in YAML does not get in."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from genplatform.errors import BadSpec, TooLarge
from genplatform.spec import reader
from genplatform.spec.places import Place
from genplatform.spec.reader import read, read_value


def data_of(text: str) -> Any:
    documents, problems = read(text.encode())
    assert problems == []
    return documents[0].data


def refusal(text: str | bytes, media_type: str = "application/yaml") -> Any:
    """Return the first problem of a text that is refused."""
    body = text.encode() if isinstance(text, str) else text
    try:
        _, problems = read(body, media_type)
    except BadSpec as error:
        return error.problems[0]
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ('"null"', "null"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_are_what_json_would_make_of_them(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@pytest.mark.parametrize("text", ["no", "yes", "on", "off", "y", "2024-01-01", "007", "1_000", "12:30", "0x1F", "+1"])
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    assert read_value(text) == text


def test_keys_are_text_whatever_they_look_like() -> None:
    assert data_of("on: 1\n1: 2\ntrue: 3\n") == {"on": 1, "1": 2, "true": 3}


def test_values_and_keys_have_places() -> None:
    document = read(b"a: 1\nb:\n  - x\n  - {c: 2}\n")[0][0]

    assert document.value_at(("a",)) == Place(1, 4)
    assert document.value_at(("b", 1, "c")) == Place(4, 9)
    assert document.key_at(("b", 1, "c")) == Place(4, 6)
    assert document.value_at(("b", 1, "missing")) == Place(4, 5)


def test_places_count_characters_from_one_after_a_byte_order_mark() -> None:
    document = read("\ufeffä: 1\n".encode())[0][0]

    assert document.value_at(("ä",)) == Place(1, 4)


def test_empty_documents_are_passed_over() -> None:
    documents, _ = read(b"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n")

    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]


def test_json_is_read_with_places_escapes_and_all() -> None:
    text = '{\n\t"a": "\\ud83d\\ude00 \\\\ud83d\\\\ude00 \\/",\n\t"b": [1E3, -0.5, true]}'

    documents, problems = read(text.encode(), "application/json; charset=utf-8")

    assert problems == []
    assert documents[0].data == json.loads(text)
    assert documents[0].value_at(("b", 1)) == Place(3, 13)


def test_a_json_array_holds_documents() -> None:
    documents, _ = read(b'[{"a": 1},\n {"b": 2}]', "application/json")

    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].value_at(("b",)) == Place(2, 8)


@pytest.mark.parametrize(
    ("text", "word", "line", "column"),
    [
        ("a: !!python/object/apply:os.system ['x']", "tags", 1, 4),
        ("a: !!python/module:this x", "tags", 1, 4),
        ("a: !mine x", "tags", 1, 4),
        ("a: !!str 5", "tags", 1, 4),
        ("!!python/object:os.x {}", "tags", 1, 1),
        ("a: ! x", "tags", 1, 4),
        ("a: &x 1", "anchors", 1, 4),
        ("a: 1\nb: *x", "aliases", 2, 4),
        ("a: 1\n<<: {b: 1}", "merge", 2, 1),
        ("%YAML 1.1\n---\na: 1", "directives", 1, 1),
        ("a: 1\n%TAG ! x\n", "directives", 2, 1),
        ("? [a]\n: 1", "must be text", 1, 3),
        ("a: 1\nb: [\n", "not valid YAML", 3, 1),
        ("a:\n\tb: 1", "not valid YAML", 2, 1),
        ("a: 1\nb: 2\na: 3", "given twice, first on line 1", 3, 1),
        ("x: {a: 1, a: 3}", "x.a is given twice", 1, 11),
        ("a: .inf", "not a number", 1, 4),
        ("a: -.INF", "not a number", 1, 4),
        ("a: [.nan]", "not a number", 1, 5),
        ("a: 1e999", "not a number", 1, 4),
        ("a: 123456789012345678901", "not a number", 1, 4),
        ('a: "x\\0"', "character '\\x00'", 1, 4),
        ('"a\\e": 1', "character '\\x1b'", 1, 1),
        ("a: x\x1b[31m", "control character '\\x1b'", 1, 5),
        ("a: [" + "[" * 40, "deeper than 32", 1, 35),
        ("---\na\n" * 1001, "more than 1000 documents", 2001, 1),
        (("- [" + "1," * 999 + "1]\n") * 101, "more than 100000 values", 100, 1802),
        ("a: [" + "1," * 1001 + "]", "More than 1000 entries", 1, 2005),
    ],
)
def test_dangerous_and_broken_yaml_is_refused_where_it_stands(text: str, word: str, line: int, column: int) -> None:
    problem = refusal(text)

    assert word in problem.message
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.isprintable()


def test_a_tab_is_named_as_the_cause() -> None:
    assert "tabs" in refusal("a:\n\tb: 1").hint


@pytest.mark.parametrize(
    ("text", "word", "line", "column"),
    [
        ('{"a": 1', "not valid JSON", 1, 8),
        ("kind: train", "not valid JSON", 1, 1),
        ('{\n"a": NaN}', "NaN is not a number", 2, 6),
        ('{"a": -Infinity}', "-Infinity is not a number", 1, 7),
        ('{"a": "\\ud800"}', "not valid", 1, 10),
        ('{"a": 1, "a": 2}', "given twice", 1, 10),
        ("[" * 100_000, "deeper than", 1, 1),
        ('{"a": 1e999}', "not a number", 1, 7),
        ('{"a": ' + "9" * 5000 + "}", "not a number", 1, 7),
    ],
)
def test_broken_json_is_refused_where_it_stands(text: str, word: str, line: int, column: int) -> None:
    problem = refusal(text, "application/json")

    assert word in problem.message
    assert (problem.line, problem.column) == (line, column)


def test_what_is_not_utf_8_is_refused_where_it_stands() -> None:
    problem = refusal(b"a: 1\nb: \xff\n")

    assert "0xff" in problem.message
    assert (problem.line, problem.column) == (2, 4)


@pytest.mark.parametrize("size", [reader.MAX_BYTES + 1, 100 << 20])
def test_a_file_past_the_limit_is_refused_with_both_sizes(size: int) -> None:
    with pytest.raises(TooLarge) as caught:
        read(bytes(size))

    assert str(size) in caught.value.message
    assert str(reader.MAX_BYTES) in caught.value.message


def test_nothing_in_a_file_imports_a_module() -> None:
    before = set(sys.modules)

    refusal("a: !!python/module:this x")
    refusal("!!python/object/new:turtle.Turtle {}")

    assert {"this", "turtle"}.isdisjoint(set(sys.modules) - before)


def test_every_problem_of_the_values_is_told_and_a_hundred_at_most() -> None:
    _, three = read(b"a: .inf\nb: [.nan, 1]\nc: 1e999\n")
    _, many = read(b"".join(b"k%d: .inf\n" % n for n in range(500)))

    assert [problem.path for problem in three] == ["a", "b[0]", "c"]
    assert len(many) == reader.MAX_PROBLEMS


def test_without_libyaml_the_same_text_is_read_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a: 1\nb: [x, 'y', {c: 2e-4}]\nd: |\n  text\n"
    fast = read(text)
    monkeypatch.setattr(reader, "_LOADER", reader.yaml.SafeLoader)

    assert read(text) == fast
    assert "tags" in refusal("a: !!python/object:os.x 1").message
    assert "not valid YAML" in refusal("a: [").message
