"""Weights of another run: loaded, reinitialised and frozen tensors, and refused sources."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.commands import SHORT, carried_out, finish, launch, wait_for, weights
from helpers.data import BIG
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


def saved(folder: Path, data: Data, **flags: object) -> Path:
    """A run of `data` trained for an epoch: its best checkpoint, beside a config.json that names the classes."""
    folder.mkdir(parents=True)
    trainer = fit(build(data, **flags), 1)
    checkpoints.save(RunFolder(folder), trainer.state_dict(), is_best=True, epoch_done=True)
    (folder / "config.json").write_text(json.dumps({"data": data.spec.as_dict()}))
    return folder / "model_best.pth.tar"


def of_classes(data: Data, *classes: str) -> Data:
    """The same rows under other classes, as many of them as are named."""
    fewer = replace(data.train, y=data.train.y % len(classes)), replace(data.val, y=data.val.y % len(classes))
    spec = replace(data.spec, classes=classes, importance=(1.0,) * len(classes))
    return replace(data, spec=spec, train=fewer[0], val=fewer[1])


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def kept(trainer: object) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_where_the_classes_agree_every_tensor_is_taken_and_the_outputs_are_the_sources(
    tiny: Data, tmp_path: Path
) -> None:
    path = saved(tmp_path / "source", tiny)
    trainer = build(tiny, seed=7)
    source = transfer.load(trainer.model, path, tiny.spec.classes)
    assert (source["tensors_loaded"], source["tensors_left"]) == (len(trainer.model.state_dict()), [])
    same = build(tiny)
    same.model.load_state_dict(weights(path.parent, path.name))
    np.testing.assert_array_equal(trainer.outputs(tiny.val.x), same.outputs(tiny.val.x))


@pytest.mark.parametrize(
    "classes", [("a", "b"), ("a", "b", "c", "d", "e")], ids=["another number", "as many, other names"]
)
def test_of_other_classes_the_head_alone_is_begun_anew(tiny: Data, tmp_path: Path, classes: tuple[str, ...]) -> None:
    path = saved(tmp_path / "source", tiny)
    other = of_classes(tiny, *classes)
    trainer, untouched = build(other, seed=7), build(other, seed=7)
    source = transfer.load(trainer.model, path, classes)
    taken, mine, own = weights(path.parent, path.name), trainer.model.state_dict(), untouched.model.state_dict()
    assert changed({name: mine[name] for name in mine if name.startswith("head.")}, own) == set()
    assert all(torch.equal(mine[name], taken[name]) for name in mine if not name.startswith("head."))
    assert [left.split()[0] for left in source["tensors_left"]] == ["head.weight", "head.bias"]


def test_a_lone_file_that_does_not_say_its_classes_gives_all_that_fits(tiny: Data, tmp_path: Path) -> None:
    path = saved(tmp_path / "source", tiny)
    alone = shutil.copy(path, tmp_path / "a b é.tar")
    assert transfer.load(build(tiny, seed=7).model, Path(alone), tiny.spec.classes)["tensors_left"] == []
    assert transfer.load(build(of_classes(tiny, "a", "b")).model, Path(alone), ("a", "b"))["tensors_loaded"] == 9


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in BIG])
def test_of_every_classifier_the_head_alone_can_be_trained(name: str, tiny: Data, tiny_charts: Data) -> None:
    data = tiny_charts if name in VISION else tiny
    trainer = build(replace(data, train=data.train.rows(np.arange(20))), model_name=name, train="head", batch_size=10)
    before = kept(trainer)
    optimized = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert optimized == {id(parameter) for parameter in trainer.model.head.parameters()}
    fit(trainer, 1)
    heads = {name for name, _ in trainer.model.named_parameters() if name.startswith("head.")}
    assert changed(before, trainer.model.state_dict()) == heads


def test_running_statistics_move_where_all_is_trained_so_that_their_rest_means_something(tiny: Data) -> None:
    trainer = build(tiny)
    before = kept(trainer)
    assert "features.1.running_mean" in changed(before, fit(trainer, 1).model.state_dict())


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_network_without_a_head_refuses_to_train_it_alone(name: str, tiny: Data) -> None:
    with pytest.raises(UsageError, match="this one has none"):
        build(tiny, model_name=name, train="head", normal_class="N")


@pytest.mark.parametrize("looks", [2, 7], ids=["in the first epoch", "later"])
def test_a_head_that_is_stopped_and_resumed_equals_one_never_stopped_and_its_source_is_not_needed(
    tiny: Data, tmp_path: Path, looks: int
) -> None:
    path, flags = saved(tmp_path / "source", tiny), {"train": "head", "seed": 7, "model_name": "cnn1d_3"}
    undisturbed, stopped = build(tiny, **flags), build(tiny, **flags)
    for trainer in (undisturbed, stopped):
        transfer.load(trainer.model, path, ("another", "five", "of", "them", "here"))
    fit(undisturbed, 3)
    assert fit(stopped, 3, StopAfter(looks)).epoch < 3
    shutil.rmtree(path.parent)
    (tmp_path / "run").mkdir()
    resumed = fit(through_a_file(stopped, tiny, RunFolder(tmp_path / "run"), **flags), 3)
    assert_same(undisturbed, resumed)


@pytest.mark.parametrize("text", ["*", "synth_*", "[s]ynth_cnn1d_3_1", "../runs", ".", "..", "synth_cnn1d_3_"])
def test_only_a_name_in_full_is_a_name(text: str, tiny: Data, tmp_path: Path) -> None:
    saved(tmp_path / "synth" / "runs" / RUN, tiny)
    assert transfer.find(RUN, tmp_path).parent.name == RUN
    with pytest.raises(CheckpointError, match=RUN):
        transfer.find(text, tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        {"model": None},
        {"model": [1]},
        {"model": {}},
        {"model": {"head.weight": "text"}},
        {"model": {1: torch.zeros(1)}},
    ],
    ids=str,
)
def test_a_checkpoint_of_odd_values_is_refused_in_a_line(edit: dict, tiny: Data, tmp_path: Path) -> None:
    path = saved(tmp_path / "source", tiny)
    torch.save(torch.load(path, weights_only=True) | edit, path)
    before = kept(trainer := build(tiny, seed=7))
    with pytest.raises(CheckpointError):
        transfer.load(trainer.model, path, tiny.spec.classes)
    assert not changed(before, trainer.model.state_dict())


# As a user types it


@pytest.fixture
def source(root: Path, short_run: SimpleNamespace) -> Path:
    """A copy of a short run on the generated beats, below a root that other runs can be made in."""
    return shutil.copytree(short_run.path, root / "synth" / "runs" / RUN)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 300 generated beats, named by what a person might want to know of them."""
    arrays, path = beats.beats(1500, seed=11), tmp_path_factory.mktemp("table") / "my beats.npz"
    rows = np.concatenate([np.flatnonzero(arrays["y"] == k)[:150] for k in (0, 4)])
    rows = np.concatenate([rows[:150], rows[150:250]])
    np.savez(path, x=arrays["x"][rows], y=np.where(arrays["y"][rows] == 0, "normal", "paced"), rate_hz=125.0)
    return path


