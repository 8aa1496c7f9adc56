"""Losses of steps come back from their file; a recorder never ends a training and never changes it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from toolbox.errors import UsageError
from toolbox.training.recorders import About, Recorder, Recorders, StepLosses, check, check_installed


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


def about(tmp_path: Path, **changes: Any) -> About:
    run = tmp_path / "synth" / "runs" / "synth_cnn1d_3_1"
    run.mkdir(parents=True, exist_ok=True)
    facts = {"classes": ("N", "V"), "settings": {"lr": 0.1}, "epochs": 20, "epochs_done": 0}
    return About(run, tmp_path, **facts | changes)


ROW = {"epoch": 2, "lr": 0.1, "samples_per_s": 9.0, "train": {"loss": 0.5}, "val": {"loss": 0.4}}


def test_a_recorder_that_fails_is_left_out_with_a_warning_and_the_others_continue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def scalars(self, *_: Any) -> None:
            raise RuntimeError("the server is gone\nat line 7")

    class Counting(Recorder):
        steps: ClassVar[list[tuple[str, int]]] = []

        def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
            self.steps.append((split, step))

    facts = about(tmp_path, epochs=2)
    with Recorders({"one": Failing(facts), "other": Counting(facts)}, facts) as both:
        both.epoch(ROW, torch.nn.Linear(1, 1), None, lambda: 1 / 0)
    assert Counting.steps == [("", 2), ("train", 2), ("val", 2)]
    first, *others = caplog.messages
    assert first == "one records no more of this run, RuntimeError: the server is gone"
    assert others == ["no images of epoch 2 for the recorders, ZeroDivisionError: division by zero"]


def test_details_are_recorded_five_times_a_training_and_at_its_end(tmp_path: Path) -> None:
    for epochs, count in ((1, 1), (2, 2), (7, 4), (20, 5), (1000, 5)):
        facts = about(tmp_path, epochs=epochs)
        recorders = Recorders({"one": Recorder(facts)}, facts)
        steps = [epoch for epoch in range(1, epochs + 1) if recorders.detailed(epoch)]
        assert (len(steps), steps[-1]) == (count, epochs)
    assert not Recorders({}, facts).detailed(1000)


def test_without_its_package_tensorboard_is_a_warning_and_another_recorder_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("toolbox.training.recorders.find_spec", lambda name: None)
    assert not Recorders.opened(["tensorboard"], about(tmp_path))
    assert "no TensorBoard events: tensorboard is not installed" in caplog.text
    with pytest.raises(UsageError, match="needs the package mlflow, which is not installed") as caught:
        check_installed(["mlflow"])
    assert (caught.value.code, caught.value.hint) == (2, "pip install mlflow")
    with pytest.raises(UsageError, match="mlflow, wandb"):
        check(["mflow"])


def test_an_optional_recorder_that_cannot_be_opened_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("toolbox.training.recorders.find_spec", lambda name: None)
    assert not Recorders.opened(["mlflow"], about(tmp_path), optional=["mlflow"])
    assert "not recorded: --log-to mlflow needs the package mlflow" in caplog.text
    with pytest.raises(UsageError):
        Recorders.opened(["mlflow"], about(tmp_path))


class Noisy(torch.nn.Module):
    """A network that draws random numbers, and whose path depends on its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 1e9:
            raise ValueError("never traced")
        return x + torch.rand(1)


def test_the_graph_changes_no_random_number_and_a_network_without_one_is_recorded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    facts = about(tmp_path)
    state = torch.get_rng_state()
    with Recorders.opened(["tensorboard"], facts) as recorders:
        recorders.graph(Noisy(), (torch.ones(1, 2),))
        assert torch.equal(torch.get_rng_state(), state)
        untraced = Noisy().train()
        monkeypatch.setattr(torch.jit, "trace", lambda *_, **__: untraced.missing)
        caplog.set_level("INFO")
        recorders.graph(untraced, (torch.ones(1, 2),))
        assert untraced.training
        assert recorders
    assert "no graph of the network on TensorBoard: it cannot be traced" in caplog.text
    assert capsys.readouterr().out == ""


def test_a_resumed_run_hides_the_epochs_that_it_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done, values in ((0, (1.0, 2.0, 3.0)), (1, (20.0,))):
        monkeypatch.setattr(time, "time", lambda done=done: 1e9 + done)  # files of one second have no order
        with Recorders.opened(["tensorboard"], about(tmp_path, epochs_done=done)) as recorders:
            for epoch, loss in enumerate(values, done + 1):
                row = ROW | {"epoch": epoch, "val": {"loss": loss}}
                recorders.epoch(row, torch.nn.Linear(1, 1), None, dict)
    events = EventAccumulator(str(about(tmp_path).run / "tensorboard" / "val")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("metrics/loss")] == [(1, 1.0), (2, 20.0)]
