"""The command as its users run it: a real process, one that is killed, the run folder they leave behind, what is
refused."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from helpers.commands import SHORT, assert_same_run, carried_out, commander, finish, launch, wait_for
from helpers.data import KAGGLE_SAMPLE, MITDB_ZIP
from loaders import DATASETS
from toolbox.errors import Interrupted
from toolbox.metrics.classification import METRICS

CURVES = ("roc", "precision_recall", "history", "loss_per_step")


def test_the_run_folder_has_everything_the_design_names(short_run: SimpleNamespace) -> None:
    made = {str(path.relative_to(short_run.path)) for path in short_run.path.rglob("*") if path.is_file()}
    figures = {f"pred/{name}.{kind}" for name in CURVES for kind in ("png", "html")}
    matrices = {"pred/confusion_matrix.png", "pred/confusion_matrix_normalised.png"}
    tables = {
        "pred/predictions.csv",
        "pred/predictions.npz",
        "pred/metrics.json",
        "pred/report.txt",
        "pred/plotly.min.js",
    }
    root = {"config.json", "logger.json", "loss_per_step.npz", "results.json", "trained_on.npz"}
    root |= {"checkpoint.pth.tar", "model_best.pth.tar"}
    assert made - {name for name in made if name.startswith("tensorboard/")} == (
        figures | matrices | tables | root | {"res/epoch1.npz", "res/epoch2.npz"}
    )


def test_the_last_line_of_stdout_is_the_folder_and_the_results(short_run: SimpleNamespace) -> None:
    results = json.loads((short_run.path / "results.json").read_text())
    assert short_run.result == {"run_folder": str(short_run.path), **results}
    assert set(METRICS) <= results["val"].keys()
    assert set(METRICS) <= results["test"].keys()
    assert set(results["test"]["intervals"]) == set(METRICS)


def test_the_results_are_those_of_the_saved_predictions(short_run: SimpleNamespace) -> None:
    table = pd.read_csv(short_run.path / "pred" / "predictions.csv", keep_default_na=False)
    test = json.loads((short_run.path / "results.json").read_text())["test"]
    assert list(table.columns) == ["row", "record", "true", "predicted", "p_N", "p_S", "p_V", "p_F", "p_Q"]
    assert test["accuracy"] == pytest.approx(reference.accuracy_score(table.true, table.predicted))
    assert test["macro_f1"] == pytest.approx(reference.f1_score(table.true, table.predicted, average="macro"))
    low, high = test["intervals"]["accuracy"]
    assert low <= test["accuracy"] <= high


def test_history_and_best_epoch_agree(short_run: SimpleNamespace) -> None:
    history = json.loads((short_run.path / "logger.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert all({"lr", "seconds", "samples_per_s", "train", "val"} <= row.keys() for row in history)
    best = max(history, key=lambda row: row["val"]["macro_f1"])
    results = json.loads((short_run.path / "results.json").read_text())
    assert results["best_epoch"] == best["epoch"]
    assert results["val"] == best["val"]


def test_the_loss_of_every_step_is_kept_and_its_mean_is_the_epochs(short_run: SimpleNamespace) -> None:
    with np.load(short_run.path / "loss_per_step.npz") as losses:
        epoch, loss = losses["epoch"], losses["loss"]
    assert (epoch.dtype, loss.dtype) == (np.int32, np.float32)
    assert epoch.tolist() == [1] * 10 + [2] * 10
    history = json.loads((short_run.path / "logger.json").read_text())
    assert loss.reshape(2, 10).mean(1) == pytest.approx([row["train"]["loss"] for row in history], rel=1e-6)


def test_testing_again_gives_the_same_results(short_run: SimpleNamespace) -> None:
    again = commander(
        "--model-name", "cnn1d_3", "--test", "--resume", "best", "--no-figures", "--root-dir", short_run.root
    )
    assert again.code == 0, again.err
    assert again.result == short_run.result


def test_testing_another_epoch_leaves_the_best_ones_results_alone(short_run: SimpleNamespace) -> None:
    before = (short_run.path / "results.json").read_bytes()
    flags = ("--model-name", "cnn1d_3", "--test", "--resume", "latest", "--no-figures", "--root-dir", short_run.root)
    latest = carried_out(*flags)
    assert latest.code == 0, latest.err
    assert latest.result["epoch"] == 2
    assert (short_run.path / "pred" / "latest" / "report.txt").is_file()
    assert (short_run.path / "results.json").read_bytes() == before


def test_classes_of_macro_f1_by_patient_are_said_to_have_no_effect_without_patients(root: Path) -> None:
    ended = carried_out(*SHORT, "--epochs", "1", "--root-dir", root, "--macro-over", "N,V")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.err.splitlines() if "--macro-over" in line]
    assert line.startswith("--macro-over N,V has no effect here: figures by patient need a record name in every row")


def test_tensorboard_events_hold_what_was_promised(short_run: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(short_run.path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {f"{name}/{split}" for name in METRICS for split in ("train", "val")} | {"lr"} <= set(tags["scalars"])
    assert "confusion_matrix/val" in tags["images"]
    assert {"weights/head.weight", "gradients/head.weight"} <= set(tags["histograms"])
    assert tags["graph"]
    assert {"_hparams_/experiment", "_hparams_/session_start_info", "pr_curve_val/N"} <= set(events.summary_metadata)
    assert [event.step for event in events.Scalars("macro_f1/val")] == [1, 2]
    assert len(list((short_run.path / "tensorboard").iterdir())) == 1


def test_tensorboard_does_not_change_the_run(short_run: SimpleNamespace, root: Path) -> None:
    plain = carried_out(*SHORT, "--epochs", "2", "--root-dir", root)
    assert plain.code == 0, plain.err
    assert_same_run(short_run.path, root / "synth" / "runs" / "synth_cnn1d_3_1")
    assert not list((root / "synth" / "runs" / "synth_cnn1d_3_1" / "tensorboard").iterdir())


def test_a_killed_run_goes_on_from_its_last_epoch(root: Path) -> None:
    flags = ("--dataset", "synth", "--model-name", "cnn1d_3", "--no-figures", "--epochs", "3", "--root-dir", root)
    killed = launch(*flags)
    runs = root / "synth" / "runs"
    wait_for(lambda: (runs / "synth_cnn1d_3_1" / "checkpoint.pth.tar").exists(), killed)
    killed.kill()
    finish(killed)
    resumed = commander(*flags[:5], "--resume", "latest", "--root-dir", root)
    assert resumed.code == 0, resumed.err
    assert carried_out(*flags).code == 0
    assert_same_run(runs / "synth_cnn1d_3_1", runs / "synth_cnn1d_3_2")


def test_a_finished_run_can_be_made_longer(root: Path) -> None:
    flags = (*SHORT, "--scheduler", "StepLR", "--root-dir", root)
    assert carried_out(*flags, "--epochs", "1").code == 0
    longer = carried_out(
        "--model-name", "cnn1d_3", "--no-figures", "--resume", "latest", "--epochs", "3", "--root-dir", root
    )
    assert longer.code == 0, longer.err
    assert longer.err.startswith("synth_cnn1d_3_1 is a short run, of 10 batches an epoch, and stays one")
    whole = carried_out(*flags, "--epochs", "3")
    assert whole.code == 0
    assert "is a short run" not in whole.err
    runs = root / "synth" / "runs"
    assert_same_run(runs / "synth_cnn1d_3_1", runs / "synth_cnn1d_3_2")
    assert json.loads((runs / "synth_cnn1d_3_1" / "config.json").read_text())["flags"]["epochs"] == 3


def test_without_a_dataset_and_without_a_network_the_run_is_on_synth_and_says_so(root: Path) -> None:
    ended = carried_out("--model-name", "cnn1d_3", "--epochs", "1", "--short-run", "--no-figures", "--root-dir", root)
    assert ended.code == 0, ended.err
    assert "using synth" in ended.err
    assert "physionet" in ended.err
    assert Path(ended.result["run_folder"]).name == "synth_cnn1d_3_1"
    assert not (root / "ecg").exists()
    again = carried_out("--model-name", "cnn1d_3", "--test", "--no-figures", "--root-dir", root)
    assert again.result == ended.result


@pytest.mark.parametrize("flags", [("--dataset", "ecg"), ("--dataset", "ecg_bin"), ("--download",)], ids=" ".join)
def test_a_dataset_that_was_asked_for_and_cannot_be_had_is_an_error(root: Path, flags: tuple[str, ...]) -> None:
    ended = carried_out(*flags, "--root-dir", root)
    assert ended.code == 7
    assert ended.err.count("error: ") == 1
    assert "--data-file" in ended.err
    assert not (root / "ecg").exists()


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        ((), 2, "To start with"),
        (("--model-name", "resnet1d_1O"), 2, "resnet1d_10"),
        (("--lr", "nan", "--epochs", "0"), 2, "--lr is nan"),
        (("--mod", "cnn1d_3"), 2, "--mod"),
        (("--device", "cuda:77"), 2, "--device"),
        (("--dataset", "synth", "--num-classes", "3"), 2, "5: N, S, V, F, Q"),
        (("--list", "modls"), 2, "models"),
        (("--pretrained",), 2, "--pretrained"),
        (("--data-file", "/no/such/file"), 3, "/no/such/file"),
        (("--predict", "x.hea", "--cost"), 3, "no such recording"),
        (("--test", "--learning-rate", "1"), 2, "--lr"),
        (("--members", "1000"), 2, "--members is 1000, must be from 1 to 100"),
        (("--batch-size", "1000000"), 2, "--batch-size is 1000000, must be from 1 to 100000"),
        (("--test",), 4, "no run of resnet1d_10"),
        (("--resume", "best", "--version", "3"), 4, "version 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_mistake_is_one_line_and_leaves_no_folder(root: Path, flags: tuple[str, ...], code: int, says: str) -> None:
    ended = carried_out(*flags, *(("--root-dir", root) if flags else ()))
    assert ended.code == code
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert not list(root.glob("*/runs"))
    if flags:
        assert ended.err.strip().splitlines()[-1].startswith("error: ")


def test_a_run_without_a_whole_epoch_cannot_be_tested(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended_at_once(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("trainer.Trainer.fit", ended_at_once)
        assert carried_out(*SHORT, "--root-dir", root).code == 143
    ended = carried_out("--model-name", "cnn1d_3", "--test", "--resume", "latest", "--root-dir", root)
    assert ended.code == 4
    assert "no epoch of this run is complete" in ended.err


def test_lists_are_printed_to_stdout() -> None:
    assert commander("--list", "datasets").out.split() == list(DATASETS)


@pytest.fixture(scope="module")
def beats_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A --root-dir in which the beats cut from the recordings are kept for the next who asks for them."""
    return tmp_path_factory.mktemp("beats_root")


