"""--predict: beats of recordings in every format are found, classified and written; what cannot be used is a line."""

import itertools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import wfdb

import args
from commands.predict import recordings as prediction
from commands.trained import fixed_by_validation
from helpers.commands import assert_error, carried_out, contents
from helpers.data import MITDB_ZIP, ROOT
from helpers.pages import Page
from loaders.declaration import BeatOptions
from loaders.families import beat_features, row_forms
from loaders.families.beats import Recipe
from loaders.filters import resample
from loaders.formats import recordings
from loaders.formats.recording import leads_of
from loaders.synthetic import patients
from toolbox.errors import CheckpointError, CommanderError, DataError, UsageError
from toolbox.flags import Flags
from toolbox.metrics import classification
from toolbox.runs.folder import RunFolder

RATE_HZ = 250
NOTICE = "A research tool, not a medical device."
PATIENTS = ("--dataset", "synth_patients", "--model-name", "cnn1d_3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on generated patients, with RR features, weighed decisions and a temperature."""
    root = tmp_path_factory.mktemp("run")
    flags = "--short-run --no-figures --epochs 2 --rr-features --p-waves --calibrate --normalise record"
    flags += " --decision-weights 1,2,1,1,0.5 --sampler equal"
    ended = carried_out(*PATIENTS, *flags.split(), "--root-dir", root)
    assert ended.code == 0, ended.err
    return root / "synth_patients" / "runs" / "synth_patients_cnn1d_3_1"


def patient(number: int = 13) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One of the generated patients, from 0 on: signal (T,) in mV, symbols and samples of the beats."""
    seeds = np.random.SeedSequence(patients.SEED).spawn(patients.PATIENTS)[number]
    signal, symbols, peaks = patients.recording(np.random.default_rng(seeds))
    return signal[0], symbols, peaks


Leads = dict[str, np.ndarray]


def write(
    folder: Path, name: str = "r1", *, leads: Leads | None = None, atr: bool = True, rate_hz: float = RATE_HZ
) -> Path:
    """A WFDB record, of the first test patient where no leads are given; its header."""
    folder.mkdir(exist_ok=True)
    signal, symbols, peaks = patient()
    leads = {"II": signal} if leads is None else leads
    count = len(leads)
    how = {"fmt": ["16"] * count, "adc_gain": [4000.0] * count, "baseline": [0] * count, "units": ["mV"] * count}
    p_signal = np.stack(list(leads.values()), axis=1)
    wfdb.wrsamp(name, rate_hz, p_signal=p_signal, sig_name=list(leads), write_dir=str(folder), **how)
    if atr:
        wfdb.wrann(name, "atr", peaks, symbol=symbols.tolist(), fs=rate_hz, write_dir=str(folder))
    return folder / f"{name}.hea"


def predict(run: Path, *flags: object) -> None:
    """The command, in this process, with the run's dataset, network and folder."""
    dataset, model = run.parents[1].name, run.name.removeprefix(f"{run.parents[1].name}_").rpartition("_")[0]
    typed = ["--dataset", dataset, "--model-name", model, "--root-dir", str(run.parents[2]), *map(str, flags)]
    given = args.parse(typed)
    assert args.complaints(given) == []
    prediction.predict(given)


def read(folder: Path, name: str = "r1") -> SimpleNamespace:
    """What was written of a recording."""
    table = pd.read_csv(folder / name / f"{name}.csv", keep_default_na=False, na_values=[""])
    summary = json.loads((folder / name / f"{name}.json").read_text())
    return SimpleNamespace(table=table, summary=summary, page=folder / name / f"{name}.html")


@pytest.fixture(scope="module")
def predicted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The first test patient, p14, predicted by the command under the name it has in the run."""
    folder = tmp_path_factory.mktemp("predicted")
    write(folder, "p14")
    how = (*PATIENTS, "--root-dir", run.parents[2], "--out", folder / "out")
    ended = carried_out("--predict", folder / "p14.hea", *how)
    assert ended.code == 0, ended.err
    assert "synth_patients_cnn1d_3_1 is a short run" in ended.err
    return SimpleNamespace(folder=folder / "out", **vars(read(folder / "out", "p14")), **vars(ended))


# What is written


def test_the_annotations_are_read_back_by_wfdb_and_say_what_the_csv_says(predicted: SimpleNamespace) -> None:
    annotation = wfdb.rdann(str(predicted.folder / "p14" / "p14"), "pred")
    assert annotation.sample.tolist() == predicted.table["sample"].tolist()
    assert annotation.symbol == predicted.table["class"].tolist()
    assert annotation.fs == RATE_HZ
    assert len(set(annotation.symbol)) > 1


def test_the_csv_has_a_line_a_beat_with_probabilities_that_decide_its_class(predicted: SimpleNamespace) -> None:
    table = predicted.table
    assert list(table) == ["time_s", "sample", "RR_s", "class", "p_N", "p_S", "p_V", "p_F", "p_Q"]
    scores = table.filter(like="p_").to_numpy()
    assert np.abs(scores.sum(1) - 1).max() < 3e-4
    assert (np.array(list("NSVFQ"))[scores.argmax(1)] == table["class"]).mean() > 0.99
    assert table["RR_s"][1:].to_numpy() == pytest.approx(np.diff(table["sample"]) / RATE_HZ, abs=1e-4)


def test_the_summary_counts_the_beats_and_scores_itself(predicted: SimpleNamespace) -> None:
    found = predicted.summary
    assert found["beats"] == len(predicted.table)
    assert found["beats_of_class"] == {name: int((predicted.table["class"] == name).sum()) for name in "NSVFQ"}
    assert (found["run"], found["checkpoint"], found["beats_by"]) == ("synth_patients_cnn1d_3_1", "best", "detect")
    score = found["score"]
    assert score["detection"]["Se"] > 0.95
    assert score["trained_on"] == "no"
    matrix = np.array(score["confusion"])
    assert matrix[:-1].sum() == patients.BEATS
    assert matrix[:-1, -1].sum() == score["detection"]["missed"]
    assert matrix[-1].sum() == score["detection"]["extra"]
    assert score["classification"]["V"]["Se"] == pytest.approx(matrix[2, 2] / matrix[2].sum())


def test_a_score_leaves_out_flutter_and_beats_before_from(run: Path, tmp_path: Path) -> None:
    header = write(tmp_path, atr=False)
    _, symbols, peaks = patient()
    symbols = np.append(symbols, ["[", "]"])
    order = np.argsort(np.append(peaks, [peaks[100] - 40, peaks[110] + 40]), kind="stable")
    at = np.append(peaks, [peaks[100] - 40, peaks[110] + 40])[order]
    wfdb.wrann("r1", "atr", at, symbol=symbols[order].tolist(), fs=RATE_HZ, write_dir=str(tmp_path))
    predict(run, "--predict", header, "--beats", "atr", "--out", tmp_path / "out", "--from", "0:30")
    score = read(tmp_path / "out").summary["score"]
    assert score["from_s"] == 30
    assert score["flutter_s"] == pytest.approx((peaks[110] - peaks[100] + 80) / RATE_HZ, abs=0.001)
    scored = (peaks >= 30 * RATE_HZ).sum() - 11
    assert np.array(score["confusion"]).sum() == scored
    text = (tmp_path / "out" / "r1" / "r1.txt").read_text()
    assert "scored from 0:00:30 on" in text
    assert "of flutter or fibrillation left out" in text
    assert json.loads((tmp_path / "out" / "score.json").read_text())["from_s"] == 30


def test_everything_a_person_reads_says_what_the_tool_is_not_and_needs_no_network(predicted: SimpleNamespace) -> None:
    texts = [predicted.out, *(path.read_text() for path in predicted.folder.rglob("*.[hjt][tsx][mot]*"))]
    assert predicted.result["split_rule"] in (predicted.folder / "index.html").read_text()
    assert len(texts) == 1 + len(["p14.html", "p14.json", "p14.txt", "index.html"]) + len(["score.json"])
    assert sum(NOTICE in text for text in texts) == len(texts) - 1  # a pooled score stands beside its page
    assert Page(predicted.page).loaded == []
    assert Page(predicted.folder / "index.html").loaded == ["p14/p14.html"]


def test_stdout_is_a_table_and_a_last_line_of_json(predicted: SimpleNamespace) -> None:
    head, row, notice, _ = predicted.out.splitlines()
    assert head.split()[:4] == ["recording", "lead", "duration", "beats"]
    assert row.split()[:2] == ["p14", "II"]
    assert notice == NOTICE
    assert (predicted.result["recordings"], predicted.result["failed"]) == (1, 0)
    assert predicted.result["score"]["classes"]["no"]["recordings"] == 1
    table = pd.read_csv(predicted.folder / "summary.csv")
    assert table["beats"].tolist() == [predicted.summary["beats"]]


# How beats are cut


CUTS = [
    {"filter": "baseline+bandpass:0.5:40", "normalise": "record"},
    {"normalise": "beat", "window": "-1,2"},
    {"normalise": "typical", "filter": "baseline", "rate": 128.5},
]


@pytest.mark.parametrize("options", CUTS, ids=str)
def test_beats_of_a_recording_read_in_blocks_are_cut_as_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    lead, peaks = recordings.open_recording(write(tmp_path)).lead(), patient()[2]
    monkeypatch.setattr(row_forms, "BLOCK_S", 30)
    monkeypatch.setattr(row_forms, "AROUND_S", 20)
    how = row_forms.form_of("mitdb", BeatOptions(**options))
    parts = [x for x, _ in row_forms.rows(how, [lead], peaks)]
    signal, places = how.prepared(lead.read(0, lead.samples)[None], RATE_HZ), how.places(peaks, RATE_HZ)
    whole = Recipe.of(**options).normalised(signal, places)
    p_waves = beat_features.p_wave_rows(signal, how.rate_hz, places)
    numbers = beat_features.numbers(beat_features.ALL, peaks / RATE_HZ, p_waves)
    assert np.median(np.abs(row_forms.features(beat_features.ALL, how, [lead], peaks) - numbers), axis=0).max() < 1e-3
    off, most = np.abs(np.concatenate(parts) - whole), np.abs(whole).max()
    assert len(parts) > 3
    assert off[:-2].max() < 0.02 * most
    assert np.median(off.max((1, 2))) < 1e-4 * most


def test_beats_in_the_layout_of_kaggle_are_cut_alike_and_the_last_takes_the_interval_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead, peaks = recordings.open_recording(write(tmp_path)).lead(), patient()[2]
    monkeypatch.setattr(row_forms, "BLOCK_S", 30)
    (*parts,) = row_forms.rows(row_forms.form_of("ecg"), [lead], peaks)
    found, upright = (np.concatenate(each) for each in zip(*parts, strict=True))
    signal = resample(lead.read(0, lead.samples), RATE_HZ, row_forms.RATE_HZ)
    places = peaks * row_forms.RATE_HZ / RATE_HZ
    whole = row_forms.kaggle_cut(signal, places[:-1], np.diff(places))
    assert found.shape == (len(peaks), 1, row_forms.SAMPLES)
    assert np.abs(found[:-1, 0] - whole).max() < 0.01
    assert upright.mean() > 0.9


def test_the_probabilities_are_those_of_the_test_of_the_run(run: Path, tmp_path: Path) -> None:
    predict(run, "--predict", write(tmp_path, "p14"), "--beats", "atr", "--out", tmp_path / "out")
    found = read(tmp_path / "out", "p14")
    tested = pd.read_csv(run / "pred" / "predictions.csv", keep_default_na=False)
    tested = tested[tested["record"] == "p14"]
    beats = tested["row"] - 13 * patients.BEATS  # the short run tested some of them
    temperature = json.loads((run / "temperature.json").read_text())["temperature"]
    assert temperature != 1
    scores = found.table.filter(like="p_").to_numpy()[beats]
    assert len(scores) > 50
    assert np.abs(scores - classification.at_temperature(tested.filter(like="p_").to_numpy(), temperature)).max() < 0.02
    assert found.summary["score"]["detection"] is None
    assert found.summary["beats_by"] == "atr"


def test_a_run_on_rows_as_kaggle_has_them_is_used_too(plain_run: Path, tmp_path: Path) -> None:
    predict(plain_run, "--predict", write(tmp_path), "--out", tmp_path / "out")
    found = read(tmp_path / "out")
    assert found.summary["run"] == "synth_cnn1d_3_1"
    assert found.summary["score"]["detection"]["Se"] > 0.95


def test_the_score_says_whether_the_run_was_trained_on_the_record(run: Path, tmp_path: Path) -> None:
    stored = json.loads((run / "config.json").read_text())["data"]
    names = {"yes": stored["train_records"][0], "epoch": stored["val_records"][0], "no": "p14"}
    predict(run, "--predict", *(write(tmp_path, name) for name in names.values()), "--out", tmp_path / "out")
    for told, name in names.items():
        assert read(tmp_path / "out", name).summary["score"]["trained_on"] == told
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert {told: of["recordings"] for told, of in score["classes"].items()} == dict.fromkeys(names, 1)


# What can be given


def write_csv(folder: Path) -> Path:
    pd.DataFrame({"II": patient()[0]}).to_csv(folder / "r1.csv", index=False)
    return folder / "r1.csv"


def test_a_table_gives_the_beats_of_the_record(run: Path, predicted: SimpleNamespace, tmp_path: Path) -> None:
    predict(run, "--predict", write_csv(tmp_path), "--out", tmp_path / "out", "--rate-hz", RATE_HZ)
    found = read(tmp_path / "out")
    assert found.table["sample"].tolist() == predicted.table["sample"].tolist()
    assert (found.table["class"] == predicted.table["class"]).mean() > 0.99
    assert "score" not in found.summary


def test_results_go_into_the_run_folder_and_a_second_time_into_the_same_place(run: Path, tmp_path: Path) -> None:
    for _ in range(2):
        predict(run, "--predict", header := write(tmp_path, "again"))
    # One recording, however it is named.
    predict(run, "--predict", header, header.with_suffix(".dat"), header.with_suffix(""))
    assert [path.name for path in (run / "predict").glob("again*")] == ["again"]
    assert not (run / "lock").exists()


def test_recordings_of_equal_names_and_headers_have_a_folder_each(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = write(tmp_path / "one", atr=False), write(tmp_path / "two", atr=False)
    samples = np.fromfile(two.with_suffix(".dat"), "<i2")
    samples[5000:9000] = samples[5000:9000][::-1]
    samples.tofile(two.with_suffix(".dat"))
    assert one.read_bytes() == two.read_bytes()
    predict(run, "--predict", one, two, "--out", tmp_path / "out")
    assert f"{two} is written as r1_2" in caplog.text
    predict(run, "--predict", two, "--out", tmp_path / "out")
    found = [json.loads((tmp_path / "out" / name / "r1.json").read_text()) for name in ("r1", "r1_2")]
    assert [each["folder"] for each in found] == ["r1", "r1_2"]
    assert found[0]["source"]["signals"]["r1.dat"] != found[1]["source"]["signals"]["r1.dat"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["r1", "r1_2"]


def test_foreign_files_are_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "b").mkdir(parents=True)
    (tmp_path / "out" / "b" / "b.csv").write_text("theirs")
    paths = [write(tmp_path, "a"), write(tmp_path, "b")]
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"b\.csv is there already"):
        predict(run, "--predict", *paths, "--out", tmp_path / "out")
    assert contents(tmp_path) == before


def test_names_never_lead_out_of_the_folder_nor_to_its_index(run: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path)
    names = ["...csv", "index.html.csv", "-x.csv", "a\x1b[31m.csv"]
    paths = [shutil.copy(path, tmp_path / name) for name in names]
    predict(run, "--predict", *paths, "--rate-hz", RATE_HZ, "--out", tmp_path / "deep" / "out")
    folders = sorted(path.name for path in (tmp_path / "deep" / "out").iterdir() if path.is_dir())
    assert folders == ["a_[31m", "index.html_2", "recording", "x"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    loaded = {"a_%5B31m/a_%5B31m.html", "index.html_2/index.html.html", "recording/recording.html", "x/x.html"}
    assert {*Page(tmp_path / "deep" / "out" / "index.html").loaded} == loaded


# Leads


def short(folder: Path, *signals: np.ndarray) -> Path:
    """A record of 20 seconds with leads that are called lead_0 and so on."""
    return write(folder, leads={f"lead_{k}": signal[:5000] for k, signal in enumerate(signals)}, atr=False)


def renamed(path: Path, names: Sequence[str]) -> recordings.Recording:
    """The record with these names of its leads."""
    for k, name in enumerate(names):
        path.write_text(path.read_text().replace(f"lead_{k}", name))
    return recordings.open_recording(path)


ONE, TWO = ("MLII",), ("MLII", "V1|V5")
LACKING = "there is no lead 'V1|V5'; the network needs MLII, V1|V5"
OTHER = "r1 has no lead MLII, which the network was trained on; using"
# The leads of the network and of the record, --leads, the numbers of the leads taken (negative: inverted) or the error,
# and doubts. The samples of lead n are n times those of the first, so that they tell leads of one name apart.
LEADS: list[tuple[tuple[str, ...], str, str | None, list[int] | str, str]] = [
    (TWO, "V5,MLII", None, [2, 1], ""),
    (TWO, "ECG MLII,ECG V1", None, [1, 2], ""),
    (TWO, "I,aVF", "aVF,-I", [2, -1], ""),
    (TWO, "I,aVF", "second,first", [2, 1], ""),
    (TWO, "MLII,V2", None, LACKING, ""),
    (TWO, "MLII", None, f"{LACKING}.*a run on fewer leads", ""),
    (TWO, "MLII,V2", "MLII,MLII", "--leads MLII,MLII names a lead twice", ""),
    (TWO, "MLII,V2", "MLII,first", "no lead is left for 'first'", ""),
    (TWO, "MLII,V2", "MLII", "--leads names 1, the network has a channel each for MLII, V1|V5", ""),
    (("first",), "RESP,V5", None, [2], ""),
    (("second",), "RESP,V5", None, [2], ""),
    (ONE, "I,II", None, [2], f"{OTHER} II: expect more mistakes"),
    (ONE, "I,MDC_ECG_LEAD_II", None, [2], f"{OTHER} MDC_ECG_LEAD_II: expect more mistakes"),
    (ONE, "I,DII", None, [2], f"{OTHER} DII: expect more mistakes"),
    (ONE, "RESP,signal", None, [2], "using signal, which may not be an ECG, by its name"),
    (ONE, "value", "value", [1], ""),
    (ONE, "PLETH,EKG", None, [2], "using EKG: expect more mistakes"),
    (ONE, "ECG,ECG", None, [1], "using ECG (lead 1; 2 leads have that name)"),
    (ONE, "ECG,ECG", "ECG", [1], "2 leads of r1 are called ECG; lead 1 is used"),
    (ONE, "ECG,ECG", "second", [2], ""),
    (ONE, "MLII,MLII", "second", [2], ""),
    (ONE, "RESP,ECG", "RESP", [1], "lead RESP of r1 is no ECG by its name"),
    (ONE, "RESP,PLETH", None, "no lead has the name of an ECG: RESP, PLETH.*--leads", ""),
    (ONE, "ch1,ch2", None, "no lead has the name of an ECG: ch1, ch2.*--leads", ""),
]


@pytest.mark.parametrize(("needed", "names", "asked", "taken", "doubts"), LEADS)
def test_leads_are_taken_by_name_or_place(
    tmp_path: Path, needed: tuple[str, ...], names: str, asked: str | None, taken: list[int] | str, doubts: str
) -> None:
    signal, own = patient()[0][:5000], names.split(",")
    recording = renamed(short(tmp_path, *((1 + k) * signal for k in range(len(own)))), own)
    if isinstance(taken, str):
        with pytest.raises(CommanderError, match=taken.replace("|", r"\|")):
            leads_of(recording, needed, asked)
        return
    leads = leads_of(recording, needed, asked)
    assert [lead.name for lead in leads] == ["-" * (number < 0) + own[abs(number) - 1] for number in taken]
    for lead, number in zip(leads, taken, strict=True):
        np.testing.assert_allclose(lead.read(0, 5000), number * signal, atol=1e-3)
    said = "".join(doubt for lead in leads for doubt in lead.doubts)
    assert doubts in said
    assert bool(doubts) == bool(said) or needed != ONE


def test_the_first_lead_with_a_signal_is_taken_among_leads_of_one_name(tmp_path: Path) -> None:
    recording = renamed(short(tmp_path, np.zeros(5000), patient()[0]), ["ECG", "ECG"])
    for asked in (None, "ECG"):
        (lead,) = leads_of(recording, ONE, asked)
        assert "(lead 2;" in lead.doubts[0] or "lead 2 is used" in lead.doubts[0]
    with pytest.raises(DataError, match="lead ECG is flat"):
        leads_of(recording, ONE, "first")


def test_doubts_are_in_every_output_and_a_unit_that_is_given_is_applied(
    run: Path, predicted: SimpleNamespace, tmp_path: Path
) -> None:
    pd.DataFrame({"signal": 200 * patient()[0]}).to_csv(tmp_path / "r1.csv", index=False)
    how = ("--predict", tmp_path / "r1.csv", "--rate-hz", RATE_HZ, "--out", tmp_path / "out")
    with pytest.raises(DataError, match=r"in most of its pieces.*--unit"):
        predict(run, *how)
    with pytest.raises(UsageError, match="--unit is 'bpm', no unit of voltage"):
        predict(run, *how, "--unit", "bpm")
    predict(run, *how, "--unit", "200/mV")
    found = read(tmp_path / "out")
    assert found.table["sample"].tolist() == predicted.table["sample"].tolist()
    assert (found.table["class"] == predicted.table["class"]).mean() > 0.99
    (doubt,) = found.summary["doubts"]
    assert "using signal, which may not be an ECG, by its name" in doubt
    for path in (tmp_path / "out" / "r1" / "r1.txt", found.page, tmp_path / "out" / "index.html"):
        assert doubt in path.read_text()


def test_annotated_beats_after_the_end_are_left_out_and_nothing_is_scored(run: Path, tmp_path: Path) -> None:
    path = write(tmp_path, leads={"II": patient()[0][:5000]})
    peaks = patient()[2]
    inside = peaks[peaks < 5000].tolist()
    predict(run, "--predict", path, "--beats", "atr", "--out", tmp_path / "out")
    found = read(tmp_path / "out")
    assert found.table["sample"].tolist() == inside
    assert "score" not in found.summary
    late = f"{len(peaks) - len(inside)} of {len(peaks)}"
    doubts = found.summary["doubts"]
    assert f"{late} annotations in r1.atr are after the end of the signal: they are not compared" in doubts
    assert f"{late} beats in r1.atr stand after the end of the signal: they are left out" in doubts


def test_beats_of_another_time_resolution_are_placed_at_the_rate_of_the_signal(run: Path, tmp_path: Path) -> None:
    path, peaks = write(tmp_path, atr=False), patient()[2]
    wfdb.wrann("r1", "qrs", 3 * peaks, symbol=["N"] * len(peaks), fs=3 * RATE_HZ, write_dir=str(tmp_path))
    predict(run, "--predict", path, "--beats", "qrs", "--out", tmp_path / "out")
    assert read(tmp_path / "out").table["sample"].tolist() == peaks.tolist()


def test_symbols_become_classes_as_the_dataset_has_them() -> None:
    annotated = ["N", "L", "A", "V", "/", "!"]

    def classes(dataset: str, names: Sequence[str], label_map: str | None = None) -> list[int]:
        return row_forms.classes_of(row_forms.symbols_of(dataset, label_map), annotated, names).tolist()

    assert classes("ecg", tuple("NSVFQ")) == [0, 0, 1, 2, 4, -1]
    assert classes("ecg_bin", ("normal", "abnormal")) == [0, 0, 1, 1, 1, -1]
    assert classes("mitdb", ("N", "A"), "symbols") == [0, -1, 1, -1, -1, -1]


def test_an_inverted_lead_is_noticed_and_can_be_turned(
    run: Path, predicted: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, leads={"II": -patient()[0]})
    predict(run, "--predict", path, "--out", tmp_path / "out")
    assert "most beats of r1 point down in lead II" in caplog.text
    assert "--leads=-II turns it" in caplog.text
    caplog.clear()
    predict(run, "--predict", path, "--out", tmp_path / "out", "--leads=-II")
    assert "point down" not in caplog.text
    found = read(tmp_path / "out")
    assert found.summary["lead"] == "-II"
    assert found.table["sample"].tolist() == predicted.table["sample"].tolist()
    assert (found.table["class"] == predicted.table["class"]).mean() > 0.99


@pytest.mark.parametrize("value", [np.nan, -0.3], ids=["missing", "the lead off"])
def test_a_gap_has_no_beats_and_counts_as_lost(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    unknown, features = [], beat_features.rr_features
    monkeypatch.setattr(
        beat_features, "rr_features", lambda times_s, over: unknown.append(over) or features(times_s, over)
    )
    signal = patient()[0]
    signal[10_000:20_000] = value
    pd.DataFrame({"II": signal}).to_csv(tmp_path / "r1.csv", index=False)
    predict(run, "--predict", tmp_path / "r1.csv", "--rate-hz", RATE_HZ, "--out", tmp_path / "out")
    found = read(tmp_path / "out")
    assert not found.table["sample"].between(10_000, 19_999).any()
    assert found.summary["without_signal_s"] == 40
    assert found.table["RR_s"].isna().sum() == 2
    (over,) = unknown
    assert over.sum() == 1  # what the network is told of RR leaves the gap out too


def test_missing_and_doubtful_beats_are_stated_everywhere(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).normal(size=10_000)
    paths = [
        write(tmp_path, name, leads={"II": gain * noise}, atr=False) for name, gain in (("r1", 0.05), ("r2", 1e-3))
    ]
    predict(run, "--predict", *paths, "--out", tmp_path / "out")
    assert "no beat was found in lead II of r2" in caplog.text
    assert read(tmp_path / "out", "r2").summary["beats"] == 0
    assert len(wfdb.rdann(str(tmp_path / "out" / "r2" / "r2"), "pred").sample) == 0
    doubt, found = "lead II of r1 looks like noise: its beats may be false", read(tmp_path / "out")
    assert found.summary["beats"] > 10
    assert found.summary["doubts"][-1] == doubt
    for text in (caplog.text, (tmp_path / "out" / "r1" / "r1.txt").read_text(), found.page.read_text()):
        assert doubt in text


# What cannot be


# What cannot be read at all is in tests/loaders/formats/test_recordings.py.
FAULTS: dict[str, tuple[Callable[[Path], Path], Sequence[object], type[CommanderError], str]] = {
    "csv without a rate": (write_csv, (), DataError, "--rate-hz HZ"),
    "flat": (lambda at: write(at, leads={"II": np.zeros(9000)}, atr=False), (), DataError, "lead II is flat"),
    "too many leads": (write, ("--leads", "II,V1"), UsageError, "--leads names 2, the network has a channel each"),
    "no such annotations": (write, ("--beats", "qrs"), DataError, "r1.qrs is missing"),
    "slow": (lambda at: write(at, rate_hz=25, atr=False), (), DataError, r"the signal has 25 Hz \(.*r1\.hea\)"),
    "another window": (write, ("--window=-0.2,0.2",), UsageError, "--window is -0.2,0.2, the run was trained with"),
    "no folder": (lambda at: at, (), DataError, "the folder has no recordings"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_recording_that_cannot_be_predicted_is_one_line(run: Path, tmp_path: Path, case: str) -> None:
    make, flags, kind, says = FAULTS[case]
    (tmp_path / "given").mkdir()
    path = make(tmp_path / "given")
    with pytest.raises(kind, match=says) as caught:
        predict(run, "--predict", path, "--out", tmp_path / "out", *flags)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*/*"))


def test_a_run_whose_rows_are_of_no_known_recipe_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    np.savez(tmp_path / "t.npz", x=rng.normal(size=(80, 1, 50)) + y[:, None, None], y=y)
    flags = ("--dataset", "table", "--model-name", "cnn1d_3", "--root-dir", tmp_path / "data")
    made = carried_out(*flags, "--data-file", tmp_path / "t.npz", "--epochs", 1, "--no-figures")
    assert made.code == 0, made.err
    ended = carried_out(*flags, "--predict", write(tmp_path))
    assert_error(ended, 2, "a run on table does not state how its rows are cut from a recording")


def test_recordings_beside_a_faulty_one_are_predicted_and_the_faulty_are_counted(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    write(folder, "a"), write(folder, "b"), write(folder, "c")
    (folder / "b.dat").write_bytes(b"short")
    out = tmp_path / "out"
    flags = ("--predict", folder, tmp_path / "none.hea", "--out", out)
    ended = carried_out(*PATIENTS, "--root-dir", run.parents[2], *flags)
    assert_error(ended, 3, "2 of 4 recordings could not be predicted")
    assert [line for line in ended.err.splitlines() if line.startswith("not predicted: b.hea")]
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["a", "c"]
    assert (ended.result["recordings"], ended.result["failed"]) == (2, 2)
    assert "could not be predicted" in (out / "index.html").read_text()


def test_a_temperature_that_is_invalid_or_lost_is_named_and_not_taken_for_1(tmp_path: Path) -> None:
    run, path = RunFolder(tmp_path), tmp_path / "temperature.json"

    def stored(*, fitted: bool) -> float:
        flags = Flags(task="classify", calibrate=fitted)
        return fixed_by_validation(run, "best", flags).get("temperature", 1)

    assert stored(fitted=False) == 1
    with pytest.raises(CheckpointError, match=r"the temperature is missing.*Try: --test --resume best"):
        stored(fitted=True)
    for value in (None, True, "1", -1, 0, 1e9, [], {}):
        path.write_text(json.dumps({"temperature": value}))
        with pytest.raises(CheckpointError, match=r"temperature is .*, it must be a number from 0.02 to 50"):
            stored(fitted=True)
    path.write_text('{"temperature": 2}')
    assert stored(fitted=False) == 2


def test_a_signal_leaves_whole_files_alone(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, begun, out = prediction._classified, itertools.count(1), tmp_path / "out"

    def classified(*given: Any) -> Any:
        if next(begun) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(*given)

    monkeypatch.setattr(prediction, "_classified", classified)
    for number in range(4):
        write(tmp_path / "given", f"r{number}", atr=False)
    ended = carried_out(*PATIENTS, "--root-dir", run.parents[2], "--predict", tmp_path / "given", "--out", out)
    assert ended.code == 143, ended.err
    assert not list(out.rglob("*.tmp"))
    assert [path.stem for path in sorted(out.glob("*/*.json"))] == ["r0", "r1"]
    assert all(json.loads(path.read_text())["notice"] == NOTICE for path in out.glob("*/*.json"))
    assert all(path.read_text().endswith("</html>\n") for path in out.rglob("*.html"))


# Length


def test_the_documentation_makes_a_recording_that_is_predicted_and_scored(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"^```python\n(.*?)^```$", (ROOT / "docs" / "predict.md").read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "make.py").write_text(code[1])
    runpy.run_path("make.py")
    predict(run, "--predict", "generated.hea", "--out", "out")
    assert read(tmp_path / "out", "generated").summary["score"]["detection"]["Se"] > 0.98


# The highest memory of a process itself after each command: resource.getrusage has that of its parent too.
MEASURED = """
import re, sys
import commander, scipy.signal, scipy.ndimage, wfdb, pandas
from commands.predict import recordings as prediction
from commands.trained import fixed_by_validation
for path in sys.argv[1:3]:
    print(commander.main(["--predict", path, *sys.argv[3:]]),
          int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def test_memory_does_not_grow_with_the_length(run: Path, tmp_path: Path) -> None:
    """A new process, which has no memory to spare of earlier work.

    glibc keeps freed blocks, as many as its threads and the order of their work make it: 18 to 33 MB above the short
    recording's. With every larger block given back at once it is 16 or 17 MB, in every run.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is asked of Linux")
    lengths = {"short": 0.5, "long": 3}  # hours
    leads = {name: np.resize(patient()[0], int(hours * 3600 * RATE_HZ)) for name, hours in lengths.items()}
    paths = [write(tmp_path, name, leads={"II": lead}, atr=False) for name, lead in leads.items()]
    how = (*PATIENTS, "--root-dir", run.parents[2], "--out", tmp_path / "out")
    command = [sys.executable, "-c", MEASURED, *paths, *how]
    exact = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    words, own = [*map(str, command)], os.environ | exact
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env=own)
    (code, low), (again, high) = (line.split() for line in ended.stdout.splitlines() if re.fullmatch(r"\d \d+", line))
    assert (code, again) == ("0", "0"), ended.stderr
    assert int(high) < int(low) + 24, (low, high)  # 18 MB are a lead in float64


# Real recordings


def test_in_a_real_recording_of_ds1_the_beats_are_found(
    run: Path, tmp_path: Path, shared: Callable[[str], Path]
) -> None:
    shutil.unpack_archive(shared(MITDB_ZIP), tmp_path)
    predict(run, "--predict", next(tmp_path.rglob("208.hea")), "--out", tmp_path / "out")
    found = read(tmp_path / "out", "208").summary
    assert found["score"]["detection"]["Se"] == pytest.approx(0.997, abs=0.001)
    assert found["score"]["detection"]["+P"] > 0.998
    assert found["duration_s"] == pytest.approx(1805.556, abs=0.01)
