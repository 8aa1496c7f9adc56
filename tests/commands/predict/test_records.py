"""--predict of whole records: as the test of the run scored them; any length, format and unit of recordings; faults."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import wfdb

from helpers import ptbxl
from helpers.commands import assert_error, carried_out
from helpers.pages import Page
from loaders.families import row_forms
from loaders.formats.twelve_leads import LEADS
from loaders.synthetic import strips, twelve_lead
from toolbox.ecg import matching
from toolbox.metrics import platt
from toolbox.plain import NOTICE
from toolbox.runs.predictions import Predictions

NETWORK = ("--model-name", "cnn1d_3")
TRAINED = ("--epochs", 1, "--no-figures", "--no-tensorboard")
TWELVE = "--dataset synth_rhythms"
# The flags of each run.
RUNS = {
    "one label": f"{TWELVE} --rate 100 --filter bandpass:0.5:40 --normalise record --decision-weights 1,2,1,0.5",
    "many labels": f"{TWELVE} --labels many --rate 100 --crops 2.5s --leads II,V1,V5 --calibrate --normalise center",
    "statements": "--dataset ptbxl --labels super --filter baseline",
    "strips": "--dataset synth_strips --crops 1500 --drop-labels ~ --decision-weights 1,2,1",
    "strips with rhythm": "--dataset synth_strips --rate 100 --crops 5s --rr-features --normalise record",
}
Signals = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def run(root: Path) -> Callable[[str], SimpleNamespace]:
    """The runs of RUNS, trained when they are first asked for: folder, flags, predictions of the test."""
    made: dict[str, SimpleNamespace] = {}

    def trained(name: str) -> SimpleNamespace:
        if name not in made:
            here = root / name.replace(" ", "_")
            flags = (*RUNS[name].split(), *NETWORK, "--root-dir", here / "root")
            files = ("--data-file", ptbxl.write(here / "ptbxl")) if name == "statements" else ()
            ended = carried_out(*flags, *files, *TRAINED)
            assert ended.code == 0, ended.err
            folder = Path(ended.result["run_folder"])
            tested = Predictions.load(folder / "pred" / "predictions.npz")
            made[name] = SimpleNamespace(folder=folder, flags=(*flags[:2], *NETWORK, *flags[-2:]), tested=tested)
        return made[name]

    return trained


@pytest.fixture(scope="module")
def signals() -> dict[str, Callable[[], Signals]]:
    """The samples (C, T) of every record by name, in microvolts, of the runs with generated data."""

    def of_strips() -> Signals:
        made = strips.generated()
        return {name: signal[None] for name, signal in zip(made["record"], made["signals"], strict=True)}

    def named(make: Callable[[], dict]) -> Signals:
        arrays = make()
        return dict(zip(arrays["record"].tolist(), arrays["samples"], strict=True))

    return {
        "one label": lambda: named(twelve_lead.generated),
        "many labels": lambda: named(twelve_lead.with_findings),
        "strips": of_strips,
        "strips with rhythm": of_strips,
    }


@pytest.fixture(scope="module")
def rhythms(signals: dict[str, Callable[[], Signals]]) -> Signals:
    return signals["many labels"]()


def write(
    folder: Path, name: str, samples: np.ndarray, *, rate_hz: float = 500, leads: tuple[str, ...] = LEADS,
    unit: str = "mV",
) -> Path:  # fmt: skip
    """A WFDB record of samples (C, T) in microvolts; its header."""
    folder.mkdir(exist_ok=True, parents=True)
    count, scale = len(samples), {"mV": 1000.0, "uV": 1.0}[unit]
    how = {"fmt": ["16"] * count, "adc_gain": [scale] * count, "baseline": [0] * count, "units": [unit] * count}
    signal = samples.T.astype(float) / scale
    wfdb.wrsamp(name, rate_hz, p_signal=signal, sig_name=list(leads[:count]), write_dir=str(folder), **how)
    return folder / f"{name}.hea"


def predicted(run: SimpleNamespace, out: Path, *given: object) -> SimpleNamespace:
    """The command, and the JSON and the CSV of each recording by name."""
    ended = carried_out(*run.flags, "--out", out, "--predict", *given)
    assert ended.code == 0, ended.err
    found = {path.stem: json.loads(path.read_text()) for path in out.glob("*/*.json")}
    tables = {path.stem: pd.read_csv(path, keep_default_na=False) for path in out.glob("*/*.csv")}
    return SimpleNamespace(found=found, tables=tables, **vars(ended))


def scores(found: dict) -> np.ndarray:
    return np.array(list(found["probabilities"].values()))


@pytest.mark.parametrize("name", RUNS)
def test_probabilities_and_decisions_are_those_of_the_test_of_the_run(
    run: Callable, signals: dict, tmp_path: Path, name: str
) -> None:
    own = run(name)
    last = len(own.tested.index) - 1
    tested = own.tested.of(np.unique([0, last // 2, last]))
    if name == "statements":
        given = [own.folder.parents[3] / "ptbxl" / f"{ptbxl.path(number, 100)}.hea" for number in tested.index]
    else:
        all_of, rate_hz = signals[name](), 300 if "strips" in name else 500
        leads = ("synthetic",) if "strips" in name else LEADS
        given = [write(tmp_path, each, all_of[each], rate_hz=rate_hz, leads=leads) for each in tested.record]
    of = predicted(own, tmp_path / "out", *given)
    expected, fixed = tested.scores, {}
    if (path := own.folder / "thresholds.json").exists():
        fixed = json.loads(path.read_text())
        expected = platt.calibrated(expected, fixed["calibration"]) if "calibration" in fixed else expected
    for path, row, before in zip(given, expected, tested.scores, strict=True):
        found = of.found[path.stem]
        np.testing.assert_allclose(scores(found), row, atol=1e-4)
        classes = found["classes"]
        own_classes = [classes[before.argmax()]]
        if fixed:
            own_classes = [classes[k] for k in np.flatnonzero(before >= fixed["thresholds"])]
        assert found["predicted"] == ";".join(own_classes)
        assert found["doubts"] == []
    windows = {"many labels": 7, "one label": 1, "statements": 1}
    counts = [found["windows"] for found in of.found.values()]
    assert {*counts} == {windows[name]} if name in windows else max(counts) > 1


def test_a_longer_recording_is_the_mean_of_its_windows_and_every_file_has_them(
    run: Callable, rhythms: Signals, tmp_path: Path
) -> None:
    own, (one, other) = run("many labels"), list(rhythms.values())[:2]
    path = write(tmp_path, "twice", np.concatenate([one, other], axis=1))
    of = predicted(own, tmp_path / "out", path)
    found, table = of.found["twice"], of.tables["twice"]
    classes = found["classes"]
    assert list(table) == ["window", "start_s", *(f"p_{name}" for name in classes), "predicted"]
    assert (found["windows"], found["window_s"], found["duration_s"]) == (len(table), 2.5, 20.0) == (15, 2.5, 20.0)
    np.testing.assert_allclose(table["start_s"], np.linspace(0, 17.5, 15))
    fixed = json.loads((own.folder / "thresholds.json").read_text())
    lines = fixed["calibration"]
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    calibrated = table.filter(like="p_").to_numpy()
    raw = 1 / (1 + np.exp(-(logit(calibrated) - lines["intercept"]) / np.array(lines["slope"])))
    expected = platt.calibrated(raw.mean(0, keepdims=True).astype(np.float32), lines)[0]
    np.testing.assert_allclose(scores(found), expected, atol=2e-3)
    summary = pd.read_csv(tmp_path / "out" / "summary.csv", keep_default_na=False)
    assert summary["recording"].tolist() == ["twice"]
    np.testing.assert_allclose(summary.filter(like="p_").to_numpy()[0], scores(found))
    page, text = (tmp_path / "out/index.html").read_text(), (tmp_path / "out/twice/twice.txt").read_text()
    for part in (page, text):
        assert "twice: 15 windows of 2.5 s" in part
        assert NOTICE in part
    assert "twice/twice.txt" in Page(tmp_path / "out/index.html").loaded
    assert json.loads(of.out.splitlines()[-1])["recordings"] == 1


def test_the_format_and_the_unit_of_a_recording_change_nothing(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    own, samples = run("many labels"), rhythms["m009"]
    frame = pd.DataFrame(samples.T / 1000, columns=[f"{name} (mV)" for name in LEADS])
    frame.insert(0, "time (s)", np.arange(len(frame)) / 500)
    frame.to_csv(tmp_path / "table.csv", index=False)
    backwards = write(tmp_path, "backwards", samples[::-1], leads=LEADS[::-1])
    given = (write(tmp_path, "whole", samples), write(tmp_path, "micro", samples, unit="uV"), tmp_path / "table.csv")
    of = predicted(own, tmp_path / "out", *given, backwards)
    expected = scores(of.found["whole"])
    for name in ("micro", "table", "backwards"):
        np.testing.assert_allclose(scores(of.found[name]), expected, atol=1e-5)
        assert of.found[name]["leads"][0].startswith("II")


def test_another_rate_is_resampled(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    own, samples = run("many labels"), rhythms["m009"]
    given = write(tmp_path, "whole", samples), write(tmp_path, "half", samples[:, ::2], rate_hz=250)
    of = predicted(own, tmp_path / "out", *given)
    assert of.found["half"]["recorded_hz"] == 250
    np.testing.assert_allclose(scores(of.found["half"]), scores(of.found["whole"]), atol=0.02)


def test_doubtful_leads_are_stated_in_every_file(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    samples = rhythms["m009"].copy()
    samples[LEADS.index("V5")] = 30
    samples[LEADS.index("II"), 1000:2000] = -(2**15)  # missing in format 16
    wfdb_path = tmp_path / "doubtful.hea"
    write(tmp_path, "doubtful", np.where(samples == -(2**15), 0, samples))
    digital = np.fromfile(tmp_path / "doubtful.dat", "<i2").reshape(-1, 12)
    digital[1000:2000, LEADS.index("II")] = -(2**15)
    digital.tofile(tmp_path / "doubtful.dat")
    lines = wfdb_path.read_text().splitlines()
    sums = digital.sum(0, dtype=np.int64).astype(np.int16)
    for k in range(12):
        parts = lines[1 + k].split()
        parts[6] = str(sums[k])
        lines[1 + k] = " ".join(parts)
    wfdb_path.write_text("\n".join(lines) + "\n")
    of = predicted(run("many labels"), tmp_path / "out", wfdb_path)
    doubts = of.found["doubtful"]["doubts"]
    assert "lead V5 of doubtful is flat" in doubts
    assert "lead II of doubtful has no signal for 2 s: straight lines take its place" in doubts
    for path in ("index.html", "doubtful/doubtful.txt"):
        for doubt in doubts:
            assert doubt in (tmp_path / "out" / path).read_text()


def lacking(folder: Path, rhythms: Signals) -> Path:
    return write(folder, "r", rhythms["m009"][:6])


def short(folder: Path, rhythms: Signals) -> Path:
    return write(folder, "r", rhythms["m009"][:, :1000])


def flat(folder: Path, rhythms: Signals) -> Path:
    return write(folder, "r", np.full((12, 5000), 7))


FAULTS: dict[str, tuple[Callable, tuple, int, tuple[str, ...]]] = {
    "a lead is missing": (lacking, (), 3, ("there is no lead 'V1'", "the network needs II, V1, V5")),
    "too few leads": (lacking, ("--leads", "I,II"), 2, ("--leads names 2, the network has a channel each",)),
    "too short": (short, (), 3, ("it lasts 2 s, the rows of the run 2.5 s",)),
    "flat": (flat, (), 3, ("every lead is flat",)),
    "a flag of beats": (short, ("--beats", "atr"), 2, ("--beats is of beats, the rows of the run are whole records",)),
    "another rate of the run": (short, ("--rate", 250), 2, ("--rate is 250", "trained with 100")),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_recording_that_cannot_be_predicted_is_one_line_and_writes_nothing(
    run: Callable, rhythms: Signals, tmp_path: Path, case: str
) -> None:
    make, flags, code, says = FAULTS[case]
    path = make(tmp_path, rhythms)
    ended = carried_out(*run("many labels").flags, "--predict", path, "--out", tmp_path / "out", *flags)
    assert_error(ended, code, *says)
    assert not list(tmp_path.glob("out/*/*"))


def test_a_faulty_recording_leaves_the_others(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    good = write(tmp_path / "given", "good", rhythms["m009"])
    write(tmp_path / "given", "bad", rhythms["m009"][:, :1000])
    own = run("many labels")
    ended = carried_out(*own.flags, "--predict", tmp_path / "given", "--out", tmp_path / "out")
    assert ended.code == 3
    assert "1 of 2 recordings could not be predicted" in ended.err
    assert [path.name for path in (tmp_path / "out").glob("*/")] == [good.stem]
    assert "it lasts 2 s" in (tmp_path / "out" / "index.html").read_text()


def test_a_strip_shorter_than_a_window_is_padded_as_in_training(run: Callable, signals: dict, tmp_path: Path) -> None:
    strip = next(iter(signals["strips"]().values()))[:, :900]
    path = write(tmp_path, "s", strip, rate_hz=300, leads=("synthetic",))
    of = predicted(run("strips"), tmp_path / "out", path)
    assert (of.found["s"]["windows"], of.found["s"]["duration_s"]) == (1, 3.0)
    assert scores(of.found["s"]).sum() == pytest.approx(1, abs=1e-5)


def test_an_exported_folder_predicts_recordings_as_its_run(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    own, path = run("many labels"), write(tmp_path, "r", rhythms["m009"])
    ended = carried_out(*own.flags, "--export", "safetensors", "--calibrate", "--out", tmp_path / "exported")
    assert ended.code == 0, ended.err
    expected = predicted(own, tmp_path / "one", path).found["r"]
    alone = SimpleNamespace(flags=("--from-export", tmp_path / "exported"))
    found = predicted(alone, tmp_path / "other", path).found["r"]
    assert {name: found[name] for name in ("probabilities", "thresholds", "predicted", "windows")} == {
        name: expected[name] for name in ("probabilities", "thresholds", "predicted", "windows")
    }


def test_a_recording_of_the_training_is_named(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    own = run("many labels")
    name = json.loads((own.folder / "config.json").read_text())["data"]["train_records"][0]
    of = predicted(own, tmp_path / "out", write(tmp_path, name, rhythms[name]))
    assert of.found[name]["doubts"] == [f"{name}: {matching.TRAINED_ON['yes']}"]


def test_a_recording_read_in_blocks_is_prepared_as_a_whole(
    run: Callable, rhythms: Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.concatenate([rhythms[f"m{number:03}"] for number in range(10, 16)], axis=1)
    own, path = run("one label"), write(tmp_path, "minute", samples)
    whole = predicted(own, tmp_path / "whole", path).tables["minute"]
    monkeypatch.setattr(row_forms, "BLOCK_S", 13)
    monkeypatch.setattr(row_forms, "AROUND_S", 11)
    blocks = predicted(own, tmp_path / "blocks", path).tables["minute"]
    assert len(whole) == len(blocks) == 6
    np.testing.assert_allclose(blocks.filter(like="p_"), whole.filter(like="p_"), atol=1e-3)


def test_a_run_without_its_thresholds_is_refused(run: Callable, rhythms: Signals, tmp_path: Path) -> None:
    own, path = run("many labels"), write(tmp_path, "r", rhythms["m009"])
    shutil.copytree(own.folder.parents[2], tmp_path / "root", symlinks=True)
    folder = tmp_path / "root" / own.folder.relative_to(own.folder.parents[2])
    flags = (*own.flags[:-2], "--root-dir", tmp_path / "root", "--predict", path)
    (folder / "thresholds.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["flags"]["calibrate"] = False
    (folder / "config.json").write_text(json.dumps(config))
    assert_error(carried_out(*flags), 4, "the thresholds of the classes are missing", "--test --resume best")
    assert not (folder / "predict").exists()
