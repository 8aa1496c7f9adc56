"""Small trainings in this process."""

from types import SimpleNamespace
from typing import Any

import torch

import args
from commands import build as assembly
from commands import choices
from loaders.base import Data
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder
from trainer import Trainer

NEVER = SimpleNamespace(requested=None)
TIMES = ("seconds", "samples_per_s")


def build(data: Data, **flags: Any) -> Trainer:
    flags = {"epochs": 4, "batch_size": 32, "model_name": "cnn1d_3", "device": "cpu", **flags}
    flags["view"] = "chart" if data.spec.image else "signal"
    return assembly.build(choices.settle(args.resolve(flags)), data)


def fit(trainer: Trainer, epochs: int, stop: Any = NEVER) -> Trainer:
    trainer.fit(epochs, on_epoch=lambda *_: None, stop=stop)
    return trainer


class StopAfter:
    """Asks for the end once it was looked at `looks` times, as a signal in the middle of an epoch would."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> int | None:
        self.looks -= 1
        return 15 if self.looks < 0 else None


def through_a_file(trainer: Trainer, data: Data, folder: RunFolder, **flags: Any) -> Trainer:
    """A new trainer, as a new process would build it, that continues from what `trainer` saved."""
    checkpoints.save(folder, trainer.state_dict(), is_best=False, epoch_done=False)
    torch.manual_seed(999)
    resumed = build(data, **flags)
    state = checkpoints.load(folder.checkpoint("latest"))
    checkpoints.load_weights(resumed.model, state["model"], "here")
    resumed.load_state_dict(state)
    return resumed


def assert_same(one: Trainer, other: Trainer) -> None:
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key
    assert untimed(one.history) == untimed(other.history)
    assert one.best == other.best
    assert_equal_trees(one.losses.state_dict(), other.losses.state_dict())
    assert_equal_trees(one.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"])


def assert_equal_trees(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_trees(one[key], other[key])
    else:
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def untimed(history: list[dict[str, Any]]) -> str:
    return repr([{key: value for key, value in row.items() if key not in TIMES} for row in history])
