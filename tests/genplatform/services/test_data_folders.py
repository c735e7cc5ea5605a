"""Data named by its path: only where the platform reads files, and told to the node that reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_platform import SmallPlatform

from genplatform.errors import BadSpec


def train(source: str) -> str:
    return f"kind: train\nname: t\nrecipe: gan\nbudget: {{steps: 1}}\ndata:\n  source: {source}\n"


def test_data_is_read_only_where_the_platform_reads_files(p: SmallPlatform, tmp_path: Path) -> None:
    with pytest.raises(BadSpec) as refused:
        p.one(train(f"{tmp_path}/photos"))
    p.w = replace(p.w, folders=(str(tmp_path),))

    allowed = p.one(train(f"{tmp_path}/photos/*.png"))
    with pytest.raises(BadSpec) as outside:
        p.one(train(f"{tmp_path}*/photos"))

    order = p.open(allowed).order
    assert (order["data"]["source"], order["folders"]) == (f"{tmp_path}/photos/*.png", [str(tmp_path)])
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("data", 6)
    assert f"reads no files from {tmp_path}/photos" in problem.message
    assert str(tmp_path) in outside.value.problems[0].hint
