"""A recipe of one's own on a real platform: trained from a job file beside its code, and drawn from by its digest."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from sources import ROOT
from whole_platform import WholePlatform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(300)]


def test_the_example_trains_and_generates_by_the_code_that_was_sent(platform: WholePlatform, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "custom_recipe", tmp_path / "mine")

    train, generate = platform.json("submit", str(tmp_path / "mine" / "gaussian.yaml"))["jobs"]
    # What becomes of the file afterwards is no matter.
    (tmp_path / "mine" / "gaussian.py").write_text("raise SystemExit\n")
    train, generate = platform.finished(train["id"]), platform.finished(generate["id"])

    assert (train["state"], generate["state"]) == ("succeeded", "succeeded"), (train, generate)
    version = platform.json("models", "show", train["model"])
    code = version["card"]["code"]
    assert (version["recipe"], code["module"], code["class"]) == ("gaussian", "gaussian", "Gaussian")
    shown = platform.json("outputs", "show", generate["id"], "3")
    picture = Image.open(urlsplit(shown["uri"]).path)
    assert (picture.size, generate["outputs"]["count"]) == ((8, 8), 64)
    assert code["sha256"] in str(picture.info)
