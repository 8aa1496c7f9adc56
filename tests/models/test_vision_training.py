"""Training networks for charts: what is frozen stays and costs nothing, two rates, bfloat16, and a run as a user types
it."""

import json
import logging
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import args
from commands import choices
from helpers.commands import carried_out, weights
from helpers.data import make_spec
from helpers.published import published
from helpers.training import NEVER, StopAfter, assert_same, build, fit, through_a_file
from loaders.base import Data
from loaders.synthetic import beats as synth
from models import get_model
from toolbox import devices
from toolbox.errors import UsageError
from toolbox.reports import plots
from toolbox.runs.folder import RunFolder
from toolbox.training.recorders import Board

QUICK = {"model_name": "mobilenet_v3_small", "batch_size": 10}
HALF = partial(torch.autocast, "cpu", torch.bfloat16)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def state(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_with_the_head_alone_no_statistic_moves_nothing_drops_out_and_no_graph_is_made(
    name: str, tiny_charts: Data
) -> None:
    trainer = build(tiny_charts, model_name=name, train="head", batch_size=10)
    before, seen = state(trainer), []
    drops = [part for part in trainer.model.modules() if type(part).__name__ in ("Dropout", "StochasticDepth")]
    assert drops or name == "resnet18"
    trainer.model.body.register_forward_hook(lambda _, __, outputs: seen.append(outputs.grad_fn))
    for part in (*drops, *(part for part in trainer.model.modules() if isinstance(part, nn.BatchNorm2d))):
        part.register_forward_hook(lambda part, *_: seen.append(part.training or None))
    fit(trainer, 1)
    assert moved(before, trainer.model.state_dict()) == {"head.weight", "head.bias"}
    assert set(seen) == {None}
    assert all(parameter.grad is None for parameter in trainer.model.body.parameters())


def test_with_all_of_it_statistics_move_so_that_their_rest_means_something(tiny_charts: Data) -> None:
    trainer = build(tiny_charts, **QUICK)
    before = state(trainer)
    assert "body.features.0.1.running_mean" in moved(before, fit(trainer, 1).model.state_dict())


def test_patience_ends_a_run_on_charts(tiny_charts: Data) -> None:
    trainer = build(tiny_charts, **QUICK, train="head", epochs=30, lr=1e-12, monitor="accuracy")
    trainer.fit(30, on_epoch=lambda *_: None, stop=NEVER, patience=2)
    assert trainer.epoch == trainer.best["epoch"] + 2 < 30


@pytest.mark.parametrize(
    ("device", "image", "rows"), [("cuda", (224, 224), 167), ("cpu", (224, 224), 10), ("cuda", None, 512)]
)
def test_how_many_rows_are_predicted_at_once(
    device: str, image: tuple[int, int] | None, rows: int, tiny: Data, tiny_charts: Data
) -> None:
    data = tiny_charts if image else tiny
    trainer, sizes = build(data, **(QUICK if image else {})), []
    trainer.device = SimpleNamespace(type=device)
    trainer.data = SimpleNamespace(spec=SimpleNamespace(image=image, shape=(3, *image) if image else (1, 187)))

    def stop(order: None, size: int) -> None:
        sizes.append(size)
        raise KeyError

    split = SimpleNamespace(batches=lambda _: SimpleNamespace(batches=stop))
    with pytest.raises(KeyError):
        trainer.predict(split)
    assert sizes == [rows]


# Two learning rates


@pytest.mark.parametrize("scheduler", choices.CHOICES["scheduler"])
def test_head_and_backbone_follow_the_schedule_each_with_its_rate_and_resume_exactly(
    scheduler: str, tiny: Data, tmp_path: Path
) -> None:
    flags = {"lr": 0.01, "backbone_lr": 0.001, "scheduler": scheduler, "step": 1}
    undisturbed = fit(build(tiny, **flags), 3)
    for row in undisturbed.history:
        assert row["backbone_lr"] == pytest.approx(0.1 * row["lr"])
    resumed = fit(through_a_file(fit(build(tiny, **flags), 3, StopAfter(7)), tiny, RunFolder(tmp_path), **flags), 3)
    assert_same(undisturbed, resumed)
    assert [group["lr"] for group in resumed.optimizer.param_groups] == [
        group["lr"] for group in undisturbed.optimizer.param_groups
    ]


@pytest.mark.parametrize("name", ["cnn1d_3", "lstm_1", "mobilenet_v3_small"])
def test_the_head_comes_first_and_everything_else_is_the_backbone(name: str, tiny: Data, tiny_charts: Data) -> None:
    trainer = build(tiny_charts if name == QUICK["model_name"] else tiny, model_name=name, backbone_lr=1e-4)
    head, backbone = ({id(each) for each in group["params"]} for group in trainer.optimizer.param_groups)
    assert head == {id(each) for each in trainer.model.head.parameters()}
    assert head | backbone == {id(each) for each in trainer.model.parameters()}
    assert not head & backbone


def test_a_backbone_that_hardly_moves_is_left_behind_by_its_head(tiny: Data) -> None:
    trainer = build(tiny, lr=0.01, backbone_lr=1e-12, optimizer="sgd", weight_decay=0.0)
    before = state(trainer)
    after = fit(trainer, 1).model.state_dict()
    torch.testing.assert_close(after["features.0.weight"], before["features.0.weight"], atol=1e-8, rtol=0)
    assert not torch.allclose(after["head.weight"], before["head.weight"], atol=1e-3)


def test_the_same_rate_for_both_is_the_run_without_it(tiny: Data) -> None:
    same, plain = fit(build(tiny, lr=0.01, backbone_lr=0.01), 2), fit(build(tiny, lr=0.01), 2)
    assert not moved(state(plain), state(same))
    assert "backbone_lr" not in plain.history[0]


def test_a_network_without_a_head_and_a_frozen_backbone_have_no_rate_of_it(tiny: Data) -> None:
    with pytest.raises(UsageError, match="--backbone-lr is for a network with a head, this one has none"):
        build(tiny, model_name="conv_ae", normal_class="N", backbone_lr=0.1)
    assert args.complaints({"backbone_lr": 0.1, "train": "head"}) == [
        "--backbone-lr and --train head exclude each other"
    ]
    assert args.complaints({"backbone_lr": 0.0}) == ["--backbone-lr is 0.0, must be above 0 and finite"]


def test_both_rates_are_in_the_log_and_the_picture(
    tiny: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    history = fit(build(tiny, lr=0.01, backbone_lr=0.001, scheduler="none"), 1).history
    RunFolder(tmp_path).log_epoch(history, 4)
    assert "lr 1.00e-02, backbone 1.00e-03" in caplog.text
    assert [name for name, *_ in plots.history_panels(history)[-1].lines] == ["lr", "backbone_lr"]
    assert json.loads((tmp_path / "logger.json").read_text())[0]["backbone_lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_b_16"])
def test_its_graph_is_drawn_and_the_network_left_as_it_was(name: str, tmp_path: Path) -> None:
    model, x = get_model(name, make_spec(image=(32, 48))), torch.rand(1, 3, 32, 48)
    with closing(Board(tmp_path, ("a", "b"), epochs_done=0)) as board:
        board.graph(model, (x,))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Graph().node) > 100
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled()


