"""Trackers of experiments over the real thing: an MLflow server on loopback, and the files that W&B writes offline."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_home import eventually
from wandb_files import records

from genworkers.training.actor import RunActor

pytestmark = pytest.mark.timeout(240)
Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]
SERVER = "from mlflow.server import app; from werkzeug.serving import run_simple; import sys; "


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with a database of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    surroundings = os.environ | {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder / "artifacts"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    run = f"run_simple('127.0.0.1', {port}, app, threaded=True)"
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen([sys.executable, "-c", SERVER + run], env=surroundings, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        _until_it_answers(url, server, log)
        yield url
    finally:
        server.kill()
        server.wait()


def _until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/version", timeout=5):
                return True
        except OSError:
            return False

    eventually(answers, 120)


@pytest.fixture
def mlflow(mlflow_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A client of that server, which the environment names; each test has an experiment of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(mlflow_server)


def runs(mlflow: Any) -> list[Any]:
    experiment = mlflow.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
    return list(mlflow.search_runs([experiment.experiment_id]))


def work(order: dict[str, Any]) -> str:
    actor = RunActor(order)
    actor.start()
    return actor.join()


def measured(*platforms: Platform) -> dict[str, dict[int, float]]:
    """What the platform was told, by metric and step."""
    points = [p for platform in platforms for body in platform.bodies("/progress") for p in body["metrics"]]
    names = {name for point in points for name in point["values"]}
    return {n: {p["step"]: p["values"][n] for p in points if n in p["values"]} for n in names}


def history(mlflow: Any, run: Any) -> dict[str, list[tuple[int, float]]]:
    told = {name: mlflow.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((m.step, m.value) for m in metrics) for name, metrics in told.items()}


def test_a_training_is_one_finished_run_with_its_settings_and_every_point(
    platform: Platform, run_order: Order, mlflow: Any
) -> None:
    assert work(run_order(platform.url)) == "published"

    (run,) = runs(mlflow)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "digits-gan")
    assert (run.data.tags["genctl.job"], run.data.tags["genctl.model"]) == ("j_abc", "digits-gan@1")
    told = {name: run.data.params[name] for name in ("recipe", "params.latent_dim", "budget.steps", "seed")}
    assert told == {"recipe": "gan", "params.latent_dim": "8", "budget.steps": "60", "seed": "0"}
    assert history(mlflow, run) == {name: sorted(points.items()) for name, points in measured(platform).items()}


def test_a_run_that_goes_on_is_the_same_run_and_no_step_is_there_twice(
    platform: Platform, new_platform: Callable[[], Platform], run_order: Order, mlflow: Any
) -> None:
    platform.answers["/artifacts"] = lambda body: (paused(body), {})
    first = RunActor(run_order(platform.url, budget={"steps": 200}))

    def paused(body: dict[str, Any]) -> int:
        if body["kind"] == "checkpoint":
            first.stop("pause")
        return 200

    first.start()
    assert first.join() == "released"
    between = runs(mlflow)[0].info.status
    saved = [b for b in platform.bodies("/artifacts") if b["kind"] == "checkpoint"]
    resume = [{k: b[k] for k in ("key", "sha256", "step")} for b in reversed(saved)]
    second = new_platform()

    assert work(run_order(second.url, run=2, budget={"steps": 200}, resume=resume)) == "published"

    (run,) = runs(mlflow)
    assert (between, run.info.status) == ("RUNNING", "FINISHED")
    points = history(mlflow, run)
    assert points == {name: sorted(told.items()) for name, told in measured(platform, second).items()}
    assert all(len({step for step, _ in told}) == len(told) for told in points.values())


def test_a_training_that_failed_or_was_cancelled_says_so(
    platform: Platform, new_platform: Callable[[], Platform], run_order: Order, mlflow: Any
) -> None:
    other = new_platform()
    cancelled = RunActor(run_order(other.url, job_id="j_abd", budget={"steps": 100_000}))
    other.answers["/artifacts"] = lambda body: (cancelled.stop("cancel"), (200, {}))[1]

    failed = work(run_order(platform.url, params={"latent_dim": -1}))
    cancelled.start()

    assert (failed, cancelled.join()) == ("failed", "cancelled")
    assert {run.data.tags["genctl.job"]: run.info.status for run in runs(mlflow)} == {
        "j_abc": "FAILED", "j_abd": "KILLED",
    }  # fmt: skip


def test_a_server_that_is_away_costs_a_line_without_its_password(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:nobody-may-read-this@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = threading.Event()
    platform.answers["/progress"] = lambda body: (said.set() if "MLflow" in str(body["logs"]) else None, (200, {}))[1]
    actor = RunActor(run_order(platform.url, budget={"steps": 100_000}))
    actor.start()

    assert said.wait(60)

    actor.stop("pause")
    assert actor.join() == "released"
    assert platform.logs.count("MLflow could not be told") == 1
    assert "nobody-may-read-this" not in platform.logs


def test_a_server_that_never_answers_holds_up_no_checkpoint(
    platform: Platform, run_order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("genworkers.training.trackers.END_SECONDS", 0.5)

        assert work(run_order(platform.url)) == "published"

    assert len([b for b in platform.bodies("/artifacts") if b["kind"] == "checkpoint"]) == 3


def test_weights_and_biases_is_told_the_same_under_the_jobs_id(
    platform: Platform, run_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))

    assert work(run_order(platform.url)) == "published"

    (file,) = tmp_path.glob("wandb/offline-run-*/run-j_abc.wandb")
    kept = records(file)
    steps = [
        {item.key or item.nested_key[0]: item.value_json for item in r.history.item} for r in kept if r.history.item
    ]
    losses = {int(step["_step"]): float(step["g_loss"]) for step in steps if "g_loss" in step}
    config = {item.key: item.value_json for r in kept for item in r.run.config.update}
    assert losses == measured(platform)["g_loss"]
    assert config["budget.steps"] == "60"
