"""Rows with many labels, from the command line: trained, resumed, tested, predicted, exported, compared; and
refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.commands import assert_error, assert_same_run, carried_out, contents, signalled
from toolbox.metrics import labels, platt
from toolbox.runs.predictions import Predictions

CLASSES = ("A", "B", "C")
SAMPLES = 48
COMMON = ("--dataset", "table", "--model-name", "cnn1d_3", "--threads", 1)


def table(path: Path, rows: int, seed: int) -> Path:
    """Rows of three patterns, any of which a row may have; three rows a patient."""
    rng, time = np.random.default_rng(seed), np.arange(SAMPLES)
    y = (rng.random((rows, 3)) < (0.5, 0.4, 0.3)).astype(int)
    patterns = np.stack(
        [np.sin(time / 2), 2 * np.exp(-(((time - 10) / 3) ** 2)), -2 * np.exp(-(((time - 24) / 3) ** 2))]
    )
    x = rng.normal(0, 0.6, (rows, SAMPLES)) + y @ patterns
    frame = pd.DataFrame(x.round(3), columns=[f"s{k}" for k in time])
    frame["patient"] = [f"p{seed}_{row // 3}" for row in range(rows)]
    frame.assign(**dict(zip(CLASSES, y.T, strict=True))).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A root with a run of four epochs on rows of many labels; to be left as it is."""
    folder = tmp_path_factory.mktemp("labels")
    data = ("--data-file", table(folder / "my.csv", 240, 1), "--label-column", "A,B,C", "--rate-hz", 100)
    start = (*COMMON, "--root-dir", folder / "root", *data)
    ended = carried_out(*start, "--epochs", 4, "--tensorboard", "--no-figures")
    assert ended.code == 0, ended.err
    return SimpleNamespace(folder=folder, start=start, run=folder / "root/table/runs/table_cnn1d_3_1", **vars(ended))


def on(trained: SimpleNamespace, *flags: object) -> SimpleNamespace:
    return carried_out(*COMMON, "--version", 1, "--root-dir", trained.folder / "root", *flags)


def test_a_run_monitors_macro_auroc_and_keeps_the_losses_and_thresholds_of_many_labels(
    trained: SimpleNamespace,
) -> None:
    config = json.loads((trained.run / "config.json").read_text())
    assert (config["flags"]["criterion"], config["flags"]["monitor"]) == ("bce", "macro_auroc")
    assert config["data"]["many_labels"] is True
    assert config["data"]["classes"] == [*CLASSES]
    history = json.loads((trained.run / "logger.json").read_text())
    best = max(history, key=lambda row: (row["val"]["macro_auroc"], -row["val"]["loss"], -row["epoch"]))
    assert trained.result["best_epoch"] == best["epoch"]
    assert "val loss" in trained.err
    assert "macro AUROC" in trained.err


def test_thresholds_come_from_validation_rows_alone(trained: SimpleNamespace) -> None:
    val = Predictions.load(trained.run / "res" / f"epoch{trained.result['best_epoch']}.npz")
    stored = json.loads((trained.run / "thresholds.json").read_text())
    assert stored == {
        "thresholds": labels.thresholds(val.target, val.scores).tolist(),
        "validation_rows": len(val.index),
    }
    test = Predictions.load(trained.run / "pred" / "predictions.npz")
    values = labels.score(test.target, test.scores, test.loss, np.array(stored["thresholds"]))
    assert {name: trained.result["test"][name] for name in labels.METRICS} == {
        name: values[name] for name in labels.METRICS
    }
    assert trained.result["thresholds"] == stored["thresholds"]


def test_the_page_and_the_files_of_a_test_have_every_class(trained: SimpleNamespace) -> None:
    page, text = (trained.run / "report.html").read_text(), (trained.run / "pred" / "report.txt").read_text()
    for part in ("Macro AUROC is", "AUROC of each class", "reliability of each class", "With a wrong class", "Fmax"):
        assert part in page, part
    assert "Confusion matrix of the test" not in page
    for name in CLASSES:
        assert f"\n{name} " in text
    assert trained.result["test"]["interval_method"] == "percentile bootstrap over records"
    rows = json.loads((trained.run / "pred" / "report.json").read_text())["rows"]
    assert rows["test"] == [of["positives"] for of in trained.result["test"]["per_class"].values()]