# Mixed precision


def mixed(data: Data, **flags: Any) -> Any:
    """A trainer in bfloat16, whatever this machine has."""
    trainer = build(data, **flags)
    trainer.autocast = HALF
    return trainer


def test_without_the_flag_nothing_is_cast(tiny: Data) -> None:
    assert build(tiny).autocast is nullcontext
    assert devices.autocast(torch.device("cpu"), mixed=False) is nullcontext


@pytest.mark.parametrize("has_it", [True, False])
def test_what_the_device_cannot_do_is_said_and_done_in_float32(
    has_it: bool, tiny: Data, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(devices.HALF, "cpu", lambda: has_it)
    trainer = build(tiny, mixed_precision=True)
    plain = fit(build(tiny), 1)
    assert bool(moved(state(plain), state(fit(trainer, 1)))) == has_it
    assert ("--mixed-precision: cpu does not compute in bfloat16, training uses float32" in caplog.text) != has_it


def test_weights_losses_and_figures_are_float32_and_predictions_are_those_of_the_weights(tiny_charts: Data) -> None:
    trainer, seen = mixed(tiny_charts, **QUICK), []
    trainer.model.head.register_forward_hook(
        lambda _, __, outputs: seen.append((trainer.model.training, outputs.dtype))
    )
    loss = trainer.task.loss

    def watched(rows: torch.Tensor, *more: Any) -> torch.Tensor:
        assert rows.dtype == torch.float32
        return loss(rows, *more)

    trainer.task.loss = watched
    fit(trainer, 1)
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    plain = build(tiny_charts, **QUICK)
    plain.model.load_state_dict(trainer.model.state_dict())
    np.testing.assert_array_equal(trainer.predict(tiny_charts.val).scores, plain.predict(tiny_charts.val).scores)


def test_it_learns_as_float32_does(tiny: Data) -> None:
    half, plain = fit(mixed(tiny), 3).history, fit(build(tiny), 3).history
    assert half[-1]["train"]["loss"] == pytest.approx(plain[-1]["train"]["loss"], rel=0.05)


def test_in_bfloat16_too_stopped_and_resumed_equals_never_stopped(tiny_charts: Data, tmp_path: Path) -> None:
    undisturbed, stopped = fit(mixed(tiny_charts, **QUICK), 3), fit(mixed(tiny_charts, **QUICK), 3, StopAfter(7))
    resumed = through_a_file(stopped, tiny_charts, RunFolder(tmp_path), **QUICK)
    resumed.autocast = HALF
    assert_same(undisturbed, fit(resumed, 3))


# As a user types it


def test_a_run_on_charts_from_a_file_of_weights_is_trained_tested_and_tested_again(tmp_path: Path) -> None:
    beats = synth.beats(120, seed=3)
    np.savez(tmp_path / "beats.npz", x=beats["x"], y=np.where(beats["y"] > 0, "other", "normal"), rate_hz=125.0)
    data = ("--dataset", "table", "--data-file", tmp_path / "beats.npz", "--root-dir", tmp_path)
    run = (*data, "--model-name", QUICK["model_name"], "--no-figures")
    how = ("--view", "chart", "--chart-size", "64", "--augment", "tilt,age,mixup", "--calibrate", "--tensorboard")
    more = ("--weights-file", published(tmp_path), "--backbone-lr", "1e-4", "--mixed-precision", "--patience", "5")
    trained = carried_out(*run, *how, *more, "--epochs", "2", "--batch-size", "40")
    assert trained.code == 0, trained.err
    assert "tensors from weights.pth; reinitialised: the head" in trained.err
    folder = Path(trained.result["run_folder"])
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained"]["file"] == "weights.pth"
    assert config["flags"]["weights_file"] == "weights.pth"  # beside the root folder's data, and movable with it
    assert config["data"]["image"][0] == 64
    assert {"lr", "backbone_lr"} <= json.loads((folder / "logger.json").read_text())[0].keys()
    assert list((folder / "tensorboard").iterdir())
    assert "body.features.0.0.weight" in weights(folder)
    (tmp_path / "weights.pth").unlink()  # what a run began with is not needed again
    again = carried_out(*run, "--test")
    assert again.code == 0, again.err
    assert again.result == trained.result
