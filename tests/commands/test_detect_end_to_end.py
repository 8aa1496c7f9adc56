"""Detection as its users run it: a real process and one that is stopped, the run folder they leave behind, what is
refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from commands import choices
from helpers.commands import assert_same_run, carried_out, commander, finish, launch, wait_for
from helpers.detection import kaggle
from loaders.synthetic import beats as synth
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
    ended = commander(*DETECT[:-1], "--epochs", "2", "--tensorboard", "--root-dir", root)
    assert ended.code == 0, ended.err
    return SimpleNamespace(root=root, path=root / "synth" / "runs" / "synth_conv_ae_1", **vars(ended))


@pytest.fixture
def run(detector: SimpleNamespace, root: Path) -> Path:
    """A copy of that run that can be changed."""
    return shutil.copytree(detector.path, root / "synth" / "runs" / "synth_conv_ae_1")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def assert_error(ended: SimpleNamespace, code: int, *says: str) -> None:
    """One line that begins with error: and says all of it."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("error: ") == 1
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for words in says:
        assert words in last, last


def test_the_run_folder_has_everything_and_the_last_line_of_stdout_says_it(detector: SimpleNamespace) -> None:
    made = {str(path.relative_to(detector.path)) for path in detector.path.rglob("*") if path.is_file()}
    drawn = ("errors", "roc", "precision_recall", "reconstructions", "history", "loss_per_step")
    figures = {f"pred/{name}.{kind}" for name in drawn for kind in ("png", "html")} | {"pred/plotly.min.js"}
    tables = {f"pred/{name}" for name in ("predictions.csv", "predictions.npz", "metrics.json", "report.txt")}
    root = {"config.json", "logger.json", "results.json", "threshold.json", "loss_per_step.npz", "trained_on.npz"}
    root |= {"checkpoint.pth.tar", "model_best.pth.tar"}
    events = {name for name in made if name.startswith("tensorboard/events")}
    assert len(events) == 1
    assert made - events == figures | tables | root | {"res/epoch1.npz", "res/epoch2.npz"}
    assert detector.result == {"run_folder": str(detector.path), **read(detector.path / "results.json")}
    assert read(detector.path / "config.json")["flags"]["task"] == "detect"


def test_train_and_validation_hold_the_normal_class_alone_and_the_split_rule_says_so(detector: SimpleNamespace) -> None:
    data = read(detector.path / "config.json")["data"]
    everything = synth.TRAIN_ROWS * (synth.SHARES[0] / sum(synth.SHARES))
    assert data["train_rows"] + data["val_rows"] == pytest.approx(everything, abs=2)
    assert not Predictions.load(detector.path / "res" / "epoch1.npz").target.any()
    for said in (
        data["split_rule"],
        detector.result["split_rule"],
        (detector.path / "pred" / "report.txt").read_text(),
    ):
        assert "trained and validated on N alone" in said


def test_the_threshold_is_that_percentile_of_the_best_epochs_validation_errors(detector: SimpleNamespace) -> None:
    fixed, best = read(detector.path / "threshold.json"), detector.result["best_epoch"]
    errors = Predictions.load(detector.path / "res" / f"epoch{best}.npz").loss
    assert fixed == {
        "rule": "percentile:98",
        "threshold": pytest.approx(np.percentile(errors, 98)),
        "validation_rows": len(errors),
    }
    assert {name: detector.result[name] for name in fixed} == fixed


def test_the_figures_are_those_of_the_saved_predictions(detector: SimpleNamespace) -> None:
    table = pd.read_csv(detector.path / "pred" / "predictions.csv", keep_default_na=False)
    test = read(detector.path / "pred" / "metrics.json")
    assert list(table.columns) == ["row", "record", "true", "error", "anomaly"]
    anomaly = table.true != "N"
    np.testing.assert_array_equal(table.anomaly, table.error > test["threshold"])
    assert {name: test[name] for name in FIGURES} == pytest.approx(
        {
            "auroc": reference.roc_auc_score(anomaly, table.error),
            "average_precision": reference.average_precision_score(anomaly, table.error),
            "normals_kept": reference.recall_score(~anomaly, ~table.anomaly),
            "anomalies_caught": reference.recall_score(anomaly, table.anomaly),
            "balanced_accuracy": reference.balanced_accuracy_score(anomaly, table.anomaly),
            "f1": reference.f1_score(anomaly, table.anomaly),
        },
        abs=1e-5,  # of errors that the table rounds
    )
    rows, flagged = table.true.value_counts(), table[table.anomaly].true.value_counts()
    assert test["classes"] == {name: {"rows": rows[name], "flagged": flagged.get(name, 0)} for name in NAMES}
    assert {name: detector.result["test"][name] for name in FIGURES} == {name: test[name] for name in FIGURES}


