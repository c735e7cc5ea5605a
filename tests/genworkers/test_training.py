"""The loop and its checkpoints: a run that goes on makes the very weights it would have made."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from notebook import SMALL, Notebook, train, weights
from PIL import Image

from genplatform.errors import BadRequest
from genworkers.context import SavedCheckpoint
from genworkers.data.dataset import split_indices
from genworkers.recipes.gan import Gan
from genworkers.stop import CANCEL, LOST, SHUTDOWN
from genworkers.training import job as jobs
from genworkers.training.sheet import draw_sheet


def test_a_run_reports_measures_shows_and_saves(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)

    trained = train(notebook)

    assert trained.stopped is None
    assert trained.state.step == 50
    assert [s.step for s in notebook.saved] == [50, 40, 20]
    assert sorted(notebook.sheets) == [25, 50]
    learned = [point for point in notebook.points if "d_loss" in point[1]]
    assert [step for step, _ in learned] == list(range(1, 51))
    assert set(learned[-1][1]) == {"d_loss", "g_loss"} | {
        f"{name}_{what}" for name in ("generator", "discriminator") for what in ("learning_rate", "gradient_norm")
    }
    assert [step for step, values in notebook.points if "validation_d_loss" in values] == [20, 40, 50]
    assert set(trained.state.metrics) == {"d_loss", "g_loss", "validation_d_loss"}
    assert notebook.reports[0] == (0, 50)
    assert notebook.reports[-1] == (50, 50)
    assert "1,257 to train on" in notebook.lines[0]


def test_the_same_job_makes_the_same_weights_and_another_seed_makes_others(tmp_path: Path) -> None:
    one = weights(train(Notebook(tmp_path)), tmp_path)

    assert weights(train(Notebook(tmp_path)), tmp_path) == one
    assert weights(train(Notebook(tmp_path, seed=1)), tmp_path) != one


@pytest.mark.parametrize("stopped_at", [0, 1, 19, 20, 33, 49])
def test_a_run_stopped_anywhere_goes_on_to_the_same_weights_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    monkeypatch.setattr(jobs, "MOST_POINTS", 8)  # a point every 7 steps: most stops fall into the middle of a mean
    whole, parted = Notebook(tmp_path), Notebook(tmp_path)
    straight = train(whole)
    parted.stop_at = {stopped_at: SHUTDOWN}

    first = train(parted)
    torch.randn(100)  # whatever else draws random numbers in between
    parted.stop_at = {}
    second = train(parted)

    assert (first.stopped, first.state.step) == (SHUTDOWN, stopped_at)
    assert weights(second, tmp_path) == weights(straight, tmp_path)
    assert parted.points == whole.points
    assert second.state.metrics == straight.state.metrics


def test_looking_at_the_validation_part_changes_no_weight(tmp_path: Path) -> None:
    often, seldom = train(Notebook(tmp_path), evaluate_every=3), train(Notebook(tmp_path), evaluate_every=1000)

    assert weights(often, tmp_path) == weights(seldom, tmp_path)
    assert often.state.metrics == seldom.state.metrics
    assert often.state.modules["generator"].training
    assert not often.state.modules["ema"].training


def test_the_last_evaluation_looks_at_every_validation_row_once_and_at_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        Gan, "evaluate", lambda recipe, batch, ctx: seen.append(batch["x"]) or {"mean": batch["x"].mean()}
    )

    trained = train(Notebook(tmp_path), evaluate_every=1000)

    held_out = trained.dataset.rows(split_indices(len(trained.dataset))["validation"])["x"]
    assert torch.equal(torch.cat(seen), held_out)
    assert trained.state.metrics["validation_mean"] == pytest.approx(float(held_out.mean()), abs=1e-6)


def test_without_a_validation_part_nothing_is_evaluated(tmp_path: Path) -> None:
    trained = train(Notebook(tmp_path), split={"train": 1.0})

    assert set(trained.state.metrics) == {"d_loss", "g_loss"}


def test_an_augmented_run_that_goes_on_makes_the_same_weights_and_others_than_a_plain_one(tmp_path: Path) -> None:
    data = {"source": "digits", "augment": {"flip": True, "shift": 1}}
    plain, straight = train(Notebook(tmp_path)), train(Notebook(tmp_path), data=data)
    parted = Notebook(tmp_path)
    parted.stop_at = {33: SHUTDOWN}
    train(parted, data=data)
    parted.stop_at = {}

    assert weights(train(parted, data=data), tmp_path) == weights(straight, tmp_path)
    assert weights(plain, tmp_path) != weights(straight, tmp_path)


def test_cancel_and_lost_save_nothing_more(tmp_path: Path) -> None:
    for reason in (CANCEL, LOST):
        notebook = Notebook(tmp_path)
        notebook.stop_at = {30: reason}

        assert train(notebook).stopped == reason
        assert [s.step for s in notebook.saved] == [20]


def damage(saved: SavedCheckpoint, how: str) -> None:
    folder = Path(saved.key)
    if how == "missing":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif how == "marker missing":
        (folder / "state.json").unlink()
    elif how == "truncated":
        path = folder / "optimizers.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "bit flipped":
        path = folder / "modules.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
    elif how == "rewritten state":
        path = folder / "state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 3}))


@pytest.mark.parametrize("how", ["missing", "marker missing", "truncated", "bit flipped", "rewritten state"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, how: str) -> None:
    notebook = Notebook(tmp_path)
    straight = weights(train(notebook), tmp_path)
    damage(notebook.saved[0], how)
    notebook.lines.clear()

    again = train(notebook)

    assert weights(again, tmp_path) == straight
    assert any("step 50 cannot be used" in line for line in notebook.lines)
    assert "Going on from the checkpoint at step 40." in notebook.lines
    assert notebook.events == ["first_step", "checkpoint_damaged", "resumed", "first_step"]


def test_a_run_never_starts_from_zero_silently(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    straight = weights(train(notebook), tmp_path)
    for saved in notebook.saved:
        damage(saved, "bit flipped")

    again = train(notebook)

    assert weights(again, tmp_path) == straight
    assert "None of 3 checkpoints can be used: starting again from step 0." in notebook.lines
    assert "restarted_from_zero" in notebook.events


def test_a_checkpoint_of_other_parameters_is_not_gone_on_from(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    train(notebook)

    train(notebook, params=SMALL | {"leak": 0.1})

    assert any("other parameters" in line for line in notebook.lines)


def test_a_diverged_training_is_an_error_and_not_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(tmp_path)
    monkeypatch.setattr(Gan, "step", lambda recipe, batch, ctx: {"d_loss": torch.tensor(torch.nan)})

    with pytest.raises(BadRequest, match="d_loss became nan at step 1: the training has diverged"):
        train(notebook)

    assert notebook.saved == []


def test_a_recipe_with_nothing_to_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="nothing to train"):
        train(Notebook(tmp_path), recipe="noise", params={})


def test_a_sheet_is_a_picture_large_enough_to_see(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    train(notebook)

    with Image.open(io.BytesIO(notebook.sheets[50])) as sheet:
        assert sheet.mode == "L"
        assert sheet.size == (402, 402), "8 by 8 pictures of 48 pixels, 2 apart"
        assert len(set(sheet.tobytes())) > 50


def test_a_sheet_takes_colour_and_any_number_of_pictures() -> None:
    with Image.open(io.BytesIO(draw_sheet([torch.zeros(8, 4, 3, dtype=torch.uint8).numpy()] * 5))) as sheet:
        assert sheet.mode == "RGB"
        assert sheet.size == (3 * (4 * 6 + 2) + 2, 2 * (8 * 6 + 2) + 2)


KILLED = """
import os, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from notebook import Notebook, train
torch.set_num_threads(1)

class Doomed(Notebook):
    is_saved = threading.Event()
    def save(self, folder, sha256, step):
        super().save(folder, sha256, step)
        (Path(sys.argv[2]) / f"saved-{step}").write_text(sha256 + " " + self.saved[0].key)
        if step == 40:
            self.is_saved.set()
    def metrics(self, step, values):
        if step == int(sys.argv[3]) and self.is_saved.wait(60):
            os.kill(os.getpid(), signal.SIGKILL)

train(Doomed(Path(sys.argv[2])))
"""


def test_a_run_killed_without_a_word_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    straight = weights(train(Notebook(tmp_path)), tmp_path)
    folder = tmp_path / "killed"
    folder.mkdir()

    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parents[1] / "support"), str(folder), "47"],
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    left = Notebook(folder)
    for note in sorted(folder.glob("saved-*"), reverse=True):
        sha256, key = note.read_text().split()
        left.saved.append(SavedCheckpoint(key, sha256, int(note.name.removeprefix("saved-"))))

    assert ended.returncode == -signal.SIGKILL
    assert [s.step for s in left.saved] == [40, 20]
    assert weights(train(left), tmp_path) == straight
