"""Where data lies: a job file may say it from its own folder on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from genctl.datafiles import absolute, with_absolute_set, with_absolute_sources
from genctl.jobfiles import JSON, LINES, YAML

BASE = Path("/jobs/mine")


def test_a_path_from_the_job_files_folder_on_is_made_absolute_and_no_line_moves() -> None:
    text = """kind: train  # ./not this
data:
  size: 32
  source: ./ photos  # these
labels: {source: ./kept}
---
kind: train
data: {source: '../x: y/*.png', size: 8}
---
kind: train
data: {source: digits}
"""

    changed = with_absolute_sources(text.encode(), YAML, BASE).decode()

    first, second, third = yaml.safe_load_all(changed)
    assert first["data"] == {"size": 32, "source": "/jobs/mine/ photos"}
    assert first["labels"] == {"source": "./kept"}
    assert second["data"] == {"source": "/jobs/x: y/*.png", "size": 8}
    assert third["data"] == {"source": "digits"}
    assert [line.split(":")[0] for line in changed.splitlines()] == [line.split(":")[0] for line in text.splitlines()]


@pytest.mark.parametrize("media_type", [JSON, LINES])
def test_json_is_changed_in_the_same_places(media_type: str) -> None:
    document = {
        "kind": "train",
        "env": {"source": "./kept"},
        "data": {"size": 8, "augment": {"flip": True}, "source": './a "b"'},
    }
    lines = [json.dumps(document), json.dumps({"data": {"source": "digits"}})]
    body = "\n".join(lines if media_type == LINES else lines[:1]).encode()

    changed = with_absolute_sources(body, media_type, BASE).splitlines()

    read = json.loads(changed[0])
    assert read["data"] == {"size": 8, "augment": {"flip": True}, "source": '/jobs/mine/a "b"'}
    assert read["env"] == {"source": "./kept"}
    assert changed[1:] == body.splitlines()[1:]


@pytest.mark.parametrize("body", [b"data: {source: ./x", b"data: [source: ./x]", b"\xff source ./", b"- source: ./x"])
def test_what_is_no_job_file_is_left_to_the_platform(body: bytes) -> None:
    assert with_absolute_sources(body, YAML, BASE) == body


def test_a_set_is_seen_from_here_and_other_words_stay() -> None:
    assert with_absolute_set("data.source=../x", BASE) == "data.source=/jobs/x"
    assert with_absolute_set("seed=./7", BASE) == "seed=./7"
    assert absolute("~/x", BASE) == str(Path("~/x").expanduser())
    assert [absolute(one, BASE) for one in ("/a", "digits", "s3://./b")] == ["/a", "digits", "s3://./b"]
