"""The whole road on a real platform: submit the example, look at everything it made."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from openai import OpenAI
from PIL import Image
from safetensors.numpy import load_file
from whole_platform import DIGITS, WholePlatform, eventually

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


# A job file that would do but for its aliases: written out it has 10**9 words.
ALIAS_BOMB = "kind: train\nrecipe: gan\nlabels:\n  a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  {new}: &{new} [{', '.join(10 * [f'*{old}'])}]\n" for old, new in pairwise("abcdefghi")
)


def local(uri: str) -> Path:
    return Path(urlsplit(uri).path)


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_training_publishes_the_first_version_with_its_lineage(platform: WholePlatform, road: dict[str, Any]) -> None:
    version = platform.json("models", "show", "digits-gan@1")

    assert road["train"]["model"] == "digits-gan@1"
    assert version["job_id"] == road["train"]["id"]
    assert (version["recipe"], version["modality"]) == ("gan", "image")
    folder = local(version["uri"])
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "config.json", "model.safetensors"]
    card = json.loads((folder / "card.json").read_text())
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert card["recipe"] == "gan"
    assert card["data_digest"] == version["data_digest"]
    assert weights in json.dumps(card)
    assert load_file(folder / "model.safetensors")


def test_losses_sheets_and_checkpoints_reach_the_catalog(platform: WholePlatform, road: dict[str, Any]) -> None:
    job = road["train"]["id"]

    events = platform.json("events", job)["events"]
    sheets = [e for e in events if e["type"] == "sheet"]
    metrics = [e for e in events if e["type"] == "metrics"]
    lines = platform.json("logs", job)

    assert len(sheets) == 8
    assert Image.open(local(sheets[-1]["data"]["uri"])).size[0] >= 300
    assert metrics
    assert metrics[-1]["data"]["values"]
    assert any("4,000" in line["text"] for line in lines["lines"])
    assert road["train"]["progress"] == {
        "done": 4000, "total": 4000, "unit": "steps", "rate": None, "eta_seconds": None,
    }  # fmt: skip


def test_generating_writes_each_item_once_as_the_manifest_says(platform: WholePlatform, road: dict[str, Any]) -> None:
    outputs = road["generate"]["outputs"]
    folder = local(outputs["uri"])
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    listed = platform.json("outputs", "ls", road["generate"]["id"], "--limit", "1000")

    assert outputs["count"] == 1000
    assert [item["index"] for item in manifest] == list(range(1000))
    assert listed["items"] == manifest
    assert {str(p.relative_to(folder)) for p in folder.rglob("*.png")} == {item["path"] for item in manifest}
    for item in manifest:
        data = (folder / item["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item["sha256"] == item["files"][0]["sha256"]
        assert hashlib.sha256(pixels(data).tobytes()).hexdigest() == item["files"][0]["payload_sha256"]
        seed = int.from_bytes(hashlib.sha256(f"7:{item['index']}".encode()).digest()[:8], "big") >> 1
        assert item["seed"] == seed


def test_every_picture_carries_its_own_origin(platform: WholePlatform, road: dict[str, Any]) -> None:
    item = platform.json("outputs", "show", road["generate"]["id"], "3")

    origin = json.loads(Image.open(local(item["uri"])).text["genctl"])  # type: ignore[attr-defined]

    version = platform.json("models", "show", "digits-gan@1")
    assert origin["job"] == road["generate"]["id"]
    assert (origin["item"], origin["seed"], origin["model"]) == (3, item["seed"], "digits-gan@1")
    assert (origin["model_digest"], origin["data_digest"]) == (version["digest"], version["data_digest"])


def test_the_number_of_workers_and_the_batch_size_change_no_pixel(
    platform: WholePlatform, road: dict[str, Any]
) -> None:
    def payloads(*sets: str) -> list[str]:
        spec = f"kind: generate\nname: again-{len(sets)}\nmodel: {road['train']['model']}\ncount: 300\nseed: 7\n"
        arguments = [word for s in sets for word in ("--set", s)]
        job = platform.json("submit", "-", *arguments, stdin=spec)["jobs"][0]
        assert platform.finished(job["id"])["state"] == "succeeded"
        items = platform.json("outputs", "ls", job["id"], "--limit", "300")["items"]
        return [item["files"][0]["payload_sha256"] for item in items]

    first = platform.json("outputs", "ls", road["generate"]["id"], "--limit", "300")["items"]

    assert payloads("resources.workers=1") == [i["files"][0]["payload_sha256"] for i in first]
    assert payloads("resources.workers=2", "batch_size=50") == [i["files"][0]["payload_sha256"] for i in first]


def test_the_same_job_file_trains_the_same_model(platform: WholePlatform) -> None:
    digests = []
    for name in ("twin-a", "twin-b"):
        job = platform.json(
            "submit", "-", stdin=f"kind: train\nname: {name}\nrecipe: gan\nbudget: {{steps: 60}}\nseed: 3\n"
        )["jobs"][0]
        done = platform.finished(job["id"])
        assert done["state"] == "succeeded", done
        digests.append(platform.json("models", "show", done["model"])["digest"])

    assert digests[0] == digests[1]


def test_an_endpoint_answers_the_openai_sdk_with_the_same_picture_for_the_same_seed(
    platform: WholePlatform, road: dict[str, Any]
) -> None:
    platform.run("endpoints", "create", "digits", "--model", "digits-gan@1", timeout=240)
    endpoint = platform.json("endpoints", "show", "digits")
    assert endpoint["state"] == "ready", endpoint
    key = platform.settings.token_file.read_text().strip()
    sdk = OpenAI(base_url=endpoint["url"], api_key=key, max_retries=0)

    one = sdk.images.generate(model="digits", prompt="", n=2, extra_body={"seed": 7})
    again = sdk.images.generate(model="digits-gan@1", prompt="", n=2, extra_body={"seed": 7})
    other = sdk.images.generate(model="digits", prompt="", n=1, extra_body={"seed": 8})

    first = [pixels(base64.b64decode(d.b64_json or "")) for d in one.data or []]
    second = [pixels(base64.b64decode(d.b64_json or "")) for d in again.data or []]
    assert len(first) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], pixels(base64.b64decode((other.data or [])[0].b64_json or "")))
    item = platform.json("outputs", "show", road["generate"]["id"], "0")
    assert np.array_equal(first[0], pixels(local(item["uri"]).read_bytes())), "batch and serving draw alike"
    assert "digits" in [m.id for m in sdk.models.list().data]


def test_nothing_listens_beyond_loopback(platform: WholePlatform) -> None:
    assert platform.run("endpoints", "create", "digits", "--model", "noise@1", timeout=240).returncode == 0

    heard = platform.listeners()

    assert heard
    assert {where for where in heard if not where.startswith(("127.", "::ffff:127.", "::1:"))} == set()


def test_an_endpoint_is_removed_and_then_unknown(platform: WholePlatform) -> None:
    assert platform.run("endpoints", "create", "shortlived", "--model", "noise@1", timeout=240).returncode == 0

    assert platform.run("endpoints", "rm", "shortlived").returncode == 0

    def gone() -> bool:
        return "shortlived" not in [e["name"] for e in platform.json("endpoints", "ls")["endpoints"]]

    assert eventually(gone)
    assert platform.run("endpoints", "show", "shortlived").returncode == 2


def test_cancelling_a_running_job_publishes_nothing(platform: WholePlatform) -> None:
    spec = "kind: train\nname: to-cancel\nrecipe: gan\nbudget: {steps: 1000000}\n"
    job = platform.json("submit", "-", stdin=spec)["jobs"][0]["id"]
    dependent = platform.json("submit", "-", stdin="kind: generate\nmodel: to-cancel\nneeds: [to-cancel]\ncount: 1\n")[
        "jobs"
    ][0]["id"]
    eventually(lambda: platform.job(job)["state"] == "running")

    assert platform.run("cancel", job).returncode == 0

    assert platform.run("wait", job, timeout=60).returncode == 4
    assert platform.job(job)["state"] == "cancelled"
    assert platform.job(dependent)["reason"]["code"] == "dependency_failed"
    assert "to-cancel" not in [m["name"] for m in platform.json("models", "ls")["models"]]


def test_noise_is_there_from_the_start(platform: WholePlatform) -> None:
    spec = "kind: generate\nname: static\nmodel: noise@1\ncount: 10\n"
    job = platform.json("submit", "-", stdin=spec)["jobs"][0]["id"]

    done = platform.finished(job)

    assert done["state"] == "succeeded"
    assert done["outputs"]["count"] == 10
    assert platform.json("models", "show", "noise@1")["job_id"] is None


def test_the_same_key_is_the_same_job(platform: WholePlatform) -> None:
    first = platform.json("submit", str(DIGITS), "--key", "once", "-p", "0", "--set", "budget.steps=1")
    again = platform.json("submit", str(DIGITS), "--key", "once", "-p", "0", "--set", "budget.steps=1")
    other = platform.run("submit", str(DIGITS), "--key", "once", "--set", "budget.steps=2", "--json")
    for job in first["jobs"]:
        platform.run("cancel", job["id"])

    assert [j["id"] for j in first["jobs"]] == [j["id"] for j in again["jobs"]]
    assert other.returncode == 2
    assert "once" in other.stderr


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "empty"),
        ("kind: train\nrecipe: gna\n", "gan"),
        ("kind: train\nrecipe: gan\nbugdet: {steps: 1}\n", "budget"),
        ("kind: generate\nmodel: noise@1\ncount: 0\n", "count"),
        ("kind: generate\nmodel: nosuch@1\ncount: 1\n", "nosuch"),
        ("kind: train\nrecipe: !!python/object:os.system x\n", "python"),
        ("kind: [train\n", "not valid YAML"),
        ('kind: train\nrecipe: gan\nname: "a\\u001b[31m"\n', "name"),
        (ALIAS_BOMB, "anchors"),
    ],
)
def test_a_bad_job_file_gets_an_error_and_changes_nothing(platform: WholePlatform, spec: str, says: str) -> None:
    before = len(platform.json("ps", "-a", "-l", "1000")["jobs"])

    done = platform.run("submit", "-", stdin=spec)

    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert len(platform.json("ps", "-a", "-l", "1000")["jobs"]) == before


def test_status_and_doctor_find_all_well(platform: WholePlatform) -> None:
    status = platform.json("status")
    doctor = platform.json("doctor")

    assert status["state"] == "up", status
    assert {p["name"] for p in status["parts"]} >= {"redis", "ray", "catalog", "api", "dispatcher"}
    assert all(check["ok"] for check in doctor["checks"]), doctor
