"""Training and resuming: the files of a run, what a resume refuses or overrides, damaged checkpoints, extended runs."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as reference

from helpers.commands import SHORT, assert_error, assert_same_run, carried_out, contents, finish, launch, on, signalled
from helpers.data import MITDB_ZIP
from helpers.detection import kaggle
from studies.ledger import DONE, STARTED, Ledger
from toolbox.errors import Interrupted
from toolbox.metrics.classification import METRICS, floats
from toolbox.runs import folder as runs
from toolbox.runs.folder import RunFolder
from toolbox.training import threads
from trainer import Trainer

CURVES = ("roc", "precision_recall", "history", "loss_per_step")
RUN = "synth_cnn1d_3_1"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


# A finished run


def test_the_run_folder_has_every_file_of_the_design(short_run: SimpleNamespace) -> None:
    made = {str(path.relative_to(short_run.path)) for path in short_run.path.rglob("*") if path.is_file()}
    figures = {f"pred/{name}.png" for name in (*CURVES, "confusion_matrix", "confusion_matrix_normalised")}
    tables = {f"pred/{name}" for name in ("predictions.csv", "predictions.npz", "metrics.json", "report.txt")}
    tables |= {"pred/report.json", "pred/report.npz"}
    root = {"report.html", "config.json", "logger.json", "loss_per_step.npz", "results.json", "trained_on.npz"}
    root |= {"checkpoint.pth.tar", "model_best.pth.tar"}
    events = {name for name in made if name.startswith("tensorboard/")}
    folders = [Path(name).parent.name for name in events]
    assert sorted(folders) == ["tensorboard", "test", "train", "val"]
    assert made - events == figures | tables | root | {"res/epoch1.npz", "res/epoch2.npz"}


def test_the_last_line_of_stdout_is_the_folder_and_the_results(short_run: SimpleNamespace) -> None:
    results = read(short_run.path / "results.json")
    assert short_run.result == {"run_folder": str(short_run.path), **results}
    assert set(METRICS) <= results["val"].keys()
    assert set(METRICS) == set(results["test"]["intervals"])


def test_the_results_are_those_of_the_saved_predictions(short_run: SimpleNamespace) -> None:
    table = pd.read_csv(short_run.path / "pred" / "predictions.csv", keep_default_na=False)
    test = short_run.result["test"]
    assert list(table.columns) == ["row", "record", "true", "predicted", "p_N", "p_S", "p_V", "p_F", "p_Q"]
    assert test["accuracy"] == pytest.approx(reference.accuracy_score(table.true, table.predicted))
    assert test["macro_f1"] == pytest.approx(reference.f1_score(table.true, table.predicted, average="macro"))
    low, high = test["intervals"]["accuracy"]
    assert low <= test["accuracy"] <= high


def test_history_best_epoch_and_losses_of_steps_agree(short_run: SimpleNamespace) -> None:
    history = read(short_run.path / "logger.json")
    assert [row["epoch"] for row in history] == [1, 2]
    assert all({"lr", "seconds", "samples_per_s", "train", "val"} <= row.keys() for row in history)
    best = max(history, key=lambda row: (row["val"]["macro_f1"], -row["val"]["loss"]))
    assert (short_run.result["best_epoch"], short_run.result["val"]) == (best["epoch"], best["val"])
    with np.load(short_run.path / "loss_per_step.npz") as losses:
        epoch, loss = losses["epoch"], losses["loss"]
    assert (epoch.dtype, loss.dtype) == (np.int32, np.float32)
    assert epoch.tolist() == [1] * 10 + [2] * 10
    assert loss.reshape(2, 10).mean(1) == pytest.approx([row["train"]["loss"] for row in history], rel=1e-6)


def test_tensorboard_has_scalars_images_weights_and_the_graph(short_run: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folders = {name: short_run.path / "tensorboard" / name for name in ("", "train", "val", "test")}
    events = {name: EventAccumulator(str(folder)).Reload() for name, folder in folders.items()}
    tags, named = events[""].Tags(), {f"metrics/{name}" for name in METRICS}
    # TensorBoard draws equal tags of several folders in one chart.
    assert all(named <= set(events[split].Tags()["scalars"]) for split in ("train", "val", "test"))
    assert set(tags["scalars"]) == {"rates/lr", "rates/rows_per_s"}
    sides = ("confusion_train", "confusion_val", "confusion_test", "roc_test", "validation_rows")
    assert set(tags["images"]) == {f"pictures/{name}" for name in sides}
    assert {"weights/head.weight", "weights_gradients/head.weight"} <= set(tags["histograms"])
    assert tags["graph"]
    known = {"_hparams_/session_start_info", "_hparams_/session_end_info", "val_N", "test_N"}
    assert known <= set(events[""].summary_metadata)
    assert [event.step for event in events["val"].Scalars("metrics/macro_f1")] == [1, 2]
    assert [event.step for event in events["test"].Scalars("metrics/macro_f1")] == [short_run.result["best_epoch"]]
    content = events[""].summary_metadata["_hparams_/session_start_info"].plugin_data.content
    typed = HParamsPluginData.FromString(content).session_start_info.hparams
    assert set(typed) == {"dataset", "model_name", "short_run", "epochs"}


def test_the_same_seed_gives_the_same_run_in_another_process_and_with_tensorboard(
    short_run: SimpleNamespace, plain_run: Path
) -> None:
    assert_same_run(short_run.path, plain_run)
    assert not (plain_run / "tensorboard").exists()


def test_without_dataset_and_network_the_run_is_on_synth(root: Path) -> None:
    ended = carried_out("--model-name", "cnn1d_3", "--epochs", "1", "--short-run", "--no-figures", "--root-dir", root)
    assert ended.code == 0, ended.err
    assert "using synth" in ended.err
    assert "physionet" in ended.err
    assert Path(ended.result["run_folder"]).name == RUN
    assert (root / "synth" / "runs" / RUN / "tensorboard" / "val").is_dir()  # TensorBoard is on by default
    assert not (root / "ecg").exists()


def test_a_run_folder_names_no_place_and_is_tested_where_it_and_its_data_are_moved_to(tmp_path: Path) -> None:
    deep = tmp_path / "Ä b/心电图 '\\\"$x" / "/".join(["d" * 200] * 8)
    deep.mkdir(parents=True)
    flags = (*SHORT[2:], "--epochs", "1", "--tensorboard", "--data-file", kaggle(deep / "kaggle"))
    first = carried_out(*flags, "--root-dir", deep / "root")
    assert first.code == 0, first.err
    for name, content in contents(deep / "root" / "ecg" / "runs").items():
        assert str(tmp_path).encode() not in content, name
    deep.rename(tmp_path / "there")
    again = carried_out("--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", tmp_path / "there" / "root")
    assert again.code == 0, again.err
    assert again.result["test"] == first.result["test"]


def test_a_class_absent_from_train_is_warned_about_and_has_no_weight(tmp_path: Path) -> None:
    y, rng = np.arange(90) % 3, np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(90, 60))).assign(label=np.array(["A", "B", "C"])[y])
    table["fold"] = np.where((y == 2) | (np.arange(90) > 70), "test", "train")
    table.to_csv(tmp_path / "rows.csv", index=False)
    how = ("--dataset", "table", "--data-file", tmp_path / "rows.csv", "--split", "column:fold", *SHORT[2:])
    for balance in ("--sampler", "--class-balance"):
        ended = carried_out(*how, "--epochs", "1", balance, "equal", "--root-dir", tmp_path)
        assert ended.code == 0, ended.err
        assert "train has no row of C: its weight is 0" in ended.err


def test_the_test_file_is_not_opened_while_training(tmp_path: Path) -> None:
    folder = kaggle(tmp_path / "kaggle", test=b"0.5,0.5\n")
    ended = carried_out("--data-file", folder, *SHORT[2:], "--epochs", "1", "--root-dir", tmp_path)
    run = tmp_path / "ecg" / "runs" / "ecg_cnn1d_3_1"
    assert_error(ended, 3, "mitbih_test.csv, line 1")
    assert (run / "model_best.pth.tar").is_file()
    assert not (run / "results.json").exists()


@pytest.mark.parametrize(
    ("dataset", "how"),
    [("ecg", ("--short-run",)), *(pytest.param(name, (), marks=pytest.mark.soak) for name in ("ecg", "ecg_bin"))],
)
def test_real_beats_from_the_recordings_are_trained_and_tested(
    shared: Callable[[str], Path], tmp_path: Path, dataset: str, how: tuple[str, ...]
) -> None:
    flags = ("--dataset", dataset, "--model-name", "cnn1d_3", "--epochs", "1", "--no-figures", "--root-dir", tmp_path)
    ended = carried_out(*flags, *how, "--data-file", shared(MITDB_ZIP))
    assert ended.code == 0, ended.err
    if how:
        assert ended.result["covers"]["test_rows"] == [1280, 21_892]
    else:
        assert np.sum(ended.result["test"]["confusion_matrix"]) == 21_892
    assert ended.result["test"]["accuracy"] > (0.5 if how else 0.9)
    assert "one patient's beats stand on both sides" in ended.err


# Resumed: refused or overridden


def test_a_longer_run_equals_one_that_was_long_from_the_start(root: Path) -> None:
    flags = (*SHORT, "--scheduler", "StepLR", "--root-dir", root)
    assert carried_out(*flags, "--epochs", "1").code == 0
    run = root / "synth" / "runs" / RUN
    longer = on(run, "--resume", "latest", "--epochs", "3")
    assert longer.code == 0, longer.err
    assert longer.err.startswith(f"{RUN} is a short run, of 10 batches an epoch, and stays one")
    whole = carried_out(*flags, "--epochs", "3")
    assert whole.code == 0
    assert "is a short run" not in whole.err
    assert_same_run(run, run.parent / "synth_cnn1d_3_2")
    assert read(run / "config.json")["flags"]["epochs"] == 3


def test_a_run_records_its_threads_and_a_resumed_one_takes_them_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What --threads auto chooses is one of the fixed numbers, with its weights."""
    monkeypatch.setattr(threads, "times", lambda *_: [2.0, 1.0])
    flags, number = (*SHORT, "--epochs", "1", "--root-dir", root), torch.get_num_threads()
    many = {"OMP_NUM_THREADS": "2"}
    try:
        for asked in ((), ("--threads", "auto"), ("--threads", "2")):
            assert carried_out(*flags, *asked, env=many).code == 0
            assert torch.get_num_threads() == 2
        runs = [root / "synth" / "runs" / f"synth_cnn1d_3_{number}" for number in (1, 2, 3)]
        assert [read(run / "config.json")["flags"]["threads"] for run in runs] == ["2"] * 3
        for run in runs[1:]:
            assert_same_run(runs[0], run)
        for asked in ((), ("--threads", "auto")):  # where there is one core
            resumed = on(runs[0], "--resume", "latest", "--version", "1", "--epochs", "2", *asked)
            assert torch.get_num_threads() == 2, resumed.err
        resumed = on(runs[0], "--resume", "latest", "--version", "1", "--epochs", "3", "--threads", "1")
        assert "--threads 1, the run had 2: its weights will differ by rounding" in resumed.err
        assert read(runs[0] / "config.json")["flags"]["threads"] == "1"
    finally:
        torch.set_num_threads(number)


