"""GET /metrics: behind the token, in Prometheus' format, true."""

from __future__ import annotations

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

NOISE = "kind: generate\nmodel: noise@1\ncount: 1\n"


def samples(api: TestClient) -> dict[tuple[str, ...], float]:
    text = api.get("/metrics").text
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_the_line_and_the_parts_are_measured(api: TestClient) -> None:
    before = samples(api)
    for _ in range(2):
        api.post("/api/v1/jobs", content=NOISE, headers={"Content-Type": "application/yaml"})

    after = samples(api)

    assert ("genctl_queue_depth", "default") not in before
    assert after["genctl_queue_depth", "default"] == 2
    assert after["genctl_jobs", "default", "queued"] == 2
    assert after["genctl_part_up", "catalog"] == 1
    assert after["genctl_dispatcher_leads",] == 0


def test_the_measures_ask_for_the_token(api: TestClient) -> None:
    assert api.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_the_measures_are_plain_text(api: TestClient) -> None:
    assert api.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
