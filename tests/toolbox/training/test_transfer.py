"""Weights of another run: loaded, reinitialised and frozen tensors, and refused sources."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.commands import SHORT, assert_error, carried_out, finish, launch, wait_for, weights
from helpers.data import by_kind
from helpers.training import StopAfter, assert_same, build, fit, through_a_file
from loaders.base import Data
from loaders.synthetic import beats
from models import AUTOENCODERS, CLASSIFIERS, VISION
from toolbox.errors import CheckpointError, UsageError
from toolbox.runs import checkpoints
from toolbox.runs.folder import RunFolder
from toolbox.training import transfer

RUN = "synth_cnn1d_3_1"
FRESH = ("--epochs", "1", "--version", "bump")  # after SHORT, a run beside the source


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny: Data) -> Path:
    """The best checkpoint of a run of one epoch, beside a config.json that names the classes; to be left as it is."""
    folder = tmp_path_factory.mktemp("saved") / "synth" / "runs" / RUN
    folder.mkdir(parents=True)
    checkpoints.save(RunFolder(folder), fit(build(tiny), 1).state_dict(), is_best=True, epoch_done=True)
    (folder / "config.json").write_text(json.dumps({"data": tiny.spec.as_dict()}))
    return folder / "model_best.pth.tar"


def of_classes(data: Data, *classes: str) -> Data:
    """The same rows under other classes, as many of them as are named."""
    fewer = replace(data.train, y=data.train.y % len(classes)), replace(data.val, y=data.val.y % len(classes))
    spec = replace(data.spec, classes=classes, importance=(1.0,) * len(classes))
    return replace(data, spec=spec, train=fewer[0], val=fewer[1])


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def kept(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_for_the_same_classes_every_tensor_is_loaded(tiny: Data, saved: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(saved, tmp_path / "a b é.tar"))  # a lone file does not name its classes
    same = build(tiny)
    same.model.load_state_dict(weights(saved.parent, saved.name))
    for path in (saved, alone):
        trainer = build(tiny, seed=7)
        source = transfer.load(trainer.model, path, tiny.spec.classes)
        assert (source["tensors_loaded"], source["tensors_left"]) == (len(trainer.model.state_dict()), [])
        np.testing.assert_array_equal(trainer.outputs(tiny.val.x), same.outputs(tiny.val.x))
    assert transfer.load(build(of_classes(tiny, "a", "b")).model, alone, ("a", "b"))["tensors_loaded"] == 9


@pytest.mark.parametrize("classes", ["ab", "abcde"], ids=["another number", "as many, other names"])
def test_for_other_classes_the_head_alone_is_reinitialised(tiny: Data, saved: Path, classes: str) -> None:
    other = of_classes(tiny, *classes)
    trainer, untouched = build(other, seed=7), build(other, seed=7)
    source = transfer.load(trainer.model, saved, tuple(classes))
    taken, mine, own = weights(saved.parent, saved.name), kept(trainer), kept(untouched)
    heads = {name for name in mine if name.startswith("head.")}
    assert not heads & changed(mine, own)
    assert all(torch.equal(mine[name], taken[name]) for name in mine.keys() - heads)
    assert [left.split()[0] for left in source["tensors_left"]] == ["head.weight", "head.bias"]


@pytest.mark.parametrize("name", by_kind(CLASSIFIERS))
def test_the_head_of_every_classifier_can_be_trained_alone(name: str, tiny: Data, tiny_charts: Data) -> None:
    data = tiny_charts if name in VISION else tiny
    trainer = build(replace(data, train=data.train.rows(np.arange(20))), model_name=name, train="head", batch_size=10)
    before = kept(trainer)
    optimized = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in trainer.model.head.parameters()}
    fit(trainer, 1)
    heads = {name for name, _ in trainer.model.named_parameters() if name.startswith("head.")}
    assert changed(before, trainer.model.state_dict()) == heads


def test_running_statistics_change_where_all_is_trained(tiny: Data) -> None:
    trainer = build(tiny)
    before = kept(trainer)
    assert "features.1.running_mean" in changed(before, fit(trainer, 1).model.state_dict())


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_network_without_a_head_refuses_to_train_it_alone(name: str, tiny: Data) -> None:
    with pytest.raises(UsageError, match="this one has none"):
        build(tiny, model_name=name, train="head", normal_class="N")


@pytest.mark.parametrize("looks", [2, 7], ids=["in the first epoch", "later"])
def test_a_resumed_head_equals_one_never_stopped(tiny: Data, saved: Path, tmp_path: Path, looks: int) -> None:
    flags = {"train": "head", "seed": 7, "model_name": "cnn1d_3"}
    undisturbed, stopped = build(tiny, **flags), build(tiny, **flags)
    for trainer in (undisturbed, stopped):
        transfer.load(trainer.model, saved, ("another", "five", "of", "them", "here"))
    fit(undisturbed, 3)
    assert fit(stopped, 3, StopAfter(looks)).epoch < 3
    assert_same(undisturbed, fit(through_a_file(stopped, tiny, RunFolder(tmp_path), **flags), 3))


@pytest.mark.parametrize("text", ["*", "synth_*", "[s]ynth_cnn1d_3_1", "../runs", ".", "..", "synth_cnn1d_3_"])
def test_only_the_full_name_of_a_run_is_found(text: str, saved: Path) -> None:
    root = saved.parents[3]
    assert transfer.find(RUN, root) == saved
    with pytest.raises(CheckpointError, match=RUN):
        transfer.find(text, root)


@pytest.mark.parametrize("model", [None, [1], {}, {"head.weight": "text"}, {1: torch.zeros(1)}], ids=str)
def test_a_checkpoint_of_odd_values_is_refused(model: Any, tiny: Data, saved: Path, tmp_path: Path) -> None:
    torch.save(torch.load(saved, weights_only=True) | {"model": model}, tmp_path / "odd.tar")
    before = kept(trainer := build(tiny, seed=7))
    with pytest.raises(CheckpointError):
        transfer.load(trainer.model, tmp_path / "odd.tar", tiny.spec.classes)
    assert not changed(before, trainer.model.state_dict())


# As a user types it


@pytest.fixture
def source(root: Path, plain_run: Path) -> Path:
    """A copy of a short run on the generated beats, below a root in which other runs can be made."""
    return shutil.copytree(plain_run, root / "synth" / "runs" / RUN)


def config(ended: SimpleNamespace) -> dict:
    assert ended.code == 0, ended.err
    return json.loads((Path(ended.result["run_folder"]) / "config.json").read_text())


@pytest.mark.parametrize("form", ["run", "folder", "file"])
def test_a_run_a_folder_and_a_file_are_loaded_and_named_in_the_config(source: Path, tmp_path: Path, form: str) -> None:
    elsewhere = shutil.copytree(source, tmp_path / "Ä b" / "心电 1")
    typed = {"run": RUN, "folder": elsewhere, "file": elsewhere / "checkpoint.pth.tar"}[form]
    still = ("--lr", "1e-9", "--weight-decay", "0", "--root-dir", source.parents[2])
    ended = carried_out(*SHORT, *FRESH, "--pretrained", typed, *still)
    origin = RUN if form == "run" else elsewhere.name
    name = "checkpoint.pth.tar" if form == "file" else "model_best.pth.tar"
    epoch = torch.load(source / name, weights_only=True)["epoch"]
    expected = {"checkpoint": f"{origin}/{name}", "epoch": epoch, "tensors_loaded": 11, "tensors_left": []}
    assert config(ended)["pretrained"] == expected
    assert f"loaded 11 of 11 tensors from {origin}/{name}" in ended.err
    assert str(tmp_path) not in (Path(ended.result["run_folder"]) / "config.json").read_text()
    begun = weights(Path(ended.result["run_folder"]))
    torch.testing.assert_close(begun["head.weight"], weights(source, name)["head.weight"], atol=1e-6, rtol=0)


def test_a_run_on_other_classes_is_resumed_without_its_source(source: Path, tmp_path: Path) -> None:
    arrays, root = beats.beats(1000, seed=11), source.parents[2]
    rows = np.concatenate([np.flatnonzero(arrays["y"] == k)[:80] for k in (0, 4)])
    y = np.where(arrays["y"][rows] == 0, "normal", "paced")
    np.savez(tmp_path / "my beats.npz", x=arrays["x"][rows], y=y, rate_hz=125.0)
    flags = ("--dataset", "table", "--data-file", tmp_path / "my beats.npz", "--model-name", "cnn1d_3", "--no-figures")
    flags += ("--root-dir", root)
    how = ("--pretrained", RUN, "--train", "head", "--epochs", "20", "--batch-size", "16")
    undisturbed = carried_out(*flags, *how)
    assert "reinitialised: head.weight is its own; head.bias is its own" in undisturbed.err
    was = config(undisturbed)
    assert was["pretrained"]["tensors_loaded"] == 9
    assert was["parameters"] == 576 * 2 + 2
    mine, theirs = weights(Path(undisturbed.result["run_folder"])), weights(source, "model_best.pth.tar")
    assert changed({name: mine[name] for name in mine if not name.startswith("head.")}, theirs) == set()
    assert undisturbed.result["test"]["accuracy"] > 0.8

    stopped, run = launch(*flags, *how), root / "table" / "runs" / "table_cnn1d_3_2"
    wait_for((run / "res" / "epoch3.npz").exists, stopped)
    stopped.terminate()
    assert finish(stopped).code == 143
    shutil.rmtree(source)
    refused = carried_out(*flags, "--resume", "latest", "--pretrained", "another_run")
    assert_error(refused, 2, f"--pretrained is another_run, the run has {RUN}")
    resumed = carried_out(*flags, "--resume", "latest", "--pretrained", RUN)
    assert resumed.code == 0, resumed.err
    assert resumed.result["test"] == undisturbed.result["test"]
    assert not changed(mine, weights(run))
    assert json.loads((run / "config.json").read_text())["pretrained"] == was["pretrained"]


def test_an_overridden_run_keeps_its_source_and_refuses_another(source: Path) -> None:
    flags = ("--model-name", "cnn1d_3", "--no-figures", "--root-dir", source.parents[2])
    begun = config(carried_out(*SHORT, *FRESH, "--pretrained", source, "--root-dir", source.parents[2]))
    other = carried_out(*flags, "--resume", "latest", "--epochs", "2", "--override", "--pretrained", RUN)
    assert_error(other, 2, "only a new run can start with")
    on = config(carried_out(*flags, "--resume", "latest", "--epochs", "2", "--override", "--batch-size", "64"))
    assert on["pretrained"] == begun["pretrained"]


def damaged(folder: Path, source: Path) -> Path:
    (folder / "damaged.tar").write_bytes((source / "model_best.pth.tar").read_bytes()[:9000])
    return folder / "damaged.tar"


def pickled(folder: Path, source: Path) -> Path:
    torch.save({"state_dict": {}, "logger": SimpleNamespace()}, folder / "pickled.tar")
    return folder / "pickled.tar"


Source = Callable[[Path, Path], object]
OTHER, DETECT = ("--model-name", "resnet1d_10"), ("--task", "detect", "--model-name", "conv_ae", "--train", "head")
REFUSED: dict[str, tuple[Source, tuple[str, ...], int, str]] = {
    "another network": (lambda folder, source: source, OTHER, 4, "none of its weights fits: "),
    "a missing run": (lambda folder, source: "synth_cnn1d_3_7", (), 4, f"synth_cnn1d_3_7; existing runs: {RUN}"),
    "a folder that is no run": (lambda folder, source: folder, (), 4, "the folder has no model_best.pth.tar"),
    "a damaged file": (damaged, (), 4, "damaged"),
    "a file of text": (lambda folder, source: source / "config.json", (), 4, "config.json"),
    "one with a pickled object": (pickled, (), 4, "types.SimpleNamespace"),
    "no head": (lambda folder, source: RUN, DETECT, 2, "has none"),
    "an unknown part": (lambda folder, source: RUN, ("--train", "heads"), 2, "head"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refused_source_is_one_line_and_no_folder_is_made(source: Path, tmp_path: Path, fault: str) -> None:
    make, flags, code, says = REFUSED[fault]
    typed = make(tmp_path, source)
    ended = carried_out(*SHORT, *FRESH, "--pretrained", typed, *flags, "--root-dir", source.parents[2])
    assert_error(ended, code, says)
    assert [path.name for path in source.parent.iterdir()] == [RUN]
