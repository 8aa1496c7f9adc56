"""The history of a run as it grows: logger.json, log lines, and TensorBoard where it is asked for."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from toolbox import files
from toolbox.metrics import METRICS
from toolbox.predictions import Predictions
from toolbox.runs import RunFolder

log = logging.getLogger("commander")


def log_epoch(run: RunFolder, history: list[dict[str, Any]], epochs: int) -> None:
    """Write logger.json and say the last epoch in a line."""
    run.write_json("logger.json", history)
    last = history[-1]
    log.info(
        "epoch %d/%d  lr %.2e  train loss %.4f acc %.4f  val loss %.4f acc %.4f macro F1 %.4f  %.1f s",
        last["epoch"],
        epochs,
        last["lr"],
        last["train"]["loss"],
        last["train"]["accuracy"],
        last["val"]["loss"],
        last["val"]["accuracy"],
        last["val"]["macro_f1"],
        last["seconds"],
    )


class Board:
    """TensorBoard events of one run, in its own event file; steps are epochs, and a resumed run hides what it redoes."""

    def __init__(self, folder: Path, classes: Sequence[str], *, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = _raised_again
        self.folder, self.classes = folder, classes
        self.writer = SummaryWriter(str(folder), purge_step=epochs_done + 1 if epochs_done else None)

    def graph(self, model: nn.Module, example: Tensor) -> None:
        """Draw the network as it runs on `example` (1, C, T)."""
        training = model.training
        with self._writing():
            self.writer.add_graph(model.eval(), example)
        model.train(training)

    def epoch(self, row: dict[str, Any], model: nn.Module, predictions: Predictions) -> None:
        """Scalars, weights and gradients (of the epoch's last batch), and what validation looked like."""
        from toolbox import panels, plotter

        step = row["epoch"]
        with self._writing():
            self.writer.add_scalar("lr", row["lr"], step)
            self.writer.add_scalar("rows_per_s", row["samples_per_s"], step)
            for name in METRICS:
                for split in ("train", "val"):
                    self.writer.add_scalar(f"{name}/{split}", row[split][name], step)
            for name, parameter in model.named_parameters():
                self.writer.add_histogram(f"weights/{name}", parameter.detach(), step)
                if parameter.grad is not None:
                    self.writer.add_histogram(f"gradients/{name}", parameter.grad, step)
            figure = plotter.confusion_figure(
                np.array(row["val"]["confusion_matrix"]), self.classes, normalised=True, title=f"validation, epoch {step}"
            )
            self.writer.add_image("confusion_matrix/val", panels.pixels(figure), step, dataformats="HWC")
            for k, name in enumerate(self.classes):
                self.writer.add_pr_curve(f"pr_curve_val/{name}", predictions.target == k, predictions.scores[:, k], step)
            self.writer.flush()

    def hparams(self, flags: dict[str, Any], metrics: dict[str, float]) -> None:
        """The run's flags beside its results, in the run's own event file."""
        from torch.utils.tensorboard.summary import hparams

        plain = {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in flags.items()}
        with self._writing():
            for summary in hparams(plain, metrics):
                self.writer.file_writer.add_summary(summary)
            for name, value in metrics.items():
                self.writer.add_scalar(name, value)

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
