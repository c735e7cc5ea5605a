"""What the README says works as it is written: its Python runs, its job file is accepted, its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from canned_platform import TOKEN, CannedPlatform, job
from sources import ROOT

from genctl.main import cli
from genplatform.spec import RecipeBook, load

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "digits.yaml"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# A command in a block ends where its explanation or the next command begins, two spaces on.
IN_BLOCKS = [said for _, block in BLOCKS for said in re.findall(r"\$ genctl (.*?)(?=\s{2,}|$)", block, re.MULTILINE)]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
IN_OPERATIONS = re.findall(r"^\$ (?:\w+=\S+ )?genctl (.*)$", OPERATIONS, re.MULTILINE)
IN_PROSE = re.findall(r"`(?:\.venv/bin/)?genctl ([^`]+)`", README)


def blocks(language: str) -> list[str]:
    return [text for called, text in BLOCKS if called == language]


def run(code: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def leaf(command: click.Command, words: list[str], parent: click.Context | None = None) -> Iterator[str]:
    """Read the words as click would, down to the last command; yield the names passed. Raises UsageError."""
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(command, parent=parent, info_name="genctl", **command.context_settings)
        name, found, rest = command.resolve_command(context, words)
        assert name is not None
        assert found is not None
        yield name
        yield from leaf(found, rest, context)
        return
    with suppress(click.exceptions.Exit):  # --help was asked for and has been shown
        command.make_context("genctl", words, parent=parent, **command.context_settings)


def test_the_python_client_is_used_as_the_readme_says(platform: CannedPlatform, environment: dict[str, str]) -> None:
    one, two = job(), job(id="j_mnpqrstuvw", name="digits-1000", kind="generate")
    platform.on("POST /api/v1/jobs", (201, {"jobs": [one, two]}))
    platform.on(f"GET /api/v1/jobs/{two['id']}", two)

    [code] = [text for text in blocks("python") if "genctl" in text]
    run(code, environment)

    assert platform.paths() == ["POST /api/v1/jobs", f"GET /api/v1/jobs/{two['id']}"]
    assert platform.asked[0].body == EXAMPLE.read_bytes()


def test_the_openai_sdk_is_used_as_the_readme_says(
    platform: CannedPlatform, environment: dict[str, str], tmp_path: Path
) -> None:
    platform.on("POST /v1/images/generations", {"created": 1, "data": [{"b64_json": "UE5H"}]})
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")

    [code] = [text for text in blocks("python") if "openai" in text]
    assert "http://127.0.0.1:PORT/" in code
    run(code.replace("http://127.0.0.1:PORT", platform.url).replace("TOKENFILE", str(token)), environment)

    assert platform.paths() == ["POST /v1/images/generations"]


def test_the_job_file_shown_is_accepted_and_asks_for_what_the_example_does() -> None:
    [text] = blocks("yaml")

    shown, example = (
        load(body, "application/yaml", RecipeBook.builtin()) for body in (text.encode(), EXAMPLE.read_bytes())
    )

    # The example also spells out a param, and the format of pictures, that are so by default.
    one, other = ([job.spec.model_dump(exclude={"params", "output"}) for job in jobs] for jobs in (shown, example))
    assert one == other


@pytest.mark.parametrize("said", [*IN_BLOCKS, *IN_PROSE, *IN_OPERATIONS])
def test_a_command_is_one_of_genctls(said: str) -> None:
    assert list(leaf(cli, shlex.split(said))) or said == "--help"


def test_the_commands_of_the_readme_were_found() -> None:
    assert {"submit examples/digits.yaml", "doctor", "logs digits-gan -f"} <= set(IN_BLOCKS)
    assert {"db restore record.gz", "db verify --deep"} <= set(IN_OPERATIONS)
    assert {"schema", "endpoints show digits", "down"} <= set(IN_PROSE)
