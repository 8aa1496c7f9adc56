"""MLflow as a recorder: `--log-to mlflow`.

Runs go into the store `<root>/mlflow.db`, images into `<root>/mlartifacts`; `mlflow ui --backend-store-uri
sqlite:///<root>/mlflow.db` shows them. The environment variable MLFLOW_TRACKING_URI names another store or a server. An
experiment is a dataset, and a resumed run continues its own: it is found by the name of its folder.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

from toolbox.errors import ResourceError
from toolbox.training.recorders import About, Images, Recorder

TAG = "run_folder"  # of the runs of this program
LONGEST = 500  # characters of a parameter
CHATTER = ("mlflow", "alembic")


class MlflowRun(Recorder):
    """One run of MLflow, written through its client, which has no state that other runs of a process share."""

    def __init__(self, about: About, within: str = "") -> None:
        super().__init__(about, within)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for name in CHATTER:
            logging.getLogger(name).setLevel(logging.WARNING)
        where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{about.root.resolve() / 'mlflow.db'}"
        try:
            self.client: Any = MlflowClient(where)
            self.run = self._run()
            for name, value in about.settings.items():
                self.client.log_param(self.run, name, str(value)[:LONGEST])
        except (MlflowException, OSError, ImportError) as error:
            what = f"mlflow cannot record: {(str(error).splitlines() or ['no reason given'])[0]}"
            raise ResourceError(what, where=where, hint="another MLFLOW_TRACKING_URI, or leave --log-to out") from error

    def _run(self) -> str:
        """The identifier of this folder's run: an earlier one, or a new one."""
        name, root = self.about.run.name, self.about.root.resolve()
        dataset = self.about.run.parent.parent.name
        found = self.client.get_experiment_by_name(dataset)
        artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (root / "mlartifacts" / dataset).as_uri()
        experiment = found.experiment_id if found else self.client.create_experiment(dataset, artifacts)
        if self.about.epochs_done:
            earlier = self.client.search_runs([experiment], f"tags.{TAG} = '{name}'", max_results=1)
            if earlier:
                self.client.update_run(earlier[0].info.run_id, status="RUNNING")
                return earlier[0].info.run_id
        return self.client.create_run(experiment, run_name=name, tags={TAG: name}).info.run_id

    def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, self.named(split, name), value, step=step)

    def images(self, images: Images, step: int) -> None:
        for tag, image in images.items():
            self.client.log_image(self.run, image, artifact_file=f"{self.named(tag)}_{step}.png")

    def close(self, *, done: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if done else "KILLED")
