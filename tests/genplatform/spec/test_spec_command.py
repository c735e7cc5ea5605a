"""`kind: command` as a job file says it: words or a line for a shell, variables, a folder."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from genplatform.spec import CommandSpec, RecipeBook, job_file_schema, parse_stored


def spec_of(load_text: Any, text: str) -> CommandSpec:
    (document,) = load_text(f"kind: command\n{text}")
    assert isinstance(document.spec, CommandSpec)
    return document.spec


def test_a_command_is_its_words_and_runs_in_an_empty_folder_without_limits(load_text: Any) -> None:
    spec = spec_of(load_text, "command: [python, train.py, --steps, '100']\nenv: {EPOCHS: '3'}\n")

    assert spec.command == ["python", "train.py", "--steps", "100"]
    assert (spec.env, spec.shell, spec.workdir, spec.progress_timeout) == ({"EPOCHS": "3"}, False, None, None)
    assert parse_stored(json.loads(spec.model_dump_json())) == spec


def test_a_line_is_for_a_shell_where_it_says_so(load_text: Any) -> None:
    spec = spec_of(load_text, "shell: true\ncommand: python train.py | tee log\n")

    assert spec.command == "python train.py | tee log"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("[python3.11, src/train.py]", "train.py"),
        ("[/opt/my program/run, x]", "run"),
        ("[python, -m, this]", "python"),
        ("[./§§§]", "command"),
        ("[bash, .hidden]", "hidden"),
    ],
)
def test_a_command_without_a_name_is_called_by_its_program_or_script(load_text: Any, command: str, name: str) -> None:
    assert spec_of(load_text, f"command: {command}\n").name == name


@pytest.mark.parametrize(
    ("text", "path", "message", "hint"),
    [
        ("command: python train.py", "command", "is the line 'python train.py'", "add `shell: true`"),
        ("command: [a]\nshell: true", "command", "is a list of words, and `shell` is true", "one line"),
        ("command: []", "command", "is empty", "as a list"),
        ("command: 3", "command", "is 3, and not a command", "as a list"),
        ("command: [a, 3]", "command", "has 3 among its words", "quotes"),
        ("command: ['']", "command", "says no program", "as a list"),
        ("command: [a]\nenv: {GENCTL_RUN: '1'}", "env.GENCTL_RUN", "is set by the platform", "GENCTL_"),
        ("command: [a]\nenv: {A-B: x}", "env.A-B", "cannot name a variable", "Letters"),
        ("command: [a]\nenv: {A: 1}", "env.A", "text is expected", "quotes"),
        ("command: [a]\nworkdir: here", "workdir", "is not the plain, absolute path", "pwd"),
        ("command: [a]\nworkdir: /a/../b", "workdir", "is not the plain, absolute path", "pwd"),
        ("command: [a]\nresources: {workers: 2}", "resources.workers", "not supported yet", "Write 1."),
        ("command: [a]\npip: [-r x.txt]", "pip[0]", "is not a requirement", "numpy==2.1"),
        ("command: [a]\npip: numpy", "pip", "a list is expected", ""),
        ("command: [a]\nbudget: {steps: 3}", "budget", "no field 'budget' in a command job", "train job"),
    ],
)
def test_what_is_no_command_is_refused_with_what_to_do(
    problems_of: Any, text: str, path: str, message: str, hint: str
) -> None:
    (problem,) = problems_of(f"kind: command\n{text}\n")

    assert (problem.path, problem.line > 1) == (path, True)
    assert message in problem.message
    assert hint in problem.hint


def test_the_schema_says_the_same(book: RecipeBook) -> None:
    schema = job_file_schema(book)
    good = {"kind": "command", "command": ["a", "b"], "env": {"A": "1"}, "progress_timeout": "5m"}

    jsonschema.validate(good, schema)
    for wrong in ({"command": []}, {"command": 3}, {"env": {"A": 1}}, {"resources": {"workers": 2}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(good | wrong, schema)