def test_the_report_holds_figures_with_intervals_a_baseline_beside_them_and_every_class(
    detector: SimpleNamespace,
) -> None:
    text, test = (detector.path / "pred" / "report.txt").read_text(), detector.result["test"]
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for name in FIGURES:
        cells = [figure for of in (test, test["baseline"]) for figure in (of[name], *of["intervals"][name])]
        assert [float(cell) for cell in lines[name].split()[1:] if cell != "-"] == pytest.approx(cells, abs=1e-4)
    assert test["baseline"]["name"] == choices.task_defaults("detect")["baseline"]
    assert test["baseline"]["name"] in text
    assert "N (normal)" in text
    for name, counts in test["classes"].items():
        assert f"{counts['rows']:,}" in lines[name].split()
    assert f"threshold: percentile:98 of {detector.result['validation_rows']:,} validation rows" in text
    assert text in detector.err


def test_tensorboard_shows_the_error_of_both_sides_and_the_figures(detector: SimpleNamespace) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(detector.path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"loss/train", "loss/val", "lr", *(f"test/{name}" for name in FIGURES)} <= set(tags["scalars"])
    assert {"confusion_matrix/test", "roc/test"} <= set(tags["images"])
    assert "pr_curve_test/anomaly" in events.summary_metadata
    assert {"weights/encoder.0.weight", "gradients/encoder.0.weight"} <= set(tags["histograms"])
    assert tags["graph"]
    assert [event.step for event in events.Scalars("loss/val")] == [1, 2]


def test_a_short_run_covers_ten_batches_of_both_sides(detector: SimpleNamespace) -> None:
    val, test = (detector.result["covers"][f"{side}_rows"] for side in ("val", "test"))
    assert test == [1280, 3000] == [sum(of["rows"] for of in detector.result["test"]["classes"].values()), 3000]
    assert val[0] == val[1] == detector.result["validation_rows"]
    assert "the figures cover" in (detector.path / "pred" / "report.txt").read_text()


def test_testing_again_gives_the_same_results_and_another_threshold_is_another_run(
    run: Path, detector: SimpleNamespace
) -> None:
    flags = (*AGAIN, "--test", "--resume", "best", "--root-dir", run.parents[2])
    again = carried_out(*flags)
    assert again.code == 0, again.err
    assert again.result == {**detector.result, "run_folder": str(run)}
    before = {name: (run / name).read_bytes() for name in ("threshold.json", "results.json", "pred/metrics.json")}
    assert_error(
        carried_out(*flags, "--threshold", "sd:3"), 2, "--threshold is sd:3, the run has percentile:98", "--override"
    )
    other = carried_out(*flags, "--threshold", "value:0", "--override")
    assert other.code == 0, other.err
    assert (
        read(run / "pred" / "best-override" / "threshold.json")["threshold"]
        == 0
        == other.result["test"]["normals_kept"]
    )
    assert other.result["test"]["anomalies_caught"] == 1
    assert other.result["test"]["auroc"] == detector.result["test"]["auroc"]
    assert {name: (run / name).read_bytes() for name in before} == before


def test_stopped_and_resumed_equals_never_stopped_with_tensorboard_or_without(
    detector: SimpleNamespace, root: Path
) -> None:
    flags, runs = (*DETECT, "--epochs", "15", "--root-dir", root), root / "synth" / "runs"
    stopped = launch(*flags, "--tensorboard")
    wait_for((runs / "synth_conv_ae_1" / "res" / "epoch2.npz").exists, stopped)
    stopped.terminate()
    assert finish(stopped).code == 143
    assert not (runs / "synth_conv_ae_1" / "threshold.json").exists()
    for how in ((*AGAIN, "--resume", "latest", "--root-dir", root), flags):
        ended = carried_out(*how)
        assert ended.code == 0, ended.err
    assert_same_run(runs / "synth_conv_ae_1", runs / "synth_conv_ae_2")
    assert read(runs / "synth_conv_ae_1" / "threshold.json") == read(runs / "synth_conv_ae_2" / "threshold.json")


def test_any_class_can_be_the_normal_one_and_a_recurrent_network_learns_it(root: Path) -> None:
    how = ("--model-name", "lstm_ae", "--epochs", "1", "--batch-size", "16", "--normal-class", "V")
    how += ("--threshold", "sd:2")
    ended = carried_out(
        "--dataset", "synth", "--short-run", "--no-figures", *how, "--baseline", "isolation_forest", "--root-dir", root
    )
    assert ended.code == 0, ended.err
    run = root / "synth" / "runs" / "synth_lstm_ae_1"
    assert set(Predictions.load(run / "res" / "epoch1.npz").target) == {NAMES.index("V")}
    assert ended.result["rule"] == "sd:2"
    assert ended.result["test"]["baseline"]["name"] == "isolation_forest"
    assert "V (normal)" in (run / "pred" / "report.txt").read_text()
    test, normals = ended.result["test"], ended.result["test"]["classes"]["V"]
    assert test["normals_kept"] == pytest.approx(1 - normals["flagged"] / normals["rows"])
    assert test["baseline"]["auroc"] > 0.5


