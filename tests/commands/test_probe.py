"""A probe: a frozen network, its features once, the last layer by logistic regression; beside it random weights."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from commands import probe
from commands.probe import EPOCHS, Probe
from helpers.commands import assert_error, carried_out
from helpers.training import assert_same, build, fit, through_a_file
from loaders.base import Data
from toolbox.runs.folder import RunFolder
from toolbox.training import linear

PROBE = {"train": "probe", "pretrained": "a run", "epochs": EPOCHS}
COMMON = ("--dataset", "synth", "--threads", 1, "--no-figures", "--short-run")


@pytest.mark.parametrize("name", ["cnn1d_3", "resnet1d_10", "xresnet1d_10", "lstm_1"])
def test_only_the_last_layer_changes_and_its_outputs_are_those_of_the_network(
    name: str, tiny: Data, tmp_path: Path
) -> None:
    trainer = build(tiny, model_name=name, root_dir=tmp_path, **PROBE)
    assert isinstance(trainer, Probe)
    before = {key: each.clone() for key, each in trainer.model.state_dict().items()}
    calls: list[int] = []
    trainer.model.register_forward_hook(lambda *_: calls.append(1))
    fit(trainer, EPOCHS)
    seen = len(calls)
    predictions = trainer.predict(tiny.val)
    assert len(calls) == seen
    own = {id(trainer.layer.weight), id(trainer.layer.bias)}
    fixed = [key for key, each in trainer.model.state_dict(keep_vars=True).items() if id(each) not in own]
    assert all(torch.equal(trainer.model.state_dict()[key], before[key]) for key in fixed)
    with torch.no_grad():
        outputs = trainer.model.eval()(torch.from_numpy(tiny.val.x)).softmax(1)
    np.testing.assert_allclose(predictions.scores, outputs, atol=1e-5)
    assert [row["C"] for row in trainer.history] == [*linear.STRENGTHS]
    best = max(trainer.history, key=lambda row: (row["val"]["macro_f1"], -row["val"]["loss"], -row["epoch"]))
    assert trainer.best_epoch == best["epoch"]


def test_a_stopped_probe_ends_as_one_that_was_not_stopped(tiny: Data, tmp_path: Path) -> None:
    how = PROBE | {"root_dir": tmp_path}
    whole = fit(build(tiny, **how), EPOCHS)
    half = fit(build(tiny, **how), 3)
    resumed = through_a_file(half, tiny, RunFolder(tmp_path), **how)
    assert_same(whole, fit(resumed, EPOCHS))


def test_features_are_computed_once_for_the_same_weights_and_inputs(tiny: Data, tmp_path: Path) -> None:
    def known(**how: Any) -> tuple[torch.Tensor, bool]:
        """The features of the training rows, and whether the network made them anew."""
        trainer = build(tiny, root_dir=tmp_path, **PROBE | {"model_name": "resnet1d_10"} | how)
        assert isinstance(trainer, Probe)
        calls: list[int] = []
        trainer.model.register_forward_hook(lambda *_: calls.append(1))
        found, _ = trainer.features(tiny.train)
        again, _ = trainer.features(tiny.train)
        assert again is found
        return found, bool(calls)

    first, made = known()
    assert made
    same, made = known()
    assert not made
    assert torch.equal(same, first)
    for other in ({"seed": 5}, {"model_args": "blocks=2-1-1-1"}, {"form": "plain"}):
        found, made = known(**other)
        assert made
        assert other.keys() == {"form"} or found.shape != first.shape or not torch.equal(found, first)
    for path in (tmp_path / "tiny/cache").glob("features-*/features.npy"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    mended, made = known()
    assert made
    assert torch.equal(mended, first)


def test_rows_of_another_split_are_not_taken_for_those_of_a_freed_one(tiny: Data, tmp_path: Path) -> None:
    trainer = build(tiny, root_dir=tmp_path, **PROBE)
    assert isinstance(trainer, Probe)
    for count in (5, 6, 7):
        assert len(trainer.features(tiny.train.rows(np.arange(count)))[0]) == count


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A root with a trained run and a probe of it."""
    root = ("--root-dir", tmp_path_factory.mktemp("probe"))
    first = carried_out(*COMMON, *root, "--model-name", "resnet1d_10", "--epochs", 6, "--seed", 7)
    assert first.code == 0, first.err
    flags = (*COMMON, *root, "--model-name", "resnet1d_10")
    ended = carried_out(*flags, "--pretrained", "synth_resnet1d_10_1", "--train", "probe")
    assert ended.code == 0, ended.err
    return SimpleNamespace(flags=flags, first=first, run=root[1] / "synth/runs/synth_resnet1d_10_2", **vars(ended))


