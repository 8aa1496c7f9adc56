"""The default batch size of few rows, the doubt about a network that only knows its training rows, and logged rates."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import args
from commands import build as assembly
from helpers.commands import carried_out
from helpers.training import build, fit
from loaders import base
from loaders.base import Data
from studies import cells
from toolbox.errors import UsageError
from toolbox.metrics import classification

FLAGS = ("--dataset", "table", "--model-name", "cnn1d_3", "--no-figures", "--no-tensorboard")


def written(path: Path, rows: int, *, separable: bool = True) -> Path:
    """Rows of noise with a wave in the second half of them, which is the other class; or with labels by chance."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(rows, 1, 60)).astype(np.float32), np.arange(rows) % 2
    x += np.sin(np.arange(60) / 4).astype(np.float32) * y[:, None, None]
    np.savez(path, x=x, y=y if separable else rng.permutation(y), rate_hz=100.0)
    return path


def test_three_hundred_separable_rows_are_learned_in_fifteen_epochs(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.npz", 300)
    ended = carried_out(*FLAGS, "--data-file", file, "--epochs", 15, "--root-dir", tmp_path)
    assert ended.code == 0, ended.err
    assert ended.result["test"]["accuracy"] > 0.95
    assert "doubts" not in ended.result


def test_a_network_that_learned_its_rows_by_heart_is_warned_about_in_log_report_and_results(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.npz", 80, separable=False)
    flags = ("--data-file", file, "--epochs", 40, "--val-fraction", 0.4, "--lr", 0.01, "--root-dir", tmp_path)
    ended = carried_out(*FLAGS, *flags)
    assert ended.code == 0, ended.err
    (doubt,) = ended.result["doubts"]
    assert "the network fits its training rows alone, or its batch norms need more steps" in doubt
    assert ended.err.splitlines().count(doubt) == 1
    assert f"doubt: {doubt}" in (Path(ended.result["run_folder"]) / "pred" / "report.txt").read_text()


@pytest.mark.parametrize(
    ("train", "val", "doubted"),
    [
        ([[50, 0], [0, 50]], [[15, 15], [15, 15]], True),
        ([[50, 0], [0, 50]], [[5, 25], [25, 5]], True),  # below chance
        ([[50, 0], [0, 50]], [[28, 2], [2, 28]], False),
        ([[50, 0], [0, 50]], [[1, 0], [0, 1]], False),  # few rows, all right
        ([[90, 0], [10, 0]], [[90, 0], [10, 0]], False),  # says one class: not learned
        ([[35, 15], [15, 35]], [[15, 15], [15, 15]], False),
        ([[50, 0], [0, 50]], [[30, 0], [0, 0]], False),  # one class validates
        ([[900, 0], [0, 30]], [[300, 0], [10, 0]], True),  # right on 97 % of validation, which is the share of a class
    ],
)
def test_training_rows_known_by_heart_are_told_from_rows_that_were_learned(
    train: list, val: list, doubted: bool
) -> None:
    assert bool(classification.memorised(np.array(train), np.array(val))) == doubted


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 8), (60, 8), (79, 8), (145, 16), (270, 16), (290, 32), (577, 64), (1152, 64), (1153, 128), (90_000, 128)],
)
def test_the_default_batch_size_is_halved_until_an_epoch_has_ten_steps(rows: int, size: int) -> None:
    assert base.batch_size(None, rows) == size
    assert base.batch_size(77, rows) == 77


def test_a_reduced_batch_size_is_logged_and_gives_the_weights_of_the_same_size_typed(
    tiny: Data, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert assembly.batch_size(args.resolve({"batch_size": 128}), tiny) == 128
        assert not caplog.messages
        assert assembly.batch_size(args.resolve({}), tiny) == 16
        assert len(caplog.messages) == 1
    one, other = (fit(build(tiny, batch_size=size), 1) for size in (16, None))
    assert all(torch.equal(*both) for both in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_a_study_refuses_a_typed_batch_size_beside_the_default_of_the_same_value() -> None:
    base = {"dataset": "synth"}
    with pytest.raises(UsageError, match="batch-size in both"):
        cells.configurations([base, base | {"batch-size": "128"}])
    assert len(cells.configurations([base, base | {"batch-size": "64"}])) == 2


@pytest.mark.filterwarnings("ignore:Seems like")
@pytest.mark.parametrize("scheduler", ["OneCycleLR", "StepLR", "CosineAnnealingLR", "ReduceLROnPlateau", "none"])
@pytest.mark.parametrize("size", [200, 32], ids=["a step an epoch", "five steps an epoch"])
def test_the_logged_rate_of_an_epoch_is_that_of_its_last_step(tiny: Data, scheduler: str, size: int) -> None:
    trainer = build(tiny, scheduler=scheduler, batch_size=size, step=1, epochs=3, backbone_lr=1e-4)
    used: list[list[float]] = []
    step = trainer.optimizer.step

    def stepped(*inputs: object) -> None:
        used.append([group["lr"] for group in trainer.optimizer.param_groups])
        step(*inputs)

    trainer.optimizer.step = stepped
    fit(trainer, 3)
    last = used[::1] if size == 200 else used[4::5]
    assert [[row["lr"], row["backbone_lr"]] for row in trainer.history] == last
