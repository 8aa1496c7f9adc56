"""--test and --test-on: the lines that people type, short tests, and other rows, which the run may have known."""

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import args
from helpers.commands import SHORT, assert_error, carried_out, on
from helpers.kaggle import TEST, TRAIN, write_beats
from helpers.pages import Page
from loaders import DATASETS, base, splits, undivided
from loaders.base import Data, DataSpec, Split
from loaders.datasets import table
from loaders.declaration import Request, TableOptions
from loaders.records import RecordRows, RecordStore
from toolbox.errors import CheckpointError, DataError
from toolbox.runs.exposure import Exposure
from toolbox.runs.folder import RunFolder
from toolbox.training import recorders

# The lines that people type, on a table in the layout of Kaggle. Epochs that a line does not name are two, not twenty.

TRAINED = "--model-name cnn1d_3 --tensorboard --version bump"
FULL = (
    "--dataset ecg --epochs 2 --root-dir ecg_data --model-name resnet1d_10 --batch-size 128 --lr 0.001 "
    "--scheduler ReduceLROnPlateau --optimizer adam --lr-decay 0.5 --step 15 --workers 1 --tensorboard --sampler equal "
    "--version bump"
)
LINES = {"ecg_resnet1d_10_1": FULL, "ecg_cnn1d_3_1": TRAINED, "ecg_cnn1d_3_2": TRAINED}


