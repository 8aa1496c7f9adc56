"""The epoch under way, gathered on the device: nobody waits for it but whoever asks. And the losses of the epochs
before it."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolbox import files

LOSSES = "loss_per_step.npz"  # in a run folder


class Meter:
    """The order of the rows, what the task keeps of each so far, the losses and their sum, and the first bad step.

    `steps` is how many the epoch has.
    """

    def __init__(self, order: Tensor, steps: int) -> None:
        self.order = order
        self.outputs: Tensor | None = None
        self.losses = torch.full((steps,), torch.nan, device=order.device)
        self.loss_sum = torch.zeros((), device=order.device)
        self.bad_step = torch.full((), -1, device=order.device)
        self.rows = self.steps = 0

    def add(self, outputs: Tensor, loss: Tensor) -> None:
        """Take in a step without reading anything back."""
        outputs, loss = outputs.detach(), loss.detach()
        if self.outputs is None:
            self.outputs = outputs.new_empty(len(self.order), *outputs.shape[1:])
        self.outputs[self.rows : self.rows + len(outputs)] = outputs
        self.losses[self.steps] = loss
        self.loss_sum += loss * len(outputs)
        self.rows += len(outputs)
        self.steps += 1

    def mark(self, value: Tensor) -> Tensor:
        """Whether a step so far had a loss or gradient that is not finite; remembers the first, on the device."""
        fresh = ~torch.isfinite(value) & (self.bad_step < 0)
        self.bad_step = torch.where(fresh, self.steps, self.bad_step)
        return self.bad_step >= 0

    def state_dict(self) -> dict[str, Any]:
        """What was produced; the order is made again from seed and epoch."""
        return {
            "outputs": self.outputs[: self.rows].clone(),
            "loss_sum": self.loss_sum.clone(),
            "losses": self.losses[: self.steps].clone(),
            "rows": self.rows,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state`; losses that an older version did not keep stay NaN."""
        self.rows, self.steps = state["rows"], state["steps"]
        self.outputs = state["outputs"].new_empty(
            len(self.order), *state["outputs"].shape[1:], device=self.order.device
        )
        self.outputs[: self.rows] = state["outputs"]
        self.loss_sum.copy_(state["loss_sum"])
        if "losses" in state:
            self.losses[: self.steps] = state["losses"]


class StepLosses:
    """The training loss of every step of the epochs that are done, in order: `loss` (S,) and the `epoch` (S,) of
    each."""

    def __init__(self) -> None:
        self.epochs: dict[int, NDArray[np.float32]] = {}

    def add(self, epoch: int, losses: Tensor) -> None:
        """Take in the losses (steps,) of an epoch; the one place where they are read from the device."""
        self.epochs[epoch] = losses.float().cpu().numpy()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Both arrays by name."""
        steps = [len(losses) for losses in self.epochs.values()]
        epoch = np.repeat(np.fromiter(self.epochs, np.int32, len(steps)), steps)
        return {"epoch": epoch, "loss": np.concatenate([np.empty(0, np.float32), *self.epochs.values()])}

    def save(self, path: Path) -> None:
        """Write both arrays as NPZ."""
        files.write_whole(path, lambda file: np.savez(file, **self.arrays()))

    @classmethod
    def load(cls, path: Path) -> "StepLosses":
        """Read what `save` wrote; a ValueError where it is anything else."""
        losses = cls()
        try:
            with np.load(path, allow_pickle=False) as arrays:
                losses.load_state_dict({name: torch.from_numpy(arrays[name]) for name in losses.arrays()})
        except (OSError, LookupError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} does not hold the losses of steps: {error}") from error
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Both arrays as tensors."""
        return {name: torch.from_numpy(values) for name, values in self.arrays().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state`; a ValueError where it is not two tensors alike."""
        epoch, loss = state["epoch"].numpy(), state["loss"].numpy()
        if (epoch.dtype, loss.dtype) != (np.int32, np.float32) or not epoch.shape == loss.shape == (len(loss),):
            raise ValueError("the losses of its steps are no numbers, or not one a step")
        self.epochs = {int(number): loss[epoch == number] for number in np.unique(epoch)}
