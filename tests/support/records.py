"""Rows for tests of the record: valid in every column, with what a test cares about given by name."""

from __future__ import annotations

from typing import Any

from genplatform.catalog import Transaction
from genplatform.domain.names import parse_model_ref
from genplatform.domain.shards import plan_shards

NOW = 1_700_000_000.0


def a_job(tx: Transaction, job_id: str = "j_aaaaaaaaaa", **values: Any) -> int:
    """Add a queued train job; returns its inside key."""
    row = {
        "tenant_id": "default",
        "job_id": job_id,
        "name": "digits",
        "kind": "train",
        "queue": "default",
        "priority": 500,
        "labels": {},
        "spec": {"kind": "train"},
        "state": "queued",
        "open_needs": 0,
        "run": 0,
        "workers": 0,
        "done": 0,
        "total": 0,
        "unit": "steps",
        "created_at": NOW,
    }
    return tx.jobs.insert(row | values)


def a_generate_job(tx: Transaction, job_id: str = "j_gggggggggg", count: int = 1000, **values: Any) -> int:
    """Add a running generate job with its shards planned (tiles of 64); returns its inside key."""
    job = {"kind": "generate", "state": "running", "run": 1, "unit": "items", "total": count}
    job_pk = a_job(tx, job_id, **(job | values))
    tx.shards.plan("default", job_pk, plan_shards(count, tile=64))
    return job_pk


def a_version(**values: Any) -> dict[str, Any]:
    """Return the columns of a model version that `publish` does not fill itself."""
    row = {
        "recipe": "gan",
        "modality": "image",
        "config": {"hidden": [256, 512]},
        "tile": 64,
        "job_id": "j_aaaaaaaaaa",
        "digest": "d" * 64,
        "key": "models/default/" + "d" * 64,
        "size": 12_345,
        "data_digest": "e" * 64,
        "code_version": "0.1.0",
        "metrics": {"loss": 0.5},
        "card": {"recipe": "gan"},
        "created_at": NOW,
    }
    return row | values


def an_endpoint(tx: Transaction, name: str = "digits", model: str = "noise@1", **values: Any) -> int:
    """Add a pending endpoint; returns its inside key."""
    ref = parse_model_ref(model)
    assert ref is not None
    version = tx.models.find("default", ref)  # noise@1 stands in every catalog
    assert version is not None
    row = {
        "tenant_id": "default",
        "name": name,
        "model_version_id": version.id,
        "min_replicas": 1,
        "max_replicas": 2,
        "generation": 1,
        "state": "pending",
        "ready": 0,
        "created_at": NOW,
    }
    tx.endpoints.insert(row | values)
    made = tx.endpoints.find(values.get("tenant_id", "default"), name)
    assert made is not None
    return made.id
