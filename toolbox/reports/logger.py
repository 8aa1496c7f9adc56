"""The history of a run as it grows: logger.json, log lines, and TensorBoard where it is asked for."""

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolbox import files
from toolbox.metrics.classification import METRICS
from toolbox.runs.folder import RunFolder
from toolbox.runs.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = (5.0, 4.0)  # inches of a panel
log = logging.getLogger("commander")
RATES = ("lr", "backbone_lr")  # of the head, or of all; of what is before the head, where that has its own
SAID = {"loss": "loss", "accuracy": "acc", "macro_f1": "macro F1"}  # in the line an epoch has


def log_epoch(run: RunFolder, history: list[dict[str, Any]], epochs: int) -> None:
    """Write logger.json and say the last epoch in a line."""
    run.write_json("logger.json", history)
    last = history[-1]
    figures = "  ".join(
        f"{split} " + " ".join(f"{name} {last[split][key]:.4f}" for key, name in SAID.items() if key in last[split])
        for split in ("train", "val")
        if last[split]
    )
    rates = f"lr {last['lr']:.2e}" + (f", backbone {last['backbone_lr']:.2e}" if "backbone_lr" in last else "")
    log.info("epoch %d/%d  %s  %s  %.1f s", last["epoch"], epochs, rates, figures, last["seconds"])


class Board:
    """TensorBoard events of one run, in its own event file; steps are epochs, and a resumed run hides what it
    redoes."""

    def __init__(self, folder: Path, classes: Sequence[str], *, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _raised_again
        self.folder, self.classes = folder, classes
        self.writer = SummaryWriter(str(folder), purge_step=epochs_done + 1 if epochs_done else None)

    def graph(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        """Draw the network as it runs on `example`, the inputs of one row."""
        training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # attention has another graph where no gradient is asked for
        try:
            with self._writing(), warnings.catch_warnings(action="ignore", category=torch.jit.TracerWarning):
                self.writer.add_graph(model.eval(), example)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            model.train(training)

    def epoch(self, row: dict[str, Any], model: nn.Module, predictions: Predictions | None) -> None:
        """Scalars, weights and gradients (of the epoch's last batch), and how the classes were told apart."""
        step = row["epoch"]
        with self._writing():
            for name in [name for name in RATES if name in row]:
                self.writer.add_scalar(name, row[name], step)
            self.writer.add_scalar("rows_per_s", row["samples_per_s"], step)
            for split in ("train", "val"):
                for name in METRICS:
                    if name in row[split]:
                        self.writer.add_scalar(f"{name}/{split}", row[split][name], step)
            for name, parameter in model.named_parameters():
                self.writer.add_histogram(f"weights/{name}", parameter.detach(), step)
                if parameter.grad is not None:
                    self.writer.add_histogram(f"gradients/{name}", parameter.grad, step)
            if "confusion_matrix" in row["val"]:
                self._classes(row, predictions)
            self.writer.flush()

    def _classes(self, row: dict[str, Any], predictions: Predictions) -> None:
        """Confusion matrices of train and validation, and validation's precision-recall curves."""
        from toolbox.reports import plots

        step = row["epoch"]
        for split, title in (("train", "train"), ("val", "validation")):
            matrix = np.array(row[split]["confusion_matrix"])
            figure = plots.confusion_figure(matrix, self.classes, normalised=True, title=f"{title}, epoch {step}")
            self._image(f"confusion_matrix/{split}", figure, step)
        for k, name in enumerate(self.classes):
            self.writer.add_pr_curve(f"pr_curve_val/{name}", predictions.target == k, predictions.scores[:, k], step)

    def test(
        self,
        figures: Mapping[str, float],
        predictions: Predictions,
        *,
        step: int,
        curves: Sequence[str],
        matrix: NDArray[Any] | None,
        classes: Sequence[str],
    ) -> None:
        """What the test showed: scalars, the confusion matrix (K, K) of `classes`, and of the classes `curves`, which
        are the columns of the scores, precision-recall curves and the ROC. No curves and no matrix where no row has a
        label."""
        from toolbox.reports import plots

        with self._writing():
            for name, value in figures.items():
                self.writer.add_scalar(f"test/{name}", value, step)
            if matrix is not None:
                figure = plots.confusion_figure(matrix, classes, normalised=True, title=f"test, epoch {step}")
                self._image("confusion_matrix/test", figure, step)
            for k, name in enumerate(curves):
                self.writer.add_pr_curve(
                    f"pr_curve_test/{name}", predictions.target == k, predictions.scores[:, k], step
                )
            if curves:
                figure = plots.panels_figure(plots.roc_panels(predictions, curves), 1, f"test, epoch {step}", CELL)
                self._image("roc/test", figure, step)
            self.writer.flush()

    def _image(self, tag: str, figure: "Figure", step: int) -> None:
        from toolbox.reports import plots

        self.writer.add_image(tag, plots.pixels(figure), step, dataformats="HWC")

    def hparams(self, flags: dict[str, Any], values: dict[str, Any]) -> None:
        """The run's flags beside the figures that its test has put there, in the run's own event file."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in flags.items()
        }
        figures = {f"test/{name}": value for name, value in values.items() if isinstance(value, float)}
        with self._writing():
            for summary in hparams(plain, figures):
                self.writer.file_writer.add_summary(summary)

    def close(self) -> None:
        """Write out what is left."""
        with self._writing():
            self.writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make one line of what the system refuses to the file of events."""
        try:
            yield
        except OSError as error:
            path = max(self.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, default=self.folder)
            raise files.refused(path, error, path) from error


def _raised_again(thread: threading.ExceptHookArgs) -> None:
    """The thread that writes events dies of a full disk, and the next call of its writer raises the reason."""
    if not issubclass(thread.exc_type, OSError):
        threading.__excepthook__(thread)