def test_a_probe_stands_beside_the_same_network_with_random_weights(probed: SimpleNamespace) -> None:
    random = probed.result["random_weights"]
    assert random["test"]["macro_f1"] != probed.result["test"]["macro_f1"]
    assert random["val"].keys() == random["test"].keys() >= {"macro_f1", "accuracy", "loss"}
    assert "from random weights: macro F1" in (probed.run / "pred/report.txt").read_text()
    assert "from random weights" in (probed.run / "report.html").read_text()
    history = json.loads((probed.run / "logger.json").read_text())
    assert len(history) == EPOCHS
    again = carried_out(*probed.flags, "--version", 2, "--test")
    assert again.code == 0, again.err
    assert again.result["test"] == probed.result["test"]
    assert again.result["random_weights"] == random


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ((), "--train probe needs trained features"),
        (("--pretrained", "synth_resnet1d_10_1", "--augment", "noise"), "--augment is for training in steps"),
        (("--pretrained", "synth_resnet1d_10_1", "--members", 2), "--train probe is for one network"),
        (("--pretrained", "synth_resnet1d_10_1", "--patience", 1), "--patience is for training in steps"),
        (("--pretrained", "synth_resnet1d_10_1", "--val-fraction", 0), "--train probe needs validation rows"),
        (("--pretrained", "synth_resnet1d_10_1", "--epochs", 9), "--epochs is 9, --train probe has one for each of 6"),
    ],
)
def test_flags_that_a_probe_cannot_use_are_refused(probed: SimpleNamespace, flags: tuple, why: str) -> None:
    assert_error(carried_out(*probed.flags, "--version", "bump", "--train", "probe", *flags), 2, why)


def test_a_training_of_loaded_weights_stands_beside_the_same_one_without_them(probed: SimpleNamespace) -> None:
    flags = (*probed.flags, "--epochs", 6, "--seed", 7, "--version")
    tuned = carried_out(*flags, "bump", "--pretrained", "synth_resnet1d_10_1")
    assert tuned.code == 0, tuned.err
    assert tuned.result["random_weights"]["run"] == "synth_resnet1d_10_1"
    assert tuned.result["random_weights"]["test"]["macro_f1"] == probed.first.result["test"]["macro_f1"]
    assert "(synth_resnet1d_10_1)" in tuned.err
    other = carried_out(*flags, "bump", "--pretrained", "synth_resnet1d_10_1", "--lr", 0.001)
    assert "random_weights" not in other.result
    config = probed.run.with_name("synth_resnet1d_10_1") / "config.json"
    text = config.read_text()
    config.write_text(text.replace(json.loads(text)["data"]["checksum"], 64 * "0"))  # of other data
    assert probe.from_random_weights(RunFolder(Path(tuned.result["run_folder"]))) == {}
    config.write_text(text)
    assert "no such run is here; the same command without --pretrained trains it" in other.err


def test_fewer_training_rows_are_no_other_division(probed: SimpleNamespace) -> None:
    flags = (*probed.flags, "--version", "bump", "--train", "probe", "--pretrained", "synth_resnet1d_10_1")
    fewer = carried_out(*flags, "--split-seed", 7, "--label-fraction", 0.5)
    assert fewer.code == 0, fewer.err
    assert "may have been trained on rows that" not in fewer.err
    moved = carried_out(*flags, "--split-seed", 3)
    assert "may have been trained on rows that validate or test here: --seed 7 there, 3 here" in moved.err
