"""MLflow, which `MLFLOW_TRACKING_URI` names: a job is one of its runs, however often the job is tried.

The other variables are MLflow's own too: `MLFLOW_EXPERIMENT_NAME` (by default the model's name), and what it asks for
to log in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from genplatform.errors import Unavailable
from genworkers.training.eventfiles import Point
from genworkers.training.trackers import described

TAG = "genctl.job"
METRICS_A_REQUEST = 1000  # what its server takes
PARAMS_A_REQUEST = 100
LONGEST_PARAM = 500  # characters; older servers take no more
STATES = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
# Of a server that is away one wants to know soon: it is told again later.
OURS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": 10, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": 1, "MLFLOW_DISABLE_TELEMETRY": True}


def named(node: Mapping[str, str]) -> bool:
    """Tell whether a node's environment names a server."""
    return bool(node.get("MLFLOW_TRACKING_URI"))


class MLflow:
    """The run of one job. Raises Unavailable without the extra, and whatever MLflow raises."""

    def __init__(self, order: Mapping[str, Any], node: Mapping[str, str]) -> None:
        try:
            from mlflow import MlflowClient, environment_variables
        except ImportError as error:
            raise Unavailable(
                "MLflow's client is not installed on this node.", "pip install 'genctl[mlflow]'."
            ) from error
        for name, value in OURS.items():
            variable = getattr(environment_variables, name)
            if not variable.is_set():
                variable.set(value)
        self._client = MlflowClient(node["MLFLOW_TRACKING_URI"])
        experiment = self._experiment(node.get("MLFLOW_EXPERIMENT_NAME") or order["publish"])
        self._id = self._run(experiment, order)

    def tell(self, points: Sequence[Point]) -> None:
        """Add the points, as many a request as the server takes."""
        from mlflow.entities import Metric

        metrics = (
            Metric(name, value, round(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        )
        for some in _some(metrics, METRICS_A_REQUEST):
            self._client.log_batch(self._id, metrics=some)

    def end(self, state: str, version: str | None) -> None:
        """Close the run, unless another try will go on with it; one that comes all the same opens it again."""
        if version is not None:
            self._client.set_tag(self._id, "genctl.model", version)
        if state in STATES:
            self._client.set_terminated(self._id, STATES[state])

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self._client.create_experiment(name))

    def _run(self, experiment: str, order: Mapping[str, Any]) -> str:
        earlier = self._client.search_runs([experiment], f"tags.`{TAG}` = '{order['job_id']}'", max_results=1)
        if earlier:
            self._client.update_run(earlier[0].info.run_id, status="RUNNING")
            return str(earlier[0].info.run_id)
        from mlflow.entities import Param

        tags = {TAG: order["job_id"], "genctl.tenant": order["tenant"]}
        made = str(self._client.create_run(experiment, tags=tags, run_name=order["name"]).info.run_id)
        params = (Param(name, str(value)[:LONGEST_PARAM]) for name, value in described(order).items())
        for some in _some(params, PARAMS_A_REQUEST):
            self._client.log_batch(made, params=some)
        return made


def _some(things: Iterator[Any], count: int) -> Iterator[list[Any]]:
    while some := list(islice(things, count)):
        yield some
