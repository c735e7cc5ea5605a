"""Pictures that conditions name: what is sent ahead of a job file, and what stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from genctl.condfiles import with_sent_pictures, with_sent_set
from genctl.jobfiles import JSON, LINES, YAML

BASE = Path("/jobs/mine")


def sent(path: str) -> str:
    return f"upload of {path}"


def test_what_a_condition_names_by_a_path_is_sent_and_nothing_else() -> None:
    text = """kind: generate
cond:
  source: ./edges  # these
  class: a./b
labels: {source: ./kept}
---
kind: generate
cond: {source: '../x: y.png'}
"""

    first, second = yaml.safe_load_all(with_sent_pictures(text.encode(), YAML, BASE, sent))

    assert first["cond"] == {"source": "upload of /jobs/mine/edges", "class": "a./b"}
    assert first["labels"] == {"source": "./kept"}
    assert second["cond"] == {"source": "upload of /jobs/x: y.png"}


@pytest.mark.parametrize("media_type", [JSON, LINES])
def test_json_is_changed_in_the_same_places(media_type: str) -> None:
    document = {"data": {"source": "./kept"}, "cond": {"class": "3", "source": './a "b".png'}}
    lines = [json.dumps(document), json.dumps({"cond": {"class": "./"}, "kind": "generate"})]

    changed = with_sent_pictures("\n".join(lines).encode(), media_type, BASE, sent).splitlines()

    assert json.loads(changed[0]) == document | {"cond": {"class": "3", "source": 'upload of /jobs/mine/a "b".png'}}
    assert json.loads(changed[1])["cond"] == {"class": "upload of /jobs/mine"}


@pytest.mark.parametrize("body", [b"cond: {source: ./x", b"cond: [./x]", b"\xff cond ./", b"- cond: ./x"])
def test_what_is_no_job_file_is_left_to_the_platform(body: bytes) -> None:
    assert with_sent_pictures(body, YAML, BASE, sent) == body


def test_a_set_of_a_condition_is_sent_too() -> None:
    assert with_sent_set("cond.source=../x.png", BASE, sent) == "cond.source=upload of /jobs/x.png"
    assert [with_sent_set(one, BASE, sent) for one in ("cond.class=3", "data.source=./x")] == [
        "cond.class=3",
        "data.source=./x",
    ]
