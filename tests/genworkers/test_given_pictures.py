"""Pictures that conditions refer to: decoded to the model's size, one an item of a folder's, and never from a path."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from genplatform.domain import layout
from genplatform.domain.uploads import Upload
from genplatform.errors import BadRequest
from genplatform.spec import Conditions
from genplatform.store import Store
from genworkers import models
from genworkers.data.fetching import uploads_of
from genworkers.generating.shard import drawn_together, write_shard
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.recipes.given import PictureOf, picture_condition
from genworkers.references import MOST_UPLOADS, References
from genworkers.sampler import Sampler
from genworkers.training.state import TrainState

TENANT = "default"
SMALL = {"width_of_network": 4}


def png(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> bytes:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(array[:, :, 0] if channels == 1 else array).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def send(store: Store, tmp_path: Path) -> Callable[[str, bytes], str]:
    def send(name: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = tmp_path / "sent"
        path.write_bytes(data)
        store.put_file(path, layout.upload(TENANT, digest))
        return str(Upload(digest, name))

    return send


@pytest.fixture
def references(store: Store, tmp_path: Path) -> References:
    return References(uploads_of(store.url, TENANT), tmp_path / "scratch")


def folder(count: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for index in range(count):
            member, data = tarfile.TarInfo(f"{index}.png"), png(index)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def sampler(references: References) -> Sampler:
    shape = ItemShape(8, 8, 3)
    recipe = registry.find("pix2pix").configured(SMALL, DataFacts(shape=shape, source=shape))
    modules: nn.ModuleDict = models.served(recipe, TrainState.fresh(recipe, 0).modules)
    return Sampler(recipe, modules, recipe.tile, references)


def order(cond: dict[str, Any] | None, count: int, start: int = 0) -> dict[str, Any]:
    lineage = dict.fromkeys(("job", "model", "model_digest", "data_digest", "recipe", "code_version"), "")
    key = {"tenant": TENANT, "job_id": "j_a", "run": 1, "shard": start, "claim": 1}
    return {**key, "start": start, "count": count, "seed": 0, "format": "png", "cond": cond, "lineage": lineage}


def test_a_picture_is_given_in_the_size_and_channels_of_the_model(
    send: Callable[[str, bytes], str], references: References
) -> None:
    condition = picture_condition(PictureOf(1, 4, 6)).model_validate({"source": send("a.png", png(0, 12, 18))})

    read = references.read(condition)

    pixels = read.source.pixels  # type: ignore[attr-defined]
    assert (pixels.shape, pixels.dtype) == ((1, 4, 6), torch.float32)
    assert -1 <= pixels.min() < pixels.max() <= 1
    assert read.model_dump(mode="json") == {"source": condition.source.reference}  # type: ignore[attr-defined]


def test_each_item_is_made_of_its_own_picture_of_a_folder_whatever_it_is_drawn_with(
    send: Callable[[str, bytes], str], references: References, tmp_path: Path
) -> None:
    cond = {"source": send("edges.tar", folder(3))}
    draws = sampler(references)
    for name in ("whole", "late"):
        (tmp_path / name).mkdir()

    write_shard(order(cond, 20), draws, tmp_path / "whole", lambda: False)
    write_shard(order(cond, 2, start=18), draws, tmp_path / "late", lambda: False)
    together = drawn_together([order(cond, 2, start=18), order(None, 1)], draws)

    lines = [json.loads(line) for line in (tmp_path / "whole" / layout.MANIFEST).read_text().splitlines()]
    late = [json.loads(line) for line in (tmp_path / "late" / layout.MANIFEST).read_text().splitlines()]
    assert [line["cond"]["source"].partition("#")[2] for line in lines[:4]] == ["0.png", "1.png", "2.png", "0.png"]
    payloads = [line["files"][0]["payload_sha256"] for line in lines]
    assert len(set(payloads)) == 20
    assert [line["files"][0]["payload_sha256"] for line in late] == payloads[18:]
    [first, _] = next(drawn for key, drawn in together.items() if key.shard == 18)
    made = np.asarray(Image.open(tmp_path / "late" / "000018.png"))
    assert np.array_equal(first, made)


def test_a_picture_in_the_condition_itself_is_read_and_told_by_its_digest(references: References) -> None:
    draws = sampler(references)
    inline = "data:image/png;base64," + base64.b64encode(png(1)).decode()

    one, other = draws.draw([1, 1], [{"source": inline}, None])

    assert not np.array_equal(one, other)
    condition = draws.condition({"source": inline})
    assert condition is not None
    assert condition.model_dump(mode="json")["source"].startswith("sha256:")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/etc/passwd", "no upload of a picture"),
        ("upload:nothing", "names no upload of a picture"),
        ("data:image/png;base64,!", "not written in base64"),
        ("data:image/png,x", "not written in base64"),
        ("data:image/png;base64,aaaa", "the picture is not an image"),
        ("upload:" + "0" * 64 + "/x.png", "is not in the store"),
        (7, "no upload of a picture"),
    ],
)
def test_what_is_no_picture_is_refused(references: References, source: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        sampler(references).draw([1], [{"source": source}])


def test_what_a_folder_lacks_and_what_is_no_image_in_it_is_refused(
    send: Callable[[str, bytes], str], references: References
) -> None:
    draws = sampler(references)
    good, bad = send("edges.tar", folder(2)), send("a.png", b"no picture")

    with pytest.raises(BadRequest, match=r"edges\.tar#9\.png is not there"):
        draws.draw([1], [{"source": f"{good}#9.png"}])
    with pytest.raises(BadRequest, match=r"cond\.source: a\.png is not an image"):
        draws.draw([1], [{"source": bad}])


def test_the_platform_refuses_a_path_where_a_picture_is_wanted() -> None:
    schema = registry.find("pix2pix").cond_schema
    assert schema is not None
    conditions = Conditions("edges@1", schema.model_json_schema(by_alias=True))

    [problem] = conditions.problems({"source": "edges/1.png"})

    assert "an upload of a picture is expected" in problem.message
    assert "./PATH" in (problem.hint or "")
    assert conditions.problems({"source": "upload:" + "0" * 64 + "/edges.tar"}) == []


def test_no_more_than_a_few_uploads_lie_on_a_node(
    send: Callable[[str, bytes], str], references: References, tmp_path: Path
) -> None:
    draws = sampler(references)
    sent = [send(f"{index}.png", png(index)) for index in range(MOST_UPLOADS + 2)]

    first = draws.draw([1], [{"source": sent[0]}])
    for one in sent:
        draws.draw([1], [{"source": one}])
    draws.references._decoded.clear()
    again = draws.draw([1], [{"source": sent[0]}])

    assert np.array_equal(first, again)
    assert len(list((tmp_path / "scratch" / "given").iterdir())) == MOST_UPLOADS
