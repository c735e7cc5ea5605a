"""Several workers do the arithmetic of one: the same model up to the order of floats, and the same to the bit again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gang_process import Gangs
from safetensors.torch import load_file
from torch import Tensor, nn

from genplatform.errors import BadRequest, Unavailable
from genworkers.training import agreement
from genworkers.training.agreement import Agreement
from genworkers.training.gang import Gang, Rows
from genworkers.training.state import EngineStep, TrainState

# Its processes import PyTorch and wait for one another: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(600)
SMALL = {
    "gan": {"generator_widths": [16], "discriminator_widths": [16], "latent_dim": 8, "batch_size": 15},
    "vae": {"widths": [32], "latent_dim": 4, "batch_size": 16},
    "flow": {"width_of_network": 8, "batch_size": 16},
}


def job(recipe: str, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "recipe": recipe,
        "params": SMALL[recipe],
        "data": {"source": "digits"},
        "split": None,
        "steps": 10,
        "checkpoint_every": 4,
        "sheet_every": 1000,
        "evaluate_every": 5,
    }
    return base | changes


@pytest.fixture(scope="module")
def gangs() -> Iterator[Gangs]:
    with Gangs() as gangs:
        yield gangs


def whole_end(folder: Path, rank: int = 0) -> dict[str, Tensor]:
    """Return all tensors of the newest state that a rank ended with: networks and optimizers."""
    newest = max(folder.glob(f"end-meeting-*-{rank}"), key=lambda one: int(one.name.split("-")[2]))
    return load_file(newest / "modules.safetensors") | load_file(newest / "optimizers.safetensors")


def distance(one: dict[str, Tensor], other: dict[str, Tensor], names: Iterable[str]) -> float:
    """Return how far apart two sets of weights are."""
    return float(torch.stack([(one[n] - other[n]).norm() for n in names if one[n].is_floating_point()]).norm())


def points(folder: Path) -> dict[int, dict[str, float]]:
    """Return each step's metrics; of one that was done twice, the last."""
    found: dict[int, dict[str, float]] = {}
    for line in (folder / "points").read_text().splitlines():
        step, values = json.loads(line)
        found[step] = found.get(step, {}) | values
    return found