def test_a_second_test_has_the_same_bytes_and_draws_every_figure(trained: SimpleNamespace) -> None:
    before = contents(trained.run / "pred")
    assert on(trained, "--test").code == 0
    after = contents(trained.run / "pred")
    kept = [name for name in before if name.endswith((".npz", ".csv", ".txt")) or name == "metrics.json"]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert {"class_auroc.png", "roc.png", "precision_recall.png", "calibration.png", "history.png"} <= {*after}


def test_a_stopped_run_resumes_to_the_same_weights(trained: SimpleNamespace, tmp_path: Path) -> None:
    start = [str(each).replace(str(trained.folder / "root"), str(tmp_path)) for each in trained.start]
    assert signalled(*start, "--epochs", 4, "--no-figures", step=17).code == 143
    ended = carried_out(*COMMON, "--root-dir", tmp_path, "--resume", "latest", "--no-figures")
    assert ended.code == 0, ended.err
    assert_same_run(trained.run, tmp_path / "table/runs/table_cnn1d_3_1")


@pytest.mark.parametrize("how", ["by name", "without labels"])
def test_new_rows_are_decided_by_the_thresholds(trained: SimpleNamespace, tmp_path: Path, how: str) -> None:
    rows = pd.read_csv(table(tmp_path / "new.csv", 30, 2))
    rows = rows if how == "by name" else rows.drop(columns=list(CLASSES))
    rows.to_csv(tmp_path / "new.csv", index=False)
    ended = on(trained, "--predict", tmp_path / "new.csv", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = pd.read_csv(tmp_path / "out" / "new" / "new.csv", keep_default_na=False)
    scores = found[[f"p_{name}" for name in CLASSES]].to_numpy()
    decided = scores >= np.array(trained.result["thresholds"])
    assert found["predicted"].tolist() == [";".join(np.array(CLASSES)[row]) for row in decided]
    (of,) = ended.result["files"]
    assert of["rows"] == 30
    assert list(of["predicted"].values()) == decided.sum(0).tolist()
    if how == "by name":
        np.testing.assert_array_equal(found[[*CLASSES]], rows[[*CLASSES]])


def test_an_export_predicts_as_its_run(trained: SimpleNamespace, tmp_path: Path) -> None:
    assert on(trained, "--export", "safetensors", "--out", tmp_path / "export").code == 0
    new = table(tmp_path / "new.csv", 20, 3)
    for which, flags in {"run": (), "export": ("--from-export", tmp_path / "export")}.items():
        own = (*COMMON, "--version", 1) if which == "run" else ("--threads", 1)
        ended = carried_out(
            *own, "--root-dir", trained.folder / "root", "--predict", new, *flags, "--out", tmp_path / which
        )
        assert ended.code == 0, ended.err
    one, other = ((tmp_path / which / "new" / "new.csv").read_bytes() for which in ("run", "export"))
    assert one == other
    card = (tmp_path / "export" / "model_card.md").read_text()
    assert "A class is predicted from its threshold on" in card
    assert json.loads((tmp_path / "export" / "contract.json").read_text())["output"]["thresholds"]


@pytest.fixture(scope="module")
def other(trained: SimpleNamespace) -> SimpleNamespace:
    """A run of one epoch with other losses and batches, and with calibration, beside the first."""
    flags = ("--criterion", "asymmetric", "--augment", "mixup", "--sampler", "equal", "--calibrate", "--no-figures")
    ended = carried_out(*trained.start, "--epochs", 1, *flags, "--version", 7)
    assert ended.code == 0, ended.err
    return SimpleNamespace(run=trained.folder / "root/table/runs/table_cnn1d_3_7", **vars(ended))


def test_calibration_is_fitted_on_validation_and_measured_beside_the_probabilities_as_trained(
    other: SimpleNamespace,
) -> None:
    val = Predictions.load(other.run / "res" / f"epoch{other.result['best_epoch']}.npz")
    fitted = json.loads((other.run / "thresholds.json").read_text())["calibration"]
    assert fitted == platt.fit(val.scores, val.target)
    test, tested = Predictions.load(other.run / "pred" / "predictions.npz"), other.result["test"]
    at, loss = np.array(other.result["thresholds"]), test.loss
    for scores, own in ((test.scores, tested), (platt.calibrated(test.scores, fitted), tested["calibrated"])):
        values = labels.name_classes(labels.score(test.target, scores, loss, at), CLASSES)
        for name in labels.CALIBRATION:
            assert own[name] == pytest.approx(values[name])
            assert own["intervals"][name][0] <= own[name] <= own["intervals"][name][1]
        for name in CLASSES:
            assert own["per_class"][name]["ece"] == pytest.approx(values["per_class"][name]["ece"])
    text, page = (other.run / "pred" / "report.txt").read_text(), (other.run / "report.html").read_text()
    assert "as trained" in text
    for part in ("slope, intercept", "as trained: reliability of each class", "calibrated: reliability of each class"):
        assert part in page, part


def test_calibrated_probabilities_are_predicted_and_exported_with_the_same_decisions(
    trained: SimpleNamespace, other: SimpleNamespace, tmp_path: Path
) -> None:
    new, root = table(tmp_path / "new.csv", 40, 6), ("--root-dir", trained.folder / "root")
    own = (*COMMON, "--version", 7, *root)
    assert carried_out(*own, "--export", "safetensors", "--out", tmp_path / "export").code == 0
    exported = ("--threads", 1, *root, "--from-export", tmp_path / "export")
    for which, flags in {"run": own, "export": exported}.items():
        ended = carried_out(*flags, "--predict", new, "--calibrate", "--out", tmp_path / which)
        assert ended.code == 0, ended.err
    one, two = ((tmp_path / which / "new" / "new.csv").read_bytes() for which in ("run", "export"))
    assert one == two
    shutil.copytree(other.run, tmp_path / "plain/table/runs" / other.run.name)
    stored = tmp_path / "plain/table/runs" / other.run.name / "thresholds.json"
    fixed = json.loads(stored.read_text())
    stored.write_text(json.dumps({name: fixed[name] for name in ("thresholds", "validation_rows")}))
    flags = (*COMMON, "--version", 7, "--root-dir", tmp_path / "plain", "--predict", new, "--out", tmp_path / "plain")
    assert_error(carried_out(*flags), 4, "the calibration is missing, and the run was trained with --calibrate")
    config = json.loads((stored.parent / "config.json").read_text())
    config["flags"]["calibrate"] = False
    (stored.parent / "config.json").write_text(json.dumps(config))
    assert_error(carried_out(*flags, "--calibrate"), 2, "--calibrate needs lines fitted on validation rows, this run")
    assert carried_out(*flags).code == 0
    (before, after) = (
        pd.read_csv(tmp_path / which / "new" / "new.csv", keep_default_na=False) for which in ("plain", "run")
    )
    assert before["predicted"].tolist() == after["predicted"].tolist()
    columns = [f"p_{name}" for name in CLASSES]
    np.testing.assert_allclose(
        after[columns], platt.calibrated(before[columns].to_numpy(), fixed["calibration"]), atol=1e-5
    )
    (of,) = ended.result["files"]
    assert of["thresholds"] == pytest.approx(platt.calibrated(np.array(fixed["thresholds"]), fixed["calibration"]))
    assert "The calibrated probability is sigmoid(slope" in (tmp_path / "export" / "model_card.md").read_text()


def test_two_runs_are_compared_by_paired_differences(trained: SimpleNamespace, other: SimpleNamespace) -> None:
    root = ("--root-dir", trained.folder / "root")
    ended = carried_out(*root, "--compare", trained.run.name, other.run.name)
    assert ended.code == 0, ended.err
    (against,) = ended.result["against_the_first"]
    one, two = (run["figures"]["macro_auroc"] for run in ended.result["runs"])
    assert against["macro_auroc"]["difference"] == pytest.approx(two - one)
    low, high = against["macro_auroc"]["interval"]
    assert low <= two - one <= high
    assert (ended.result["of_units"], ended.result["units"]) == ("records", 16)
    same = carried_out(*root, "--report", trained.run.name, other.run.name)
    assert same.code == 0, same.err
    assert "macro AUROC" in (trained.folder / "root" / "comparison.html").read_text()
    assert "macro_auroc" in (trained.folder / "root" / "runs.html").read_text()


def test_runs_on_records_of_few_patients_are_compared_over_patients(
    trained: SimpleNamespace, other: SimpleNamespace, tmp_path: Path
) -> None:
    for run in (trained.run, other.run):
        shutil.copytree(run, tmp_path / "table/runs" / run.name)
        config = json.loads((run / "config.json").read_text())
        config["data"]["view"] = "record"
        (tmp_path / "table/runs" / run.name / "config.json").write_text(json.dumps(config))
        path = tmp_path / "table/runs" / run.name / "pred/predictions.npz"
        rows = Predictions.load(path)
        replace(rows, record=np.array([f"p{row % 5}" for row in range(len(rows.index))])).save(path)
    ended = carried_out("--root-dir", tmp_path, "--compare", trained.run.name, other.run.name)
    assert ended.code == 0, ended.err
    (against,) = ended.result["against_the_first"]
    assert against["fmax"]["without_interval"] == "5 patients"
    assert ended.result["interval_method"].startswith("percentile bootstrap over patients")


def test_another_file_is_tested_and_rows_of_one_label_are_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    ended = on(trained, "--test-on", table(tmp_path / "other.csv", 60, 4), "--no-figures")
    assert ended.code == 0, ended.err
    assert ended.result["thresholds"] == trained.result["thresholds"]
    pd.read_csv(tmp_path / "other.csv").drop(columns=["B", "C"]).to_csv(tmp_path / "one.csv", index=False)
    ended = on(trained, "--test-on", tmp_path / "one.csv", "--label-column", "A")
    assert_error(ended, 3, "the rows have one label each, the run was trained on many labels")


def test_other_data_are_tested_on_the_classes_that_both_have_and_stand_beside_the_own_ones(
    trained: SimpleNamespace, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder / "root", tmp_path / "root")
    root, run = ("--root-dir", tmp_path / "root"), tmp_path / "root/table/runs" / trained.run.name
    whole = table(tmp_path / "whole.csv", 60, 4)
    pd.read_csv(whole).rename(columns={"A": "D"}).to_csv(tmp_path / "fewer.csv", index=False)
    columns = {whole: "A,B,C", tmp_path / "fewer.csv": "B,C,D"}
    for path, labelled in columns.items():
        flags = ("--version", 1, "--test-on", path, "--label-column", labelled, "--no-figures")
        ended = carried_out(*COMMON, *root, *flags)
        assert ended.code == 0, ended.err
    assert "2 classes in common, the rows lack A, the run lacks D" in ended.result["split_rule"]
    assert [*ended.result["test"]["per_class"]] == ["B", "C"]
    assert ended.result["thresholds"] == trained.result["thresholds"][1:]
    of_all, some = (Predictions.load(next(run.glob(f"pred/*{name}*/predictions.npz"))) for name in ("whole", "fewer"))
    np.testing.assert_allclose(some.scores, of_all.scores[:, 1:], rtol=1e-6)
    entropy = -np.where(some.target == 1, np.log(some.scores), np.log1p(-some.scores)).mean(1)
    np.testing.assert_allclose(some.loss, entropy, rtol=1e-4)
    tests = pd.read_csv(tmp_path / "root" / "transfer.csv").set_index("tested_on")
    assert tests["rows"].to_dict() | {"other.csv": 60} == dict.fromkeys(("whole.csv", "fewer.csv", "other.csv"), 60) | {
        "table": len(Predictions.load(run / "pred" / "predictions.npz").index)
    }
    for name, rows in {"whole.csv": of_all.among([1, 2]), "fewer.csv": some}.items():
        expected = labels.score(rows.target, rows.scores, rows.loss, np.full(2, 0.5))["macro_auroc"]
        assert tests.loc[name, ["common", "common_auroc"]].tolist() == [2, pytest.approx(expected)]
        assert tests.loc[name, "common_low"] < expected < tests.loc[name, "common_high"]
    assert "Own and other data" in (run / "report.html").read_text()
    strange = pd.read_csv(whole).rename(columns=dict(zip("ABC", "DEF", strict=True)))
    strange.to_csv(tmp_path / "none.csv", index=False)
    ended = carried_out(*COMMON, *root, "--version", 1, "--test-on", tmp_path / "none.csv", "--label-column", "D,E,F")
    assert_error(ended, 3, "the rows have no class of the run: D, E, F; its classes are A, B, C")


def test_a_test_without_a_measurable_class_is_named_and_leaves_the_common_classes_of_the_others(
    trained: SimpleNamespace, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder / "root", tmp_path / "root")
    run = tmp_path / "root/table/runs" / trained.run.name
    whole = table(tmp_path / "whole.csv", 60, 4)
    pd.read_csv(whole).assign(**dict.fromkeys(CLASSES, 1)).to_csv(tmp_path / "ones.csv", index=False)
    for path in (whole, tmp_path / "ones.csv"):
        flags = ("--root-dir", tmp_path / "root", "--version", 1, "--test-on", path, "--label-column", "A,B,C")
        ended = carried_out(*COMMON, *flags, "--no-figures")
        assert ended.code == 0, ended.err
    tests = pd.read_csv(tmp_path / "root" / "transfer.csv").set_index("tested_on")
    assert tests.loc[["table", "whole.csv", "ones.csv"], "common"].tolist() == [3, 3, 0]
    for name in ("table", "whole.csv"):
        assert tests.loc[name, "common_auroc"] == pytest.approx(tests.loc[name, "value"])
    assert tests.loc["ones.csv", ["value", "common_auroc"]].isna().all()
    lines = (run / "transfer.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines if "no class can be measured" in line] == ["ones.csv"]
    assert "no class can be measured" in (run / "report.html").read_text()


def test_rows_are_explained_for_a_class_that_they_have_or_that_is_predicted(
    trained: SimpleNamespace, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "copy")
    run = tmp_path / "copy/root/table/runs" / trained.run.name
    flags = (
        *COMMON,
        "--root-dir",
        tmp_path / "copy/root",
        "--version",
        1,
        "--explain",
        "gradcam",
        "--explain-count",
        4,
    )
    ended = carried_out(*flags)
    assert ended.code == 0, ended.err
    folder = Path(ended.result["page"]).parent
    examples = json.loads((folder / "explain.json").read_text())["examples"]
    val = Predictions.load(run / "res" / f"epoch{trained.result['best_epoch']}.npz")
    places = {int(index): row for row, index in enumerate(val.index)}
    assert {each["explained"] for each in examples} == {*CLASSES}
    for each in examples:
        row, k = places[each["index"]], CLASSES.index(each["explained"])
        has, predicted = val.target[row, k] == 1, val.scores[row, k] >= trained.result["thresholds"][k]
        assert has or predicted
        assert each["group"].startswith("right" if has and predicted else "wrong")
        assert each["probability"] == pytest.approx(val.scores[row, k], abs=1e-5)
        own = [name for name, one in zip(CLASSES, val.target[row], strict=True) if one]
        assert each["true"] == (", ".join(own) or "no class")
    assert (folder / "index.html").read_text().count("<figure") == len(examples)
    rows = len({each["index"] for each in examples})
    assert rows < len(examples), "a row is explained for two classes, and counts once"
    assert ended.result["rows"].startswith(f"{rows} of {len(val.index)} of validation")
    assert ended.result["rows"].endswith(f"; {len(examples)} pictures")
    one = carried_out(*flags, "--explain-class", "B")
    assert one.code == 0, one.err
    assert {each["explained"] for each in json.loads((folder / "explain.json").read_text())["examples"]} == {"B"}
    assert one.result["explained"] == "B"
    assert_error(
        carried_out(*flags, "--explain-class", "true"), 2, "--explain-class true is of rows with one class each"
    )
    assert_error(
        carried_out(*flags, "--explain-class", "b"), 2, "unknown --explain-class 'b'; known are predicted, A, B, C"
    )


def test_a_class_that_no_row_has_or_is_predicted_as_cannot_be_explained(tmp_path: Path) -> None:
    frame = pd.read_csv(table(tmp_path / "my.csv", 60, 5))
    frame.assign(D=0).to_csv(tmp_path / "my.csv", index=False)
    data = ("--data-file", tmp_path / "my.csv", "--label-column", "A,B,C,D", "--rate-hz", 100)
    flags = (*COMMON, "--root-dir", tmp_path / "root", "--no-figures")
    ended = carried_out(*flags, *data, "--epochs", 1)
    assert ended.code == 0, ended.err
    fixed = tmp_path / "root/table/runs/table_cnn1d_3_1/thresholds.json"
    fixed.write_text(json.dumps(json.loads(fixed.read_text()) | {"thresholds": [0.5, 0.5, 0.5, 1.0]}))
    asked = (*COMMON, "--root-dir", tmp_path / "root", "--explain", "saliency", "--explain-class")
    assert_error(carried_out(*asked, "D"), 2, "no row of val has D", "Try: --explain-class")
    assert not (tmp_path / "root/table/runs/table_cnn1d_3_1/explain").exists()


REFUSED = {
    "a loss of one class": (("--criterion", "crossentropy"), "known are bce, focal, asymmetric"),
    "a metric of one class": (("--monitor", "accuracy"), "known are epoch, loss, macro_auroc"),
    "calibration without validation": (("--calibrate", "--val-fraction", 0), "--calibrate needs validation rows"),
    "a film": (("--confusion-video",), "--confusion-video is of rows with one class each"),
    "detection": (("--task", "detect", "--model-name", "conv_ae"), "--task detect needs one class a row"),
    "weights of other classes": (("--class-weights", "1,2"), "--class-weights has 2 numbers, the classes are A, B, C"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_flags_of_one_class_a_row_are_refused_in_one_line(trained: SimpleNamespace, what: str) -> None:
    flags, text = REFUSED[what]
    assert_error(carried_out(*trained.start, *flags), 2, text)


def test_losses_of_many_labels_are_refused_for_one_class_a_row(tmp_path: Path) -> None:
    rows = (
        "--data-file",
        table(tmp_path / "my.csv", 30, 1),
        "--label-column",
        "A",
        "--id-columns",
        "B,C",
        "--rate-hz",
        100,
    )
    ended = carried_out(*COMMON, "--root-dir", tmp_path, *rows, "--criterion", "asymmetric")
    assert_error(ended, 2, "--criterion asymmetric does not go with one class a row; known are crossentropy")


def test_damaged_thresholds_are_named(trained: SimpleNamespace, tmp_path: Path) -> None:
    stored = trained.run / "thresholds.json"
    before, new = stored.read_text(), table(tmp_path / "new.csv", 9, 5)
    try:
        for content, text in (('{"thresholds": [0.5]}', "1 thresholds, the run has 3 classes"),
                              ("{}", "thresholds.json: thresholds is missing"),
                              ('{"thresholds": [0.5, 0.5, 0.5], "calibration": {"slope": [1], "intercept": [0, 0, 0]}}',
                               "1 slope, the run has 3 classes"),
                              ('{"thresholds": [0.5, 2, 0]}', "thresholds.json: thresholds")):  # fmt: skip
            stored.write_text(content)
            assert_error(on(trained, "--predict", new, "--out", tmp_path / "out"), 4, text)
        stored.unlink()
        assert_error(
            on(trained, "--predict", new, "--out", tmp_path / "out"), 4, "the thresholds of the classes are missing"
        )
    finally:
        stored.write_text(before)


def test_generated_records_with_many_labels_train(tmp_path: Path) -> None:
    flags = (
        "--dataset",
        "synth_rhythms",
        "--labels",
        "many",
        "--rate",
        25,
        "--leads",
        "I,V1",
        "--model-name",
        "cnn1d_3",
    )
    ended = carried_out(*flags, "--epochs", 1, "--short-run", "--no-figures", "--threads", 1, "--root-dir", tmp_path)
    assert ended.code == 0, ended.err
    assert set(ended.result["test"]["per_class"]) == {"1AVB", "AFIB", "LAD", "LBBB", "RAD", "RBBB", "SB", "ST"}
    assert_error(
        carried_out(*flags, "--label-map", "rhythm11", "--root-dir", tmp_path), 2, "--label-map is of one rhythm"
    )


ONE = "one:A,B,C"


def one_each(path: Path, rows: int, seed: int) -> Path:
    """Rows of three patterns, of which each has one; an NPZ has them as y (N, K)."""
    frame = pd.read_csv(table(path.with_suffix(".csv"), rows, seed))
    frame = frame[frame[[*CLASSES]].sum(1) == 1]
    if path.suffix == ".npz":
        samples, y = frame.filter(regex=r"^s\d").to_numpy(np.float32), frame[[*CLASSES]].to_numpy()
        np.savez(path, x=samples, y=y, record=frame["patient"].to_numpy(str), classes=np.array(CLASSES))
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(("ending", "asked"), [(".csv", ONE), (".npz", "one:")])
def test_one_of_several_columns_is_trained_tested_and_predicted_as_one_class_a_row(
    ending: str, asked: str, tmp_path: Path
) -> None:
    data = one_each(tmp_path / f"my{ending}", 300, 1), one_each(tmp_path / f"other{ending}", 200, 2)
    how = (*COMMON, "--root-dir", tmp_path / "root")
    rows = ("--data-file", data[0], "--rate-hz", 100, "--epochs", 1, "--no-figures", "--criterion", "crossentropy")
    many = carried_out(*how, *rows, "--label-column", asked.removeprefix("one:") or "y")
    assert_error(many, 2, "many labels a row; known are bce, focal, asymmetric. Try: one of them, or leave it out; "
                 "--label-column one:COLUMNS for one class a row")  # fmt: skip
    trained = carried_out(*how, *rows, "--label-column", asked)
    assert trained.code == 0, trained.err
    assert "accuracy" in trained.result["test"]
    on_other = carried_out(*how, "--test-on", data[1], "--no-figures")
    assert on_other.code == 0, on_other.err
    ended = carried_out(*how, "--predict", data[1], "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    found = pd.read_csv(ended.result["files"][0]["predictions"])
    y = pd.read_csv(tmp_path / "other.csv")[[*CLASSES]]
    assert found["true"].tolist() == y[y.sum(1) == 1].idxmax(axis=1).tolist()
    assert (found["true"] == found["predicted"]).mean() == pytest.approx(on_other.result["test"]["accuracy"])
    unlabelled = carried_out(*how, "--predict", data[1], "--label-column", "none", "--out", tmp_path / "none")
    assert unlabelled.code == 0, unlabelled.err
    assert "true" not in pd.read_csv(unlabelled.result["files"][0]["predictions"])


def test_rows_without_exactly_one_label_are_refused_by_every_command_that_reads_them(tmp_path: Path) -> None:
    data, several = one_each(tmp_path / "my.csv", 150, 1), table(tmp_path / "several.csv", 60, 4)
    counts = pd.read_csv(several)[[*CLASSES]].sum(1)
    first = int((counts != 1).idxmax())
    said = f"row {first}, counted from 0, has {counts[first]} labels, expected exactly one; rows without a label: "
    said += f"{(counts == 0).sum()}, with several: {(counts > 1).sum()}"
    how = (*COMMON, "--root-dir", tmp_path / "root")
    train = ("--rate-hz", 100, "--epochs", 1, "--no-figures", "--label-column", ONE, "--data-file")
    assert_error(carried_out(*how, *train, several), 3, said)
    assert carried_out(*how, *train, data).code == 0
    for command in (("--test-on", several), ("--predict", several, "--out", tmp_path / "out")):
        assert_error(carried_out(*how, *command), 3, said)
    many = carried_out(*how, "--test-on", several, "--label-column", "A,B,C")
    assert_error(many, 3, "Try: --label-column one:COLUMNS, or rows labelled as those of the run")
