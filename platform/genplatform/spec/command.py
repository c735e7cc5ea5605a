"""`kind: command`: run a program of one's own; what it leaves in `$GENCTL_OUTPUT_DIR` is kept."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from genplatform.spec.common import JobSpec, Resources, Workers, default_of, worker_range
from genplatform.spec.durations import Duration
from genplatform.spec.refusals import NOT_YET, refuse
from genplatform.spec.words import shown

MOST_WORDS = 1000
LONGEST_COMMAND = 100_000
MOST_VARIABLES = 200
LONGEST_VALUE = 32_768
LONGEST_PATH = 4000
MOST_REQUIREMENTS = 200
OURS = "GENCTL_"  # names of variables that only the platform sets

_WORDS_HINT = "Write its words as a list, such as [python, train.py, --steps, '100']."
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
# Programs that run a script: the job is better called by the script.
_INTERPRETER = re.compile(r"(python[0-9.]*|bash|sh|zsh|perl|ruby|node|Rscript|julia|env|torchrun)\Z")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 63


def _checked_command(value: Any) -> list[str] | str:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words:
        raise refuse(f"is {shown(value) if words else 'empty'}, and not a command", _WORDS_HINT)
    for word in words:
        if not isinstance(word, str):
            raise refuse(f"has {shown(word)} among its words, which is not text", "Put it in quotes.")
    if not words[0].strip():
        raise refuse("says no program to run", _WORDS_HINT)
    if len(words) > MOST_WORDS or sum(map(len, words)) > LONGEST_COMMAND or any("\0" in word for word in words):
        hint = f"At most {MOST_WORDS:,} words and {LONGEST_COMMAND:,} characters, and no NUL, are possible."
        raise refuse("is more than a command can hold", hint)
    return list(words) if isinstance(value, list) else value


Command = Annotated[
    list[str] | str,
    PlainValidator(_checked_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_WORDS},
                {"type": "string", "minLength": 1},
            ]
        }
    ),
]


def _checked_variable(name: str) -> str:
    if not _VARIABLE.match(name):
        raise refuse(f"{shown(name)} cannot name a variable", "Letters, digits and '_' are possible.")
    if name.startswith(OURS):
        raise refuse(f"{shown(name)} is set by the platform", f"Choose a name that does not begin with {OURS}.")
    return name


def _checked_value(text: str) -> str:
    if "\0" in text:
        raise refuse("holds a NUL, which no variable can", "Leave it out.")
    return text


def _checked_folder(path: str) -> str:
    if not path.startswith("/") or "\0" in path or posixpath.normpath(path) != (path.rstrip("/") or "/"):
        raise refuse(f"{shown(path)} is not the plain, absolute path of a folder", "Write it as `pwd` prints it.")
    return path


def _checked_requirement(text: str) -> str:
    if not text.strip() or not text.isprintable() or text.lstrip().startswith("-"):
        raise refuse(f"{shown(text)} is not a requirement", "Write what `pip install` takes, such as numpy==2.1.")
    return text.strip()


class CommandResources(Resources):
    """The machine of a command."""

    workers: Annotated[Workers, WithJsonSchema({"const": 1})] = Field(
        default=1, description="How many workers; a command runs on one for now."
    )

    @field_validator("workers")
    @classmethod
    def _one_worker(cls, workers: int | str) -> int | str:
        if worker_range(workers) != (1, 1):
            raise refuse(f"{NOT_YET}: a command on more than one worker, and this is {shown(workers)}", "Write 1.")
        return workers


class CommandSpec(JobSpec):
    """Run a command."""

    kind: Literal["command"] = Field(default="command", description="Run a command.")
    shell: bool = Field(
        default=False, description="Whether `command` is one line for /bin/sh, and not a list of words."
    )
    command: Command = Field(description="The program and its arguments, word by word; with `shell: true` one line.")
    env: dict[
        Annotated[str, AfterValidator(_checked_variable)],
        Annotated[str, Field(max_length=LONGEST_VALUE), AfterValidator(_checked_value)],
    ] = Field(
        default_factory=dict,
        max_length=MOST_VARIABLES,
        description="Variables of its environment; whoever may see the job sees them.",
    )
    workdir: Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_checked_folder)] | None = Field(
        default=None, description="The folder to run in, by its absolute path. Left out: an empty one of its own."
    )
    pip: list[Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_checked_requirement)]] = Field(
        default_factory=list,
        max_length=MOST_REQUIREMENTS,
        description="What `pip install` adds to its Python before it runs; kept on the node for whoever asks the same.",
    )
    checkpoint_every: Duration = Field(
        default=60.0,
        description="How often what changed in $GENCTL_CHECKPOINT_DIR is kept while it runs; it also is at every stop.",
    )
    progress_timeout: Duration | None = Field(  # type: ignore[assignment]
        default=None,
        description="How long it may print nothing and keep no checkpoint before it counts as stalled. Left out: ever.",
    )
    resources: CommandResources = Field(
        default_factory=default_of(CommandResources()), description="The machine of the job."
    )

    @field_validator("command")
    @classmethod
    def _as_it_says(cls, command: list[str] | str, info: ValidationInfo) -> list[str] | str:
        shell = info.data.get("shell")
        if shell is False and isinstance(command, str):
            raise refuse(
                f"is the line {shown(command)}, and not a list of words", f"{_WORDS_HINT} Or add `shell: true`."
            )
        if shell is True and not isinstance(command, str):
            raise refuse("is a list of words, and `shell` is true", "Write one line of text, or leave `shell` out.")
        return command

    def default_name(self) -> str:
        """Return a name made of the program's, or of the script's that an interpreter runs."""
        words = self.command.split() if isinstance(self.command, str) else self.command
        name = posixpath.basename(words[0])
        if _INTERPRETER.match(name) and len(words) > 1 and not words[1].startswith("-"):
            name = posixpath.basename(words[1])
        return _NOT_IN_NAMES.sub("-", name).strip("-._")[:LONGEST_NAME] or "command"