@pytest.mark.parametrize("recipe", ["vae", "gan", pytest.param("flow", marks=pytest.mark.soak)])
def test_two_workers_train_the_model_of_one_up_to_the_order_of_floats(
    gangs: Gangs, tmp_path: Path, recipe: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for size, folder in ((1, one), (2, two)):
        folder.mkdir()
        assert gangs.run(folder, size, job(recipe)) == [0] * size

    ends = whole_end(one), whole_end(two)
    first = load_file(next(one.glob("000004-*")) / "modules.safetensors")
    # In the norm: where a gradient is nothing but rounding (a bias before a normalisation), Adam steps by its sign.
    assert distance(ends[0], ends[1], first) < 0.02 * distance(ends[0], first, first)
    for step, values in points(one).items():
        assert points(two)[step] == pytest.approx(values, rel=1e-4)
    assert all(torch.equal(tensor, whole_end(two, rank=1)[name]) for name, tensor in ends[1].items())


@pytest.mark.parametrize("recipe", ["vae", *(pytest.param(name, marks=pytest.mark.soak) for name in ("flow", "gan"))])
def test_two_workers_of_which_one_is_killed_go_on_to_what_they_would_have_made(
    gangs: Gangs, tmp_path: Path, recipe: str
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    for folder in (whole, parted):
        folder.mkdir()
    few_points = job(recipe, steps=14, checkpoint_every=5, evaluate_every=7)
    gangs.run(whole, 2, few_points)

    assert gangs.run(parted, 2, few_points, kill=[1, 11]) == [1, -signal.SIGKILL]
    assert gangs.run(parted, 2, few_points) == [0, 0]

    expected, found = whole_end(whole), whole_end(parted)
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert points(parted) == points(whole)
    assert (parted / "metrics").read_text() == (whole / "metrics").read_text()


@pytest.mark.soak
def test_all_workers_stop_before_the_step_at_which_the_leader_is_told_to_and_go_on_to_the_same(
    gangs: Gangs, tmp_path: Path
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    for folder in (whole, parted):
        folder.mkdir()
    long = job("gan", steps=250, checkpoint_every=1000, evaluate_every=1000)  # a metric's window is two steps long
    gangs.run(whole, 2, long)

    assert gangs.run(parted, 2, long, stop={"3": "pause"}) == [0, 0]
    stopped = json.loads((parted / "stopped").read_text())
    assert stopped == ["pause", 7]  # asked before steps 0, 1, 3 and 7, and in the middle of a metric's window
    gangs.run(parted, 2, long)

    found = whole_end(parted)
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole_end(whole).items())
    assert points(parted) == points(whole)


def test_rows_are_cut_as_one_worker_would_have_drawn_them() -> None:
    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.arange(torch.Size(shape).numel()).reshape(shape)

    parts = [Rows(5, rank, 2) for rank in (0, 1)]

    assert [part.own for part in parts] == [3, 2]
    assert sum(part.share for part in parts) == 1
    whole = draw((5, 2))
    assert torch.equal(parts[0].draw((3, 2), draw), whole[0::2])
    assert torch.equal(parts[1].draw((2, 2), draw), whole[1::2])
    twice = draw((10,))
    assert torch.equal(parts[1].draw((4,), draw), torch.cat([twice[:5][1::2], twice[5:][1::2]]))
    assert not torch.equal(parts[0].draw((4,), draw), parts[1].draw((), draw).expand(4))


class Told(Gang):
    """A worker of two who hears what the leader is to have said, and keeps what this one says."""

    def told(self, word: Any) -> Any:
        SAID.append(word)
        return word


SAID: list[Any] = []


def test_a_wish_to_stop_is_asked_for_less_often_where_steps_are_quick() -> None:
    SAID.clear()
    now = [0.0]
    asked = Agreement(Told(0, 2), lambda: None, lambda: now[0], 5_000)

    for step in range(5_000, 7_000):
        asked.should_stop(step)
        now[0] += 0.001

    steps = [ahead for _, ahead in SAID]
    assert steps[:3] == [1, 2, 4]
    assert max(steps) == pytest.approx(250, abs=1)  # steps of a millisecond, in a quarter of a second
    assert len(steps) < 30


@pytest.mark.parametrize(("said", "error"), [([3, 3], None), ([3, 0], Unavailable)])
def test_workers_that_would_begin_at_different_steps_do_not_begin(
    monkeypatch: pytest.MonkeyPatch, said: list[int], error: type[Exception] | None
) -> None:
    monkeypatch.setattr(Gang, "all", lambda self, word: said)

    if error is None:
        assert agreement.refuse_other_starts(Gang(0, 2), 3) is None
        return
    with pytest.raises(error, match="3, 0"):
        agreement.refuse_other_starts(Gang(0, 2), 3)


def test_a_network_that_one_worker_changed_alone_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainState(nn.ModuleDict({"codes": nn.Linear(2, 2)}), {}, step=7)
    monkeypatch.setattr(Gang, "all", lambda self, sums: [sums, [sums[0], sums[1] + 1]])

    with pytest.raises(BadRequest, match=r"codes\.bias at step 7"):
        agreement.refuse_drift(Gang(0, 2), state)


def test_a_loss_that_is_a_mean_over_tokens_weighs_by_tokens_and_not_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(1, 1, bias=False)
    state = TrainState(nn.ModuleDict({"net": net}), {"net": torch.optim.SGD(net.parameters(), lr=1.0)})
    engine = EngineStep(state, seed=0, rank=0, world_size=2)
    engine.begin(0)
    before = net.weight.item()
    monkeypatch.setattr(Gang, "sums", lambda self, tensors: [4 * tensor for tensor in tensors])

    engine.optimize("net", net.weight.sum(), torch.tensor(3))  # three of the twelve tokens of all workers

    assert before - net.weight.item() == pytest.approx(3 / 12 * 4)
