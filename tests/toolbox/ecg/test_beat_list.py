"""Beats are written so that WFDB, a spreadsheet and a person read back the same beats and counts."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from helpers.leads import CLASSES
from toolbox import files
from toolbox.ecg import beat_list
from toolbox.ecg.beat_list import SYMBOLS, Beats
from toolbox.errors import ResourceError, UsageError
from toolbox.reports import prediction


def make_beats(letters: str, *, rr: float = 0.8, classes: tuple[str, ...] = CLASSES, **how: object) -> Beats:
    """Beats of the classes whose first letters these are, 0.8 s apart, at 250 Hz."""
    label = np.array([[name[0] for name in classes].index(letter) for letter in letters], dtype=np.int64)
    sample = np.round((1 + rr * np.arange(len(label))) * 250).astype(np.int64)
    scores = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(label))
    samples = int(sample[-1]) + 250 if len(sample) else 1000
    return Beats("r1", "MLII", 250, samples, classes, sample, label, scores, **how)


@pytest.mark.parametrize("rate_hz", [250, 128, 360.5])
def test_wfdb_reads_the_beats_back(tmp_path: Path, rate_hz: float) -> None:
    beats = replace(make_beats("NSVFQ" * 50), rate_hz=rate_hz)
    beat_list.save_annotation(beats, tmp_path / "r1.pred")
    read = wfdb.rdann(str(tmp_path / "r1"), "pred")
    assert read.sample.tolist() == beats.sample.tolist()
    assert "".join(read.symbol) == "NSVFQ" * 50
    assert read.fs == pytest.approx(rate_hz)


@pytest.mark.parametrize("rate_hz", [250, 360.0, 360.5, 500 / 3])
@pytest.mark.parametrize("classes", [tuple("NSVFQ"), tuple(SYMBOLS), ("normal", "abnormal", "ä")])
def test_the_annotations_have_the_bytes_of_wfdb(tmp_path: Path, classes: tuple[str, ...], rate_hz: float) -> None:
    rng = np.random.default_rng(0)
    sample, label = np.cumsum(rng.choice([0, 1, 1023, 1024, 70_000, 2**20], 200)), rng.integers(0, len(classes), 200)
    beats = Beats("r1", "MLII", rate_hz, int(sample[-1]) + 1, classes, sample, label, np.zeros((200, len(classes))))
    beat_list.save_annotation(beats, tmp_path / "r1.pred")
    symbols = [SYMBOLS.get(classes[k], "Q") for k in label]
    notes = ["" if classes[k] in SYMBOLS else classes[k] for k in label]
    noted = {"aux_note": notes} if any(notes) else {}
    wfdb.wrann("known", "pred", sample, symbols, fs=rate_hz, write_dir=str(tmp_path), **noted)
    assert (tmp_path / "r1.pred").read_bytes() == (tmp_path / "known.pred").read_bytes()


def test_a_class_is_written_as_its_symbol_or_as_a_note(tmp_path: Path) -> None:
    beat_list.save_annotation(make_beats("nan", classes=("normal", "abnormal")), tmp_path / "r1.pred")
    read = wfdb.rdann(str(tmp_path / "r1"), "pred")
    assert read.symbol == ["N", "Q", "N"]
    assert [note.strip("\0") for note in read.aux_note] == ["", "abnormal", ""]
    beats = make_beats("NAVEL/", classes=tuple("NLAVE/"))
    beat_list.save_annotation(beats, tmp_path / "r1.pred")
    assert wfdb.rdann(str(tmp_path / "r1"), "pred").symbol == list("NAVEL/")
    assert beat_list.summary(beats)["ectopic"]["beats"] == 3  # premature beats of any symbol


def test_no_beats_are_a_file_that_wfdb_reads(tmp_path: Path) -> None:
    beats = make_beats("")
    beat_list.save_annotation(beats, tmp_path / "r1.pred")
    beat_list.save_csv(beats, tmp_path / "r1.csv")
    assert len(wfdb.rdann(str(tmp_path / "r1"), "pred").sample) == len(pd.read_csv(tmp_path / "r1.csv")) == 0
    assert "-" in prediction.text(beat_list.summary(beats))


def test_a_file_that_wfdb_would_not_read_or_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for extension in ("pred1", "", "a_b", "."):
        with pytest.raises(UsageError, match="letters only"):
            beat_list.save_annotation(make_beats("N"), tmp_path / f"r1.{extension}")
    with pytest.raises(ResourceError, match=r"cannot write .*r1\.pred"):
        beat_list.save_annotation(make_beats("N"), tmp_path / "none" / "r1.pred")


def test_the_csv_has_a_line_a_beat(tmp_path: Path) -> None:
    beats = make_beats("NVNQ")
    beat_list.save_csv(beats, tmp_path / "r1.csv")
    table = pd.read_csv(tmp_path / "r1.csv", keep_default_na=False, na_values=[""])
    assert list(table) == ["time_s", "sample", "RR_s", "class", "p_N", "p_S", "p_V", "p_F", "p_Q"]
    assert table["class"].tolist() == list("NVNQ")
    assert table["time_s"].tolist() == pytest.approx([1, 1.8, 2.6, 3.4])
    assert np.isnan(table["RR_s"][0])
    assert table["RR_s"][1:].tolist() == pytest.approx([0.8] * 3)
    assert np.abs(table[[f"p_{name}" for name in CLASSES]].to_numpy() - beats.scores).max() <= 5e-5


def test_an_interval_over_a_gap_is_left_out_and_a_gap_ends_a_run() -> None:
    beats = make_beats("NNNN", gaps=np.array([[500, 600], [820, 840]]))
    assert np.isnan(beats.rr_s).tolist() == [True, False, True, True]
    assert beat_list.summary(beats)["without_signal_s"] == pytest.approx(0.48)
    whole = make_beats("NVVVVN")
    split = replace(whole, gaps=np.array([[whole.sample[2] + 50, whole.sample[3] - 50]]))
    assert beat_list.summary(whole)["patterns"]["V"]["runs"] == 1
    assert beat_list.summary(split)["patterns"]["V"]["couplets"] == 2


# Beats, and singles, couplets, runs, the longest run, episodes of bigeminy and of trigeminy of V among them.
PATTERNS = [
    ("NNNN", (0, 0, 0, None, 0, 0)),
    ("NVNVVNVVVNVVVV", (1, 1, 2, 4, 0, 0)),
    ("VVV", (0, 0, 1, 3, 0, 0)),
    ("NVNVN", (2, 0, 0, None, 0, 0)),
    ("NVNVNV", (3, 0, 0, None, 1, 0)),
    ("NVNVNVNNNNVNVNVN", (6, 0, 0, None, 2, 0)),
    ("NNVNNVNNV", (3, 0, 0, None, 0, 1)),
    ("NVSVNVNVN", (4, 0, 0, None, 1, 0)),
    ("NVNVNVVNVN", (3, 1, 0, None, 0, 0)),
]


@pytest.mark.parametrize(("letters", "counts"), PATTERNS)
def test_couplets_runs_and_bigeminy_are_counted(letters: str, counts: tuple[int | None, ...]) -> None:
    found = beat_list.summary(make_beats(letters))["patterns"]["V"]
    keys = ("single", "couplets", "runs", "longest_run_beats", "bigeminy_episodes", "trigeminy_episodes")
    assert tuple(found[key] for key in keys) == counts


def test_the_figures_are_those_of_the_beats() -> None:
    beats = make_beats("N" * 90 + "V" * 6 + "S" * 4, start=datetime(2020, 3, 4, 5, 6, 7))
    found = beat_list.summary(beats)
    assert found["beats"] == 100
    assert found["beats_of_class"] == {"N": 90, "S": 4, "V": 6, "F": 0, "Q": 0}
    assert found["rate_per_min"] == {"mean": 75.0, "lowest": 75.0, "highest": 75.0}
    assert found["ectopic"]["percent"] == 10
    assert found["ectopic"]["of_class"]["V"]["per_hour"] == pytest.approx(6 * 3600 / found["duration_s"], abs=0.05)
    assert found["start"] == "2020-03-04 05:06:07"


def test_lowest_and_highest_rate_are_of_eight_intervals_and_the_pause_is_found() -> None:
    sample = np.cumsum([250] + [250] * 20 + [900] + [125] * 20)
    beats = Beats("r", "I", 250, 9000, ("N",), sample, np.zeros(42, dtype=int), np.ones((42, 1)))
    found = beat_list.summary(beats)
    assert found["rate_per_min"]["highest"] == 120
    assert found["rate_per_min"]["lowest"] == pytest.approx(60 / ((7 + 3.6) / 8), abs=0.05)
    assert found["pauses"] == {"above_2_s": 1, "longest_s": 3.6, "longest_time_s": 21.0}


def test_hours_add_up_to_the_whole() -> None:
    beats = make_beats("NNNV" * 3000)
    hours = beat_list.summary(beats)["hours"]
    assert len(hours) == 3
    assert sum(hour["beats"] for hour in hours) == 12_000
    assert sum(hour["ectopic"]["V"] for hour in hours) == 3000
    assert all(hour["rate_per_min"] == 75 for hour in hours)


def test_the_summary_is_plain_json_and_its_text_has_the_notice(tmp_path: Path) -> None:
    found = beat_list.summary(make_beats("NNVVVNSN" * 1000))
    files.write_json(tmp_path / "summary.json", found)
    assert json.loads((tmp_path / "summary.json").read_text()) == found
    lines = prediction.text(found).splitlines()
    assert lines[-1] == "A research tool, not a medical device."
    assert max(map(len, lines)) < 110
    row = next(line.split() for line in lines if line.startswith("V "))
    assert row[3:6] == ["0", "0", "1,000"]
