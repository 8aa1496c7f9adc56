"""Weights & Biases gets flags, metrics and images without a network, into a folder of the root."""

from pathlib import Path

import numpy as np
import pytest

from toolbox.training.recorders import About, Recorders

pytest.importorskip("wandb", reason="wandb is not installed: pip install -r requirements-wandb.txt")


def test_a_run_is_written_offline_into_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = tmp_path / "synth" / "runs" / "synth_cnn1d_3_1"
    run.mkdir(parents=True)
    facts = About(run, tmp_path, ("N", "V"), {"lr": 0.1}, epochs=2, epochs_done=0)
    with Recorders.opened(["wandb"], facts) as recorders:
        own = recorders.members["wandb"].run
        recorders.members["wandb"].scalars("val", {"loss": 0.5}, 1)
        recorders.images(lambda: {"pictures/one": np.zeros((4, 5, 3), np.uint8)}, 1)
        assert recorders, "a failed recorder is left out"
        assert (own.summary["val/loss"], own.summary["epoch"]) == (0.5, 1)
        assert dict(own.config)["lr"] == 0.1
    (written,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(written.glob("*.wandb"))
    assert not list(run.rglob("*"))