@pytest.mark.parametrize("dataset", ["ecg", "ecg_bin"])
def test_real_beats_from_the_recordings_are_trained_and_tested(shared, beats_root: Path, dataset: str) -> None:
    flags = ("--dataset", dataset, "--model-name", "cnn1d_3", "--epochs", "1", "--no-figures", "--root-dir", beats_root)
    ended = carried_out(*flags, "--data-file", shared(MITDB_ZIP))
    assert ended.code == 0, ended.err
    assert np.sum(ended.result["test"]["confusion_matrix"]) == 21_892
    assert ended.result["test"]["accuracy"] > 0.9
    assert "one patient's beats stand on both sides" in ended.err


def test_the_test_file_is_not_opened_while_training(shared, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kaggle"
    shutil.copytree(shared(KAGGLE_SAMPLE), folder, copy_function=shutil.copyfile)
    rows = (folder / "mitbih_train.csv").read_text() * 30
    (folder / "mitbih_train.csv").write_text(rows)
    os.truncate(folder / "mitbih_test.csv", 100)
    ended = carried_out("--data-file", folder, "--model-name", "cnn1d_3", "--epochs", "1", "--root-dir", root)
    run = root / "ecg" / "runs" / "ecg_cnn1d_3_1"
    assert ended.code == 3
    assert "mitbih_test.csv, line 1" in ended.err
    assert (run / "model_best.pth.tar").is_file()
    assert not (run / "results.json").exists()
