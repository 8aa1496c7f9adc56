"""MLflow gets flags, metrics by epoch and images into a store of the root, and a resumed run continues its own."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from toolbox.errors import ResourceError
from toolbox.training.recorders import About, Recorders

pytest.importorskip("mlflow", reason="mlflow is not installed: pip install -r requirements-mlflow.txt")


def about(root: Path, **changes: int) -> About:
    run = root / "synth" / "runs" / "synth_cnn1d_3_1"
    run.mkdir(parents=True, exist_ok=True)
    return About(run, root, ("N", "V"), {"lr": 0.1}, **{"epochs": 2, "epochs_done": 0} | changes)


def test_a_run_and_its_resumed_part_are_one_run_of_mlflow_in_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for done in (0, 1):
        facts = about(tmp_path, epochs_done=done)
        with Recorders.opened(["mlflow"], facts) as recorders:
            recorders.members["mlflow"].scalars("val", {"loss": 0.5 + done}, done + 1)
            recorders.images(lambda: {"pictures/one": np.zeros((4, 5, 3), np.uint8)}, done + 1)
            assert recorders, "a failed recorder is left out"
    assert sqlite3.connect(tmp_path / "mlflow.db").execute("select count(*) from runs").fetchone() == (1,)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("synth").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params) == (facts.run.name, "FINISHED", {"lr": "0.1"})
    history = client.get_metric_history(run.info.run_id, "val/loss")
    assert [(value.step, value.value) for value in history] == [(1, 0.5), (2, 1.5)]
    assert len(list((tmp_path / "mlartifacts").rglob("*.png"))) == 2


def test_a_store_that_cannot_be_opened_is_an_error_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nothing://of-the-kind")
    with pytest.raises(ResourceError, match="mlflow cannot record"):
        Recorders.opened(["mlflow"], about(tmp_path))