def test_a_run_without_a_whole_epoch_cannot_be_tested(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended_at_once(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.Trainer.fit", ended_at_once)
        assert carried_out(*SHORT, "--root-dir", root).code == 143
    run = root / "synth" / "runs" / RUN
    assert_error(on(run, "--test", "--resume", "latest"), 4, "no epoch of this run is complete")


@pytest.mark.parametrize("link", ["the run folder", "a part of it"])
def test_a_run_folder_that_leads_out_of_the_root_is_refused_and_left_alone(
    copied_run: Path, tmp_path: Path, link: str
) -> None:
    inside, outside = copied_run if link == "the run folder" else copied_run / "pred", tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    before = contents(outside)
    assert_error(on(copied_run, "--test"), 2, "is a link out of")
    assert contents(outside) == before


REFUSED = {
    "a missing version": (("--test", "--version", "7"), 4, "existing versions: 1"),
    "an epoch not kept": (("--test", "--resume", "3"), 4, "checkpoint.pth.tar, model_best.pth.tar"),
    "no run": (("--dataset", "synth", "--test", "--model-name", "lstm_1"), 4, RUN),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_missing_run_or_checkpoint_is_refused_with_the_existing_ones(copied_run: Path, what: str) -> None:
    flags, code, *says = REFUSED[what]
    before = contents(copied_run)
    assert_error(on(copied_run, *flags), code, *says)
    assert contents(copied_run) == before


def test_other_flags_are_refused_with_both_values_and_an_override_is_recorded(copied_run: Path) -> None:
    before, flags = contents(copied_run), ("--resume", "latest", "--epochs", "3", "--batch-size", "64", "--seed", "1")
    says = "--batch-size is 64, the run has 128; --seed is 1, the run has 42"
    assert_error(on(copied_run, *flags), 2, says, "--override")
    assert contents(copied_run) == before
    ended = on(copied_run, *flags, "--override")
    assert ended.code == 0, ended.err
    config = read(copied_run / "config.json")
    (note,) = config["overrides"]
    assert note == {"after_epoch": 2, "changed": {"seed": [42, 1], "batch_size": [128, 64]}}
    assert (config["flags"]["seed"], config["flags"]["batch_size"]) == (1, 64)
    assert ended.result["overrides"] == config["overrides"]
    assert on(copied_run, "--test").result == ended.result


def test_another_optimizer_brings_its_own_rate_and_an_overridden_run_is_resumed_exactly(copied_run: Path) -> None:
    twin = shutil.copytree(copied_run, copied_run.parent / "synth_cnn1d_3_2")
    flags = ("--resume", "latest", "--epochs", "4", "--override", "--optimizer", "sgd", "--batch-size", "8")
    undisturbed = on(copied_run, "--version", "1", *flags)
    assert undisturbed.code == 0, undisturbed.err
    assert read(copied_run / "config.json")["flags"]["lr"] == 0.05
    how = ("--model-name", "cnn1d_3", "--no-figures", "--root-dir", copied_run.parents[2], "--version", "2")
    assert signalled(*how, *flags, step=14).code == 143
    assert carried_out(*how, "--resume", "latest").code == 0
    assert_same_run(copied_run, twin)


def test_another_dataset_is_refused_with_both(copied_run: Path, root: Path) -> None:
    shutil.copytree(copied_run, root / "ecg" / "runs" / "ecg_cnn1d_3_1")
    ended = on(copied_run, "--dataset", "ecg", "--resume", "latest")
    assert_error(ended, 2, "--dataset is ecg, the run has synth", "--override")


def test_other_data_are_refused_with_both_checksums_unless_overridden(copied_run: Path) -> None:
    config = read(copied_run / "config.json")
    known, config["data"]["checksum"] = config["data"]["checksum"][:12], "0123456789abcdef"
    (copied_run / "config.json").write_text(json.dumps(config))
    says = f"the data's checksum is {known}, the run has 0123456789ab"
    assert_error(on(copied_run, "--resume", "latest"), 2, says)
    results = (copied_run / "results.json").read_bytes()
    tested = on(copied_run, "--test", "--override")
    assert tested.code == 0, tested.err
    assert (copied_run / "results.json").read_bytes() == results
    assert (copied_run / "pred" / "best-override" / "report.txt").is_file()
    resumed = on(copied_run, "--resume", "latest", "--epochs", "3", "--override")
    assert resumed.code == 0, resumed.err
    assert resumed.result["best_epoch"] == 3  # an epoch that was validated on other rows is no rival


# Damaged checkpoints


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit"])
def test_a_damaged_latest_checkpoint_is_kept_aside_and_the_newest_sound_one_taken(
    copied_run: Path, damage: str
) -> None:
    before, path = contents(copied_run), copied_run / "checkpoint.pth.tar"
    whole = path.read_bytes()
    bad = whole[: len(whole) // 2] if damage == "truncated" else whole[:9000] + bytes([whole[9000] ^ 4]) + whole[9001:]
    path.write_bytes(bad)
    ended = on(copied_run, "--resume", "latest")
    assert ended.code == 0, ended.err
    assert "damaged" in ended.err
    assert "model_best.pth.tar, the newest sound checkpoint" in ended.err
    assert (copied_run / "checkpoint.pth.tar.corrupt").read_bytes() == bad
    assert contents(copied_run)["results.json"] == before["results.json"]


def test_without_any_sound_checkpoint_a_resume_fails_and_removes_nothing(copied_run: Path) -> None:
    for path in copied_run.glob("*.pth.tar"):
        path.write_bytes(b"PK")
    assert_error(on(copied_run, "--resume", "latest"), 4, "no sound checkpoint is left")
    left = {path.name for path in copied_run.glob("*.pth.tar*")}
    assert left == {"checkpoint.pth.tar.corrupt", "model_best.pth.tar"}


def test_a_damaged_best_checkpoint_is_never_replaced(copied_run: Path) -> None:
    path = copied_run / "model_best.pth.tar"
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(copied_run)
    for flags in (("--test",), ("--resume", "best")):
        assert_error(on(copied_run, *flags), 4, "damaged", "model_best.pth.tar")
    assert contents(copied_run) == before


def test_a_checkpoint_made_on_cuda_is_loaded_on_the_cpu(copied_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copied_run / "checkpoint.pth.tar"
    state = torch.load(path, weights_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({**state, "rng": {**state["rng"], "cuda": torch.zeros(16, dtype=torch.uint8)}}, path)
    assert b"cuda:0" in path.read_bytes()
    ended = on(copied_run, "--resume", "latest", "--epochs", "3", "--device", "cpu")
    assert ended.code == 0, ended.err


# Finished runs that are trained further


class Killed(BaseException):
    """In place of a SIGKILL: nothing catches it."""


def state_for_a_study(run: Path) -> str:
    """The state of a run for a study that started it with the flags of its config.json."""
    config, root = read(run / "config.json"), run.parents[2]
    given = {name: config["flags"][name] for name in config["given"]}
    record = {"run": os.path.relpath(run, root), "state": STARTED, "given": given, "tested": True}
    return Ledger(run, root).status(record).state


def test_a_finished_run_that_is_extended_and_killed_is_finished_no_more(
    copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    before = contents(copied_run)
    assert state_for_a_study(copied_run) == DONE
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", killed)
        with pytest.raises(Killed):
            on(copied_run, "--resume", "latest", "--epochs", "4")
    assert not (copied_run / "results.json").exists()
    assert not (copied_run / "pred").exists()
    assert state_for_a_study(copied_run) == STARTED
    kept = contents(copied_run / "before" / "epoch2")
    of_test = ("results.json", "report.html", "pred/")
    assert kept == {name: before[name] for name in before if name.startswith(of_test)}
    other = shutil.copytree(copied_run, copied_run.parents[2] / "other")
    compared = carried_out("--compare", copied_run, other)
    assert_error(compared, 4, "no test of its present weights", "--test")
    assert on(copied_run, "--test").code == 0
    assert not (copied_run / "results.json").exists()  # tested, but not trained to its end
    ended = on(copied_run, "--resume", "latest")
    assert ended.code == 0, ended.err
    assert read(copied_run / "results.json")["best_epoch"] <= 4
    assert len(read(copied_run / "logger.json")) == 4
    assert contents(copied_run / "before" / "epoch2") == kept


def test_a_run_with_nothing_left_to_train_keeps_its_results(copied_run: Path) -> None:
    before = contents(copied_run)["results.json"]
    assert on(copied_run, "--resume", "latest").code == 0
    assert contents(copied_run)["results.json"] == before
    assert not (copied_run / "before").exists()


def test_results_set_aside_twice_are_kept_twice(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for text in ("one", "two"):
        (tmp_path / "pred").mkdir(exist_ok=True)
        (tmp_path / "pred" / "report.txt").write_text(text)
        (tmp_path / "temperature.json").write_text(text)
        folder.set_aside(3)
    folder.set_aside(3)
    assert contents(tmp_path / "before") == {
        f"{name}/{file}": text
        for name, text in (("epoch3", b"one"), ("epoch3_2", b"two"))
        for file in ("pred/report.txt", "temperature.json")
    }


ROW = {"epoch": 3, "lr": None, "seconds": None, "samples_per_s": None, "train": {"loss": None}}
ROW["val"] = {"loss": float("nan")}
HISTORIES = {
    "none": ([], ""),
    "one epoch": ([ROW], ""),
    "a later epoch": ([ROW, ROW | {"epoch": 9, "lr": 0.1}], ""),
    "a note": ({"note": "my best run"}, "it is an object, it must be a list"),
    "a text": ("history", "it is a text, it must be a list"),
    "notes": (["a", "b"], "row 1: it is a text, it must be an object"),
    "other things": ([{"time": 1}], "row 1: epoch is missing"),
    "an epoch twice": ([ROW, ROW], "row 2 is of epoch 3, the row before it of epoch 3"),
    "no metrics": ([{"epoch": 1, "lr": 0.1}], "row 1: train is missing"),
    "a text as metric": ([ROW | {"train": {"loss": "low"}}], "row 1: train.loss is a text, it must be"),
}


@pytest.mark.parametrize("what", HISTORIES)
def test_a_history_is_told_from_other_json(what: str) -> None:
    value, says = HISTORIES[what]
    found = runs.history_objection(value)
    assert found.startswith(says) if says else found == ""


def test_a_logger_json_that_is_no_history_is_refused_and_not_written_over(copied_run: Path) -> None:
    path = copied_run / "logger.json"
    whole = path.read_text()
    path.write_text(json.dumps(["a", "b"]))
    before = contents(copied_run)
    for flags in (("--resume", "latest", "--epochs", "3"), ("--test",)):
        says = ("logger.json is no history of a run: row 1: it is a text", "move the file away")
        assert_error(on(copied_run, *flags), 4, *says)
    assert contents(copied_run) == before
    path.rename(copied_run / "mine.json")
    assert on(copied_run, "--resume", "latest").code == 0
    assert path.read_text() == whole  # written anew from the checkpoint


def test_the_test_of_a_run_that_may_not_be_written_prints_its_results(copied_run: Path) -> None:
    root, before = copied_run.parents[2], contents(copied_run)
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir() and not path.is_symlink()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        flags = ("--model-name", "cnn1d_3", "--test", "--root-dir", root)
        ended = finish(launch(*flags, limits={"permissions": True}))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert ended.code == 0, ended.err
    assert "nothing is saved, the results are only printed: cannot lock the run" in ended.err
    assert contents(copied_run) == before
    assert floats(ended.result["test"]) == floats(read(copied_run / "results.json")["test"])
