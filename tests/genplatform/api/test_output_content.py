"""The content of an output: sent in pieces, whatever its size, with its length told first."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_node import CommandNode
from fastapi.testclient import TestClient
from small_platform import API_URL, TENANT

from genplatform.domain import layout
from genplatform.domain.keys import JobKey
from genplatform.services import leadership, runs
from genplatform.services.context import Wiring
from genplatform.store import Store

YAML = "application/yaml"


def test_a_large_file_is_sent_without_being_read_whole(
    api: TestClient, w: Wiring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = api.post("/api/v1/jobs", content="kind: command\ncommand: [a]\n", headers={"Content-Type": YAML})
    job_id = answer.json()["jobs"][0]["id"]
    term = leadership.lead(w, "d1")
    assert term is not None
    opened = runs.open_run(w, term, JobKey(TENANT, job_id), workers=1, api_url=API_URL)
    assert opened is not None
    node = CommandNode(w, opened.order)
    node.start()
    node.publish_files("big.bin")
    content = bytes(range(256)) * 8192
    w.store.put_bytes(f"{layout.files(opened.key)}/big.bin", content)
    monkeypatch.setattr(Store, "read_bytes", lambda *_: pytest.fail("It was read whole."))

    got = api.get(f"/api/v1/jobs/{job_id}/outputs/0/content")

    assert (got.status_code, got.headers["content-length"]) == (200, str(len(content)))
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.content == content