def test_the_threshold_is_fixed_before_the_test_file_is_opened(root: Path, tmp_path: Path) -> None:
    how = ("--task", "detect", "--data-file", kaggle(tmp_path / "kaggle", test=b"0.5,0.5\n"), "--short-run")
    how += ("--epochs", "1")
    ended, run = carried_out(*how, "--root-dir", root), root / "ecg" / "runs" / "ecg_conv_ae_1"
    assert_error(ended, 3, "mitbih_test.csv, line 1")
    fixed = read(run / "threshold.json")
    assert fixed["threshold"] == pytest.approx(np.percentile(Predictions.load(run / "res" / "epoch1.npz").loss, 98))
    assert not (run / "results.json").exists()


def test_a_test_file_without_anomalies_has_nothing_to_tell_apart(root: Path, tmp_path: Path) -> None:
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


def test_of_rows_without_labels_a_report_says_how_many_are_odd_and_no_figure_that_nobody_can_know(
    root: Path, unlabelled: Path
) -> None:
    how = ("--dataset", "table", "--data-file", unlabelled, "--task", "detect", "--epochs", "2", "--tensorboard")
    ended, run = carried_out(*how, "--root-dir", root), root / "table" / "runs" / "table_conv_ae_1"
    assert ended.code == 0, ended.err
    table = pd.read_csv(run / "pred" / "predictions.csv")
    odd = int(table.anomaly.sum())
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
    again = carried_out(*how[:4], *AGAIN, "--test", "--root-dir", root)
    assert again.result == ended.result


REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a class that is not there": (("--normal-class", "X"), ("--normal-class 'X'", "N, S, V, F, Q")),
    "a classifier": (("--model-name", "cnn1d_3"), ("cnn1d_3 is not a network for --task detect", "conv_ae")),
    "an autoencoder to classify": (
        ("--task", "classify", "--model-name", "conv_ae"),
        ("is not a network for --task classify", "resnet1d"),
    ),
    "a sampler": (("--sampler", "equal"), ("--sampler is only valid with --task classify",)),
    "a balance": (("--class-balance", "equal"), ("--class-balance is only valid with --task classify",)),
    "class weights": (("--class-weights", "1,2,3,4,5"), ("--class-weights is only valid with --task classify",)),
    "a film": (("--confusion-video",), ("--confusion-video is only valid with --task classify",)),
    "a loss of classes": (("--criterion", "focal"), ("--criterion", "l1")),
    "a metric of classes": (("--monitor", "macro_f1"), ("--monitor", "loss")),
    "a rule that is none": (("--threshold", "percentil:98"), ("--threshold", "percentile")),
    "a percentile beyond 100": (("--threshold", "percentile:101"), ("from 0 to 100",)),
    "a rule without a number": (("--threshold", "sd"), ("sd takes a number from 0",)),
    "a baseline that is none": (("--baseline", "pcaa"), ("--baseline", "pca")),
    "a task that is none": (("--task", "detekt"), ("--task", "detect")),
    "a threshold to classify": (
        ("--task", "classify", "--threshold", "sd:3"),
        ("--threshold is only valid with --task detect",),
    ),
    "a baseline to classify": (
        ("--task", "classify", "--baseline", "pca"),
        ("--baseline is only valid with --task detect",),
    ),
    "a normal class to classify": (
        ("--task", "classify", "--normal-class", "N"),
        ("--normal-class is only valid with --task detect",),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_go_with_the_task_is_one_line_and_leaves_no_folder(root: Path, what: str) -> None:
    flags, says = REFUSED[what]
    assert_error(carried_out(*DETECT, *flags, "--root-dir", root), 2, *says)
    assert not list(root.glob("*/runs"))


@pytest.mark.parametrize(("flags", "says"), [((), "has fewer than 2 classes"), (("--normal-class", "N"), "unlabelled")])
def test_rows_without_labels_have_no_classes_and_no_class_of_a_name(
    root: Path, unlabelled: Path, flags: tuple[str, ...], says: str
) -> None:
    how = ("--task", "detect") if flags else ("--task", "classify")
    ended = carried_out("--dataset", "table", "--data-file", unlabelled, *how, *flags, "--root-dir", root)
    assert_error(ended, 2, says)
    assert not list(root.glob("*/runs"))
