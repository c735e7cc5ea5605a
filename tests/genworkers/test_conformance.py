"""The checks of a recipe find what is wrong with one: each way to be wrong is planted here, and seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genworkers import conformance

HEAD = """
import torch
from pydantic import Field
from genworkers.recipes.vae import Vae, VaeConfig
from genworkers.recipes.base import File

class Mine(Vae):
    name = "mine"
    summary = "A recipe of one's own."
"""

SAMPLE = "    def sample(self, modules, seeds, cond):\n        return super().sample(modules, "

# What is planted -> the check that must find it.
WRONG = {
    "config": "    class Config(VaeConfig):\n        silent: int = 3\n",
    "steps": "    def step(self, batch, ctx):\n        return {'loss': torch.tensor(float('nan'))}\n",
    "resume": (
        "    def step(self, batch, ctx):\n"
        "        self.seen = getattr(self, 'seen', 0) + 1\n"
        "        told = super().step(batch, ctx)\n"
        "        ctx.modules['decoder'][0].bias.data += self.seen\n"
        "        return told\n"
    ),
    "evaluate": (
        "    def evaluate(self, batch, ctx):\n"
        "        ctx.modules['decoder'][0].bias.data += 1\n"
        "        return super().evaluate(batch, ctx)\n"
    ),
    "publish": "    serve_modules = ('decodr',)\n",
    "base": "    averages = {}\n",
    "tiles": SAMPLE + "seeds.sort().values, cond)\n",
    "seeds": SAMPLE + "seeds % 2**32, cond)\n",
    "encode": "    formats = ('png', 'wav')\n",
}
PARAMS = {"widths": [16]}


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_is_found_by_its_check(tmp_path: Path, check: str) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(HEAD + WRONG[check])

    failed = [result["check"] for result in conformance.results(str(path), PARAMS) if not result["ok"]]

    assert check in failed


def test_a_recipe_that_exits_passes_no_check(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(HEAD + "    def step(self, batch, ctx):\n        raise SystemExit(0)\n")

    steps = next(result for result in conformance.results(str(path), PARAMS) if result["check"] == "steps")

    assert steps == {"check": "steps", "ok": False, "message": "SystemExit: 0"}


def test_a_recipe_of_ones_own_that_is_right_passes(tmp_path: Path) -> None:
    path = tmp_path / "random.py"  # a name that the standard library has too
    path.write_text(HEAD)

    assert [r for r in conformance.results(f"{path}:Mine", PARAMS) if not r["ok"]] == []


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "{}", "has no recipe of its own"),
        (HEAD, "{}:Yours", "has no recipe Yours"),
        (HEAD + "class Other(Mine):\n    pass\n", "{}", "has 2 recipes"),
        ("1 +", "{}", "SyntaxError"),
        ("raise SystemExit(0)", "{}", "SystemExit"),
        ("", "{}/missing.py", "There is no file"),
    ],
)
def test_what_is_no_recipe_is_told(tmp_path: Path, text: str, target: str, message: str) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(text)

    (result,) = conformance.results(target.format(path), {})

    assert not result["ok"]
    assert message in result["message"]


def test_the_command_shows_a_line_a_check_and_fails_when_one_does(tmp_path: Path) -> None:
    path = tmp_path / "recipe.py"
    path.write_text(HEAD + WRONG["encode"])
    command = [sys.executable, "-m", "genctl", "recipes", "check", str(path), "--params", '{"widths": [16]}']

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok      import")
    assert [line for line in lines if line.startswith("FAILED")] == [
        "FAILED  encode      ValueError: The recipe mine does not say how to write wav."
    ]


def test_the_example_of_a_recipe_of_ones_own_passes_and_learns() -> None:
    example = Path(__file__).parents[2] / "examples" / "custom_recipe" / "gaussian.py"

    found = list(conformance.results(str(example), {}))

    assert [result for result in found if not result["ok"]] == []
    suite = conformance.Suite(conformance.find(str(example)), {})
    few, many = (suite.means(steps)["nats_per_dim"] for steps in (1, 150))
    assert many < few - 0.5
