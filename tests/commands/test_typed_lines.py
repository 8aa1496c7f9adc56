"""The command lines that people type, as they type them, on a table in the Kaggle layout."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import args
from helpers.commands import carried_out
from loaders import base
from loaders.synthetic import beats as synth

TRAINED = "--model-name cnn1d_3 --tensorboard --version bump"
FULL = (
    "--dataset ecg --epochs 20 --root-dir ecg_data --model-name resnet1d_10 --batch-size 128 --lr 0.001 "
    "--scheduler ReduceLROnPlateau --optimizer adam --lr-decay 0.5 --step 15 --workers 1 --tensorboard --sampler equal "
    "--version bump"
)
TRAININGS = (
    FULL,
    TRAINED,
    TRAINED,  # version 2, which a line below tests
    "--model-name resnet1d_10 --tensorboard --version bump",
    "--model-name resnet1d_v2 --tensorboard --version bump",
)
TESTS = (
    "--model-name cnn1d_3 --tensorboard --test --resume best --version latest",
    "--model-name cnn1d_3 --tensorboard --test --resume best --version 2",
)
ROWS = {"mitbih_train.csv": 70, "mitbih_test.csv": 40}


def kaggle(folder: Path, rows: dict[str, int]) -> None:
    """Generated beats in the layout of the Kaggle page: 187 samples and a label a row, without a header."""
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate(rows.items()):
        beats = synth.beats(count, seed + 1)
        np.savetxt(folder / name, np.column_stack([beats["x"], beats["y"]]), fmt="%.4g", delimiter=",")


def typed(line: str) -> SimpleNamespace:
    return carried_out(*shlex.split(line))


def shown(folder: Path) -> SimpleNamespace:
    """The tags of the newest TensorBoard events in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    newest = max(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns)
    events = EventAccumulator(str(newest))
    events.Reload()
    return SimpleNamespace(
        scalars=set(events.Tags()["scalars"]), images=set(events.Tags()["images"]), curves=set(events.summary_metadata)
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder in which every training line was typed, in turn; epochs that a line does not name are two, not
    twenty."""
    folder = tmp_path_factory.mktemp("home")
    kaggle(folder / "ecg_data" / "ecg", ROWS)
    (folder / "x.csv").write_text("MLII\n" + "0.1\n" * 1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(args.FLAGS.defaults, "epochs", 2)
        # A second each; other tests look at them.
        for drawn in ("training.recorders.Board.graph", "tasks.classify.draw"):
            patch.setattr(f"toolbox.{drawn}", lambda *_, **__: None)
        for images in ("epoch_images", "test_images"):
            patch.setattr(f"toolbox.reports.plots.{images}", lambda *_, **__: {})
        ended = [typed(line.replace("--epochs 20", "--epochs 2")) for line in TRAININGS]
    return SimpleNamespace(folder=folder, runs=folder / "ecg_data" / "ecg" / "runs", ended=ended)


@pytest.fixture
def here(home: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.chdir(home.folder)
    monkeypatch.setattr("toolbox.tasks.classify.draw", lambda *_, **__: None)
    return home


def test_every_training_line_trains_a_run_of_its_own(home: SimpleNamespace) -> None:
    assert [ended.code for ended in home.ended] == [0] * len(TRAININGS), [ended.err for ended in home.ended]
    names = ["ecg_resnet1d_10_1", "ecg_cnn1d_3_1", "ecg_cnn1d_3_2", "ecg_resnet1d_10_2", "ecg_resnet1d_v2_1"]
    assert [Path(ended.result["run_folder"]).name for ended in home.ended] == names


@pytest.mark.parametrize("line", TESTS)
def test_every_line_that_tests_works_as_typed_and_shows_the_test_on_tensorboard(
    here: SimpleNamespace, line: str
) -> None:
    trained = home_result(here, "ecg_cnn1d_3_2")
    ended = typed(line)
    assert ended.code == 0, ended.err
    assert ended.result == trained
    found = shown(here.runs / "ecg_cnn1d_3_2" / "tensorboard")
    assert {"test/accuracy", "test/macro_f1", "test/loss", "test/N/recall"} <= found.scalars
    assert {"confusion_matrix/test", "roc/test"} <= found.images
    assert {f"pr_curve_test/{name}" for name in "NSVFQ"} <= found.curves
    assert "ignored" not in ended.err


def home_result(home: SimpleNamespace, name: str) -> dict:
    """What the training of a run printed."""
    return next(ended.result for ended in home.ended if ended.result["run_folder"].endswith(name))


@pytest.mark.parametrize(
    "added", ["", " --version latest", " --lr 0.5 --optimizer sgd --epochs 3 --augment noise --cost"]
)
def test_the_line_of_the_training_with_test_behind_it_tests_that_run(here: SimpleNamespace, added: str) -> None:
    before = {path: path.read_bytes() for path in (here.runs / "ecg_resnet1d_10_2").glob("*.pth.tar")}
    line = FULL.replace(" --batch-size 128", "") if "--cost" in added else FULL
    ended = typed(f"{line} --test --resume best{added} --no-figures")
    assert ended.code == 0, ended.err
    assert ended.result["test"] == home_result(here, "ecg_resnet1d_10_2")["test"]
    (told,) = [text for text in ended.err.splitlines() if text.startswith("ignored, ")]
    for flag in ("--epochs", "--lr", "--scheduler", "--optimizer", "--lr-decay", "--step", "--workers", "--sampler"):
        assert flag in told.replace(",", "").split()
    assert ("--batch-size" in told) == ("--cost" not in added)
    assert ("--version bump" in told) == ("latest" not in added)
    assert "--tensorboard" not in told
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--test --seed 7", "--seed is 7, the run has 42"),
        ("--test --val-fraction 0.3", "--val-fraction is 0.3, the run has 0.1"),
        ("--test --model-args kernel=3", "--model-args is kernel=3, the run has None"),
        ("--test --decision-weights 1,2,1,1,1", "--decision-weights is 1,2,1,1,1, the run has None"),
        ("--test --criterion focal", "--criterion is focal, the run has crossentropy"),
        ("--test --monitor loss", "--monitor is loss, the run has macro_f1"),
        ("--test --members 3", "--members is 3, the run has 1"),
        ("--test --pretrained ecg_cnn1d_3_1", "--pretrained is ecg_cnn1d_3_1, the run has None"),
        ("--test --task detect", "conv_ae"),
        ("--test --num-classes 2", "5: N, S, V, F, Q"),
        ("--test --optimizer adamm", "adam"),
        ("--test --lr nan", "--lr is nan"),
        ("--resume latest --lr 0.1", "--lr is 0.1, the run has 0.005"),
        ("--resume latest --batch-size 128", "--batch-size is 128, the run has 8"),
        ("--resume latest --sampler equal", "--sampler is equal, the run has None"),
        ("--resume latest --version bump", "--version bump makes a new run, --resume takes an existing one"),
        ("--explain saliency --explain-random-labels 1 --lr 0.1", "--lr is 0.1, the run was trained with 0.005"),
        ("--predict x.csv --calibrate", "--calibrate needs a fitted temperature, this run has none"),
    ],
)
def test_what_would_change_the_results_or_the_run_is_refused(here: SimpleNamespace, flags: str, says: str) -> None:
    ended = typed(f"--model-name cnn1d_3 {flags}")
    assert ended.code == 2, ended.err
    assert says in ended.err.splitlines()[-1]


def test_a_run_without_a_typed_batch_size_keeps_the_one_that_suits_its_rows(here: SimpleNamespace) -> None:
    for name, size in (("ecg_cnn1d_3_1", 8), ("ecg_resnet1d_10_1", 128)):
        assert json.loads((here.runs / name / "config.json").read_text())["flags"]["batch_size"] == size
    assert "--batch-size reduced to 8 from 128: 63 training rows make 8 steps an epoch" in here.ended[1].err
    assert "--batch-size" not in here.ended[0].err


def test_a_short_run_measures_ten_batches_of_every_side_and_its_results_say_so(tmp_path: Path) -> None:
    kaggle(tmp_path / "ecg", {"mitbih_train.csv": 400, "mitbih_test.csv": 150})
    line = (
        f"--dataset ecg --model-name cnn1d_3 --short-run --batch-size 3 --epochs 2 --no-figures --root-dir {tmp_path}"
    )
    ended = typed(line)
    assert ended.code == 0, ended.err
    run = Path(ended.result["run_folder"])
    assert ended.result["covers"] == {"val_rows": [30, 40], "test_rows": [30, 150]}
    assert np.sum(ended.result["test"]["confusion_matrix"]) == 30
    assert np.sum(ended.result["val"]["confusion_matrix"]) == 30
    index, target = (np.load(run / "pred" / "predictions.npz")[name] for name in ("index", "target"))
    assert len(np.unique(target)) > 2
    assert index.max() > 100
    report = (run / "pred" / "report.txt").read_text()
    assert "a short run: the figures cover 30 of 40 validation rows and 30 of 150 test rows" in report
    assert (
        "a short run: at most 30 rows of validation and of test"
        in json.loads((run / "pred/metrics.json").read_text())["split_rule"]
    )
    again = typed(f"{line} --test --resume best")
    assert again.result == ended.result
    resumed = typed(f"{line.replace('--epochs 2', '--epochs 3')} --resume latest")
    assert resumed.code == 0, resumed.err
    assert resumed.result["covers"] == ended.result["covers"]


def test_a_short_run_with_a_strict_split_looks_at_the_whole_of_every_side(tmp_path: Path) -> None:
    kaggle(tmp_path / "ecg", {"mitbih_train.csv": 60, "mitbih_test.csv": 40})
    train, test = (tmp_path / "ecg" / f"mitbih_{side}.csv" for side in ("train", "test"))
    test.write_text(test.read_text() + "".join(train.read_text().splitlines(keepends=True)[:1]))
    line = f"--dataset ecg --model-name cnn1d_3 --short-run --batch-size 1 --strict-split --root-dir {tmp_path}"
    ended = typed(line)
    assert ended.code == 3, ended.err
    assert "1 of 41 test rows" in ended.err


def test_a_whole_run_is_tested_on_ten_batches_apart_from_its_results(here: SimpleNamespace) -> None:
    run = here.runs / "ecg_cnn1d_3_1"
    results = (run / "results.json").read_bytes()
    ended = typed("--model-name cnn1d_3 --version 1 --test --short-run --no-figures")
    assert ended.code == 0, ended.err
    assert ended.result["covers"] == {"val_rows": [7, 7], "test_rows": [40, 40]}
    assert (run / "pred" / "best-short" / "report.txt").is_file()
    assert (run / "results.json").read_bytes() == results


def test_rows_that_are_measured_come_from_all_over_a_file_and_pieces_of_a_row_stay_together() -> None:
    index = np.repeat(np.arange(1000), 2)
    drawn = base.drawn(index, 100)
    assert len(drawn) == 100
    assert (np.bincount(index[drawn], minlength=1000) % 2 == 0).all()
    assert np.histogram(drawn, 4, (0, 2000))[0].min() > 10
    assert (np.diff(drawn) > 0).all()
    assert np.array_equal(base.drawn(index, 2000), np.arange(2000))
    assert len(base.drawn(index, 1)) == 2


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 8), (60, 8), (79, 8), (145, 16), (270, 16), (290, 32), (577, 64), (1152, 64), (1153, 128), (90_000, 128)],
)
def test_the_default_batch_size_is_halved_until_an_epoch_has_ten_steps(rows: int, size: int) -> None:
    assert base.batch_size(None, rows) == size
    assert base.batch_size(77, rows) == 77