def config(ended: SimpleNamespace) -> dict:
    assert ended.code == 0, ended.err
    return json.loads((Path(ended.result["run_folder"]) / "config.json").read_text())


@pytest.mark.parametrize("form", ["run", "folder", "file"])
def test_a_run_a_folder_and_a_file_are_taken_and_the_config_says_what_of_them(
    source: Path, tmp_path: Path, form: str
) -> None:
    elsewhere = shutil.copytree(source, tmp_path / "Ä b" / "心电 1")
    typed = {"run": RUN, "folder": elsewhere, "file": elsewhere / "checkpoint.pth.tar"}[form]
    ended = carried_out(
        *SHORT, *FRESH, "--pretrained", typed, "--lr", "1e-9", "--weight-decay", "0", "--root-dir", source.parents[2]
    )
    origin = RUN if form == "run" else elsewhere.name
    name = "checkpoint.pth.tar" if form == "file" else "model_best.pth.tar"
    assert config(ended)["pretrained"] == {
        "checkpoint": f"{origin}/{name}",
        "epoch": torch.load(source / name, weights_only=True)["epoch"],
        "tensors_loaded": 11,
        "tensors_left": [],
    }
    assert f"loaded 11 of 11 tensors from {origin}/{name}" in ended.err
    assert str(tmp_path) not in (Path(ended.result["run_folder"]) / "config.json").read_text()
    begun = weights(Path(ended.result["run_folder"]))
    torch.testing.assert_close(begun["head.weight"], weights(source, name)["head.weight"], atol=1e-6, rtol=0)


