"""Records of a training: TensorBoard events and the losses of its steps.

`Board(folder, classes, epochs_done=0)`, then `epoch` after each epoch and `test` at the end; the caller gives images.
"""

import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolbox import files
from toolbox.metrics.classification import METRICS
from toolbox.runs.predictions import Predictions

LOSSES = "loss_per_step.npz"  # in a run folder
RATES = ("lr", "backbone_lr")  # of the head or the whole network; of the layers before the head
Images = Mapping[str, NDArray[np.uint8]]  # tag -> (H, W, 3)


class Board:
    """TensorBoard events of one run; steps are epochs, and a resumed run hides the epochs that it repeats."""

    def __init__(self, folder: Path, classes: Sequence[str], *, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _raised_again
        self.folder, self.classes = folder, classes
        self.writer = SummaryWriter(str(folder), purge_step=epochs_done + 1 if epochs_done else None)

    def graph(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        """Draw the network as it runs on `example`, the inputs of one row."""
        training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # attention has another graph without gradients
        try:
            with self._writing(), warnings.catch_warnings(action="ignore", category=torch.jit.TracerWarning):
                self.writer.add_graph(model.eval(), example)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            model.train(training)

    def epoch(self, row: dict[str, Any], model: nn.Module, predictions: Predictions | None, images: Images) -> None:
        """Scalars, weights, gradients of the last batch, `images`, and precision-recall of validation."""
        step = row["epoch"]
        scalars = {name: row[name] for name in RATES if name in row} | {"rows_per_s": row["samples_per_s"]}
        for split in ("train", "val"):
            scalars |= {f"{name}/{split}": row[split][name] for name in METRICS if name in row[split]}
        with self._writing():
            for name, parameter in model.named_parameters():
                self.writer.add_histogram(f"weights/{name}", parameter.detach(), step)
                if parameter.grad is not None:
                    self.writer.add_histogram(f"gradients/{name}", parameter.grad, step)
            self._add(scalars, images, step)
            if predictions is not None and "confusion_matrix" in row["val"]:
                self._add_curves("pr_curve_val", predictions, self.classes, step)
            self.writer.flush()

    def test(
        self,
        scalars: Mapping[str, float],
        predictions: Predictions,
        images: Images,
        *,
        curves: Sequence[str],
        step: int,
    ) -> None:
        """Figures of the test, `images`, and precision-recall of the classes `curves`, the columns of the scores."""
        with self._writing():
            self._add({f"test/{name}": value for name, value in scalars.items()}, images, step)
            self._add_curves("pr_curve_test", predictions, curves, step)
            self.writer.flush()

    def _add(self, scalars: Mapping[str, float], images: Images, step: int) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        for tag, image in images.items():
            self.writer.add_image(tag, image, step, dataformats="HWC")

    def _add_curves(self, tag: str, predictions: Predictions, classes: Sequence[str], step: int) -> None:
        for k, name in enumerate(classes):
            self.writer.add_pr_curve(f"{tag}/{name}", predictions.target == k, predictions.scores[:, k], step)

    def hparams(self, settings: dict[str, Any], values: dict[str, Any]) -> None:
        """Add the run's flags and the figures of its test to its event file."""
        from torch.utils.tensorboard.summary import hparams

        simple = bool | int | float | str
        plain = {key: value if isinstance(value, simple) else str(value) for key, value in settings.items()}
        figures = {f"test/{name}": value for name, value in values.items() if isinstance(value, float)}
        with self._writing():
            for summary in hparams(plain, figures):
                self.writer._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Write the remaining events."""
        with self._writing():
            self.writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failed write of the event file into a ResourceError."""
        try:
            yield
        except OSError as error:
            path = max(self.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, default=self.folder)
            raise files.refused(path, error, path) from error


def _raised_again(thread: threading.ExceptHookArgs) -> None:
    """Ignore an OSError of the thread that writes events: the next call of its writer raises the error."""
    if not issubclass(thread.exc_type, OSError):
        threading.__excepthook__(thread)


class StepLosses:
    """The training loss of every step of the finished epochs: `loss` (S,) and the `epoch` (S,) of each."""

    def __init__(self) -> None:
        self.epochs: dict[int, NDArray[np.float32]] = {}

    def add(self, epoch: int, losses: Tensor) -> None:
        """Add the losses (steps,) of an epoch; only this reads them from the device."""
        self.epochs[epoch] = losses.float().cpu().numpy()

    def arrays(self) -> dict[str, Any]:
        """Both arrays by name."""
        steps = [len(losses) for losses in self.epochs.values()]
        epoch = np.repeat(np.fromiter(self.epochs, np.int32, len(steps)), steps)
        return {"epoch": epoch, "loss": np.concatenate([np.empty(0, np.float32), *self.epochs.values()])}

    def save(self, path: Path) -> None:
        """Write both arrays as NPZ."""
        files.write_whole(path, lambda file: np.savez(file, **self.arrays()))

    @classmethod
    def load(cls, path: Path) -> "StepLosses":
        """Read a file of `save`. Raises ValueError for any other file."""
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
        """Resume from `state`. Raises ValueError unless it holds two tensors of equal length."""
        epoch, loss = state["epoch"].numpy(), state["loss"].numpy()
        if (epoch.dtype, loss.dtype) != (np.int32, np.float32) or not epoch.shape == loss.shape == (len(loss),):
            raise ValueError("the losses of its steps are no numbers, or not one a step")
        self.epochs = {int(number): loss[epoch == number] for number in np.unique(epoch)}
