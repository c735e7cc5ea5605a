"""Data sets of the hub, from a stand-in on loopback: one commit, its files and no code, and told where it cannot be."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hub_stand_in import HubStandIn
from huggingface_hub import constants
from PIL import Image

from genplatform.errors import BadRequest, BadSpec, NotFound, Unavailable
from genplatform.spec import RecipeBook, load
from genplatform.spec.hub import HubName, parse_hub
from genworkers.data.check import report
from genworkers.data.dataset import Dataset
from genworkers.data.sources import open_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    stand_in = HubStandIn("me/dots")
    # As HF_ENDPOINT would, had it been set before the library was imported.
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{stand_in.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    yield stand_in
    stand_in.close()


def png(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(out, "PNG")
    return out.getvalue()


def read(source: str, **options: Any) -> Dataset:
    return open_source({"source": source, **options})


def test_the_newest_commit_of_a_branch_is_read_and_told(hub: HubStandIn) -> None:
    hub.commit({"cat/1.png": png(1)})
    second = hub.commit({"cat/1.png": png(1), "dog/2.png": png(2), "README.md": b"# dots", "dots.py": b"raise"})

    found = read("hf://me/dots")

    assert (len(found), found.classes, found.revision) == (2, ("cat", "dog"), second)
    assert f"at commit {second}" in found.notes[-1]
    assert set(hub.fetched) == {"cat/1.png", "dog/2.png"}


def test_a_pinned_commit_stays_what_it_was(hub: HubStandIn) -> None:
    first = hub.commit({"1.png": png(1)})
    pinned = read(f"hf://me/dots@{first}")
    hub.commit({"1.png": png(9)})

    again, moved = read(f"hf://me/dots@{first}"), read("hf://me/dots@main")

    assert (again.digest, again.revision) == (pinned.digest, first)
    assert moved.digest != pinned.digest


@pytest.mark.parametrize("files", ["train", "train/*.png", "train/1.png"])
def test_a_part_of_the_files_can_be_named(hub: HubStandIn, files: str) -> None:
    hub.commit({"train/1.png": png(1), "test/2.png": png(2)})

    told = report({"source": f"hf://me/dots//{files}"}, {"train": 1.0, "validation": 0, "test": 0})

    assert (told["items"], told["problems"]) == (1, [])
    assert told["revision"] == hub.branches["main"]
    assert set(hub.fetched) == {"train/1.png"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://me/other", "no data set me/other on the hub, or it is private"),
        ("hf://me/dots@v9", "me/dots has no revision v9"),
        ("hf://me/dots//validation", "no validation in me/dots"),
    ],
)
def test_what_is_not_there_is_told(hub: HubStandIn, source: str, words: str) -> None:
    hub.commit({"1.png": png(1)})

    with pytest.raises((BadRequest, NotFound), match=words):
        read(source)


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_is_busy_is_no_fault_of_the_job(hub: HubStandIn, status: int) -> None:
    hub.commit({"cat/a.png": png(1)})
    hub.busy = status

    with pytest.raises(Unavailable, match="The hub does not give hf://me/dots now"):
        read("hf://me/dots")


def test_a_hub_that_is_not_there_is_no_fault_of_the_job(hub: HubStandIn) -> None:
    hub.close()

    with pytest.raises(Unavailable, match="The hub does not give hf://me/dots now"):
        read("hf://me/dots")


def test_names_of_the_hub_are_read() -> None:
    assert parse_hub("hf://mnist") == HubName("mnist")
    assert parse_hub(f"hf://me/d-1.x@{COMMIT}") == HubName("me/d-1.x", COMMIT)
    named = HubName("me/dots", "refs/convert/parquet", "data/train-*.parquet")
    assert parse_hub(str(named)) == named
    bad = [
        "hf://",
        "hf://me/dots/x",
        "hf://a b",
        "hf://me/dots@",
        "hf://me/dots//../x",
        "hf://me/dots//a//b",
        "s3://me/d",
    ]
    assert [parse_hub(one) for one in bad] == [None] * len(bad)


def test_a_job_file_that_names_no_data_set_is_refused() -> None:
    text = b"kind: train\nrecipe: gan\ndata: {source: 'hf://me/dots/train'}\n"

    with pytest.raises(BadSpec, match="names no data set of the hub"):
        load(text, "application/yaml", RecipeBook.builtin(), [])
