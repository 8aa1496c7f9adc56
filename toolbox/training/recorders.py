"""Records of a training while it runs: recorders such as TensorBoard, and the losses of its steps.

    with Recorders.opened(["tensorboard", "mlflow"], about) as recorders:
        recorders.graph(model, example)
        recorders.epoch(row, model, predictions, draw)    # after each epoch
        recorders.test(scalars, predictions, images, curves=classes, step=epoch)

A recorder is one file with a subclass of `Recorder`, and a line in `RECORDERS`. The caller's `draw` makes images.
"""

import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolbox import files
from toolbox.errors import CommanderError, UsageError
from toolbox.metrics.labels import EVERY
from toolbox.registry import pick
from toolbox.runs.predictions import Predictions

LOSSES = "loss_per_step.npz"  # in a run folder
RATES = ("lr", "backbone_lr")  # of the head or the whole network; of the layers before the head
DETAILED = 5  # times in a training that images, weights and curves are recorded
Images = Mapping[str, NDArray[np.uint8]]  # tag -> (H, W, 3)
log = logging.getLogger("commander")


@dataclass(frozen=True)
class About:
    """A run, for its recorders: `settings` are the flags that were typed or differ from the default."""

    run: Path
    root: Path
    classes: Sequence[str]
    settings: Mapping[str, Any]
    epochs: int
    epochs_done: int


class Recorder:
    """Records one run; steps are epochs, and `within` names a part of the run. Methods that it lacks do nothing."""

    def __init__(self, about: About, within: str = "") -> None:
        self.about, self.within = about, within

    def named(self, *parts: str) -> str:
        """A name in the part of the run that is recorded, as latest/test/macro_f1."""
        return "/".join(filter(None, (self.within, *parts)))

    def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
        """Values by name, of "train", "val" or "test", or of the training as a whole ("")."""

    def images(self, images: Images, step: int) -> None:
        """Images by tag."""

    def graph(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        """The network as it runs on `example`, the inputs of one row."""

    def weights(self, model: nn.Module, step: int) -> None:
        """The distribution of the weights, and of the gradients of the last batch."""

    def curves(self, split: str, predictions: Predictions, classes: Sequence[str], step: int) -> None:
        """Precision against recall of `classes`, the columns of the scores."""

    def close(self, *, done: bool) -> None:
        """Write the remainder; `done` if the command came to its end."""


class Known(NamedTuple):
    """A recorder: its class, its package, and the command that installs the package."""

    target: str
    package: str
    install: str


RECORDERS = {
    "tensorboard": Known("toolbox.training.board:Board", "tensorboard", "pip install tensorboard"),
    "mlflow": Known("toolbox.training.mlflow_runs:MlflowRun", "mlflow", "pip install mlflow"),
    "wandb": Known("toolbox.training.wandb_runs:WandbRun", "wandb", "pip install wandb"),
}
BY_DEFAULT = "tensorboard"


def check(names: Sequence[str]) -> None:
    """Raise UsageError for an unknown recorder."""
    for name in names:
        pick("log-to", {known: known for known in RECORDERS if known != BY_DEFAULT}, name)


def check_installed(names: Sequence[str]) -> None:
    """Raise UsageError for a recorder without its package, before anything is trained."""
    for name in names:
        if not _installed(name):
            what = f"--log-to {name} needs the package {RECORDERS[name].package}, which is not installed"
            raise UsageError(what, hint=RECORDERS[name].install)


def _installed(name: str) -> bool:
    try:
        return find_spec(RECORDERS[name].package) is not None
    except ValueError:  # a module without a specification
        return False


class Recorders:
    """All recorders of a run; one that fails is left out from then on, and the training continues."""

    def __init__(self, members: Mapping[str, Recorder], about: About) -> None:
        self.members, self.about = dict(members), about

    @classmethod
    def opened(
        cls, names: Sequence[str], about: About, *, within: str = "", optional: Sequence[str] = (BY_DEFAULT,)
    ) -> "Recorders":
        """The recorders of these names; `within` is the part of the run that they record, "" for all.

        Of the `optional` ones, as TensorBoard, any may be missing or fail, with a warning.
        """
        members: dict[str, Recorder] = {}
        for name in names:
            if name == BY_DEFAULT and not _installed(name):
                what = "no TensorBoard events: tensorboard is not installed; %s, or --no-tensorboard"
                log.warning(what, RECORDERS[name].install)
                continue
            module, _, made = RECORDERS[name].target.partition(":")
            try:
                check_installed([name])
                members[name] = getattr(import_module(module), made)(about, within)
            except CommanderError as error:
                if name not in optional:
                    raise
                log.warning("not recorded: %s", error.what)
        return cls(members, about)

    def __bool__(self) -> bool:
        return bool(self.members)

    def __enter__(self) -> "Recorders":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._each(lambda member: member.close(done=kind is None))

    def _each(self, call: Callable[[Recorder], None]) -> None:
        for name, member in list(self.members.items()):
            try:
                call(member)
            except CommanderError:  # a full disk, which stops the run's other files too
                raise
            except Exception as error:
                first = (str(error).splitlines() or [""])[0]
                log.warning("%s records no more of this run, %s: %s", name, type(error).__name__, first)
                del self.members[name]

    def detailed(self, epoch: int) -> bool:
        """Whether images, weights and curves are recorded after this epoch: five times a training, and at its end."""
        return bool(self) and (epoch % -(-self.about.epochs // DETAILED) == 0 or epoch == self.about.epochs)

    def graph(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        """Record the network as it runs on `example`, the inputs of one row; random numbers stay as they are."""
        devices = [tensor.device for tensor in example[:1] if tensor.device.type == "cuda"]
        with torch.random.fork_rng(devices=devices):
            self._each(lambda member: member.graph(model, example))

    def images(self, draw: Callable[[], Images], step: int) -> None:
        """Record the images that `draw` makes; only called if there is a recorder."""
        try:
            images = draw() if self else {}
        except Exception as error:
            log.warning("no images of epoch %d for the recorders, %s: %s", step, type(error).__name__, error)
            return
        self._each(lambda member: member.images(images, step))

    def epoch(
        self, row: dict[str, Any], model: nn.Module, predictions: Predictions | None, draw: Callable[[], Images]
    ) -> None:
        """Record the scalars of an epoch and, after some, the images that `draw` makes, weights, validation curves."""
        step = row["epoch"]
        rates = {name: row[name] for name in RATES if name in row} | {"rows_per_s": row["samples_per_s"]}
        self._each(lambda member: member.scalars("", rates, step))
        for split in ("train", "val"):
            values = {name: row[split][name] for name in EVERY if name in row[split]}
            self._each(methodcaller("scalars", split, values, step))
        if not self.detailed(step):
            return
        self.images(draw, step)
        self._each(lambda member: member.weights(model, step))
        if predictions is not None and "macro_auroc" in row["val"]:
            self._each(lambda member: member.curves("val", predictions, self.about.classes, step))

    def test(
        self,
        scalars: Mapping[str, float],
        predictions: Predictions,
        images: Images,
        *,
        curves: Sequence[str],
        step: int,
    ) -> None:
        """Record the figures of the test, `images`, and the curves of `curves`, the classes of the scores."""
        self._each(lambda member: member.scalars("test", scalars, step))
        self._each(lambda member: member.images(images, step))
        self._each(lambda member: member.curves("test", predictions, curves, step))


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