def typed(line: str) -> SimpleNamespace:
    return carried_out(*shlex.split(line))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder in which every training line was typed, in turn."""
    folder = tmp_path_factory.mktemp("home")
    write_beats(folder / "ecg_data" / "ecg", 70, 40)
    (folder / "x.csv").write_text("MLII\n" + "0.1\n" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(args.FLAGS.defaults, "epochs", 2)
        # A second each; other tests look at them.
        for drawn in ("training.board.Board.graph", "tasks.classify.draw"):
            patch.setattr(f"toolbox.{drawn}", lambda *_, **__: None)
        for drawn in ("of_epoch", "of_test", "rows"):
            patch.setattr(f"toolbox.reports.images.{drawn}", lambda *_, **__: {})
        ended = {name: typed(line) for name, line in LINES.items()}
    return SimpleNamespace(folder=folder, runs=folder / "ecg_data" / "ecg" / "runs", ended=ended)


@pytest.fixture
def here(home: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.chdir(home.folder)
    monkeypatch.setattr("toolbox.tasks.classify.draw", lambda *_, **__: None)
    return home


def test_every_training_line_trains_a_run_of_its_own_with_a_batch_size_for_its_rows(home: SimpleNamespace) -> None:
    for name, ended in home.ended.items():
        assert ended.code == 0, ended.err
        assert Path(ended.result["run_folder"]).name == name
        size = json.loads((home.runs / name / "config.json").read_text())["flags"]["batch_size"]
        assert size == (8 if "cnn" in name else 128)
        said = "--batch-size reduced to 8 from 128: 63 training rows make 8 steps an epoch" in ended.err
        assert said == ("--batch-size" in ended.err) == ("cnn" in name)


@pytest.mark.parametrize("version", ["latest", "2"])
def test_a_line_that_tests_gives_the_results_again_and_shows_the_test_on_tensorboard(
    here: SimpleNamespace, version: str
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ended = typed(f"--model-name cnn1d_3 --tensorboard --test --resume best --version {version}")
    assert ended.code == 0, ended.err
    assert ended.result == here.ended["ecg_cnn1d_3_2"].result
    assert "ignored" not in ended.err
    folder = here.runs / "ecg_cnn1d_3_2" / "tensorboard"
    latest = [
        max(path.glob("events.*"), key=lambda path: path.stat().st_mtime_ns) for path in (folder, folder / "test")
    ]
    whole, test = (EventAccumulator(str(path)).Reload() for path in latest)
    assert {"metrics/accuracy", "metrics/macro_f1", "metrics/loss", "test/N recall"} <= set(test.Tags()["scalars"])
    assert {"pictures/confusion_test", "pictures/roc_test"} <= set(whole.Tags()["images"])
    assert {f"test_{name}" for name in "NSVFQ"} <= set(whole.summary_metadata)
    both = EventAccumulator(str(folder / "test")).Reload()
    assert len(both.Scalars("metrics/loss")) == 1  # a repeated test hides the earlier one


OTHER_TRAINING = " --lr 0.5 --optimizer sgd --epochs 3 --augment noise --cost"


@pytest.mark.parametrize("added", ["", " --version latest", OTHER_TRAINING])
def test_the_line_of_a_training_with_test_behind_it_tests_that_run(here: SimpleNamespace, added: str) -> None:
    before = {path: path.read_bytes() for path in (here.runs / "ecg_resnet1d_10_1").glob("*.pth.tar")}
    line = FULL.replace(" --batch-size 128", "") if "--cost" in added else FULL
    ended = typed(f"{line} --test --resume best{added} --no-figures")
    assert ended.code == 0, ended.err
    assert ended.result["test"] == here.ended["ecg_resnet1d_10_1"].result["test"]
    (told,) = [text for text in ended.err.splitlines() if text.startswith("ignored, ")]
    ignored = {"--epochs", "--lr", "--scheduler", "--optimizer", "--lr-decay", "--step", "--workers", "--sampler"}
    assert ignored <= {*told.replace(",", "").split()}
    assert ("--batch-size" in told) == ("--cost" not in added)
    assert ("--version bump" in told) == ("latest" not in added)
    assert "--tensorboard" not in told
    assert {path: path.read_bytes() for path in before} == before


REFUSED = {
    "--test --seed 7": "--seed is 7, the run has 42",
    "--test --val-fraction 0.3": "--val-fraction is 0.3, the run has 0.1",
    "--test --model-args kernel=3": "--model-args is kernel=3, the run has none",
    "--test --decision-weights 1,2,1,1,1": "--decision-weights is 1,2,1,1,1, the run has none",
    "--test --criterion focal": "--criterion is focal, the run has crossentropy",
    "--test --monitor loss": "--monitor is loss, the run has macro_f1",
    "--test --members 3": "--members is 3, the run has 1",
    "--test --pretrained ecg_cnn1d_3_1": "--pretrained is ecg_cnn1d_3_1, the run has none",
    "--test --task detect": "conv_ae",
    "--test --num-classes 2": "5: N, S, V, F, Q",
    "--test --optimizer adamm": "adam",
    "--test --lr nan": "--lr is nan",
    "--resume latest --sampler equal": "--sampler is equal, the run has none",
    "--resume latest --version bump": "--version bump makes a new run, --resume takes an existing one",
    "--explain saliency --explain-random-labels 1 --lr 0.1": "--lr is 0.1, the run was trained with 0.005",
    "--predict x.csv --calibrate": "--calibrate needs a fitted temperature, this run has none",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_flags_that_would_change_the_results_or_the_run_are_refused(here: SimpleNamespace, flags: str) -> None:
    assert_error(typed(f"--model-name cnn1d_3 {flags}"), 2, REFUSED[flags])


def test_the_test_of_another_epoch_leaves_the_results_of_the_best_alone(copied_run: Path) -> None:
    before = (copied_run / "results.json").read_bytes()
    latest = on(copied_run, "--test", "--resume", "latest")
    assert latest.code == 0, latest.err
    assert latest.result["epoch"] == 2
    assert (copied_run / "pred" / "latest" / "report.txt").is_file()
    assert (copied_run / "results.json").read_bytes() == before


def test_classes_of_macro_f1_by_patient_have_no_effect_without_patients(copied_run: Path) -> None:
    said = on(copied_run, "--test", "--macro-over", "N,V").err
    (line,) = [line for line in said.splitlines() if "--macro-over" in line]
    assert line.startswith("--macro-over N,V has no effect here: figures by patient need a record name in every row")


class Kept(recorders.Recorder):
    """A recorder in place of MLflow: a line for each metric in a file of the root."""

    def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
        with (self.about.root / "kept.txt").open("a") as file:
            file.writelines(
                f"{self.about.run.name}/{self.named(split, name)} {step} {values[name]}\n" for name in values
            )


def test_a_later_test_records_its_metrics_where_its_training_was_recorded(
    copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recorders.RECORDERS, "mlflow", recorders.Known(f"{__name__}:Kept", "json", ""))
    kept, config = copied_run.parents[2] / "kept.txt", json.loads((copied_run / "config.json").read_text())
    assert on(copied_run, "--test").code == 0
    assert not kept.exists()
    assert on(copied_run, "--test", "--log-to", "mlflow", "--resume", "latest").code == 0
    assert f"{copied_run.name}/latest/test/macro_f1 2 " in kept.read_text()
    kept.unlink()
    (copied_run / "config.json").write_text(json.dumps(config | {"flags": config["flags"] | {"log_to": "mlflow"}}))
    assert on(copied_run, "--test").code == 0
    results = json.loads((copied_run / "results.json").read_text())
    line = f"{copied_run.name}/test/macro_f1 {results['best_epoch']} {results['test']['macro_f1']}"
    assert line in kept.read_text().splitlines()


def test_a_film_of_the_epochs_is_made_by_a_later_test_and_changes_nothing(copied_run: Path) -> None:
    before = json.loads((copied_run / "results.json").read_text())
    for resume, folder in (("best", copied_run / "pred"), ("latest", copied_run / "pred" / "latest")):
        ended = on(copied_run, "--test", "--confusion-video", "--resume", resume)
        assert ended.code == 0, ended.err
        with Image.open(folder / "confusion.gif") as film:
            assert film.n_frames == 2
        page = folder / "confusion.html"
        assert copied_run.name in page.read_text()
        loaded = [name for name in Page(page).loaded if not name.startswith("data:")]
        assert all((folder / name).is_file() for name in loaded)
    tables = {"predictions.csv", "predictions.npz", "metrics.json", "report.txt", "report.json", "report.npz"}
    made = {path.name for path in (copied_run / "pred").iterdir()}
    assert made == tables | {"confusion.gif", "confusion.html", "latest"}
    assert json.loads((copied_run / "results.json").read_text()) == before


def test_a_history_that_cannot_be_drawn_is_named_and_the_tables_are_there(copied_run: Path) -> None:
    history = json.loads((copied_run / "logger.json").read_text())
    history[0]["val"]["confusion_matrix"] = [[1, 2], [3, 4]]
    (copied_run / "logger.json").write_text(json.dumps(history))
    (copied_run / "pred" / "report.txt").unlink()
    ended = on(copied_run, "--test", "--confusion-video")
    assert_error(ended, 4, "a confusion matrix is not one of 5 classes", "logger.json")
    assert (copied_run / "pred" / "report.txt").is_file()


def test_a_run_of_an_earlier_version_without_figures_is_drawn_by_a_test(
    copied_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr("toolbox.tasks.classify.draw", lambda *_, **__: drawn.append(copied_run))
    config = json.loads((copied_run / "config.json").read_text())
    assert "no_figures" not in config["flags"]
    config["flags"]["no_figures"] = True
    (copied_run / "config.json").write_text(json.dumps(config))
    ended = carried_out("--model-name", "cnn1d_3", "--root-dir", copied_run.parents[2], "--test")
    assert ended.code == 0, ended.err
    assert drawn
    assert (copied_run / "pred" / "loss_per_step.png").is_file()


# Short runs and short tests


def test_a_short_run_measures_ten_batches_of_every_split_and_its_results_say_so(tmp_path: Path) -> None:
    write_beats(tmp_path / "ecg", 400, 150)
    how = "--dataset ecg --model-name cnn1d_3 --short-run --batch-size 3 --epochs 2 --no-figures"
    line = f"{how} --root-dir {tmp_path}"
    ended = typed(line)
    assert ended.code == 0, ended.err
    run = Path(ended.result["run_folder"])
    assert ended.result["covers"] == {"val_rows": [30, 40], "test_rows": [30, 150]}
    assert all(np.sum(ended.result[split]["confusion_matrix"]) == 30 for split in ("val", "test"))
    index, target = (np.load(run / "pred" / "predictions.npz")[name] for name in ("index", "target"))
    assert (len(np.unique(target)) > 2, index.max() > 100) == (True, True)
    report = (run / "pred" / "report.txt").read_text()
    assert "a short run: the figures cover 30 of 40 validation rows and 30 of 150 test rows" in report
    rule = json.loads((run / "pred/metrics.json").read_text())["split_rule"]
    assert "a short run: at most 30 rows of validation and of test" in rule
    assert typed(f"{line} --test --resume best").result == ended.result
    resumed = typed(f"{line.replace('--epochs 2', '--epochs 3')} --resume latest")
    assert resumed.code == 0, resumed.err
    assert resumed.result["covers"] == ended.result["covers"]


def test_a_short_run_with_a_strict_split_looks_at_the_whole_of_every_split(tmp_path: Path) -> None:
    folder = write_beats(tmp_path / "ecg", 60, 40)
    train, test = folder / TRAIN, folder / TEST
    test.write_text(test.read_text() + train.read_text().splitlines(keepends=True)[0])
    flags = ("--dataset", "ecg", *SHORT[2:], "--batch-size", "1", "--strict-split", "--root-dir", tmp_path)
    assert_error(carried_out(*flags), 3, "1 of 41 test rows")


def test_a_short_test_of_a_whole_run_is_kept_apart_and_does_not_call_the_run_short(here: SimpleNamespace) -> None:
    run = here.runs / "ecg_cnn1d_3_1"
    results = (run / "results.json").read_bytes()
    ended = typed("--model-name cnn1d_3 --version 1 --test --short-run --no-figures")
    assert ended.code == 0, ended.err
    assert ended.result["covers"] == {"val_rows": [7, 7], "test_rows": [40, 40]}
    report = (run / "pred" / "best-short" / "report.txt").read_text()
    assert "trained on ten batches" not in report
    assert (run / "results.json").read_bytes() == results


def test_measured_rows_come_from_all_over_a_file_and_pieces_of_a_row_stay_together() -> None:
    index = np.repeat(np.arange(1000), 2)
    drawn = base.drawn(index, 100)
    assert len(drawn) == 100
    assert (np.bincount(index[drawn], minlength=1000) % 2 == 0).all()
    assert np.histogram(drawn, 4, (0, 2000))[0].min() > 10
    assert (np.diff(drawn) > 0).all()
    assert np.array_equal(base.drawn(index, 2000), np.arange(2000))
    assert len(base.drawn(index, 1)) == 2


# Another file

T, CLASSES = 48, "ABC"
RUN = "table_cnn1d_3_1"
BASE = ("--dataset", "table", "--model-name", "cnn1d_3", "--no-figures")
OPTIONS: dict[str, Any] = dict.fromkeys(TableOptions.__dataclass_fields__)


def rows(count: int, seed: int, classes: str = CLASSES) -> pd.DataFrame:
    """Beats that can be told apart, six of a patient."""
    random, y = np.random.default_rng(seed), np.arange(count) % len(classes)
    x = random.normal(size=(count, T)) + 2 * np.sin(np.arange(T) * (1 + y[:, None]) / 5)
    table = pd.DataFrame(x.astype(np.float32), columns=[f"t{i}" for i in range(T)])
    return table.assign(patient=[f"p{seed}_{i // 6}" for i in range(count)], label=np.array([*classes])[y])


OWN, OTHER = rows(150, 1), rows(60, 2)


def write(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on 25 patients, 20 of which train and validate, and of its data; to be left as it is."""
    folder = tmp_path_factory.mktemp("trained")
    how = ("--rate-hz", 100, "--epochs", 2, "--batch-size", 32, "--root-dir", folder / "root")
    ended = carried_out(*BASE, *how, "--data-file", write(folder / "own.csv", OWN))
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> SimpleNamespace:
    """A copy of both, and `command` to carry out a command on it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "root" / "table" / "runs" / RUN

    def command(*flags: object) -> SimpleNamespace:
        return carried_out(*BASE, "--root-dir", tmp_path / "root", "--resume", "best", *flags)

    data = json.loads((run / "config.json").read_text())["data"]
    return SimpleNamespace(path=tmp_path, run=run, own=tmp_path / "own.csv", command=command, data=data)


def counted(copy: SimpleNamespace, tested: pd.DataFrame) -> dict[str, Any]:
    """How many of the rows the run trained and validated on, by their patients."""
    own = pd.merge(tested, OWN, how="left", indicator=True)["_merge"] == "both"
    by_split = {
        split: own & tested["patient"].isin(copy.data[f"{split}_records"]).to_numpy() for split in ("train", "val")
    }
    return {"trained_rows": int(by_split["train"].sum()), "validated_rows": int(by_split["val"].sum())}


def written(copy: SimpleNamespace) -> Path:
    """The folder of the test on other rows."""
    (folder,) = (copy.run / "pred").glob("*-o*")
    return folder


def test_all_rows_of_another_file_are_tested_and_the_own_results_stay(copy: SimpleNamespace) -> None:
    before = {path: path.read_bytes() for path in (copy.run / "results.json", copy.run / "pred" / "report.txt")}
    copy.own.unlink()  # the run is enough
    ended = copy.command("--test", "--test-on", write(copy.path / "b.csv", OTHER))
    assert ended.code == 0, ended.err
    assert all(path.read_bytes() == content for path, content in before.items())
    known = {"rows": 60, "trained_rows": 0, "validated_rows": 0, "records": 10, "known_records": []}
    assert ended.result["trained_on"] == known
    assert ended.result["shared_rows"] == 0
    rule = "all 60 rows of b.csv, not divided; records are those of the column patient"
    assert ended.result["split_rule"].startswith(rule)
    folder = written(copy)
    assert folder.name.startswith("best-on-b.csv-")
    assert json.loads((folder / "results.json").read_text())["trained_on"] == known
    report = (folder / "report.txt").read_text()
    assert report.startswith(f"{RUN}, best checkpoint on b.csv\n")
    assert "the run trained and validated on none of the 60 tested rows" in report
    predictions = pd.read_csv(folder / "predictions.csv")
    assert predictions["true"].tolist() == OTHER["label"].tolist()
    assert predictions["record"].tolist() == OTHER["patient"].tolist()
    assert ended.result["val"]["loss"] == json.loads((copy.run / "results.json").read_text())["val"]["loss"]


@pytest.mark.parametrize("own_rows", [0, 40])
def test_rows_that_the_run_knew_are_counted_and_warned_about(copy: SimpleNamespace, own_rows: int) -> None:
    tested = pd.concat([OTHER, OWN.iloc[:own_rows]], ignore_index=True)
    path = write(copy.path / "mixed.csv", tested)
    ended = copy.command("--test-on", path)
    known = ended.result["trained_on"]
    assert {name: known[name] for name in ("trained_rows", "validated_rows")} == counted(copy, tested)
    assert ended.result["shared_rows"] == known["trained_rows"] + known["validated_rows"]
    sentence = f"of {len(tested)} tested rows the run trained on {known['trained_rows']}"
    report = (written(copy) / "report.txt").read_text()
    assert (sentence in ended.err) == (sentence in report) == (sentence in ended.result["split_rule"]) == bool(own_rows)
    strict = copy.command("--test-on", path, "--strict-split")
    assert strict.code == (3 if own_rows else 0)
    assert (f"error: {sentence}" in strict.err) == bool(own_rows)


@pytest.mark.parametrize("how", ["another seed", "a file that grew"])
def test_an_overridden_test_says_which_of_its_rows_the_run_knew(copy: SimpleNamespace, how: str) -> None:
    tested = OWN if how == "another seed" else pd.concat([OWN, OTHER], ignore_index=True)
    flags = ("--seed", 7) if how == "another seed" else ("--data-file", write(copy.own, tested))
    ended = copy.command("--test", "--override", *flags)
    assert ended.code == 0, ended.err
    folder, known = copy.run / "pred" / "best-override", ended.result["trained_on"]
    for text in (ended.result["split_rule"], (folder / "report.txt").read_text()):
        assert "no record stands on two sides" not in text
        assert f"the run trained on {known['trained_rows']} and validated on" in text
    with np.load(folder / "predictions.npz") as predictions:
        rows = tested.iloc[predictions["index"]].reset_index(drop=True)
    assert {name: known[name] for name in ("trained_rows", "validated_rows")} == counted(copy, rows)
    assert known["trained_rows"] > 0


def test_flags_that_keep_the_rows_say_nothing_of_them(copy: SimpleNamespace) -> None:
    (copy.run / "trained_on.npz").unlink()  # an older run, whose rows would not be known
    ended = copy.command("--test", "--override", "--decision-weights", "1,2,1")
    assert ended.code == 0, ended.err
    assert "trained_on" not in ended.result
    assert "no record stands on two sides" in ended.result["split_rule"]


def test_without_digests_records_are_known_by_name_and_damaged_digests_are_an_error(copy: SimpleNamespace) -> None:
    (copy.run / "trained_on.npz").unlink()
    ended = copy.command("--test-on", copy.own)
    known = ended.result["trained_on"]
    assert (known["trained_rows"], known["validated_rows"], ended.result["shared_rows"]) == (None, None, None)
    assert sorted(known["known_records"]) == sorted(copy.data["train_records"] + copy.data["val_records"])
    assert all("is not known" in text for text in (ended.err, (written(copy) / "report.txt").read_text()))
    (copy.run / "trained_on.npz").write_bytes(b"PK\x03\x04 no zip")
    assert_error(copy.command("--test-on", copy.own), 4, "trained_on.npz is damaged", "remove it")


def npz(path: Path, x: np.ndarray, **facts: Any) -> Path:
    np.savez(path, x=x, y=np.array([*CLASSES])[np.arange(len(x)) % 3], **facts)
    return path


X = OTHER[[f"t{i}" for i in range(T)]].to_numpy()
OTHER_NAMES = OTHER.assign(label=np.arange(60) % 3)
MISFITS = {
    "a class": (lambda at: write(at / "o.csv", rows(60, 3, "ABD")), "no class D (20 rows); its classes are A, B, C"),
    "samples": (lambda at: npz(at / "o.npz", X[:, :40]), "40 samples a row, the run was trained on 48"),
    "channels": (lambda at: npz(at / "o.npz", np.stack([X, X], 1)), "2 channels, the run was trained on 1"),
    "rate": (lambda at: npz(at / "o.npz", X, rate_hz=250), "250 Hz, the run was trained on 100"),
    "labels": (lambda at: write(at / "o.csv", OTHER_NAMES), "the run knows no class 0 (20 rows)"),
    "nothing": (lambda at: at / "o.csv", "there is no dataset and no file of this name"),
}


@pytest.mark.parametrize("fault", MISFITS)
def test_rows_that_do_not_fit_the_run_are_refused(copy: SimpleNamespace, fault: str) -> None:
    make, says = MISFITS[fault]
    ended = copy.command("--test-on", make(copy.path))
    assert_error(ended, 3, says)
    assert len(ended.err.splitlines()[-1]) < 600
    assert not list((copy.run / "pred").glob("*-on-*"))


def test_a_file_needs_no_class_twice_and_columns_may_have_other_names(copy: SimpleNamespace) -> None:
    few = write(copy.path / "few.csv", OTHER.iloc[:4].rename(columns={"label": "diagnosis", "patient": "who"}))
    ended = copy.command("--test-on", few, "--label-column", "diagnosis", "--record-column", "who")
    assert ended.code == 0, ended.err
    assert ended.result["trained_on"]["rows"] == 4
    one = copy.command("--test-on", write(copy.path / "one.csv", OTHER[OTHER["label"] == "B"].drop(columns="patient")))
    assert one.code == 0, one.err
    assert one.result["trained_on"]["rows"] == 20
    assert np.array(one.result["test"]["confusion_matrix"]).sum(1).tolist() == [0, 20, 0]


def test_the_temperature_of_validation_is_kept(copy: SimpleNamespace) -> None:
    own = copy.command("--test", "--calibrate")
    other = copy.command("--test-on", write(copy.path / "b.csv", OTHER), "--calibrate")
    assert other.result["temperature"] == pytest.approx(own.result["temperature"], rel=1e-6)
    assert other.result["val"]["accuracy"] == own.result["val"]["accuracy"]


def test_flags_that_cannot_matter_are_ignored_and_others_refused(copy: SimpleNamespace) -> None:
    assert args.parse(["--test-on", "b.csv"]) == {"test_on": "b.csv", "test": True}
    assert_error(copy.command("--test-on", copy.own, "--seed", "7"), 2, "--seed is 7, the run has")
    ended = copy.command("--test-on", copy.own, "--lr", "0.5", "--deterministic", "--no-figures")
    assert (ended.code, "--lr" in ended.err) == (0, True), ended.err
    assert carried_out("--test-on", copy.own, "--predict", "x.hea").code == 2


def test_a_short_run_on_another_file_takes_ten_batches_beside_the_whole_test(copy: SimpleNamespace) -> None:
    path = write(copy.path / "b.csv", pd.concat([OTHER] * 6))
    whole = copy.command("--test-on", path, "--no-figures")
    short = copy.command("--test-on", path, "--no-figures", "--short-run")
    assert (whole.code, short.code) == (0, 0), short.err
    rows, most = 6 * len(OTHER), 10 * json.loads((copy.run / "config.json").read_text())["flags"]["batch_size"]
    assert most < rows
    assert short.result["covers"]["test_rows"] == [most, rows]
    assert f"the figures cover {most} of {rows} test rows\n" in short.err
    assert {folder.name.partition("-on-")[0] for folder in (copy.run / "pred").glob("*-on-*")} == {"best", "best-short"}


def test_a_resumed_run_keeps_the_rows_that_it_knew(copy: SimpleNamespace) -> None:
    kept = (copy.run / "trained_on.npz").read_bytes()
    ended = copy.command("--resume", "latest", "--epochs", 2)
    assert ended.code == 0, ended.err
    assert (copy.run / "trained_on.npz").read_bytes() == kept
    (copy.run / "trained_on.npz").unlink()  # as an older run, which is resumed with the same rows
    copy.command("--resume", "latest", "--epochs", 2)
    assert len(Exposure.of_run(RunFolder(copy.run)).train) == copy.data["train_rows"]
    path = write(copy.path / "b.csv", OTHER)
    ended = copy.command("--resume", "latest", "--override", "--epochs", 3, "--data-file", path)
    assert ended.code == 0, ended.err
    both = Exposure.of_run(RunFolder(copy.run))
    assert len(both.train) > copy.data["train_rows"]
    assert set(copy.data["train_records"]) < set(both.records.tolist())
    again = copy.command("--test-on", copy.own)
    assert again.result["trained_on"]["trained_rows"] == copy.data["train_rows"]


def test_a_run_that_starts_from_another_knows_its_rows_too(copy: SimpleNamespace) -> None:
    path, how = write(copy.path / "b.csv", OTHER), ("--root-dir", copy.path / "root", "--rate-hz", 100, "--epochs", 1)
    ended = carried_out(*BASE, *how, "--data-file", path, "--pretrained", RUN)
    assert ended.code == 0, ended.err
    tested = carried_out(*BASE, "--root-dir", copy.path / "root", "--test-on", copy.own)
    known = tested.result["trained_on"]
    assert known["trained_rows"] + known["validated_rows"] == copy.data["train_rows"] + copy.data["val_rows"]


def test_a_detector_is_tested_on_another_file_with_its_own_threshold(tmp_path: Path) -> None:
    base = ("--dataset", "table", "--task", "detect", "--normal-class", "A", "--no-figures")
    base += ("--root-dir", tmp_path / "root")
    own = carried_out(*base, "--data-file", write(tmp_path / "own.csv", OWN), "--rate-hz", 100, "--epochs", 1)
    assert own.code == 0, own.err
    ended = carried_out(*base, "--test-on", write(tmp_path / "b.csv", OTHER))
    assert ended.code == 0, ended.err
    assert ended.result["threshold"] == pytest.approx(own.result["threshold"], rel=1e-6)
    assert ended.result["trained_on"]["rows"] == 60
    normal = carried_out(*base, "--test-on", write(tmp_path / "n.csv", OTHER[OTHER["label"] == "A"]))
    assert (normal.code, "no anomaly is in the test set" in normal.err) == (3, True)


# Rows of every kind


def spec_of(classes: tuple[str, ...], **facts: Any) -> DataSpec:
    how = {"name": "ecg", "view": "beat", "channels": 1, "samples": T, "rate_hz": 125.0, "unit": "mV"}
    how |= {"leads": ("MLII",), "importance": (1.0,) * len(classes), "source": "", "licence": "", "split_rule": ""}
    return DataSpec(classes=classes, **how | facts)


def whole(path: Path | str, dataset: str, spec: DataSpec, **options: Any) -> Data:
    """The rows of a file or dataset as a run on `dataset` is tested on them."""
    return undivided.load(str(path), Path(path).parent, dataset=dataset, spec=spec, options=OPTIONS | options)


def test_numbers_stand_for_classes_where_the_dataset_of_the_run_numbers_them(tmp_path: Path) -> None:
    path, spec = (
        write(tmp_path / "b.csv", OTHER.assign(label=np.arange(60) % 3 + 1)),
        spec_of(("N", "S", "V", "F", "Q")),
    )
    for dataset, first in (("ecg", 1), ("ecg5000", 0)):
        assert whole(path, dataset, spec).test.y.tolist() == (np.arange(60) % 3 + first).tolist()
    with pytest.raises(DataError, match="the run knows no class 1"):
        whole(path, "mitdb", spec)
    named = write(tmp_path / "c.csv", OTHER.assign(label=np.array(["V", "N", "Q"])[np.arange(60) % 3]))
    data = whole(named, "mitdb", spec)
    assert data.test.y[:3].tolist() == [2, 0, 4]
    assert (data.spec.rate_hz, len(data.train), len(data.val)) == (125, 0, 0)


def test_a_dataset_is_tested_whole_with_the_run_s_own_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def get_data(name: str, root: Path, **how: Any) -> Data:
        asked.update(how, name=name)
        everything, spec = plain(), spec_of(("V", "N"), name=name, samples=9)
        train, val, test = (everything.rows(np.array(which)) for which in ([0, 3, 4], [1], [2, 5]))
        return Data(spec, train, val, lambda: test, "")

    monkeypatch.setattr(undivided, "get_data", get_data)
    options = {"split": "inter-patient", "fold": 2, "leads": "MLII", "window": None}
    spec = spec_of(("N", "V"), samples=9)
    data = whole("mitdb", "synth", spec, **options)
    assert data.test.y[np.argsort(data.test.index)].tolist() == [1, 0, 1, 0, 1, 0]  # the classes of the run
    assert (asked["name"], asked["data_file"], asked["split"], asked["leads"]) == ("mitdb", None, "random", "MLII")
    assert not {"fold", "label_column"} & asked.keys()
    (tmp_path / "records").mkdir()
    data = whole(tmp_path / "records", "mitdb", spec, **options)
    assert asked["data_file"] == tmp_path / "records"
    assert data.spec.split_rule == "all 6 rows of records, not divided"
    (tmp_path / "100.hea").touch()
    data = whole(tmp_path / "100.hea", "mitdb", spec, **options)
    assert data.spec.split_rule == "all 6 rows of the folder of 100.hea, not divided"


def test_another_unit_of_voltage_is_converted_others_are_refused_and_other_leads_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of(tuple(CLASSES))
    with caplog.at_level("INFO"):
        found = whole(npz(tmp_path / "b.npz", 1000 * X, unit="uV"), "ecg", spec)
    np.testing.assert_allclose(found.test.x, whole(npz(tmp_path / "c.npz", X, unit="mV"), "ecg", spec).test.x, 1e-5)
    assert (found.test.x.dtype, found.spec.unit) == (np.float32, "mV")
    assert "b.npz are in uV, the run's in mV: multiplied by 0.001" in caplog.text
    told = "uV converted to mV, whose rounding may hide rows of the run"
    assert found.spec.split_rule == f"all 60 rows of b.npz, not divided; {told}"
    steps = np.round(1000 * X)  # whole microvolts become the same float32 as the decimal numbers of a file in mV
    found = whole(npz(tmp_path / "b.npz", steps, unit="uV"), "ecg", spec)
    own = whole(npz(tmp_path / "c.npz", steps / 1000, unit="mV"), "ecg", spec)
    np.testing.assert_array_equal(found.test.digests, own.test.digests)
    with pytest.raises(DataError, match="samples in adu, the run was trained on mV"):
        whole(npz(tmp_path / "b.npz", X, unit="adu"), "ecg", spec)
    whole(npz(tmp_path / "b.npz", X, leads=["V5"]), "ecg", spec_of(tuple(CLASSES)))
    assert "are V5, the run was trained on MLII" in caplog.text


def test_a_split_column_of_the_run_may_be_missing(tmp_path: Path) -> None:
    how = {"spec": spec_of(tuple(CLASSES), name="table"), "lowest": None}
    asked = TableOptions(split="column:fold", record_column="patient")

    def request(path: Path) -> Request:
        return Request("table", DATASETS["table"], tmp_path, path, asked, "error", 0.0, 42)

    divided = write(tmp_path / "b.csv", OTHER.assign(fold="test")[[*OTHER.columns[:-1], "fold", "label"]])
    for path in (divided, write(tmp_path / "c.csv", OTHER), write(tmp_path / "d.csv", OTHER.drop(columns="patient"))):
        _, found = table.undivided(request(path), **how)
        assert found.x.shape == (60, 1, T)
    with pytest.raises(Exception, match="no such column"):
        table.undivided(request(path), **how, typed=["record_column"])


def test_digests_tell_rows_apart_by_their_bytes() -> None:
    x = np.random.default_rng(0).normal(size=(200, 2, 30)).astype(np.float32)
    digests = splits.digests(x)
    assert (digests.dtype, digests.shape, len(np.unique(digests))) == (np.uint64, (200,), 200)
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(splits.digests(x[order]), digests[order])
    x[7, 1, 29] = np.nextafter(x[7, 1, 29], 9)
    assert np.flatnonzero(splits.digests(x) != digests).tolist() == [7]
    assert splits.digests(x[:0]).shape == (0,)


def stacked() -> RecordRows:
    names, content = np.array([f"r{i}" for i in range(6)]), np.array([f"{i:016x}{i:032x}" for i in range(6)])
    ones = np.ones((6, 2), np.float32)
    store = RecordStore.of_one_length(np.zeros((6, 2, 9), np.int16), names, content, ones, ones, (0, 1))
    return RecordRows(store, np.arange(6), np.arange(6) % 2)


def cropped() -> RecordRows:
    length, ones = np.full(6, 9), np.ones((6, 1), np.float32)
    names, content = np.array([f"r{i}" for i in range(6)]), np.array([f"{i:016x}{0:016x}" for i in range(6)])
    store = RecordStore(np.zeros(54, np.int16), np.arange(6) * 9, length, names, content, ones, ones)
    return RecordRows(store, np.arange(6), np.arange(6) % 2, 9)


def plain() -> Split:
    x = np.random.default_rng(0).normal(size=(6, 1, 9)).astype(np.float32)
    return Split(x, np.arange(6) % 2, np.array([f"r{i}" for i in range(6)]), np.arange(6))


@pytest.mark.parametrize("make", [stacked, cropped, plain])
def test_rows_of_every_kind_are_found_again_and_joined(make: Any) -> None:
    everything = make()
    train, val, test = (everything.rows(np.array(which)) for which in ([0, 3, 4], [1], [2, 5]))
    exposure = Exposure.of(train, val)
    assert exposure.overlap(test).shared == 0
    joined = train.with_sides(val, test)
    assert (np.sort(joined.index).tolist(), len(joined)) == (list(range(6)), 6)
    found = exposure.overlap(joined)
    assert (found.rows, found.trained, found.validated, found.records) == (6, 3, 1, 6)
    assert found.known == ("r0", "r1", "r3", "r4")
    repeated = everything.rows(np.array([0, 0, 1, 5]))
    assert exposure.overlap(repeated) == replace(found, rows=3, trained=1, validated=1, records=3, known=("r0", "r1"))


def test_rows_of_other_kinds_are_not_compared_and_joined_rows_are_numbered_anew() -> None:
    exposure = Exposure.of(plain(), plain().rows(np.arange(0)))
    assert exposure.overlap(cropped()).shared is None
    assert exposure.joined(Exposure.of(cropped(), cropped())).train is None
    assert plain().with_sides(plain()).index.tolist() == list(range(12))


def test_a_run_without_a_config_knows_no_rows(tmp_path: Path) -> None:
    assert Exposure.of_run(RunFolder(tmp_path)).train is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError):
        Exposure.of_run(RunFolder(tmp_path))
