"""Detection as its users run it: the files of a run, the threshold and figures, a stopped run, rows without labels."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from commands import choices
from helpers.commands import assert_error, assert_same_run, carried_out, signalled
from helpers.detection import kaggle
from loaders.synthetic import beats as synth
from toolbox.metrics import meanings
from toolbox.runs.predictions import Predictions

FIGURES = ("auroc", "average_precision", "normals_kept", "anomalies_caught", "balanced_accuracy", "f1")
DETECT = ("--dataset", "synth", "--task", "detect", "--short-run", "--no-figures")
AGAIN = ("--model-name", "conv_ae", "--no-figures")
NAMES = ("N", "S", "V", "F", "Q")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, synth_cache: Path) -> SimpleNamespace:
    """A short run of the default network for two epochs, with figures and TensorBoard; to be left as it is."""
    root = tmp_path_factory.mktemp("detector")
    (root / "synth").mkdir()
    (root / "synth" / "cache").symlink_to(synth_cache)
    ended = carried_out(*DETECT[:-1], "--epochs", "2", "--tensorboard", "--root-dir", root)
    assert ended.code == 0, ended.err
    path = root / "synth" / "runs" / "synth_conv_ae_1"
    return SimpleNamespace(path=path, report=(path / "pred" / "report.txt").read_text(), **vars(ended))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_run_folder_has_every_file_and_stdout_the_results_of_ten_batches(detector: SimpleNamespace) -> None:
    made = {str(path.relative_to(detector.path)) for path in detector.path.rglob("*") if path.is_file()}
    drawn = ("errors", "roc", "precision_recall", "reconstructions", "history", "loss_per_step")
    figures = {f"pred/{name}.png" for name in drawn} | {"pred/report.json", "pred/report.npz"}
    tables = {f"pred/{name}" for name in ("predictions.csv", "predictions.npz", "metrics.json", "report.txt")}
    root = {
        "report.html",
        "config.json",
        "logger.json",
        "results.json",
        "threshold.json",
        "loss_per_step.npz",
        "trained_on.npz",
    }
    root |= {"checkpoint.pth.tar", "model_best.pth.tar"}
    events = {name for name in made if name.startswith("tensorboard/")}
    assert len(events) == 4
    assert made - events == figures | tables | root | {"res/epoch1.npz", "res/epoch2.npz"}
    assert detector.result == {"run_folder": str(detector.path), **read(detector.path / "results.json")}
    assert read(detector.path / "config.json")["flags"]["task"] == "detect"
    val, test = (detector.result["covers"][f"{split}_rows"] for split in ("val", "test"))
    assert test == [1280, 3000] == [sum(of["rows"] for of in detector.result["test"]["classes"].values()), 3000]
    assert val[0] == val[1] == detector.result["validation_rows"]
    assert "the figures cover" in detector.report


def test_train_and_validation_hold_the_normal_class_alone_and_the_split_rule_says_so(detector: SimpleNamespace) -> None:
    data = read(detector.path / "config.json")["data"]
    everything = synth.TRAIN_ROWS * (synth.SHARES[0] / sum(synth.SHARES))
    assert data["train_rows"] + data["val_rows"] == pytest.approx(everything, abs=2)
    assert not Predictions.load(detector.path / "res" / "epoch1.npz").target.any()
    for said in (data["split_rule"], detector.result["split_rule"], detector.report):
        assert "trained and validated on N alone" in said


def test_the_threshold_is_that_percentile_of_the_validation_errors_of_the_best_epoch(detector: SimpleNamespace) -> None:
    fixed, best = read(detector.path / "threshold.json"), detector.result["best_epoch"]
    errors = Predictions.load(detector.path / "res" / f"epoch{best}.npz").loss
    percentile = pytest.approx(np.percentile(errors, 98))
    assert fixed == {"rule": "percentile:98", "threshold": percentile, "validation_rows": len(errors)}
    assert {name: detector.result[name] for name in fixed} == fixed


def test_the_figures_are_those_of_the_saved_predictions(detector: SimpleNamespace) -> None:
    table = pd.read_csv(detector.path / "pred" / "predictions.csv", keep_default_na=False)
    test = read(detector.path / "pred" / "metrics.json")
    assert list(table.columns) == ["row", "record", "true", "error", "anomaly"]
    anomaly = table.true != "N"
    np.testing.assert_array_equal(table.anomaly, table.error > test["threshold"])
    own = {name: test[name] for name in FIGURES}
    assert own["auroc"] == pytest.approx(reference.roc_auc_score(anomaly, table.error), abs=1e-5)  # of rounded errors
    assert own["f1"] == pytest.approx(reference.f1_score(anomaly, table.anomaly), abs=1e-5)
    rows, flagged = table.true.value_counts(), table[table.anomaly].true.value_counts()
    assert test["classes"] == {name: {"rows": rows[name], "flagged": flagged.get(name, 0)} for name in NAMES}
    assert {name: detector.result["test"][name] for name in FIGURES} == own


def test_the_report_holds_figures_with_intervals_a_baseline_beside_them_and_every_class(
    detector: SimpleNamespace,
) -> None:
    text, test = detector.report, detector.result["test"]
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for name in FIGURES:
        cells = [figure for of in (test, test["baseline"]) for figure in (of[name], *of["intervals"][name])]
        (line,) = (line for line in text.splitlines() if line.startswith(f"{meanings.name_of(name)}  "))
        shown = line.partition("  ")[2].split()
        assert [float(cell) for cell in shown if cell != "-"] == pytest.approx(cells, abs=1e-4)
    assert test["baseline"]["name"] == choices.task_defaults("detect")["baseline"]
    assert test["baseline"]["name"] in text
    assert "N (normal)" in text
    for name, counts in test["classes"].items():
        assert f"{counts['rows']:,}" in lines[name].split()
    assert f"threshold: percentile:98 of {detector.result['validation_rows']:,} validation rows" in text
    assert text in detector.err


def test_tensorboard_shows_the_errors_of_both_splits_and_the_figures(detector: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = {name: detector.path / "tensorboard" / name for name in ("", "train", "val", "test")}
    events = {name: EventAccumulator(str(folder)).Reload() for name, folder in folders.items()}
    tags = events[""].Tags()
    assert {name.partition("/")[2] for name in events["test"].Tags()["scalars"]} >= {*FIGURES}
    assert {f"pictures/{name}" for name in ("confusion_test", "roc_test", "validation_rows")} == set(tags["images"])
    assert "test_anomaly" in events[""].summary_metadata
    assert {"weights/encoder.0.weight", "weights_gradients/encoder.0.weight"} <= set(tags["histograms"])
    assert tags["graph"]
    steps = [[event.step for event in events[split].Scalars("metrics/loss")] for split in ("train", "val")]
    assert steps == [[1, 2], [1, 2]]


def test_testing_again_gives_the_same_results_and_another_threshold_is_another_run(
    root: Path, detector: SimpleNamespace
) -> None:
    run = shutil.copytree(detector.path, root / "synth" / "runs" / detector.path.name)
    flags = (*AGAIN, "--test", "--resume", "best", "--root-dir", root)
    again = carried_out(*flags)
    assert again.code == 0, again.err
    assert again.result == {**detector.result, "run_folder": str(run)}
    before = {name: (run / name).read_bytes() for name in ("threshold.json", "results.json", "pred/metrics.json")}
    refused = carried_out(*flags, "--threshold", "sd:3")
    assert_error(refused, 2, "--threshold is sd:3, the run has percentile:98", "--override")
    other = carried_out(*flags, "--threshold", "value:0", "--override")
    assert other.code == 0, other.err
    assert read(run / "pred" / "best-override" / "threshold.json")["threshold"] == 0
    test = other.result["test"]
    assert (test["normals_kept"], test["anomalies_caught"]) == (0, 1)
    assert test["auroc"] == detector.result["test"]["auroc"]
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_stopped_detector_is_resumed_exactly_with_tensorboard_or_without(
    detector: SimpleNamespace, root: Path
) -> None:
    ended = signalled(*DETECT, "--epochs", "2", "--root-dir", root, step=14)
    run = root / "synth" / "runs" / detector.path.name
    assert (ended.code, (run / "threshold.json").exists()) == (143, False)
    ended = carried_out(*AGAIN, "--resume", "latest", "--root-dir", root)
    assert ended.code == 0, ended.err
    assert_same_run(run, detector.path)
    assert read(run / "threshold.json") == read(detector.path / "threshold.json")


def test_any_class_can_be_the_normal_one_and_a_recurrent_network_learns_it(root: Path) -> None:
    how = ("--model-name", "lstm_ae", "--epochs", "1", "--batch-size", "16", "--normal-class", "V")
    how += ("--threshold", "sd:2", "--baseline", "isolation_forest")
    ended = carried_out(*DETECT, *how, "--root-dir", root)
    assert ended.code == 0, ended.err
    run = root / "synth" / "runs" / "synth_lstm_ae_1"
    assert set(Predictions.load(run / "res" / "epoch1.npz").target) == {NAMES.index("V")}
    assert "V (normal)" in (run / "pred" / "report.txt").read_text()
    test, normals = ended.result["test"], ended.result["test"]["classes"]["V"]
    assert (ended.result["rule"], test["baseline"]["name"]) == ("sd:2", "isolation_forest")
    assert test["normals_kept"] == pytest.approx(1 - normals["flagged"] / normals["rows"])
    assert test["baseline"]["auroc"] > 0.5


def test_the_threshold_is_fixed_before_the_test_file_is_opened(root: Path, tmp_path: Path) -> None:
    how = ("--task", "detect", "--data-file", kaggle(tmp_path / "kaggle", test=b"0.5,0.5\n"), "--short-run")
    ended, run = carried_out(*how, "--epochs", "1", "--root-dir", root), root / "ecg" / "runs" / "ecg_conv_ae_1"
    assert_error(ended, 3, "mitbih_test.csv, line 1")
    fixed = read(run / "threshold.json")
    assert fixed["threshold"] == pytest.approx(np.percentile(Predictions.load(run / "res" / "epoch1.npz").loss, 98))
    assert not (run / "results.json").exists()


def test_a_test_file_without_anomalies_is_refused(root: Path, tmp_path: Path) -> None:
    folder = kaggle(tmp_path / "kaggle")
    rows = (folder / "mitbih_test.csv").read_bytes().splitlines(keepends=True)
    (folder / "mitbih_test.csv").write_bytes(b"".join(row for row in rows if row.endswith(b",0\n")))
    how = ("--task", "detect", "--data-file", folder, "--short-run", "--epochs", "1", "--root-dir", root)
    assert_error(carried_out(*how), 3, "no anomaly is in the test set")
    assert not (root / "ecg" / "runs" / "ecg_conv_ae_1" / "results.json").exists()


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unlabelled") / "beats.npz"
    np.savez(path, x=synth.beats(300, seed=11)["x"], rate_hz=125.0)
    return path


def test_a_report_on_rows_without_labels_has_no_figure_that_cannot_be_known(root: Path, unlabelled: Path) -> None:
    how = ("--dataset", "table", "--data-file", unlabelled, "--task", "detect", "--epochs", "1")
    ended, run = carried_out(*how, "--root-dir", root), root / "table" / "runs" / "table_conv_ae_1"
    assert ended.code == 0, ended.err
    odd = int(pd.read_csv(run / "pred" / "predictions.csv").anomaly.sum())
    assert ended.result["test"] == {
        "threshold": read(run / "threshold.json")["threshold"],
        "classes": {"unlabelled": {"rows": 60, "flagged": odd}},
    }
    text = (run / "pred" / "report.txt").read_text()
    assert "Nothing can be measured: no row has a label" in text
    assert text.split("class  ")[1].split()[3:7] == ["unlabelled", "60", str(odd), f"{odd / 60:.4f}"]
    assert not any(name in text for name in (*FIGURES, "(normal)", "nan", "- - -"))
    assert "no row has a label" in ended.result["split_rule"]
    drawn = {path.stem for path in (run / "pred").glob("*.png")}
    assert drawn == {"errors", "reconstructions", "history", "loss_per_step"}
    assert carried_out(*how[:4], *AGAIN, "--test", "--root-dir", root).result == ended.result


@pytest.mark.parametrize(
    ("flags", "says"),
    [(("--task", "classify"), "has fewer than 2 classes"), (("--task", "detect", "--normal-class", "N"), "unlabelled")],
)
def test_rows_without_labels_have_no_classes(root: Path, unlabelled: Path, flags: tuple[str, ...], says: str) -> None:
    ended = carried_out("--dataset", "table", "--data-file", unlabelled, *flags, "--root-dir", root)
    assert_error(ended, 2, says)
    assert not list(root.glob("*/runs"))
