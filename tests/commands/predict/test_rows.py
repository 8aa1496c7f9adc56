"""--predict with rows: each row gets the run's own prediction, whatever the form of its file; else one line says
why."""

import json
import re
import shlex
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.commands import assert_error, carried_out, contents
from helpers.data import ROOT
from helpers.tables import LABEL, RECORD, N, save, write
from loaders import get_data, new_rows
from loaders.datasets.table_places import Wanted
from loaders.formats.csv import rows as csv_rows
from toolbox.errors import DataError
from toolbox.runs import outputs

pytest.importorskip("pyarrow")
FLAGS = "--model-name cnn1d_3 --epochs 1 --no-figures"
T = 40
X = (np.random.default_rng(0).normal(size=(N, T)) + np.arange(N)[:, None] % 3).astype(np.float32)
IDS = np.array([f"b{k}" for k in range(N)])


def frame(**more: np.ndarray) -> pd.DataFrame:
    """Rows of T samples, and more columns."""
    return pd.DataFrame({f"t{i}": X[:, i] for i in range(T)} | more)


NEW = frame(patient=RECORD, id=IDS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with runs on tables: named columns and a committee with weighed, calibrated decisions; version 2 of a
    table without a header; and a detector."""
    root = tmp_path_factory.mktemp("root")
    named = write(root / "named.csv", frame(id=IDS, patient=RECORD, diagnosis=LABEL))
    bare = write(root / "bare.csv", frame(label=LABEL), header=False)
    plain = write(root / "plain.csv", frame())
    typed = f"--label-column diagnosis --id-columns id --rate-hz 50 {FLAGS}"
    decided = "--members 2 --calibrate --decision-weights 1,2,1"
    for flags in (
        f"--data-file {named} {typed} {decided}",
        f"--data-file {bare} {FLAGS}",
        f"--data-file {plain} --label-column none --task detect --model-name conv_ae --epochs 1 --no-figures",
    ):
        ended = carried_out("--dataset", "table", "--root-dir", root, *flags.split())
        assert ended.code == 0, ended.err
    return root


def predict(root: Path, *files: object, version: int = 1, model: str = "cnn1d_3") -> SimpleNamespace:
    run = ("--dataset", "table", "--model-name", model, "--root-dir", root, "--version", version)
    return carried_out(*run, "--predict", *files)


def table_of(ended: SimpleNamespace) -> pd.DataFrame:
    """The predictions of the only file of a command."""
    assert ended.code == 0, ended.err
    (found,) = ended.result["files"]
    return pd.read_csv(found["predictions"], keep_default_na=False)


@pytest.fixture(scope="module")
def expected(root: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("expected")
    return table_of(predict(root, write(folder / "new.csv", NEW), "--out", folder / "out"))


def test_the_predictions_of_known_rows_are_those_of_the_test(root: Path, expected: pd.DataFrame) -> None:
    """At the run's temperature."""
    run = root / "table" / "runs" / "table_cnn1d_3_1"
    tested = pd.read_csv(run / "pred" / "predictions.csv")
    mine = expected.iloc[tested["row"]].reset_index(drop=True)
    assert list(expected) == ["row", "patient", "id", "predicted", "p_AF", "p_N", "p_PVC"]
    assert mine["predicted"].tolist() == tested["predicted"].tolist()
    temperature = json.loads((run / "temperature.json").read_text())["temperature"]
    logits = np.log(tested.filter(like="p_").to_numpy()) / temperature
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(mine.filter(like="p_"), scores, atol=1e-4)
    assert expected["row"].tolist() == list(range(N))
    assert (expected["id"].tolist(), expected["patient"].tolist()) == (IDS.tolist(), RECORD.tolist())


SHUFFLED = NEW[np.random.default_rng(3).permutation(NEW.columns)]
FORMS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "another order": ("new.csv", lambda path: write(path, SHUFFLED)),
    "semicolons and decimal commas": ("new.csv", lambda path: write(path, SHUFFLED, sep=";", decimal=",")),
    "tabs": ("new.tsv", lambda path: write(path, NEW, sep="\t")),
    "gzip": ("new.csv.gz", lambda path: write(path, NEW, compression="gzip")),
    "row numbers of pandas": ("new.csv", lambda path: SHUFFLED.to_csv(path)),
    "labels that are empty": ("new.csv", lambda path: write(path, NEW.assign(diagnosis=""))),
    "Parquet": ("new.parquet", lambda path: SHUFFLED.to_parquet(path)),
    "NPZ": ("new.npz", lambda path: save(path, x=X, patient=RECORD, id=IDS)),
    "no header": ("new.csv", lambda path: write(path, frame(), header=False)),
    "no header, semicolons": ("new.csv", lambda path: write(path, frame(), header=False, sep=";", decimal=",")),
    "no header, tabs": ("new.tsv", lambda path: write(path, frame(), header=False, sep="\t")),
    "Parquet of lists": ("new.parquet", lambda path: pd.DataFrame({"x": X.tolist(), "id": IDS}).to_parquet(path)),
    "NPY": ("new.npy", lambda path: np.save(path, X)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_file_changes_no_prediction(
    root: Path, tmp_path: Path, expected: pd.DataFrame, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, make = FORMS[form]
    make(tmp_path / name)
    monkeypatch.setattr("loaders.datasets.table_places.PART_SAMPLES", 1)  # parts of one batch
    monkeypatch.setattr("trainer.PREDICT_ROWS", 7)
    found = table_of(predict(root, tmp_path / name, "--out", tmp_path / "out"))
    columns = [column for column in expected if column in found]
    pd.testing.assert_frame_equal(found[columns], expected[columns], atol=3e-6, rtol=0)
    assert {"patient", "id"} <= {*found} or form.startswith(("no header", "NPY", "Parquet of lists"))


def test_labels_are_copied_and_not_used(root: Path, tmp_path: Path, expected: pd.DataFrame) -> None:
    path = write(tmp_path / "new.csv", NEW.assign(diagnosis=np.roll(LABEL, 1)))
    ended = predict(root, path, "--out", tmp_path / "out")
    found = table_of(ended)
    assert found.pop("true").tolist() == np.roll(LABEL, 1).tolist()
    pd.testing.assert_frame_equal(found, expected)
    assert f"--test-on {path}" in ended.err
    assert "true" not in table_of(predict(root, path, "--label-column", "none", "--out", tmp_path / "none"))


CELL = NEW.astype({"t3": object})
CELL.loc[4, "t3"] = "abc"
FAULTS = {
    "a missing column": (NEW.drop(columns=["t3", "t7"]), 3, "the column t3 is missing; missing columns: 2"),
    "an unknown column": (NEW.assign(age=40), 3, "the column age is not one of the run's"),
    "a column twice": (NEW.rename(columns={"id": "t3"}), 3, "2 columns are called t3"),
    "text among numbers": (CELL, 3, "'abc' is not a finite number"),
    "only a header": (NEW[:0], 3, "the file has no rows"),
    "other names": (NEW.rename(columns=lambda name: name.replace("t", "s")), 3, "the column t0 is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_rows_unlike_the_runs_are_one_line_and_nothing_is_written(root: Path, tmp_path: Path, fault: str) -> None:
    rows, code, what = FAULTS[fault]
    path = write(tmp_path / "new.csv", rows)
    ended = predict(root, path, "--out", tmp_path / "out")
    assert_error(ended, code, what, str(path))
    if fault == "text among numbers":
        assert "line 6, column 4 (t3)" in ended.err
    assert not (tmp_path / "out").exists()


ARRAYS = {
    "samples": ({"x": X[:, :5]}, "a row has 5 samples, the run was trained on 40"),
    "leads": ({"x": np.stack([X, X], 1)}, "a row has 2 leads, the run was trained on 1"),
    "rate": ({"x": X, "rate_hz": 25}, "the rows were sampled at 25 Hz, the run was trained at 50 Hz"),
    "NaN": ({"x": np.where(X[7, 2] == X, np.nan, X)}, "x[7, 0, 2] is nan"),
    "an unknown array": ({"x": X, "age": RECORD}, "unknown arrays: age"),
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_arrays_unlike_the_runs_are_one_line(root: Path, tmp_path: Path, fault: str) -> None:
    arrays, what = ARRAYS[fault]
    assert_error(predict(root, save(tmp_path / "new.npz", **arrays), "--out", tmp_path / "out"), 3, what)


def test_samples_in_another_unit_of_voltage_are_converted_and_other_units_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = save(tmp_path / "own.npz", x=X, y=LABEL, unit="mV", rate_hz=50)
    wanted = Wanted(get_data("table", tmp_path / "data", data_file=own).spec)
    caplog.set_level("INFO")
    with new_rows.opened(save(tmp_path / "new.npz", x=1000 * X, unit="microvolts"), wanted) as rows:
        (part,) = rows.parts
    np.testing.assert_allclose(part.x[:, 0], X, rtol=1e-5)
    assert part.x.dtype == np.float32
    assert "new.npz are in microvolts, the run's in mV: multiplied by 0.001" in caplog.text
    path = save(tmp_path / "new.npz", x=X, unit="adu")
    with (
        pytest.raises(DataError, match="the samples are in adu, the run was trained on mV"),
        new_rows.opened(path, wanted),
    ):
        pass


TYPED = {
    "another rate": ("--rate-hz 25", 2, "--rate-hz is 25, the run was trained at 50 Hz"),
    "the beats of a recording": ("--beats atr", 2, "--beats is of recordings"),
    "a recording": ("--read-as recordings", 2, "does not state how its rows are cut from a recording"),
    "a column that is not there": ("--record-column who", 2, "--record-column who: no such column"),
    "another flag of the run": ("--members 3", 2, "--members is 3, the run was trained with 2"),
}


@pytest.mark.parametrize("kind", TYPED)
def test_typed_flags_that_do_not_fit_are_one_line(root: Path, tmp_path: Path, kind: str) -> None:
    flags, code, what = TYPED[kind]
    path = write(tmp_path / "new.csv", NEW)
    assert_error(predict(root, path, *flags.split(), "--out", tmp_path / "out"), code, what)
    assert not (tmp_path / "out").exists()


def test_the_columns_of_the_file_can_be_named(root: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "new.csv", NEW.assign(age=range(N), who=IDS))
    found = table_of(predict(root, path, "--id-columns", "age,who", "--rate-hz", 50, "--out", tmp_path / "out"))
    assert list(found)[:5] == ["row", "patient", "id", "age", "who"]
    assert found["who"].tolist() == IDS.tolist()


def test_unusable_rows_are_left_out_and_named(root: Path, tmp_path: Path, expected: pd.DataFrame) -> None:
    rows = CELL.copy()
    rows.loc[9, "t3"] = ""
    path = write(tmp_path / "new.csv", rows)
    ended = predict(root, path, "--bad-rows", "drop", "--out", tmp_path / "out")
    kept = [row for row in range(N) if row not in (4, 9)]
    pd.testing.assert_frame_equal(table_of(ended), expected.iloc[kept].reset_index(drop=True))
    assert "line 6, column 4 (t3): 'abc' is not a finite number; line 11, column 4 (t3): the cell is empty" in ended.err
    assert ended.result["files"][0]["dropped"] == 2
    rows["t3"] = ""
    ended = predict(root, write(path, rows), "--bad-rows", "drop", "--out", tmp_path / "none")
    assert_error(ended, 3, "no row can be kept: line 2, column 4 (t3): the cell is empty")


# A run without names


def test_a_run_without_names_takes_columns_in_their_order(root: Path, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.csv", frame(), header=False)
    with_label = write(tmp_path / "labelled.csv", frame(label=LABEL), header=False)
    first = table_of(predict(root, bare, "--out", tmp_path / "one", version=2))
    assert list(first) == ["row", "predicted", "p_AF", "p_N", "p_PVC"]
    second = table_of(predict(root, with_label, "--out", tmp_path / "two", version=2))
    assert second.pop("true").tolist() == LABEL.tolist()
    pd.testing.assert_frame_equal(first, second)
    ided = write(tmp_path / "ided.csv", frame().assign(who=IDS)[["who", *frame()]], header=False)
    third = table_of(predict(root, ided, "--id-columns", 1, "--out", tmp_path / "three", version=2))
    pd.testing.assert_frame_equal(first, third.drop(columns="column 1"))


GUESSED = {
    "an id before the samples": (frame().assign(who=range(N))[["who", *frame()]], "has '0."),
    "a number after them": (frame().assign(age=0.5), "column 41, where the run's label was, has '0.5'"),
    "a sample too few": (frame().iloc[:, 1:], "a row has 39 columns, 39 of them for samples, the run has 40 samples"),
}


@pytest.mark.parametrize("fault", GUESSED)
def test_a_column_that_is_no_sample_is_not_taken_for_one(root: Path, tmp_path: Path, fault: str) -> None:
    rows, _ = GUESSED[fault]
    ended = predict(root, write(tmp_path / "new.csv", rows, header=False), "--out", tmp_path / "out", version=2)
    assert_error(ended, 3)
    assert GUESSED[fault][1] in ended.err or "is no sample" in ended.err


# A detector, and runs on other datasets


def test_a_detector_writes_error_threshold_and_anomaly(root: Path, tmp_path: Path) -> None:
    run = root / "table" / "runs" / "table_conv_ae_1"
    ended = predict(root, write(tmp_path / "new.csv", NEW), "--out", tmp_path / "out", model="conv_ae")
    found, tested = table_of(ended), pd.read_csv(run / "pred" / "predictions.csv")
    threshold = json.loads((run / "threshold.json").read_text())["threshold"]
    assert list(found)[3:] == ["error", "threshold", "anomaly"]
    np.testing.assert_allclose(found["error"][tested["row"]], tested["error"], rtol=1e-5)
    assert (found["anomaly"] == (found["error"] > threshold)).all()
    copy = tmp_path / "root" / run.relative_to(root)
    shutil.copytree(run, copy)
    (copy / "threshold.json").unlink()
    ended = predict(tmp_path / "root", tmp_path / "new.csv", "--out", tmp_path / "out", model="conv_ae")
    assert_error(ended, 4, "the threshold is missing", "--test")


def test_a_run_on_beats_reads_a_csv_as_rows_if_it_is_told_to(plain_run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((60, 187)).astype(np.float32)
    run = ["--dataset", "synth", "--model-name", "cnn1d_3", "--root-dir"]
    how = (*run, plain_run.parents[2], "--out", tmp_path / "out")
    path = write(tmp_path / "k.csv", pd.DataFrame(x).assign(y=np.arange(60) % 5), header=False)
    found = table_of(carried_out(*how, "--predict", path, "--read-as", "rows"))
    also = table_of(carried_out(*how, "--predict", save(tmp_path / "also.npz", x=x)))
    pd.testing.assert_frame_equal(found.drop(columns="true"), also, atol=3e-6, rtol=0)
    assert_error(carried_out(*how, "--predict", path), 3, "no leads", "--read-as rows")
    odd = write(tmp_path / "odd.csv", pd.DataFrame(x).assign(y=0.5), header=False)
    assert_error(carried_out(*how, "--predict", odd, "--read-as", "rows"), 3, "no class of the run")


def test_an_exported_folder_predicts_rows_as_its_run(root: Path, tmp_path: Path, expected: pd.DataFrame) -> None:
    pytest.importorskip("safetensors")
    run = ("--dataset", "table", "--model-name", "cnn1d_3", "--root-dir", root, "--version", 1)
    ended = carried_out(*run, "--export", "safetensors", "--out", tmp_path / "export")
    assert ended.code == 0, ended.err
    path = write(tmp_path / "new.csv", SHUFFLED)
    how = ("--predict", path, "--from-export", tmp_path / "export")
    found = table_of(carried_out(*how))
    pd.testing.assert_frame_equal(found[[*expected]], expected)
    assert (tmp_path / "export" / "predict" / "new" / "new.csv").is_file()
    assert_error(carried_out(*how, "--rate-hz", 25), 2, "the run was trained at 50 Hz")
    ended = carried_out("--predict", write(path, NEW.drop(columns="t3")), *how[2:])
    assert_error(ended, 3, "the column t3 is missing")


# Where results go


def test_results_replace_only_results_of_the_same_rows(root: Path, tmp_path: Path) -> None:
    path, out = write(tmp_path / "new.csv", NEW), tmp_path / "out"
    first = predict(root, path, "--out", out)
    before = contents(out)
    assert contents(out) == before
    assert table_of(predict(root, path, "--out", out)).equals(table_of(first))
    assert contents(out) == before
    write(path, NEW[:10])
    assert predict(root, path, "--out", out).result["files"][0]["file"] == "new_2"
    (out / "mine").mkdir()
    (out / "mine" / "mine.csv").write_text("mine")
    ended = predict(root, write(tmp_path / "mine.csv", NEW), "--out", out)
    assert_error(ended, 2, "mine.csv is there already")
    assert (out / "mine" / "mine.csv").read_text() == "mine"


def test_one_of_several_files_that_cannot_be_read_leaves_the_others(root: Path, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.csv", NEW), write(tmp_path / "bad.csv", NEW.drop(columns="t3"))
    ended = predict(root, good, bad, tmp_path / "nothing.csv", "--out", tmp_path / "out")
    assert ended.code == 3
    assert "2 of 3 files could not be predicted" in ended.err
    assert [each["file"] for each in ended.result["files"]] == ["good"]


def test_two_commands_with_one_folder_wait_for_each_other(tmp_path: Path) -> None:
    entered, order = threading.Event(), []

    def other() -> None:
        entered.set()
        with outputs.locked(tmp_path / "out"):
            order.append("second")

    with outputs.locked(tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait()
        (tmp_path / "out" / "file").touch()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    with outputs.locked(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()


def test_rows_are_read_in_parts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = csv_rows.read_rows

    def read_rows(*given: object, **how: object) -> dict[str, np.ndarray]:
        arrays = whole(*given, **how)
        sizes.append(len(arrays["x"]))
        return arrays

    monkeypatch.setattr(csv_rows, "read_rows", read_rows)
    monkeypatch.setattr("loaders.datasets.table_places.PART_SAMPLES", 1)
    monkeypatch.setattr("trainer.PREDICT_ROWS", 16)
    table_of(predict(root, write(tmp_path / "new.csv", NEW), "--out", tmp_path / "out"))
    assert sizes == [16, 16, 16, N - 48]


# The page


def test_the_commands_of_the_page_lead_from_a_csv_to_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "your-data.md").read_text().split("## From your own CSV to predictions on new rows")[1]
    lines = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1].splitlines()
    write(tmp_path / "beats.csv", frame(id=IDS, patient=RECORD, diagnosis=LABEL))
    write(tmp_path / "new.csv", SHUFFLED)
    save(tmp_path / "more.npz", x=X, patient=RECORD)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        ended = carried_out(*shlex.split(line)[2:], "--no-figures")
        assert ended.code == 0, ended.err
    assert (tmp_path / "ecg_data/table/runs/table_cnn1d_3_1/predict/new/new.csv").is_file()
    assert {path.parent.name for path in (tmp_path / "found").rglob("*.csv")} == {"new", "more"}
