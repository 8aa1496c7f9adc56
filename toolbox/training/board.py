"""TensorBoard events of one run, the recorder that is on by default.

TensorBoard draws values of one tag from several folders in one chart. So train, validation and test have a folder
each, and their metrics the same tags: a chart shows the three without a click. Everything else is in the folder itself:

    tensorboard/          graph, images, weights, precision-recall, flags (hparams), learning rate, rows a second
    tensorboard/train     metrics/loss, metrics/macro_f1, ...
    tensorboard/val       the same tags
    tensorboard/test      the same tags at the tested epoch, and test/N recall, ... of each class

Groups of tags are opened in alphabetical order, the first two by TensorBoard itself: `metrics`, then `pictures`.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from toolbox import files
from toolbox.metrics.labels import EVERY
from toolbox.metrics.ranking import of_class
from toolbox.runs.predictions import Predictions
from toolbox.training.recorders import About, Images, Recorder, log

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
FIRST = 1  # a repeated test hides every earlier one


class Board(Recorder):
    """TensorBoard events; a resumed run hides the epochs that it repeats."""

    def __init__(self, about: About, within: str = "") -> None:
        super().__init__(about, within)
        threading.excepthook = _raised_again
        self.folder = about.run / FOLDER / within
        self.writers: dict[str, SummaryWriter] = {}
        with self._writing():
            self._writer()._get_file_writer().add_summary(self._session()[0])

    def _writer(self, split: str = "") -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        if split not in self.writers:
            repeated = self.about.epochs_done + 1 if self.about.epochs_done else None
            hidden = FIRST if split == "test" else repeated
            self.writers[split] = SummaryWriter(str(self.folder / split), purge_step=hidden)
        return self.writers[split]

    def _session(self) -> tuple[Any, Any]:
        """The flags, as start and end of a session.

        The list of all flags, which belongs to them, is left out: TensorBoard reads the one of the first run, and
        without any it shows the flags of every run.
        """
        from torch.utils.tensorboard.summary import hparams

        simple = bool | int | float | str
        flags = {
            name: value if isinstance(value, simple) else str(value) for name, value in self.about.settings.items()
        }
        _, start, end = hparams(flags, {})
        return start, end

    def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
        with self._writing():
            for name, value in values.items():
                group, tag = ("metrics" if name in EVERY else "test", name) if split else ("rates", name)
                self._writer(split).add_scalar(f"{group}/{tag.replace('/', ' ')}", value, step)
            self._writer(split).flush()

    def images(self, images: Images, step: int) -> None:
        with self._writing():
            for tag, image in images.items():
                self._writer().add_image(tag, image, step, dataformats="HWC")
            self._writer().flush()

    def graph(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        """Draw the network; one that cannot be traced has no graph, and all other records."""
        training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # attention has another graph without gradients
        try:
            with self._writing(), warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
                traced = torch.jit.trace(model.eval(), example, check_trace=False)  # the check imports for a second
                self._writer().add_graph(traced, example)
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            log.info("no graph of the network on TensorBoard: it cannot be traced (%s)", type(error).__name__)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            model.train(training)

    def weights(self, model: nn.Module, step: int) -> None:
        with self._writing():
            for name, parameter in model.named_parameters():
                self._writer().add_histogram(f"weights/{name}", parameter.detach(), step)
                if parameter.grad is not None:
                    self._writer().add_histogram(f"weights_gradients/{name}", parameter.grad, step)

    def curves(self, split: str, predictions: Predictions, classes: Sequence[str], step: int) -> None:
        with self._writing():
            for k, name in enumerate(classes):
                rows = of_class(predictions.target, k), predictions.scores[:, k]
                self._writer().add_pr_curve(f"{split}_{name}", *rows, step)
            self._writer().flush()

    def close(self, *, done: bool) -> None:
        with self._writing():
            if done:
                self._writer()._get_file_writer().add_summary(self._session()[1])
            for writer in self.writers.values():
                writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a failed write of an event file into a ResourceError."""
        try:
            yield
        except OSError as error:
            events = (path for path in self.folder.rglob("events.*"))
            path = max(events, key=lambda path: path.stat().st_mtime_ns, default=self.folder)
            raise files.refused(path, error, path) from error


def _raised_again(thread: threading.ExceptHookArgs) -> None:
    """Ignore an OSError of the thread that writes events: the next call of its writer raises the error."""
    if not issubclass(thread.exc_type, OSError):
        threading.__excepthook__(thread)