def test_what_was_learned_on_one_dataset_is_taken_to_a_table_of_other_classes(source: Path, two_classes: Path) -> None:
    root = source.parents[2]
    flags = ("--dataset", "table", "--data-file", two_classes, "--model-name", "cnn1d_3", "--no-figures")
    flags += ("--root-dir", root)
    how = ("--pretrained", RUN, "--train", "head", "--epochs", "40", "--batch-size", "16")
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
    refused = carried_out(*flags[:-2], "--root-dir", root, "--resume", "latest", "--pretrained", "another_run")
    assert refused.code == 2
    assert f"--pretrained is another_run, the run has {RUN}" in refused.err
    resumed = carried_out(*flags, "--resume", "latest", "--pretrained", RUN)
    assert resumed.code == 0, resumed.err
    assert resumed.result["test"] == undisturbed.result["test"]
    assert not changed(mine, weights(run))
    assert json.loads((run / "config.json").read_text())["pretrained"] == was["pretrained"]


def test_a_run_that_goes_on_otherwise_still_says_where_it_came_from_and_takes_no_other_weights(source: Path) -> None:
    flags = ("--model-name", "cnn1d_3", "--no-figures", "--root-dir", source.parents[2])
    begun = config(carried_out(*SHORT, *FRESH, "--pretrained", source, "--root-dir", source.parents[2]))
    other = carried_out(*flags, "--resume", "latest", "--epochs", "2", "--override", "--pretrained", RUN)
    assert other.code == 2, other.err
    assert "only a new run can start with" in other.err.splitlines()[-1]
    on = config(carried_out(*flags, "--resume", "latest", "--epochs", "2", "--override", "--batch-size", "64"))
    assert on["pretrained"] == begun["pretrained"]
    again = carried_out(*flags, "--resume", "latest", "--pretrained", source)
    assert again.code == 0, again.err


def pickled(folder: Path) -> Path:
    torch.save({"state_dict": {}, "logger": SimpleNamespace()}, folder / "pickled.tar")
    return folder / "pickled.tar"


def damaged(folder: Path, source: Path) -> Path:
    (folder / "damaged.tar").write_bytes((source / "model_best.pth.tar").read_bytes()[:9000])
    return folder / "damaged.tar"


REFUSED = {
    "another network": (
        lambda folder, source: source,
        ("--model-name", "resnet1d_10"),
        4,
        "none of its weights fits: ",
    ),
    "a missing run": (lambda folder, source: "synth_cnn1d_3_7", (), 4, f"runs with a best checkpoint: {RUN}"),
    "a missing file": (lambda folder, source: folder / "no.tar", (), 4, f"runs with a best checkpoint: {RUN}"),
    "a folder that is no run": (lambda folder, source: folder, (), 4, "the folder has no model_best.pth.tar"),
    "a damaged file": (damaged, (), 4, "damaged"),
    "a file of text": (lambda folder, source: source / "config.json", (), 4, "config.json"),
    "one with a pickled object": (lambda folder, source: pickled(folder), (), 4, "types.SimpleNamespace"),
    "no head": (
        lambda folder, source: RUN,
        ("--task", "detect", "--model-name", "conv_ae", "--train", "head"),
        2,
        "has none",
    ),
    "a part that is none": (lambda folder, source: RUN, ("--train", "heads"), 2, "head"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_source_that_will_not_do_is_one_line_and_no_folder_is_made(source: Path, tmp_path: Path, fault: str) -> None:
    make, flags, code, says = REFUSED[fault]
    typed = make(tmp_path, source)
    ended = carried_out(*SHORT, *FRESH, "--pretrained", typed, *flags, "--root-dir", source.parents[2])
    assert ended.code == code, ended.err
    assert says in ended.err.strip().splitlines()[-1]
    assert ended.err.count("error: ") == 1
    assert "Traceback" not in ended.err
    assert [path.name for path in source.parent.iterdir()] == [RUN]
