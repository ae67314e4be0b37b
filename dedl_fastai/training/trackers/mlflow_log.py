"""`Log` for MLflow: parameters, one value of each metric per epoch, and the figures as artifacts."""

import os
from collections.abc import Mapping
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder
from mlflow import MlflowClient
from mlflow.entities import Param

from .tracker import PROJECT, Tracker, flat_scores


class Log(Tracker):
    """A run of the server or the file that MLFLOW_TRACKING_URI names; by default MLflow's own local file."""

    def callback(self, steps_done: int) -> Callback:
        """Open a run with the options as parameters, or the run that was begun; return the callback that logs to it."""
        self.client = MlflowClient()
        if not self.log_id:
            started = self.client.create_run(self._experiment(), run_name=self.run.path.name)
            self.client.log_batch(started.info.run_id, params=[Param(k, str(v)) for k, v in self.options().items()])
            self.keep_id(started.info.run_id)
        self.client.update_run(self.log_id, status="RUNNING")
        return MlflowCallback(self.client, self.log_id)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Log scores and figures, and mark the run as finished."""
        for name, value in flat_scores(metrics):
            self.client.log_metric(self.log_id, name, value)
        for path in self.figures().values():
            self.client.log_artifact(self.log_id, str(path), "figures")
        self.client.set_terminated(self.log_id)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        return experiment.experiment_id if experiment else self.client.create_experiment(name)


class MlflowCallback(Callback):
    """Log losses, metrics and learning rate of each epoch to a run of MLflow; fastai has no such callback."""

    order = Recorder.order + 1

    def __init__(self, client: MlflowClient, run_id: str):
        self.client, self.run_id = client, run_id

    def after_epoch(self) -> None:
        """Log the recorder's last row."""
        names, values = self.recorder.metric_names[1:-1], self.recorder.values[-1]
        row = {**dict(zip(names, values, strict=True)), "lr": self.opt.hypers[-1]["lr"]}
        for name, value in row.items():
            self.client.log_metric(self.run_id, name, float(value), step=self.epoch + 1)
