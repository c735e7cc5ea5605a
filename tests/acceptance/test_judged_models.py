"""A model judged on a real platform: by itself at the end of its training, and by a job of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from whole_platform import WholePlatform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]

TRAINED = {
    "kind": "train",
    "name": "judged",
    "recipe": "gan",
    "budget": {"steps": 200},
    "evaluate": {"samples": 256},
}


def test_a_model_is_judged_beside_its_anchors_and_compared(platform: WholePlatform, tmp_path: Path) -> None:
    judge = {"kind": "evaluate", "name": "again", "model": "judged", "samples": 256, "needs": ["judged"]}
    noise = {"kind": "evaluate", "name": "noise", "model": "noise@1", "samples": 256, "data": {"source": "digits"}}
    jobs = [TRAINED, judge, noise]
    platform.run("submit", "-d", "-", stdin="\n---\n".join(map(json.dumps, jobs)))
    ended = [platform.finished(job["name"]) for job in jobs]

    assert [job["state"] for job in ended] == ["succeeded"] * 3, ended
    assert [job["model"] for job in ended] == ["judged@1", "judged@1", "noise@1"]
    again, first = platform.json("models", "show", "judged")["evaluations"]
    assert (again["job_id"], first["job_id"]) == (ended[1]["id"], ended[0]["id"])
    assert again["metrics"] == first["metrics"]
    assert again["feature_space"]["digest"] == first["feature_space"]["digest"]
    distance = again["metrics"]["frechet_distance"]
    assert 0 < distance["anchors"]["held_out"] < distance["anchors"]["gaussian"]
    both = platform.json("models", "compare", "judged", "noise@1")
    assert both["differences"] == []
    mine, noises = (model["evaluation"]["metrics"]["frechet_distance"]["value"] for model in both["models"])
    assert mine < noises
    sheet = tmp_path / "sheet.png"
    assert platform.run("models", "compare", "judged", "--sheet", str(sheet)).returncode == 0
    with Image.open(sheet) as drawn:
        assert drawn.width > 300
