"""Model versions side by side, and what a version shows of its evaluations."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_platform import CannedPlatform, job, problem
from PIL import Image

Run = Callable[..., Any]


def evaluation(recall: float, **changes: Any) -> dict[str, Any]:
    metrics = {
        "recall": {"value": recall, "better": "higher", "about": "", "anchors": {"held_out": 0.97, "gaussian": 0.79}},
        "bits_per_dim": {"value": 2.0, "better": "lower", "about": "", "anchors": {"uniform": 4.0875}},
    }
    return {
        "job_id": "j_evaevaevae",
        "metrics": metrics,
        "feature_space": {"name": "classifier", "digest": "f" * 64},
        "data": "digits",
        "data_digest": "d" * 64,
        "split": {"seed": 0},
        "samples": 2000,
    } | changes


def model(name: str, *evaluations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": 1,
        "recipe": "gan",
        "modality": "image",
        "job_id": "j_abcdefghjk",
        "parent": None,
        "digest": "e" * 64,
        "metrics": {},
        "size": 12_000,
        "card": {"steps": 4000, "parameters": 123_456},
        "evaluations": list(evaluations),
        "created_at": "2026-11-22T05:00:00.000Z",
    } | changes


def png(side: int, level: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (side, side), level).save(out, format="PNG")
    return out.getvalue()


@pytest.fixture
def two(platform: CannedPlatform) -> CannedPlatform:
    """A platform with two models that were judged alike."""
    platform.on("GET /api/v1/models/gan", model("gan", evaluation(0.9), evaluation(0.1)))
    platform.on("GET /api/v1/models/flow", model("flow", evaluation(0.95), parent="gan@1"))
    platform.on("GET /api/v1/jobs/j_abcdefghjk", job())
    return platform


def test_metrics_anchors_and_costs_stand_side_by_side(two: CannedPlatform, genctl: Run) -> None:
    ended = genctl("models", "compare", "gan", "flow")

    assert (ended.code, ended.err) == (0, "")
    first, *rest = [line.split() for line in ended.out.splitlines()]
    assert first == ["METRIC", "gan@1", "flow@1", "BETTER"]
    assert rest[:6] == [
        ["recall", "0.9", "0.95", "higher"],
        ["held_out", "0.97", "0.97"],
        ["gaussian", "0.79", "0.79"],
        ["bits_per_dim", "2", "2", "lower"],
        ["uniform", "4.088", "4.088"],
        ["recipe", "gan", "gan"],
    ]
    assert ["steps", "4,000", "4,000"] in rest
    assert ["trained", "in", "42", "s", "42", "s"] in rest
    assert ["parent", "-", "gan@1"] in rest


def test_the_comparison_as_json_is_all_of_it(two: CannedPlatform, genctl: Run) -> None:
    ended = genctl("models", "compare", "gan", "flow", "--json")

    told = json.loads(ended.out)
    assert (told["differences"], told["sheet"]) == ([], None)
    assert [(m["name"], m["steps"], m["parameters"], m["seconds"]) for m in told["models"]] == [
        ("gan", 4000, 123_456, 42.0),
        ("flow", 4000, 123_456, 42.0),
    ]
    assert told["models"][0]["evaluation"]["metrics"]["recall"]["value"] == 0.9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_space": {"digest": "0" * 64}}, "other feature spaces"),
        ({"data_digest": "0" * 64, "samples": 64}, "other data and other numbers of samples"),
        ({"split": {"seed": 1}}, "other splits of the data"),
    ],
)
def test_numbers_that_cannot_be_compared_are_said_to_be_so(
    two: CannedPlatform, genctl: Run, changes: dict[str, Any], said: str
) -> None:
    two.on("GET /api/v1/models/flow", model("flow", evaluation(0.95, **changes)))

    ended = genctl("models", "compare", "gan", "flow")

    assert f"They were judged with {said}:" in ended.err


def test_a_model_that_was_not_judged_is_compared_by_what_is_known(two: CannedPlatform, genctl: Run) -> None:
    two.on("GET /api/v1/models/flow", model("flow", job_id="j_gone"))
    two.on("GET /api/v1/jobs/j_gone", problem(404, "not_found", "There is no job 'j_gone'."))

    ended = genctl("models", "compare", "gan", "flow")

    assert ended.code == 0
    assert ["recall", "0.9", "-", "higher"] in [line.split() for line in ended.out.splitlines()]
    assert ["trained", "in", "42", "s", "-"] in [line.split() for line in ended.out.splitlines()]
    assert "flow@1 was not judged" in ended.err


def test_their_sheets_come_as_one_picture(two: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    two.on("GET /api/v1/models/gan%401/sheet", png(80, 10))
    two.on("GET /api/v1/models/flow%401/sheet", png(60, 250))

    ended = genctl("models", "compare", "gan", "flow", "--sheet", str(tmp_path / "both.png"))

    assert ended.code == 0, ended.err
    with Image.open(tmp_path / "both.png") as both:
        levels = {level for _, level in both.convert("L").getcolors(100_000)}
        assert both.width == 80 + 60 + 3 * 8
    assert {10, 250} <= levels


def test_a_sheet_that_is_none_is_told_and_nothing_is_written(two: CannedPlatform, genctl: Run, tmp_path: Path) -> None:
    two.on("GET /api/v1/models/gan%401/sheet", b"not a picture")

    ended = genctl("models", "compare", "gan", "--sheet", str(tmp_path / "both.png"))

    assert ended.code == 2
    assert "The sheet of gan@1 cannot be read" in ended.err
    assert not (tmp_path / "both.png").exists()


def test_a_version_shows_its_newest_evaluation_beside_its_anchors(two: CannedPlatform, genctl: Run) -> None:
    out = genctl("models", "show", "gan").out

    assert "Judged on digits by 2000 samples, in the feature space classifier (j_evaevaevae; 1 older" in out
    table = [line.split() for line in out.splitlines()]
    assert ["METRIC", "VALUE", "HELD_OUT", "GAUSSIAN", "UNIFORM", "BETTER"] in table
    assert ["recall", "0.9", "0.97", "0.79", "-", "higher"] in table


SMALLER = {
    "method": "int8",
    "computed_in": "fp32",
    "size": {"value": 280, "parent": 1000, "ratio": 0.28},
    "speed": {"ratio": 1.013, "low": 0.98, "high": 1.04},
}


def test_a_compressed_version_shows_what_it_gained_beside_its_parent(two: CannedPlatform, genctl: Run) -> None:
    card = {"steps": 4000, "parameters": 123_456, "compression": SMALLER}
    two.on("GET /api/v1/models/flow", model("flow", evaluation(0.95), parent="gan@1", card=card))

    compared = [line.split() for line in genctl("models", "compare", "gan", "flow").out.splitlines()]
    shown = genctl("models", "show", "flow").out

    assert ["compressed", "-", "int8"] in compared
    assert ["size", "to", "parent's", "-", "0.28"] in compared
    assert ["speed", "to", "parent's", "-", "1.013"] in compared
    assert ["trained", "in", "42", "s", "-"] in compared
    assert "int8, computed in fp32: 0.28 of its parent's size, 1.013 (0.98 to 1.04) of its speed" in shown


def test_a_version_is_compressed_by_a_job(platform: CannedPlatform, genctl: Run) -> None:
    platform.on("POST /api/v1/jobs", (201, {"jobs": [job(kind="compress", state="queued")]}))

    ended = genctl("models", "compress", "digits@1", "--int8", "--samples", "500", "-d")

    assert ended.code == 0
    assert json.loads(platform.asked[0].body) == {
        "kind": "compress", "model": "digits@1", "method": "int8", "samples": 500
    }  # fmt: skip
    assert "genctl watch" in ended.err
    assert genctl("models", "compress", "digits@1").code == 2
