"""Losses of steps come back from their file as they were, and a file of other arrays is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from toolbox.training.recorders import StepLosses


def test_losses_of_steps_are_read_as_they_were_written_and_other_files_refused(tmp_path: Path) -> None:
    path, losses = tmp_path / "losses.npz", StepLosses()
    losses.add(3, torch.tensor([0.5, 0.25]))
    losses.add(4, torch.tensor([0.125]))
    losses.save(path)
    loaded = {name: values.tolist() for name, values in StepLosses.load(path).arrays().items()}
    assert loaded == {"epoch": [3, 3, 4], "loss": [0.5, 0.25, 0.125]}
    for arrays in (
        {"loss": np.zeros(2)},
        {"epoch": np.zeros(2), "loss": np.zeros(2)},
        {"epoch": np.zeros(1, np.int32), "loss": np.zeros(2, np.float32)},
        {"epoch": np.array([{}]), "loss": np.zeros(1, np.float32)},
        None,
    ):
        if arrays is None:
            path.write_bytes(b"PK\x03\x04")
        else:
            np.savez(path, **arrays)
        with pytest.raises(ValueError, match=r"losses"):
            StepLosses.load(path)
